"""Alert and status: who is told, by which channels; what is wrong now, and what was."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from starlette.responses import Response

from valija.apps.api.alert_models import AlertView
from valija.apps.api.alert_operations import SECRETS, show_alerts, tested
from valija.apps.web.record_form import RecordForm
from valija.apps.web.screens import BY_SLUG, ROOT_LABEL
from valija.apps.web.visit import Visit
from valija.domain.alert import LEVEL_LABELS, AlertKind
from valija.domain.alert_settings import AlertSettings
from valija.domain.alert_telling import CHANNEL_LABELS, Channel
from valija.domain.errors import NotReady
from valija.domain.text import N_, message

LIST: Final = "/settings/alerts/list"
HOME_LIMIT: Final = 3
ON_HOME_ALREADY: Final = frozenset({AlertKind.ACCOUNT_HELD, AlertKind.TOKEN_INVALID})  # the mail's own alerts say it


class Weekday(StrEnum):
    """The days, as settings have them."""

    MONDAY = "0"
    TUESDAY = "1"
    WEDNESDAY = "2"
    THURSDAY = "3"
    FRIDAY = "4"
    SATURDAY = "5"
    SUNDAY = "6"


_DAYS: Final[dict[Any, str]] = {
    Weekday.MONDAY: N_("Monday"),
    Weekday.TUESDAY: N_("Tuesday"),
    Weekday.WEDNESDAY: N_("Wednesday"),
    Weekday.THURSDAY: N_("Thursday"),
    Weekday.FRIDAY: N_("Friday"),
    Weekday.SATURDAY: N_("Saturday"),
    Weekday.SUNDAY: N_("Sunday"),
}
_LEVELS: Final[dict[Any, str]] = dict(LEVEL_LABELS)
FORM: Final = RecordForm(
    template="alert_settings.html",
    action="/settings/alerts",
    screen="alert-status",
    names=frozenset(AlertSettings.__dataclass_fields__) - {"status_since"},
    choices={
        "mail_level": _LEVELS,
        "webhook_level": _LEVELS,
        "syslog_level": _LEVELS,
        "status_weekday": _DAYS,
    },
    desk=lambda machine: machine.alerts.settings,
    switches=frozenset(),
    secrets=frozenset(SECRETS),
)


async def show_list(visit: Visit) -> Response:
    """Show what is wrong now, what was solved, and the channels with their tests."""
    return await _page(visit)


async def test(visit: Visit) -> Response:
    """Try a channel."""
    form = await visit.form()
    channel = form.get("channel", "")
    if channel not in tuple(Channel):
        visit.notice("bad", N_("There is no such channel."))
        return await _page(visit, 422)
    try:
        report = await tested(visit.machine, Channel(channel))
    except NotReady as error:
        visit.notice("bad", f"{visit.text(error.what)} {visit.text(error.cure) if error.cure else ''}".strip())
        return await _page(visit, 409)
    if report.ok:
        visit.notice("good", N_("The test was handed over."))
    else:
        visit.notice("bad", message(N_("The test could not be handed over: {why}"), why=report.words))
    return await _page(visit)


async def _page(visit: Visit, status: int = 200) -> Response:
    found = await show_alerts(visit.machine, visit.views)
    active = await visit.machine.alerts.active()
    labels = [visit.text(label) for label in BY_SLUG["alert-status"].path]
    return await visit.render(
        "alerts.html",
        status,
        now=[alert for alert in found if alert.open],
        solved=[alert for alert in found if not alert.open],
        channels=[(c.value, visit.text(CHANNEL_LABELS[c]), c in active) for c in Channel],
        crumbs=[(visit.text(ROOT_LABEL), "/settings"), *((label, "/settings/alerts") for label in labels[:2])],
    )


async def home_alerts(visit: Visit) -> list[AlertView]:
    """Return what home shows besides the alerts of the mail."""
    found = [a for a in await show_alerts(visit.machine, visit.views) if a.open and a.kind not in ON_HOME_ALREADY]
    return found[:HOME_LIMIT]
