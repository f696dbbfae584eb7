"""The machine's mail settings: fields, limits, defaults, and what a change means for the token.

Limits and defaults are those of the machine's manual: port 1-65535 (587 for SMTP, 995 for POP3), timeout 1-600 s (20),
check interval 0-480 min (5; 0 is never), names and addresses at most 255 characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from valija.domain.account import Authentication
from valija.domain.errors import FieldProblem, InvalidFields
from valija.domain.text import N_, Message, message
from valija.secret import Secret

TEXT_LIMIT: Final = 255
E = TypeVar("E", bound=StrEnum)
PORT_RANGE: Final = (1, 65535)
TIMEOUT_RANGE_S: Final = (1, 600)
CHECK_INTERVAL_RANGE_MIN: Final = (0, 480)
PASSWORD_LIMIT: Final = 1000  # characters
IMPLICIT_TLS_PORTS: Final = frozenset({465, 995})
STARTTLS_PORTS: Final = frozenset({25, 110, 587})


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """The SMTP setting: one, shown on four screens. ``timeout`` in seconds."""

    server: str = ""
    port: int = 587
    timeout: int = 20
    sender_name: str = ""
    sender_address: str = ""
    tls: bool = True
    auth: Authentication = Authentication.NONE
    provider: str = ""
    account: str = ""
    password: Secret | None = None


@dataclass(frozen=True, slots=True)
class PopSettings:
    """One POP setting. ``check_interval`` in minutes, 0 is never; ``timeout`` in seconds."""

    server: str = ""
    port: int = 995
    timeout: int = 20
    check_interval: int = 5
    tls: bool = True
    auth: Authentication = Authentication.NONE
    provider: str = ""
    account: str = ""
    password: Secret | None = None


MailSettings = SmtpSettings | PopSettings
S = TypeVar("S", bound=SmtpSettings | PopSettings)

FIELD_LABELS: Final[Mapping[str, str]] = {
    "server": N_("Server"),
    "port": N_("Port Number"),
    "timeout": N_("Timeout"),
    "sender_name": N_("Sender Name"),
    "sender_address": N_("Sender Address"),
    "check_interval": N_("Check Interval"),
    "tls": N_("Enable SSL/TLS"),
    "auth": N_("Authentication Option"),
    "provider": N_("Provider"),
    "account": N_("Account Name"),
    "password": N_("Password"),
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(
    rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?"
)  # dots between labels: else a long name has 2^n readings
_IPV6 = re.compile(r"\[?[0-9A-Fa-f:.]{2,45}(?:%[\w.-]{1,32})?\]?")
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]+@[^\s@<>,;:\"()\\]+\.?[^\s@<>,;:\"()\\]*")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class BadValue(Exception):
    """A value that a field does not take, with what is wrong with it."""

    def __init__(self, problem: Message) -> None:
        self.problem = problem


def one_line(value: Any, limit: int) -> str:
    """Return a text of one line. Raises :class:`BadValue`."""
    if not isinstance(value, str):
        raise BadValue(message(N_("must be text")))
    if _CONTROL.search(value):
        raise BadValue(message(N_("must be one line, without control characters")))
    if len(value) > limit:
        raise BadValue(message(N_("has {length} characters; at most {limit} fit"), length=len(value), limit=limit))
    return value


def _text(value: Any) -> str:
    return one_line(value.strip(" ") if isinstance(value, str) else value, TEXT_LIMIT).strip()


def _server(value: Any) -> str:
    text = _text(value)
    is_name = _HOST.fullmatch(text) is not None
    if text and not is_name and not (_IPV6.fullmatch(text) and ":" in text):
        raise BadValue(message(N_("must be a host name or an IP address, without http:// and without a port")))
    return text.strip("[]").lower() if not is_name else text.rstrip(".").lower()


def _address(value: Any) -> str:
    text = _text(value)
    if text and not _ADDRESS.fullmatch(text):
        raise BadValue(message(N_("must be an e-mail address such as scanner@example.com")))
    return text


def _name(value: Any) -> str:
    text = _text(value)
    if text and not _NAME.fullmatch(text):
        raise BadValue(message(N_("must be a name of small letters, digits, dots and hyphens")))
    return text


def number(low: int, high: int) -> Callable[[Any], int]:
    """Return what reads a whole number from ``low`` to ``high``; it raises :class:`BadValue`."""

    def parse(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value.strip()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadValue(message(N_("must be a whole number from {low} to {high}"), low=low, high=high))
        if not low <= value <= high:
            raise BadValue(message(N_("must be a whole number from {low} to {high}"), low=low, high=high))
        return value

    return parse


def one_of(kind: type[E]) -> Callable[[Any], E]:
    """Return what reads one of these words; it raises :class:`BadValue`."""

    def parse(value: Any) -> E:
        try:
            return kind(value)
        except ValueError:
            raise BadValue(message(N_("must be one of {names}"), names=", ".join(kind))) from None

    return parse


def switch(value: Any) -> bool:
    """Return on or off. Raises :class:`BadValue`."""
    if not isinstance(value, bool):
        raise BadValue(message(N_("must be on or off")))
    return value


def _authentication(value: Any) -> Authentication:
    try:
        return Authentication(value)
    except ValueError:
        raise BadValue(message(N_("must be none, password or oauth2"))) from None


def _password(value: Any) -> Secret | None:
    if value is None:
        return None
    text = value.reveal() if isinstance(value, Secret) else value
    return Secret(one_line(text, PASSWORD_LIMIT)) if text else None  # a space at its end belongs to it


_PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "server": _server,
    "port": number(*PORT_RANGE),
    "timeout": number(*TIMEOUT_RANGE_S),
    "sender_name": _text,
    "sender_address": _address,
    "check_interval": number(*CHECK_INTERVAL_RANGE_MIN),
    "tls": switch,
    "auth": _authentication,
    "provider": _name,
    "account": _text,
    "password": _password,
}


def parse_changes(current: S, changes: Mapping[str, Any]) -> S:
    """Return ``current`` with ``changes`` applied.

    Raises :class:`InvalidFields` that names every field that is unknown or out of its limits; nothing is applied then.
    """
    return replace(current, **parse_fields({field.name for field in fields(current)}, _PARSERS, changes, FIELD_LABELS))


def parse_fields(
    known: Collection[str],
    parsers: Mapping[str, Callable[[Any], Any]],
    changes: Mapping[str, Any],
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return ``changes`` as values. Raises :class:`InvalidFields` that names all that is wrong, by ``labels``."""
    problems: list[FieldProblem] = []
    parsed: dict[str, Any] = {}
    for field, value in changes.items():
        if field not in known:
            problems.append(FieldProblem(field, message(N_("is not a field of this setting"))))
            continue
        try:
            parsed[field] = parsers[field](value)
        except BadValue as bad:
            problems.append(FieldProblem(field, bad.problem, (labels or {}).get(field, "")))
    if problems:
        raise InvalidFields(tuple(problems))
    return parsed


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """What a token belongs to: a change of any of these makes a stored token somebody else's."""

    provider: str
    tenant: str
    client_id: str
    account: str


def uses_implicit_tls(settings: MailSettings) -> bool | None:
    """Tell whether TLS starts with the connection (465, 995) or by STARTTLS or STLS; None: the port does not say."""
    if settings.port in IMPLICIT_TLS_PORTS:
        return True
    return False if settings.port in STARTTLS_PORTS else None
