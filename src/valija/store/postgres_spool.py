"""Large bodies in PostgreSQL, as rows of pieces, since a file would be on one node only.

A body is a row of ``spool_files`` and its pieces. Each piece is durable when it is written; how many they are is noted at the
commit, and reading checks it. What no message names and nobody has touched for ``GRACE_S`` is left over: from a node that died,
or from an accept whose answer was lost.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Final

from valija.domain.errors import BodyMissing, ValijaError
from valija.domain.text import N_, message
from valija.store.postgres_engine import PostgresEngine
from valija.store.work import Work, do, each, one, rows

PIECE: Final = 262_144
GRACE_S: Final = 3600.0
_BEGIN: Final = "INSERT INTO spool_files (name, touched_at) VALUES (?, clock_timestamp())"
_TOUCH: Final = "UPDATE spool_files SET touched_at = clock_timestamp() WHERE name = ? RETURNING name"
_ADD: Final = "INSERT INTO spool_pieces (file, place, octets) VALUES (?, ?, ?)"
_END: Final = (
    "UPDATE spool_files SET touched_at = clock_timestamp(), pieces = ? WHERE name = ? AND pieces IS NULL RETURNING name"
)
_COUNT: Final = "SELECT pieces FROM spool_files WHERE name = ?"
_PIECE: Final = "SELECT octets FROM spool_pieces WHERE file = ? AND place = ?"
_DELETE: Final = "DELETE FROM spool_files WHERE name = ?"
_CLEAN: Final = (
    "DELETE FROM spool_files f WHERE touched_at < clock_timestamp() - make_interval(secs => ?) "
    "AND NOT EXISTS (SELECT 1 FROM queue_messages m WHERE m.file = f.name) RETURNING name"
)


class PostgresSpool:
    """All bodies."""

    def __init__(self, database: PostgresEngine) -> None:
        self._db = database

    def has_room(self, octets: int) -> bool:
        """Nobody here knows the server's disk: it says so when it is full."""
        return True

    async def create(self) -> PostgresFile:
        """Begin a body. Raises store errors."""
        name = secrets.token_hex(16)
        await self._db.write(lambda: do(_BEGIN, name))
        return PostgresFile(self._db, name)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Yield a body's octets. Raises :class:`BodyMissing`, store errors."""
        row = await self._db.read(lambda: one(_COUNT, name))
        for place in range(0 if row is None else row[0] or 0):
            piece = await self._db.read(lambda place=place: one(_PIECE, name, place))  # type: ignore[misc]
            if piece is None:
                row = None
                break
            yield piece[0]
        if row is None or row[0] is None:
            raise _missing(name)

    async def delete(self, names: Collection[str]) -> None:
        """Remove bodies; one that is gone already is no trouble."""
        if names:
            await self._db.write(lambda: each(_DELETE, [(name,) for name in sorted(names)]))

    async def clean(self, named: Callable[[], Awaitable[Collection[str]]]) -> int:
        """Remove what no message names and nobody has touched for long."""
        return len(await self._db.write(lambda: rows(_CLEAN, GRACE_S)))


class PostgresFile:
    """A body on its way in."""

    def __init__(self, database: PostgresEngine, name: str) -> None:
        self._db = database
        self._name = name
        self._pieces = 0
        self._is_open = True

    async def write(self, data: bytes) -> None:
        """Add octets. Raises store errors."""
        for at in range(0, len(data), PIECE):
            place, piece = self._pieces, data[at : at + PIECE]
            await self._db.write(lambda place=place, piece=piece: self._add(place, piece))  # type: ignore[misc]
            self._pieces += 1

    def _add(self, place: int, piece: bytes) -> Work[None]:
        if (yield from one(_TOUCH, self._name)) is None:
            raise _missing(self._name)
        yield from do(_ADD, self._name, place, piece)

    async def commit(self) -> str:
        """Make it whole; return its name. Raises store errors."""
        self._is_open = False
        if await self._db.write(lambda: one(_END, self._pieces, self._name)) is None:
            raise _missing(self._name)
        return self._name

    async def abandon(self) -> None:
        """Remove it, if the database can be asked; else it is left over, and goes with what is."""
        if self._is_open:
            self._is_open = False
            try:
                await self._db.write(lambda: do(_DELETE, self._name))
            except ValijaError:
                return


def _missing(name: str) -> BodyMissing:
    return BodyMissing(
        message(N_("A message's body is not whole in the store.")),
        message(N_("Put the store back from your backup, or cancel the message.")),
        diagnostics=name,
    )
