"""The API's rows for alert and status."""

from __future__ import annotations

from typing import Final

from valija.apps.api import alert_models as models
from valija.apps.api import alert_operations as alerts
from valija.apps.api.calls import Route
from valija.domain.api_token import Scope

ALERT_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        "/alerts",
        alerts.list_alerts,
        "List alerts: those that hold first, then those that were solved in the last 30 days",
        list[models.AlertView],
        scope=Scope.READ,
    ),
    Route(
        "GET",
        "/alerts/settings",
        alerts.show_alert_settings,
        "Show who is told of alerts and of the state of the machine",
        models.AlertSettingsView,
        scope=Scope.READ,
    ),
    Route(
        "PATCH",
        "/alerts/settings",
        alerts.change_alert_settings,
        "Change who is told of alerts and of the state of the machine",
        models.AlertSettingsView,
        models.AlertSettingsChanges,
        scope=Scope.SETTINGS,
    ),
    Route(
        "POST",
        "/alerts/test",
        alerts.test_channel,
        "Try a channel: mail, webhook or syslog",
        models.ChannelTested,
        models.ChannelTest,
        scope=Scope.SETTINGS,
        refusals=(409,),
    ),
    Route(
        "GET",
        "/alerts/status",
        alerts.show_status_text,
        "Show the state of the machine as a status mail has it",
        models.StatusText,
        scope=Scope.READ,
    ),
)
