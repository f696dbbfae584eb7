"""The queue on PostgreSQL: what waits to be written is written together, and other nodes take part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Final, Generic, TypeVar

from valija.domain.errors import StoreUnreachable
from valija.domain.queue import GivenBack, InFlight, RecipientState, ReleaseAsked, RetryAsked
from valija.domain.queued_message import QueuedMessage
from valija.store import queue_statements as sql
from valija.store.port import ChangeKind
from valija.store.postgres_engine import ADVISORY, PostgresEngine
from valija.store.postgres_nodes import Node
from valija.store.queue_port import Body, Leased
from valija.store.sql_queue import (
    Event,
    Incoming,
    SqlQueue,
    add_messages,
    apply_events,
    end_leases_of,
    lease_messages,
    state_of,
)
from valija.store.sql_rows import epoch
from valija.store.work import Work, do, each, rows

TOGETHER: Final = 128
BATCHES: Final = 2  # under way at one moment
_MAKE_DUE: Final = (ReleaseAsked, RetryAsked)
_ACCOUNT_OF: Final = "SELECT account FROM queue_recipients WHERE id = ?"
_ALONE: Final = "SELECT pg_advisory_xact_lock(?, hashtext(?))"

T = TypeVar("T")
R = TypeVar("R")


class PostgresQueue(SqlQueue):
    """The queue's rows in a database that several nodes have open."""

    shared = True

    def __init__(self, database: PostgresEngine, node: Node) -> None:
        super().__init__(database)
        self._node = node
        self._accepts: Together[Incoming, int] = Together(database, self._add)
        self._applies: Together[Sequence[Event], list[RecipientState | None]] = Together(
            database, self._apply_lists, may_repeat=True
        )
        self._lost: dict[str, set[int]] = {}

    async def accept(self, message: QueuedMessage, body: Body) -> int:
        return await self._accepts.write((message, body))

    def _add(self, incoming: Sequence[Incoming]) -> Work[list[int]]:
        numbers = yield from add_messages(incoming)
        for account in sorted({message.account for message, _body in incoming}):
            yield from self._node.tell(ChangeKind.MAIL, account)
        return numbers

    async def apply(self, events: Sequence[Event]) -> list[RecipientState | None]:
        return await self._applies.write(events)

    def _apply_lists(self, lists: Sequence[Sequence[Event]]) -> Work[list[list[RecipientState | None]]]:
        """Apply the events of several callers, each caller's in order; what is due by them is told."""
        events = [event for events in lists for event in events]
        states = yield from apply_events(events)
        asked = [number for number, event in events if isinstance(event, _MAKE_DUE)]
        if asked:
            accounts = {row[0] for row in (yield from each(_ACCOUNT_OF, [(number,) for number in asked]))}
            for account in sorted(accounts):
                yield from self._node.tell(ChangeKind.MAIL, account)
        after = iter(states)
        return [[next(after) for _event in events] for events in lists]

    async def lease(self, account: str, now: datetime, until: datetime, limit: int) -> list[Leased]:
        lost, given = self._lost.pop(account, set()), set[int]()

        def work() -> Work[list[Leased]]:
            yield from do(_ALONE, ADVISORY, account)  # who leases beside another one finds what that one left
            if (yield from self._node.is_anothers(lane_of(account))):
                return []
            yield from _give_back(account, lost)
            jobs = yield from lease_messages(account, epoch(now), epoch(until), limit)
            given.clear()
            given.update(job.lease for job in jobs)
            return jobs

        try:
            return await self._db.write(work)
        except BaseException:  # nobody has these leases, if there are any; they go back with the next one
            self._lost[account] = lost | given
            raise

    async def take_lane(self, account: str, now: datetime, seconds: float) -> bool:
        def work() -> Work[bool]:
            if not (yield from self._node.take(lane_of(account), seconds)):
                return False
            yield from end_leases_of((yield from rows(sql.LEASED_OF, account)), now)
            return True

        return await self._db.write(work)

    async def renew_lane(self, account: str, seconds: float) -> bool:
        return await self._db.write(lambda: self._node.renew(lane_of(account), seconds))

    async def leave_lane(self, account: str) -> None:
        def work() -> Work[None]:
            yield from self._node.leave(lane_of(account))
            yield from self._node.tell(ChangeKind.LANE, account)

        await self._db.write(work)

    def _gate_saved(self, account: str) -> Work[None]:
        yield from self._node.tell(ChangeKind.GATE, account)


def lane_of(account: str) -> str:
    """Return the name of the job that an account's lane is."""
    return f"lane {account}"


def _give_back(account: str, lost: Collection[int]) -> Work[None]:
    if lost:
        found = yield from rows(sql.LEASED_OF, account)
        states = [(row[0], state_of(row)) for row in found]
        yield from apply_events(
            [
                (number, GivenBack(state.lease))
                for number, state in states
                if isinstance(state, InFlight) and state.lease in lost
            ]
        )


class Together(Generic[T, R]):
    """Group commit: items that wait while a batch is under way are the next one.

    ``may_repeat``: to do it twice is as good as once, so it is done again where the answer was lost.
    """

    def __init__(
        self, database: PostgresEngine, work: Callable[[Sequence[T]], Work[list[R]]], *, may_repeat: bool = False
    ) -> None:
        self._db = database
        self._work = work
        self._may_repeat = may_repeat
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

    async def _commit(self, items: Sequence[T]) -> list[R]:
        try:
            return await self._db.commit(lambda: self._work(items))
        except StoreUnreachable:
            if not self._may_repeat:
                raise
        return await self._db.commit(lambda: self._work(items))

    async def _write(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        items = [item for item, _future in batch]
        try:
            results = await self._commit(items)
        except StoreUnreachable as error:  # it may be done or not
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
