"""The queue on PostgreSQL: what waits to be written is written together, and other nodes take part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Final

from valija.domain.queue import CancelAsked, GivenBack, HoldAsked, InFlight, RecipientState, ReleaseAsked, RetryAsked
from valija.domain.queued_message import QueuedMessage
from valija.store import queue_statements as sql
from valija.store.port import ChangeKind
from valija.store.postgres_engine import ADVISORY, PostgresEngine
from valija.store.postgres_nodes import Node
from valija.store.queue_port import Body, Leased
from valija.store.queue_rows import state_of
from valija.store.sql_queue import (
    Event,
    Incoming,
    SqlQueue,
    apply_events,
    end_leases_of,
    lease_messages,
)
from valija.store.sql_rows import epoch
from valija.store.work import Work, do, each, rows

BATCHES: Final = 2  # under way at one moment
_MAKE_DUE: Final = (ReleaseAsked, RetryAsked)
_STOP: Final = (HoldAsked, CancelAsked)
_ACCOUNT_OF: Final = "SELECT account FROM queue_recipients WHERE id = ?"
_NUMBERS: Final = "SELECT nextval(pg_get_serial_sequence('queue_messages', 'id')) FROM generate_series(1, ?)"
_ALONE: Final = "SELECT pg_advisory_xact_lock(?, hashtext(?))"


class PostgresQueue(SqlQueue):
    """The queue's rows in a database that several nodes have open."""

    shared = True

    def __init__(self, database: PostgresEngine, node: Node) -> None:
        super().__init__(database, batches=BATCHES)
        self._node = node
        self._lost: dict[str, set[int]] = {}

    def numbers(self, count: int) -> Work[list[int]]:
        return [row[0] for row in (yield from rows(_NUMBERS, count))]

    async def accept_leased(
        self, message: QueuedMessage, body: Body, until: datetime, taken: Callable[[Leased | None], None]
    ) -> int:
        """Let it stand in the line: a commit whose answer was lost would leave a lease that nobody has."""
        try:
            return await self.accept(message, body)
        finally:
            taken(None)

    def _add(self, incoming: Sequence[Incoming]) -> Work[list[int | Leased]]:
        numbers = yield from super()._add(incoming)
        for account in sorted({message.account for message, _body, _until in incoming}):
            yield from self._node.tell(ChangeKind.MAIL, account)
        return numbers

    def _apply_lists(self, lists: Sequence[Sequence[Event]]) -> Work[list[list[RecipientState | None]]]:
        states = yield from super()._apply_lists(lists)
        done = [one for pair in zip(lists, states, strict=True) for one in zip(*pair, strict=True)]
        yield from self._tell_of(ChangeKind.MAIL, [n for (n, event), _state in done if isinstance(event, _MAKE_DUE)])
        wished = [n for (n, event), state in done if isinstance(event, _STOP) and isinstance(state, InFlight)]
        yield from self._tell_of(ChangeKind.STOPPED, wished)
        return states

    def _tell_of(self, kind: ChangeKind, numbers: Sequence[int]) -> Work[None]:
        """Tell other nodes of the accounts of these recipients."""
        accounts = {row[0] for row in (yield from each(_ACCOUNT_OF, [(number,) for number in numbers]))}
        for account in sorted(accounts):
            yield from self._node.tell(kind, account)

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
    """Return the name of the duty that an account's lane is."""
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
