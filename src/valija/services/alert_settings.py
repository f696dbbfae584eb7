"""Alert and status: read and changed, whatever the face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from valija.domain.alert_settings import AlertSettings, parse_alert_settings
from valija.domain.clock import Clock
from valija.services.events import EventBus
from valija.services.one_record import OneRecord
from valija.store.port import Store

SUBJECT: Final = "alerts"
_SCHEDULE: Final = ("daily_to", "weekly_to", "monthly_to", "status_at", "status_weekday")


class AlertSettingsDesk(OneRecord[AlertSettings]):
    """Where they are changed."""

    def __init__(self, store: Store, clock: Clock, events: EventBus) -> None:
        def parse(stored: AlertSettings, changes: Mapping[str, Any]) -> AlertSettings:
            new = parse_alert_settings(stored, changes)
            if any(getattr(new, name) != getattr(stored, name) for name in _SCHEDULE):
                return replace(new, status_since=clock.now())  # nothing is sent for a time before somebody wanted it
            return new

        super().__init__(SUBJECT, store.load_alerting, store.save_alerting, parse, clock, events)
