"""What the machine chooses for its scans: read and change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from valija.domain.account import Actor
from valija.domain.clock import Clock
from valija.domain.errors import TryLater
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.scan import ScanSettings, parse_scan_settings
from valija.domain.text import N_, message
from valija.services.events import EventBus, SettingsChanged
from valija.store.port import Store

SUBJECT: Final = "scan"
_TRIES: Final = 5


class ScanSettingsDesk:
    """Where they are changed, whatever the face."""

    def __init__(self, store: Store, clock: Clock, events: EventBus) -> None:
        self._store = store
        self._clock = clock
        self._events = events

    async def load(self) -> ScanSettings:
        """Return the settings."""
        return await self._store.load_scan_settings()

    async def change(self, changes: Mapping[str, Any], *, actor: Actor) -> ScanSettings:
        """Apply ``changes``, all or none. Raises :class:`~valija.domain.errors.InvalidFields`."""
        for _try in range(_TRIES):
            stored = await self._store.load_scan_settings()
            new = parse_scan_settings(stored, changes)
            if new == stored:
                return new
            details = {"fields": ", ".join(sorted(changes))}
            record = AuditRecord(self._clock.now(), actor, AuditAction.SETTINGS_CHANGED, SUBJECT, details)
            if await self._store.save_scan_settings(stored, new, record):
                self._events.publish(SettingsChanged(SUBJECT, self._clock.now()))
                return new
        raise TryLater(message(N_("Somebody else changes the same setting.")), message(N_("Try again.")))
