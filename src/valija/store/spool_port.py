"""The spool's port: bodies of messages that are too large for a row of the queue, streamed in and out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Protocol


class BodyFile(Protocol):
    """A body on its way in."""

    async def write(self, data: bytes) -> None:
        """Add octets. Raises :class:`~valija.domain.errors.StoreFull`, :class:`~valija.domain.errors.StoreError`."""
        ...

    async def commit(self) -> str:
        """Make it durable; return its name. Raises as :meth:`write`."""
        ...

    async def abandon(self) -> None:
        """Remove it."""
        ...


class BodySpool(Protocol):
    """Where bodies are; every node that has the queue can read them."""

    def has_room(self, octets: int) -> bool:
        """Tell whether so many octets fit, as far as that can be known beforehand."""
        ...

    async def create(self) -> BodyFile:
        """Begin a body. Raises as :meth:`BodyFile.write`."""
        ...

    def read(self, name: str) -> AsyncIterator[bytes]:
        """Yield a body's octets in pieces. Raises :class:`~valija.domain.errors.StoreError`, also where some are missing."""
        ...

    async def delete(self, names: Collection[str]) -> None:
        """Remove bodies; one that is gone already is no trouble."""
        ...

    async def clean(self, named: Callable[[], Awaitable[Collection[str]]]) -> int:
        """Remove what no message names and nobody is writing; return how many.

        ``named`` asks the queue for what messages name, for a spool that cannot see it.
        """
        ...
