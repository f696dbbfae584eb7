"""Alert and status: read and changed, whatever the face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from valija.domain.account import Actor
from valija.domain.alert_settings import AlertSettings, parse_alert_settings
from valija.domain.clock import Clock
from valija.domain.errors import TryLater
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.text import N_, message
from valija.services.events import EventBus, SettingsChanged
from valija.store.port import Store

SUBJECT: Final = "alerts"
_TRIES: Final = 5
_SCHEDULE: Final = ("daily_to", "weekly_to", "monthly_to", "status_at", "status_weekday")


class AlertSettingsDesk:
    """Where they are changed."""

    def __init__(self, store: Store, clock: Clock, events: EventBus) -> None:
        self._store = store
        self._clock = clock
        self._events = events

    async def load(self) -> AlertSettings:
        """Return the settings."""
        return await self._store.load_alerting()

    async def change(self, changes: Mapping[str, Any], *, actor: Actor) -> AlertSettings:
        """Apply ``changes``, all or none. Raises :class:`~valija.domain.errors.InvalidFields`."""
        for _try in range(_TRIES):
            stored = await self._store.load_alerting()
            new = parse_alert_settings(stored, changes)
            if new == stored:
                return new
            now = self._clock.now()
            if any(getattr(new, name) != getattr(stored, name) for name in _SCHEDULE):
                new = replace(new, status_since=now)  # nothing is sent for a time before somebody wanted it
            details = {"fields": ", ".join(sorted(changes))}
            record = AuditRecord(now, actor, AuditAction.SETTINGS_CHANGED, SUBJECT, details)
            if await self._store.save_alerting(stored, new, record):
                self._events.publish(SettingsChanged(SUBJECT, now))
                return new
        raise TryLater(message(N_("Somebody else changes the same setting.")), message(N_("Try again.")))
