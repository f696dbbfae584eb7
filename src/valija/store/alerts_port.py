"""The alerts' port: what every engine does, with the same meaning (the contract suite in tests/store holds them to it).

An alert is stored with what is told of it in one transaction, so that of several nodes one tells it, and a crash loses nothing.
Who hands a telling to its channels claims it first, for a while: where that one dies, another one may go on after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from valija.domain.alert import Alert
from valija.domain.alert_telling import Telling


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert; version 0 was never stored."""

    version: int
    alert: Alert


@dataclass(frozen=True, slots=True)
class StoredTelling:
    """A telling and its number; later ones have higher ones."""

    id: int
    version: int
    telling: Telling


class AlertStore(Protocol):
    """Durable alerts."""

    async def alerts(self) -> list[StoredAlert]:
        """Return all alerts that are stored, those that are solved too, by what tells them apart."""
        ...

    async def save(self, changes: Sequence[StoredAlert], telling: Telling | None = None) -> bool:
        """Store alerts in place of those of the same versions, and what is told; all, or none and False.

        None, too, if something of the telling's name is stored.
        """
        ...

    async def due(self, now: datetime, limit: int) -> list[StoredTelling]:
        """Return what is to be handed to channels, longest due first."""
        ...

    async def claim(self, telling: StoredTelling, until: datetime) -> StoredTelling | None:
        """Have a telling until then; None if somebody else was faster."""
        ...

    async def note(self, telling: StoredTelling, new: Telling) -> bool:
        """Store how it stands with a telling's channels; False if another one is stored."""
        ...

    async def tellings(self, limit: int) -> list[StoredTelling]:
        """Return what was told, latest first."""
        ...

    async def has_told(self, name: str) -> bool:
        """Tell whether there is a telling of that name."""
        ...

    async def forget(self, before: datetime, solved_limit: int) -> None:
        """Delete alerts that were solved, and what was told and done with, before then; keep so many solved ones at most."""
        ...
