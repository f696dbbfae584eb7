"""Settings that are one record of the store: read and changed, whatever the face."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, TypeVar

from valija.domain.account import Actor
from valija.domain.clock import Clock
from valija.domain.errors import TryLater
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.text import N_, message
from valija.services.events import EventBus, SettingsChanged

_TRIES: Final = 5
T = TypeVar("T")


class OneRecord(Generic[T]):
    """Where such settings are changed; ``subject`` is their name in the audit trail and in events."""

    def __init__(
        self,
        subject: str,
        load: Callable[[], Awaitable[T]],
        save: Callable[[T, T, AuditRecord], Awaitable[bool]],
        parse: Callable[[T, Mapping[str, Any]], T],
        clock: Clock,
        events: EventBus,
    ) -> None:
        self._subject = subject
        self._load = load
        self._save = save
        self._parse = parse
        self._clock = clock
        self._events = events

    async def load(self) -> T:
        """Return the settings."""
        return await self._load()

    async def change(self, changes: Mapping[str, Any], *, actor: Actor) -> T:
        """Apply ``changes``, all or none. Raises :class:`~valija.domain.errors.InvalidFields`."""
        for _try in range(_TRIES):
            stored = await self._load()
            new = self._parse(stored, changes)
            if new == stored:
                return new
            details = {"fields": ", ".join(sorted(changes))}
            record = AuditRecord(self._clock.now(), actor, AuditAction.SETTINGS_CHANGED, self._subject, details)
            if await self._save(stored, new, record):
                self._events.publish(SettingsChanged(self._subject, self._clock.now()))
                return new
        raise TryLater(message(N_("Somebody else changes the same setting.")), message(N_("Try again.")))
