"""What nodes that share a database say to each other: who has a duty, and what was changed.

Theory of operation
-------------------
1. A node is a process with the database open; it has a name of its own, made when it opens it.
2. A duty (an account's lane, a mailbox's check) is a row of ``holds`` with an end. The server's clock alone counts; who has the
   duty must stop before the end by its own clock, counted from before it asked. After a restart of the server nobody takes
   another node's duty for ``GRACE_S``: that one could not renew it meanwhile.
3. What nodes write down of time for each other (when mail is due, when a node was seen) goes by the server's clock, too: each
   knows how far its own is from that (:meth:`Node.look_at_clock`).
4. News is NOTIFY, sent with the transaction that makes it. News may be lost with a connection: after each connect there is one
   that says to read all anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from valija.domain.errors import StoreError
from valija.store.port import Change, ChangeKind
from valija.store.postgres_connections import Connections
from valija.store.work import Work, do, one

CHANNEL: Final = "valija"
GRACE_S: Final = 15.0
HEARTBEAT_S: Final = 10.0
ANSWERS_WITHIN_S: Final = 5.0  # else news is taken for lost, and what was stopped meanwhile is looked for
NEWS_LIMIT: Final = 1000  # different ones; more are told as one
AGAIN_S: Final = 1.0
SHIFT_NOTED: Final = timedelta(seconds=2)
_CLOCK: Final = "SELECT clock_timestamp()"
_TELL: Final = "SELECT pg_notify(?, ?)"
_TAKE: Final = """
INSERT INTO holds (name, node, ends_at) VALUES (?, ?, clock_timestamp() + make_interval(secs => ?))
ON CONFLICT (name) DO UPDATE SET node = excluded.node, ends_at = excluded.ends_at
WHERE holds.node = excluded.node
   OR clock_timestamp() > greatest(holds.ends_at, pg_postmaster_start_time() + make_interval(secs => ?))
RETURNING name
"""
_RENEW: Final = (
    "UPDATE holds SET ends_at = clock_timestamp() + make_interval(secs => ?) WHERE name = ? AND node = ? RETURNING name"
)
_LEAVE: Final = "DELETE FROM holds WHERE name = ? AND node = ?"
_LEAVE_ALL: Final = "DELETE FROM holds WHERE node = ?"
_OTHERS: Final = "SELECT 1 FROM holds WHERE name = ? AND node <> ?"

_KINDS: Final = {kind.value: kind for kind in ChangeKind}

log: Final = logging.getLogger(__name__)


def wall() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


class Node:
    """This process among those that have the database open."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        self._server_time: tuple[datetime, float] | None = None  # and when it was that, by the steady clock

    def take(self, duty: str, seconds: float) -> Work[bool]:
        """Have a duty for so long; False while another node has it."""
        return (yield from one(_TAKE, duty, self.name, seconds, GRACE_S)) is not None

    def renew(self, duty: str, seconds: float) -> Work[bool]:
        """Have a duty for longer; False if another node has taken it."""
        return (yield from one(_RENEW, seconds, duty, self.name)) is not None

    def leave(self, duty: str) -> Work[None]:
        """Give a duty up."""
        yield from do(_LEAVE, duty, self.name)

    def leave_all(self) -> Work[None]:
        """Give up all duties: this node stops."""
        yield from do(_LEAVE_ALL, self.name)

    def is_anothers(self, duty: str) -> Work[bool]:
        """Tell whether another node has taken a duty, for good or not."""
        return (yield from one(_OTHERS, duty, self.name)) is not None

    def tell(self, kind: ChangeKind, name: str = "") -> Work[None]:
        """Tell other nodes of a change once the transaction is committed."""
        yield from do(_TELL, CHANNEL, f"{self.name} {kind.value} {name}")

    @property
    def clock_shift(self) -> timedelta:
        """Return how far the server's clock is ahead of this machine's, also when that was set since; a little is none."""
        if self._server_time is None:
            return timedelta()
        then, at = self._server_time
        shift = then + timedelta(seconds=time.monotonic() - at) - wall()
        return shift if abs(shift) > SHIFT_NOTED else timedelta()

    async def look_at_clock(self, connection: Any) -> None:
        """Learn what time it is at the server."""
        before, asked_at = self.clock_shift, time.monotonic()
        found = await connection.fetchval(_CLOCK)
        self._server_time = found, (asked_at + time.monotonic()) / 2
        if abs(self.clock_shift - before) > SHIFT_NOTED:
            log.warning("clock_differs", extra={"fields": {"seconds": round(self.clock_shift.total_seconds())}})

    async def listen(self, connections: Connections) -> AsyncIterator[Change]:
        """Yield what other nodes tell, for ever, over a connection of its own."""
        while True:
            news = _News(self.name)
            connection = None
            try:
                connection = await connections.open_with_patience()
                await self.look_at_clock(connection)
                await connection.add_listener(CHANNEL, news.hear)
                connection.add_termination_listener(news.end)
                yield Change(ChangeKind.ANYTHING)
                async for change in news.follow(connection, self.look_at_clock):
                    yield change
            except (StoreError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("nodes_not_heard", extra={"fields": {"why": type(error).__name__}})
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(AGAIN_S)


class _News:
    """What was heard and not handed on yet; the same twice is once."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._heard: dict[Change, None] = {}
        self._more = asyncio.Event()
        self._ended = False

    def hear(self, _connection: Any, _process: int, _channel: str, payload: str) -> None:
        node, _, rest = payload.partition(" ")
        kind, _, name = rest.partition(" ")
        if node == self._own:
            return
        change = Change(_KINDS.get(kind, ChangeKind.ANYTHING), name)
        if len(self._heard) >= NEWS_LIMIT:
            self._heard = {Change(ChangeKind.ANYTHING): None}
        self._heard[change] = None
        self._more.set()

    def end(self, _connection: Any) -> None:
        self._ended = True
        self._more.set()

    async def follow(self, connection: Any, ask: Callable[[Any], Awaitable[None]]) -> AsyncIterator[Change]:
        """Yield news until the connection ends; now and then ``ask`` something: it may not be there any more."""
        ask_at = time.monotonic() + HEARTBEAT_S
        while not self._ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(ask_at - time.monotonic(), 0)):
                    await self._more.wait()
            if time.monotonic() >= ask_at:
                async with asyncio.timeout(ANSWERS_WITHIN_S):
                    await ask(connection)
                ask_at = time.monotonic() + HEARTBEAT_S
            self._more.clear()
            heard, self._heard = self._heard, {}
            for change in heard:
                yield change
