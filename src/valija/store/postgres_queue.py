"""The queue on PostgreSQL: what waits to be written is written together, and other nodes take part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Generic, TypeVar

from valija.domain.errors import StoreUnreachable
from valija.domain.queue import RecipientState
from valija.domain.queued_message import QueuedMessage
from valija.store.postgres_engine import ADVISORY, PostgresEngine
from valija.store.queue_port import Body, Leased
from valija.store.sql_queue import Event, Incoming, SqlQueue, add_messages, apply_events, lease_messages
from valija.store.sql_rows import epoch
from valija.store.work import Work, do

TOGETHER: Final = 128
BATCHES: Final = 2  # under way at one moment
_ALONE: Final = "SELECT pg_advisory_xact_lock(?, hashtext(?))"

T = TypeVar("T")
R = TypeVar("R")


class PostgresQueue(SqlQueue):
    """The queue's rows in a database that several nodes have open."""

    shared = True

    def __init__(self, database: PostgresEngine) -> None:
        super().__init__(database)
        self._accepts: Together[Incoming, int] = Together(database, add_messages)
        self._applies: Together[Sequence[Event], list[RecipientState | None]] = Together(database, _apply_lists)

    async def accept(self, message: QueuedMessage, body: Body) -> int:
        return await self._accepts.write((message, body))

    async def apply(self, events: Sequence[Event]) -> list[RecipientState | None]:
        return await self._applies.write(events)

    async def lease(self, account: str, now: datetime, until: datetime, limit: int) -> list[Leased]:
        def work() -> Work[list[Leased]]:
            yield from do(_ALONE, ADVISORY, account)  # who leases beside another one finds what that one left
            return (yield from lease_messages(account, epoch(now), epoch(until), limit))

        return await self._db.write(work)


class Together(Generic[T, R]):
    """Group commit: items that wait while a batch is under way are the next one."""

    def __init__(self, database: PostgresEngine, work: Callable[[Sequence[T]], Work[list[R]]]) -> None:
        self._db = database
        self._work = work
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._running = 0

    async def write(self, item: T) -> R:
        """Write an item in the next batch; return its result once that is durable. Raises store errors."""
        self._db.check_open()
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_notice)
        self._waiting.append((item, future))
        if self._running < BATCHES:
            self._running += 1
            self._db.start(self._run())
        return await asyncio.shield(future)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
                await self._write(batch)
        finally:
            self._running -= 1

    async def _write(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        items = [item for item, _future in batch]
        try:
            results = await self._db.commit(lambda: self._work(items))
        except StoreUnreachable as error:  # it may be done or not: nothing of it is tried again
            _fail(batch, error)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            for one in batch:  # who does not fit fails alone
                await self._write([one])
        else:
            for (_item, future), result in zip(batch, results, strict=True):
                future.set_result(result)


def _fail(batch: Sequence[tuple[object, asyncio.Future[R]]], error: BaseException) -> None:
    for _item, future in batch:
        future.set_exception(error)


def _notice(future: asyncio.Future[R]) -> None:
    """A caller who is gone does not hear of a failure, and nobody complains of that."""
    if not future.cancelled():
        future.exception()


def _apply_lists(lists: Sequence[Sequence[Event]]) -> Work[list[list[RecipientState | None]]]:
    """Apply the events of several callers, each caller's in order."""
    states = iter((yield from apply_events([event for events in lists for event in events])))
    return [[next(states) for _event in events] for events in lists]
