"""The machine's own preferences: read, change, and the language and time zone that follow from them."""

from __future__ import annotations

import asyncio
import zoneinfo
from collections.abc import Mapping
from datetime import tzinfo
from functools import cache
from typing import Any

from valija.domain.account import Actor
from valija.domain.clock import Clock
from valija.domain.errors import TryLater
from valija.domain.preferences import Preferences, parse_preferences
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.text import N_, message
from valija.services.events import EventBus, SettingsChanged
from valija.store.port import Store

SUBJECT = "machine"
_TRIES = 5


class PreferencesDesk:
    """Where the preferences are changed, whatever the face."""

    def __init__(self, store: Store, clock: Clock, events: EventBus) -> None:
        self._store = store
        self._clock = clock
        self._events = events

    async def load(self) -> Preferences:
        """Return the preferences."""
        return await self._store.load_preferences()

    async def change(self, changes: Mapping[str, Any], *, actor: Actor) -> Preferences:
        """Apply ``changes``, all or none. Raises :class:`~valija.domain.errors.InvalidFields`."""
        zones = await asyncio.to_thread(time_zones)
        for _try in range(_TRIES):
            stored = await self._store.load_preferences()
            new = parse_preferences(stored, changes, zones)
            if new == stored:
                return new
            details = {"fields": ", ".join(sorted(changes))}
            record = AuditRecord(self._clock.now(), actor, AuditAction.SETTINGS_CHANGED, SUBJECT, details)
            if await self._store.save_preferences(stored, new, record):
                self._events.publish(SettingsChanged(SUBJECT, self._clock.now()))
                return new
        raise TryLater(message(N_("Somebody else changes the same setting.")), message(N_("Try again.")))


@cache
def time_zones() -> tuple[str, ...]:
    """Return the names of the time zones that places have, sorted; blocking the first time."""
    return tuple(sorted(n for n in zoneinfo.available_timezones() if n == "UTC" or n.partition("/")[0] in _REGIONS))


_REGIONS = frozenset(
    ("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")
)


def zone_of(preferences: Preferences) -> tzinfo | None:
    """Return the time zone to show times in; None is the system's."""
    return _zone(preferences.time_zone)


@cache
def _zone(name: str) -> tzinfo | None:
    try:
        return zoneinfo.ZoneInfo(name) if name else None
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # a name that a later database dropped
        return None
