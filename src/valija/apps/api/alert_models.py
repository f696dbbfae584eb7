"""What the API says and takes of alert and status."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field, WithJsonSchema

from valija.apps.api.fax_models import list_of, number_of, words_of
from valija.apps.api.fields import CHANGES_LIMIT
from valija.apps.api.models import Answer, Body
from valija.domain import alert_settings as limits
from valija.domain.alert import Level

_SECRET: Final[dict[str, Any]] = {"type": "string", "maxLength": limits.SECRET_RANGE[1], "writeOnly": True}
ALERT_FIELDS: Final[dict[str, Any]] = {
    "type": "object",
    "description": "queue_hours, queue_count, disk_mb, device_errors: 0 is never; status_weekday 0 is Monday",
    "properties": {
        "alert_to": list_of(limits.LIST_LIMIT),
        "mail_level": words_of(Level),
        "webhook_url": {"type": "string", "maxLength": limits.URL_LIMIT},
        "webhook_secret": _SECRET,
        "webhook_level": words_of(Level),
        "syslog": {"type": "string", "maxLength": limits.URL_LIMIT},
        "syslog_level": words_of(Level),
        "queue_hours": number_of((0, 240)),
        "queue_count": number_of((0, 1_000_000)),
        "disk_mb": number_of((0, 1_000_000)),
        "device_errors": number_of((0, 1000)),
        "daily_to": list_of(limits.LIST_LIMIT),
        "weekly_to": list_of(limits.LIST_LIMIT),
        "monthly_to": list_of(limits.LIST_LIMIT),
        "status_at": {"type": "string", "maxLength": 5},
        "status_weekday": number_of((0, 6)),
        "secret_dates": list_of(limits.LIST_LIMIT),
        "request_senders": list_of(limits.LIST_LIMIT),
        "request_password": _SECRET,
    },
    "additionalProperties": False,
}


class AlertSettingsChanges(Body):
    """Fields to change; the others stay as they are."""

    changes: Annotated[dict[str, Any], WithJsonSchema(ALERT_FIELDS)] = Field(max_length=CHANGES_LIMIT)


class AlertSettingsView(Answer):
    """Who is told, by which channels; secrets are never told. ``channels`` are those that are set, besides lamp and log."""

    alert_to: list[str]
    mail_level: str
    webhook_url: str
    has_webhook_secret: bool
    webhook_level: str
    syslog: str
    syslog_level: str
    queue_hours: int
    queue_count: int
    disk_mb: int
    device_errors: int
    daily_to: list[str]
    weekly_to: list[str]
    monthly_to: list[str]
    status_at: str
    status_weekday: int
    secret_dates: list[str]
    request_senders: list[str]
    has_request_password: bool
    channels: list[str]


class AlertView(Answer):
    """An alert: ``state`` is raised, told, solving or solved; ``text`` says it."""

    kind: str
    subject: str
    level: str
    level_label: str
    state: str
    state_label: str
    open: bool
    since: datetime
    solved_at: datetime | None
    text: str


class ChannelTest(Body):
    """Which channel is tried."""

    channel: Literal["mail", "webhook", "syslog"]


class ChannelTested(Answer):
    """Whether the test was handed over; ``words`` say why not."""

    channel: str
    ok: bool
    words: str


class StatusText(Answer):
    """The state of the machine, as a status mail has it."""

    subject: str
    text: str
