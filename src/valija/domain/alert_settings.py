"""Alert and status: who is told, by which channels, when; who may ask by mail. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from valija.domain.alert import Level
from valija.domain.senders import matches, parse_lines, parse_senders
from valija.domain.settings import BadValue, number, one_line, parse_fields
from valija.domain.text import N_, message
from valija.secret import Secret

LIST_LIMIT: Final = 50
URL_LIMIT: Final = 500
SECRET_RANGE: Final = (16, 200)
PASSWORD_RANGE: Final = (6, 100)
_ADDRESS: Final = re.compile(r"[^\s@<>,;:\"()\[\]\\\x00-\x1f]{1,64}@[^\s@<>,;:\"()\[\]\\\x00-\x1f]{1,189}")
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
SYSLOG_PORT: Final = 514


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """All of it.

    ``*_level``: what is told by that channel at least. ``syslog`` is ``udp://host:port``, ``tcp://host:port``, or a local
    socket's path. ``queue_hours``, ``queue_count``, ``disk_mb``, ``device_errors`` are where alerts begin; 0 is never. Status
    mails go out at ``status_at`` (local time), weekly ones on ``status_weekday`` (0: Monday), monthly ones on the
    first; none for a time before ``status_since``. ``secret_dates`` say when client secrets end: ``microsoft: 2027-05-31``.
    """

    alert_to: tuple[str, ...] = ()
    mail_level: Level = Level.INFO
    webhook_url: str = ""
    webhook_secret: Secret | None = None
    webhook_level: Level = Level.INFO
    syslog: str = ""
    syslog_level: Level = Level.INFO
    queue_hours: int = 4
    queue_count: int = 1000
    disk_mb: int = 500
    device_errors: int = 5
    daily_to: tuple[str, ...] = ()
    weekly_to: tuple[str, ...] = ()
    monthly_to: tuple[str, ...] = ()
    status_at: str = "08:00"
    status_weekday: int = 0
    status_since: datetime | None = None
    secret_dates: tuple[str, ...] = ()
    request_senders: tuple[str, ...] = ()
    request_password: Secret | None = None


ALERT_LABELS: Final[Mapping[str, str]] = {
    "alert_to": N_("Alerts to"),
    "mail_level": N_("By mail, at least"),
    "webhook_url": N_("Webhook"),
    "webhook_secret": N_("Secret of the webhook"),
    "webhook_level": N_("By webhook, at least"),
    "syslog": N_("Syslog server"),
    "syslog_level": N_("By syslog, at least"),
    "queue_hours": N_("Mail waits longer than"),
    "queue_count": N_("More recipients wait than"),
    "disk_mb": N_("Less disk free than"),
    "device_errors": N_("Refusals of a device"),
    "daily_to": N_("Daily status to"),
    "weekly_to": N_("Weekly status to"),
    "monthly_to": N_("Monthly status to"),
    "status_at": N_("At"),
    "status_weekday": N_("Weekly on"),
    "secret_dates": N_("Client secrets end"),
    "request_senders": N_("Who may ask by mail"),
    "request_password": N_("Password in the subject"),
}


@dataclass(frozen=True, slots=True)
class SyslogTarget:
    """Where syslog goes: ``udp`` or ``tcp`` and a host, or ``unix`` and a path."""

    transport: str
    host: str
    port: int = SYSLOG_PORT


def parse_syslog(text: str) -> SyslogTarget | None:
    """Read a syslog target; None if it is none."""
    if text.startswith("/"):
        return SyslogTarget("unix", text, 0) if len(text) <= 100 and ".." not in text.split("/") else None
    try:
        parts = urlsplit(text)
        port = parts.port or SYSLOG_PORT
    except ValueError:
        return None
    is_bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    return (
        SyslogTarget(parts.scheme, parts.hostname, port)
        if parts.scheme in ("udp", "tcp") and parts.hostname and is_bare
        else None
    )


def parse_alert_settings(current: AlertSettings, changes: Mapping[str, Any]) -> AlertSettings:
    """Return ``current`` with ``changes`` applied. Raises :class:`~valija.domain.errors.InvalidFields`, and applies nothing."""
    return replace(current, **parse_fields(_PARSERS.keys(), _PARSERS, changes))


def may_ask(settings: AlertSettings, sender: str) -> bool:
    """Tell whether a status request from this address is answered; nobody is allowed while the list is empty."""
    return any(matches(entry, sender) for entry in settings.request_senders)


def _addresses(value: Any) -> tuple[str, ...]:
    found = parse_lines(value, LIST_LIMIT, lower=True)
    for item in found:
        if not _ADDRESS.fullmatch(item):
            raise BadValue(message(N_("must be e-mail addresses, not “{text}”"), text=item[:80]))
    return found


def _dates(value: Any) -> tuple[str, ...]:
    found = parse_lines(value, LIST_LIMIT)
    for item in found:
        if secret_end(item) is None:
            raise BadValue(message(N_("must be lines such as microsoft: 2027-05-31, not “{text}”"), text=item[:80]))
    return found


def secret_end(line: str) -> tuple[str, date] | None:
    """Read one of ``secret_dates``: the provider's name and the day; None if it is none."""
    name, colon, day = (part.strip() for part in line.partition(":"))
    try:
        return (name, date.fromisoformat(day)) if colon and re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", name) else None
    except ValueError:
        return None


def _level(value: Any) -> Level:
    try:
        return Level(value)
    except ValueError:
        raise BadValue(message(N_("must be one of {names}"), names=", ".join(Level))) from None


def _url(value: Any) -> str:
    text = one_line(value, URL_LIMIT).strip()
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or not text.isascii() or " " in text:
        raise BadValue(message(N_("must be an address such as https://example.com/alerts, without a password in it")))
    return text


def _syslog(value: Any) -> str:
    text = one_line(value, URL_LIMIT).strip()
    if text and parse_syslog(text) is None:
        raise BadValue(message(N_("must be such as udp://syslog.example.com:514, tcp://… or /dev/log")))
    return text


def _secret(bounds: tuple[int, int]) -> Callable[[Any], Secret | None]:
    def parse(value: Any) -> Secret | None:
        if value is None:
            return None
        text = one_line(value.reveal() if isinstance(value, Secret) else value, bounds[1])
        if text and len(text) < bounds[0]:
            raise BadValue(
                message(N_("has {length} characters; at least {limit} are needed"), length=len(text), limit=bounds[0])
            )
        return Secret(text) if text else None

    return parse


def _time(value: Any) -> str:
    text = one_line(value, 5).strip()
    if not _TIME.fullmatch(text):
        raise BadValue(message(N_("must be a time such as 08:00")))
    return text


_PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "alert_to": _addresses,
    "mail_level": _level,
    "webhook_url": _url,
    "webhook_secret": _secret(SECRET_RANGE),
    "webhook_level": _level,
    "syslog": _syslog,
    "syslog_level": _level,
    "queue_hours": number(0, 240),
    "queue_count": number(0, 1_000_000),
    "disk_mb": number(0, 1_000_000),
    "device_errors": number(0, 1000),
    "daily_to": _addresses,
    "weekly_to": _addresses,
    "monthly_to": _addresses,
    "status_at": _time,
    "status_weekday": number(0, 6),
    "secret_dates": _dates,
    "request_senders": parse_senders,
    "request_password": _secret(PASSWORD_RANGE),
}
