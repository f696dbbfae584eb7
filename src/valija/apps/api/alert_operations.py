"""The API's operations on alert and status."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final

from valija.apps.api import alert_models as models
from valija.apps.api.calls import Call
from valija.apps.api.views import Views
from valija.apps.machine import Machine
from valija.domain.alert import (
    LEVEL_LABELS,
    Alert,
    Raised,
    Solved,
    Solving,
    Told,
)
from valija.domain.alert_settings import AlertSettings
from valija.domain.alert_telling import Channel
from valija.domain.errors import NotReady
from valija.domain.text import N_, message
from valija.services.alert_words import Words

SECRETS: Final = ("webhook_secret", "request_password")
STATES: Final = {
    Raised: ("raised", N_("New")),
    Told: ("told", N_("Told")),
    Solving: ("solving", N_("Passing")),
    Solved: ("solved", N_("Solved")),
}


async def show_alert_settings(call: Call) -> models.AlertSettingsView:
    return await settings_view(call.machine, await call.machine.alerts.settings.load())


async def change_alert_settings(call: Call) -> models.AlertSettingsView:
    body: models.AlertSettingsChanges = await call.body(models.AlertSettingsChanges)
    settings = await call.machine.alerts.settings.change(body.changes, actor=call.actor)
    return await settings_view(call.machine, settings)


async def settings_view(machine: Machine, settings: AlertSettings) -> models.AlertSettingsView:
    """Show the settings, without secrets."""
    shown = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in (*SECRETS, "status_since")}
    shown = {name: list(value) if isinstance(value, tuple) else value for name, value in shown.items()}
    shown |= {f"has_{name}": getattr(settings, name) is not None for name in SECRETS}
    channels = sorted(channel.value for channel in await machine.alerts.active())
    return models.AlertSettingsView.model_validate(shown | {"channels": channels})


async def list_alerts(call: Call) -> list[models.AlertView]:
    return await show_alerts(call.machine, call.views)


async def show_alerts(machine: Machine, views: Views) -> list[models.AlertView]:
    """Show all alerts: open ones first."""
    words = replace(await machine.alerts.channels.words(), language=views.language)
    return [alert_view(alert, words) for alert in await machine.alerts.all()]


def alert_view(alert: Alert, words: Words) -> models.AlertView:
    """Show an alert."""
    found = alert.condition
    name, label = STATES[type(alert.state)]
    return models.AlertView(
        kind=found.kind.value,
        subject=found.subject,
        level=found.level.value,
        level_label=words.text(LEVEL_LABELS[found.level]),
        state=name,
        state_label=words.text(label),
        open=alert.is_open,
        since=alert.since,
        solved_at=alert.state.at if isinstance(alert.state, Solved) else None,
        text=words.sentence(found),
    )


async def test_channel(call: Call) -> models.ChannelTested:
    body: models.ChannelTest = await call.body(models.ChannelTest)
    return await tested(call.machine, Channel(body.channel))


async def tested(machine: Machine, channel: Channel) -> models.ChannelTested:
    """Try a channel. Raises :class:`NotReady` for one that is not set."""
    if channel not in await machine.alerts.active():
        raise NotReady(
            message(N_("This channel is not set.")), message(N_("Say in Alert and status where it leads to, and save."))
        )
    problem = await machine.alerts.test(channel)
    return models.ChannelTested(channel=channel.value, ok=problem is None, words=problem or "")


async def show_status_text(call: Call) -> models.StatusText:
    words = replace(await call.machine.alerts.channels.words(), language=call.views.language)
    subject, text = await call.machine.status_requests.report.mail("", None, words)
    return models.StatusText(subject=subject, text=text)
