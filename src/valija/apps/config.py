"""The configuration file: TOML, few keys, good defaults; unknown keys are refused. The program never writes it.

Mail settings, providers and tokens are not here: they live in the store (:mod:`valija.apps.state_directory`).
"""

from __future__ import annotations

import difflib
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from valija.domain.device import parse_senders
from valija.domain.errors import ConfigurationError, InvalidFields
from valija.domain.retry_schedule import RetrySchedule, check_schedule
from valija.domain.settings import BadValue
from valija.domain.text import N_, Message, message
from valija.protocol.smtp_path import is_address

_SCHEDULE_KEYS: Final = {"delays": "gateway.retry_delays_s", "lifetime": "gateway.lifetime_hours"}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Section):
    """How servers' certificates are checked."""

    ca_file: Path | None = None


class Log(_Section):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] | None = None  # None: text on a terminal, else JSON


class Store(_Section):
    """Where what the machine knows is kept; empty: SQLite in the state directory. The password is not part of the address."""

    url: str = Field(default="", max_length=1000)  # postgresql://user@host/database


class MasterKey(_Section):
    """Where the key is that encrypts tokens and passwords in the store."""

    file: Path | None = None


class Redirect(_Section):
    """The loopback listener that a browser is sent back to (RFC 8252); port 0 is any free port."""

    port: int = Field(default=0, ge=0, le=65535)


class Provider(_Section):
    """How providers are asked."""

    timeout_s: float = Field(default=15.0, ge=1, le=120)


class Sandbox(_Section):
    """The ports of the sandbox, on loopback only; 0 is any free port."""

    authorization_port: int = Field(default=10400, ge=0, le=65535)
    smtp_port: int = Field(default=10587, ge=0, le=65535)
    smtps_port: int = Field(default=10465, ge=0, le=65535)
    pop3_port: int = Field(default=10110, ge=0, le=65535)
    pop3s_port: int = Field(default=10995, ge=0, le=65535)


class Panel(_Section):
    """The panel at the machine, on loopback; port 0 is any free one."""

    enabled: bool = True
    port: int = Field(default=10480, ge=0, le=65535)


class Web(_Section):
    """The web page from a desk. Without certificate and key (PEM) one is made; ``http`` only if asked for."""

    enabled: bool = True
    host: str = "0.0.0.0"  # noqa: S104 - it is there for the local network
    port: int = Field(default=10443, ge=0, le=65535)
    certificate: Path | None = None
    key: Path | None = None
    http: bool = False


class ListenerTls(_Section):
    """TLS of one of the gateway's listeners: a certificate of its own; ``legacy``: TLS 1.0 and up, for all who come there."""

    certificate: Path | None = None
    key: Path | None = None
    legacy: bool = False


class GatewayTls(_Section):
    """TLS of the gateway's listeners, by their names."""

    smtp: ListenerTls = ListenerTls()
    submission: ListenerTls = ListenerTls()
    submissions: ListenerTls = ListenerTls()
    pop3: ListenerTls = ListenerTls()
    pop3s: ListenerTls = ListenerTls()


class Gateway(_Section):
    """SMTP and POP3 for the devices of the local network; port 0 switches a listener off, -1 takes any free port.

    ``smtp_port`` is for devices (STARTTLS offered; 25), ``submission_port`` the same for programs (587), ``submissions_port``
    is TLS from the first octet (465); ``pop3_port`` offers STLS (110), ``pop3s_port`` begins with TLS (995). ``host`` is an
    address to listen at; ``::`` is all, of IPv6 and of IPv4. Without
    certificate and key (PEM) the web page's are used. ``report_copy_to`` is an operator's address that hears of each message
    that cannot be delivered. ``may_send_as``: addresses and @domains, besides its own, that the mailbox has the right to send
    as. What passes is tried again ``retry_delays_s`` after the first, second, ... try, the last one from
    then on, and given up after ``lifetime_hours``.
    """

    enabled: bool = True
    host: str = "0.0.0.0"  # noqa: S104 - it is there for the local network
    smtp_port: int = Field(default=11025, ge=-1, le=65535)
    submission_port: int = Field(default=11587, ge=-1, le=65535)
    submissions_port: int = Field(default=11465, ge=-1, le=65535)
    pop3_port: int = Field(default=11110, ge=-1, le=65535)
    pop3s_port: int = Field(default=11995, ge=-1, le=65535)
    certificate: Path | None = None
    key: Path | None = None
    tls: GatewayTls = GatewayTls()
    connections: int = Field(default=2000, ge=1, le=20000)
    connections_per_address: int = Field(default=50, ge=1, le=20000)
    report_copy_to: str = Field(default="", max_length=254)
    may_send_as: tuple[str, ...] = ()
    retry_delays_s: tuple[int, ...] = RetrySchedule().delays
    lifetime_hours: float = Field(default=120.0, ge=0, le=1e6, allow_inf_nan=False)

    def schedule(self) -> RetrySchedule:
        """Return when mail is tried again. Raises :class:`InvalidFields`."""
        return check_schedule(RetrySchedule(self.retry_delays_s, timedelta(hours=self.lifetime_hours)))


class Jobs(_Section):
    """The machine's own jobs: for how many days an ended one is shown."""

    keep_days: int = Field(default=30, ge=1, le=3650)


class Configuration(_Section):
    """All of the file."""

    tls: Tls = Tls()
    log: Log = Log()
    store: Store = Store()
    master_key: MasterKey = MasterKey()
    redirect: Redirect = Redirect()
    provider: Provider = Provider()
    sandbox: Sandbox = Sandbox()
    panel: Panel = Panel()
    web: Web = Web()
    gateway: Gateway = Gateway()
    jobs: Jobs = Jobs()

    def certificates(self) -> tuple[Path, ...]:
        """Return the files of certificates that an operator put there, each once."""
        listeners = (getattr(self.gateway.tls, name) for name in GatewayTls.model_fields)
        sections = (self.web, self.gateway, *listeners)
        found = [section.certificate for section in sections if section.certificate is not None]
        return tuple(dict.fromkeys(found))


def load_configuration(path: Path | None) -> Configuration:
    """Read the file, or give the defaults if ``path`` is None. Raises :class:`ConfigurationError` that names the key."""
    if path is None:
        return Configuration()
    try:
        with path.open("rb") as source:
            raw = tomllib.load(source)
    except OSError as error:
        raise ConfigurationError(
            message(
                N_("The configuration file {file} cannot be read: {why}."), file=str(path), why=error.strerror or ""
            ),
            message(N_("Check the name after --config and the file's permissions.")),
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            message(N_("The configuration file {file} is not valid TOML: {why}."), file=str(path), why=str(error)),
            message(N_("Correct the line that is named.")),
        ) from None
    try:
        configuration = Configuration.model_validate(raw)
        configuration.gateway.schedule()
    except ValidationError as error:
        raise _explain(path, error) from None
    except InvalidFields as error:
        first = error.problems[0]
        raise _wrong(path, _SCHEDULE_KEYS[first.field], first.problem) from None
    _check_pairs(path, configuration)
    copy_to = configuration.gateway.report_copy_to
    if copy_to and not is_address(copy_to):
        problem = message(N_("must be an e-mail address such as scanner@example.com"))
        raise _wrong(path, "gateway.report_copy_to", problem)
    try:
        parse_senders(list(configuration.gateway.may_send_as))
    except BadValue as error:
        raise _wrong(path, "gateway.may_send_as", error.problem) from None
    return configuration


def _check_pairs(path: Path, configuration: Configuration) -> None:
    listeners = configuration.gateway.tls
    sections: dict[str, Any] = {"web": configuration.web, "gateway": configuration.gateway}
    sections |= {f"gateway.tls.{name}": getattr(listeners, name) for name in GatewayTls.model_fields}
    for name, section in sections.items():
        if (section.certificate is None) != (section.key is None):
            missing = "key" if section.key is None else "certificate"
            raise _wrong(path, f"{name}.{missing}", message(N_("is missing: a certificate and its key go together")))


def _explain(path: Path, error: ValidationError) -> ConfigurationError:
    first = error.errors(include_url=False, include_input=False)[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] != "extra_forbidden":
        return _wrong(path, key, first["msg"])
    near = difflib.get_close_matches(location[-1], _keys_beside(location), n=1, cutoff=0.5)
    what = message(N_("In {file}, the key {key} is not known."), file=str(path), key=key)
    if near:
        return ConfigurationError(what, message(N_("Did you mean {key}?"), key=".".join([*location[:-1], near[0]])))
    return ConfigurationError(what, message(N_("Remove this key; the documentation lists those that exist.")))


def _wrong(path: Path, key: str, why: str | Message) -> ConfigurationError:
    return ConfigurationError(
        message(N_("In {file}, {key}: {why}."), file=str(path), key=key, why=why),
        message(N_("Correct this key; the documentation lists what each one takes.")),
    )


def _keys_beside(location: list[str]) -> list[str]:
    model: type[BaseModel] = Configuration
    for part in location[:-1]:
        model = _section_type(model, part)
    return list(model.model_fields)


def _section_type(model: type[BaseModel], name: str) -> type[BaseModel]:
    annotation: Any = model.model_fields[name].annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else model
