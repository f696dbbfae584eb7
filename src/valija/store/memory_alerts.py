"""The alerts in memory: the same contract, nothing on disk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from valija.domain.alert import Solved
from valija.domain.alert_telling import Telling
from valija.store.alerts_port import StoredAlert, StoredTelling


class MemoryAlerts:
    """See :class:`valija.store.alerts_port.AlertStore`; nothing here awaits, so every method is atomic."""

    def __init__(self) -> None:
        self._alerts: dict[str, StoredAlert] = {}
        self._tellings: dict[int, StoredTelling] = {}
        self._due: dict[int, datetime | None] = {}
        self._last = 0

    async def alerts(self) -> list[StoredAlert]:
        return [self._alerts[name] for name in sorted(self._alerts)]

    async def save(self, changes: Sequence[StoredAlert], telling: Telling | None = None) -> bool:
        for stored in changes:
            there = self._alerts.get(stored.alert.condition.key)
            if (there.version if there else 0) != stored.version:
                return False
        if telling is not None:
            if await self.has_told(telling.name):
                return False
            self._last += 1
            self._tellings[self._last] = StoredTelling(self._last, 1, telling)
            self._due[self._last] = telling.due_at
        for stored in changes:
            self._alerts[stored.alert.condition.key] = StoredAlert(stored.version + 1, stored.alert)
        return True

    async def due(self, now: datetime, limit: int) -> list[StoredTelling]:
        found = sorted((at, number) for number, at in self._due.items() if at is not None and at <= now)
        return [self._tellings[number] for _at, number in found[:limit]]

    async def claim(self, telling: StoredTelling, until: datetime) -> StoredTelling | None:
        there = self._tellings.get(telling.id)
        if there is None or there.version != telling.version:
            return None
        self._due[telling.id] = until
        self._tellings[telling.id] = claimed = StoredTelling(telling.id, there.version + 1, there.telling)
        return claimed

    async def note(self, telling: StoredTelling, new: Telling) -> bool:
        there = self._tellings.get(telling.id)
        if there is None or there.version != telling.version:
            return False
        self._tellings[telling.id] = StoredTelling(telling.id, there.version + 1, new)
        self._due[telling.id] = new.due_at
        return True

    async def tellings(self, limit: int) -> list[StoredTelling]:
        return [self._tellings[number] for number in sorted(self._tellings, reverse=True)[:limit]]

    async def has_told(self, name: str) -> bool:
        return any(stored.telling.name == name for stored in self._tellings.values())

    async def forget(self, before: datetime, solved_limit: int) -> None:
        alerts = self._alerts.items()
        solved = sorted(((s.alert.state.at, n) for n, s in alerts if isinstance(s.alert.state, Solved)), reverse=True)
        for place, (at, name) in enumerate(solved):
            if at < before or place >= solved_limit:
                del self._alerts[name]
        for number, told in list(self._tellings.items()):
            if told.telling.at < before and self._due[number] is None:
                del self._tellings[number], self._due[number]
