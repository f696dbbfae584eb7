"""The queue in SQL: see :class:`valija.store.queue_port.QueueStore` for the meaning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from valija.domain.account_gate import Gate
from valija.domain.errors import StoreError
from valija.domain.pace import DAY_WINDOW, MINUTE_WINDOW, SLICE, Pace, resume
from valija.domain.queue import (
    Delivered,
    Failed,
    InFlight,
    LeaseEnded,
    Queued,
    RecipientEvent,
    RecipientState,
    RecipientStateName,
    TryFailed,
    due_at,
    next_state,
)
from valija.domain.queue import Leased as LeaseGiven
from valija.domain.queue_history import FIRST_LINES, GATE_LINES, LINES_LIMIT, GateLine, HistoryLine, gather, line_of
from valija.domain.queued_message import QueuedMessage, RecipientEntry, mentions
from valija.domain.traffic import TrafficSlot, slot_of
from valija.store import queue_statements as sql
from valija.store.codec import encode_value
from valija.store.queue_lists import COUNTS, OLDEST, SEARCH_DEPTH, list_query, may_mention
from valija.store.queue_port import Body, Leased, StoredQueued
from valija.store.queue_rows import (
    gate_in,
    message_of,
    read_message,
    recipient_at,
    state_of,
    unreadable_trouble,
)
from valija.store.sql_rows import epoch, moment, readable_values
from valija.store.together import Together
from valija.store.work import Engine, Row, Work, do, each, one, rows

LEASE_ENDS_AT_ONCE: Final = 1000
UNREADABLE_WAITS: Final = timedelta(hours=1)
LINE_FACTOR: Final = 8  # rows of the line that are looked at for each message wanted
Incoming = tuple[QueuedMessage, Body, datetime | None]  # until when it is leased at once; None: it waits in the line
Event = tuple[int, RecipientEvent]
Flying = Sequence[tuple[Row, RecipientState]]


class SqlQueue(ABC):
    """The queue's rows in an open database."""

    shared = False

    def __init__(self, database: Engine, *, batches: int = 1) -> None:
        self._db = database
        self._accepts: Together[Incoming, int | Leased] = Together(database, self._add, batches=batches)
        self._applies: Together[Sequence[Event], list[RecipientState | None]] = Together(
            database, self._apply_lists, batches=batches, may_repeat=True
        )

    @abstractmethod
    def numbers(self, count: int) -> Work[list[int]]:
        """Take so many numbers for messages, never given before."""

    def _add(self, incoming: Sequence[Incoming]) -> Work[list[int | Leased]]:
        return (yield from add_messages(incoming, (yield from self.numbers(len(incoming)))))

    def _apply_lists(self, lists: Sequence[Sequence[Event]]) -> Work[list[list[RecipientState | None]]]:
        """Apply the events of several callers, each caller's in order."""
        states = iter((yield from apply_events([event for events in lists for event in events])))
        return [[next(states) for _event in events] for events in lists]

    async def accept(self, message: QueuedMessage, body: Body) -> int:
        return _number(await self._accepts.write((message, body, None)))

    async def accept_leased(
        self, message: QueuedMessage, body: Body, until: datetime, taken: Callable[[Leased | None], None]
    ) -> int:
        def settled(stored: int | Leased | None) -> None:
            taken(stored if isinstance(stored, Leased) else None)

        try:
            self._db.check_open()
        except StoreError:
            taken(None)
            raise
        return _number(await self._accepts.write((message, body, until), settled))

    async def lease(self, account: str, now: datetime, until: datetime, limit: int) -> list[Leased]:
        return await self._db.write(lambda: lease_messages(account, epoch(now), epoch(until), limit))

    async def under_lease(self, account: str) -> list[tuple[int, InFlight]]:
        found = await self._db.read(lambda: rows(sql.UNDER_LEASE, account))
        states = [(row[0], state_of(row)) for row in found]
        return [(number, state) for number, state in states if isinstance(state, InFlight)]

    async def end_leases(self, now: datetime, ended_before: datetime | None = None) -> int:
        before = epoch(ended_before or now)

        def work() -> Work[int]:
            found = yield from rows(sql.ENDED_LEASES, before, LEASE_ENDS_AT_ONCE, before)
            yield from end_leases_of(found, now)
            return len(found)

        return await self._db.write(work)

    async def apply(self, events: Sequence[Event]) -> list[RecipientState | None]:
        return await self._applies.write(events)

    async def take_lane(self, account: str, now: datetime, seconds: float) -> bool:
        return True  # one process owns the database

    async def renew_lane(self, account: str, seconds: float) -> bool:
        return True

    async def leave_lane(self, account: str) -> None:
        return None

    async def pace(self, account: str, now: datetime) -> Pace:
        slice_ms = SLICE // timedelta(milliseconds=1)

        def work() -> Work[tuple[list[Row], list[Row]]]:
            ended = yield from rows(sql.SENT_AT, epoch(now - MINUTE_WINDOW), account)
            return ended, (yield from rows(sql.SENT_BY_SLICE, slice_ms, epoch(now - DAY_WINDOW), account))

        ended, day = await self._db.read(work)
        return resume((moment(row[0]) for row in ended), ((moment(row[0] * slice_ms), row[1]) for row in day))

    async def next_due(self, account: str) -> datetime | None:
        row = await self._db.read(lambda: one(sql.NEXT_DUE, account))
        return None if row is None or row[0] is None else moment(row[0])

    async def load(self, message_id: int) -> StoredQueued | None:
        def work() -> Work[list[StoredQueued]]:
            return (yield from _stored((yield from rows(sql.LOAD_MESSAGE, message_id))))

        found = await self._db.read(work)
        return found[0] if found else None

    async def list_messages(
        self,
        *,
        account: str | None,
        state: RecipientStateName | None,
        limit: int,
        before_id: int | None = None,
        device: str | None = None,
        text: str = "",
    ) -> list[StoredQueued]:
        below = before_id if before_id is not None else 2**62
        statement, values = list_query(account, state, device, below, SEARCH_DEPTH if text else limit)

        def work() -> Work[list[StoredQueued]]:
            found = yield from rows(statement, *values)
            if text:
                found = [row for row in may_mention(found, text) if mentions(message_of(row), text)][:limit]
            return (yield from _stored(found))

        return await self._db.read(work)

    async def load_body(self, message_id: int) -> Body | None:
        row = await self._db.read(lambda: one(sql.LOAD_BODY, message_id))
        return None if row is None else Body(row[1], row[0])

    async def counts(self) -> Mapping[tuple[str, RecipientStateName], int]:
        found = await self._db.read(lambda: rows(COUNTS))
        each_state = ((row[0], *pair) for row in found for pair in (row[1:3], row[3:5]))
        return {(account, RecipientStateName(state)): count for account, state, count in each_state if count}

    async def oldest_waiting(self) -> Mapping[str, datetime]:
        return {row[0]: moment(row[1]) for row in await self._db.read(lambda: rows(OLDEST))}

    async def forget_ended(self, before: datetime, limit: int) -> list[str]:
        at = epoch(before)

        def work() -> Work[list[str]]:
            over = yield from rows(sql.ENDED_MESSAGES, at, at, limit)
            gone = yield from each(sql.DELETE_MESSAGE, [(row[0],) for row in over])
            return [row[0] for row in gone if row[0]]

        return await self._db.write(work)

    async def files(self) -> set[str]:
        return {row[0] for row in await self._db.read(lambda: rows(sql.FILES))}

    async def load_gate(self, account: str) -> Gate:
        row = await self._db.read(lambda: one(sql.LOAD_GATE, account))
        return Gate() if row is None else gate_in(account, *row)

    async def save_gate(self, account: str, expected_version: int, gate: Gate, line: GateLine | None = None) -> bool:
        payload = encode_value(gate)

        def work() -> Work[bool]:
            if expected_version == 0:
                saved = yield from one(sql.INSERT_GATE, account, gate.version, payload)
            else:
                saved = yield from one(sql.REPLACE_GATE, gate.version, payload, account, expected_version)
            if saved is not None and line is not None:
                yield from do(sql.ADD_GATE_HISTORY, account, encode_value(line))
                yield from do(sql.TRIM_GATE_HISTORY, account, account, GATE_LINES)
            if saved is not None:
                yield from self._gate_saved(account)
            return saved is not None

        return await self._db.write(work)

    def _gate_saved(self, account: str) -> Work[None]:
        """Tell other nodes, with the transaction; here there are none."""
        yield from ()

    async def history(self, message_id: int) -> list[HistoryLine]:
        found = await self._db.read(lambda: rows(sql.HISTORY, message_id))
        return readable_values(HistoryLine, "queue_history", ((message_id, row[0]) for row in found))

    async def gate_history(self, account: str) -> list[GateLine]:
        found = await self._db.read(lambda: rows(sql.GATE_HISTORY, account))
        return readable_values(GateLine, "gate_history", ((account, row[0]) for row in found))

    async def gates(self) -> Mapping[str, Gate]:
        found = await self._db.read(lambda: rows(sql.LIST_GATES))
        return {row[0]: gate_in(*row) for row in found}

    async def add_traffic(self, slots: Sequence[TrafficSlot], forget_before: datetime) -> None:
        values = [(epoch(s.at), s.accepted, s.delivered, s.failed, s.waiting) for s in slots]

        def work() -> Work[None]:
            yield from each(sql.ADD_TRAFFIC, values)
            yield from do(sql.FORGET_TRAFFIC, epoch(forget_before))

        await self._db.write(work)

    async def traffic(self, since: datetime | None = None) -> list[TrafficSlot]:
        first = 0 if since is None else epoch(slot_of(since))
        found = await self._db.read(lambda: rows(sql.TRAFFIC, first))
        return [TrafficSlot(moment(row[0]), *row[1:]) for row in found]


# --- units of work --------------------------------------------------------------------------------------------------------


def add_messages(incoming: Sequence[Incoming], numbers: Sequence[int]) -> Work[list[int | Leased]]:
    """Store messages under these numbers, with their recipients; return the numbers, or the leases."""
    messages = [
        (number, m.account, m.device, epoch(m.accepted_at), encode_value(m), body.file, body.octets)
        for number, (m, body, _until) in zip(numbers, incoming, strict=True)
    ]
    yield from each(sql.ADD_MESSAGE, messages)
    yield from each(
        sql.ADD_RECIPIENT,
        [
            (number, m.account, place, RecipientStateName.QUEUED.value, epoch(m.accepted_at), b"")
            for number, (m, _body, until) in zip(numbers, incoming, strict=True)
            for place in range(len(m.recipients) if until is None else 0)
        ],
    )
    leased = {n: found for n, found in zip(numbers, incoming, strict=True) if found[2] is not None}
    jobs = (yield from _add_leased(leased)) if leased else {}
    return [jobs.get(number, number) for number in numbers]


def _add_leased(incoming: Mapping[int, Incoming]) -> Work[dict[int, int | Leased]]:
    """Store the recipients of messages that are leased at once."""
    last = yield from one(sql.NEXT_LEASES, len(incoming))
    leases = range((last[0] if last is not None else 1) - len(incoming) + 1, 1 << 62)
    jobs = [
        (number, lease, m, body, until, InFlight(lease, Queued(m.accepted_at)))
        for lease, (number, (m, body, until)) in zip(leases, incoming.items(), strict=False)
    ]
    added = yield from each(
        sql.ADD_LEASED,
        [
            (number, m.account, place, state.name.value, epoch(until), encode_value(state))
            for number, _lease, m, _body, until, state in jobs
            for place in range(len(m.recipients))
        ],
    )
    ids = iter(sorted(row[0] for row in added))
    return {
        number: Leased(
            lease,
            number,
            m,
            tuple(RecipientEntry(next(ids), number, recipient, state) for recipient in m.recipients),
            body,
        )
        for number, lease, m, body, _until, state in jobs
    }


def _number(stored: int | Leased) -> int:
    return stored.id if isinstance(stored, Leased) else stored


def lease_messages(account: str, due: int | None, end: int | None, limit: int) -> Work[list[Leased]]:
    """Take what stands at the head of an account's line."""
    line = yield from rows(sql.FIRST_DUE, account, due, limit * LINE_FACTOR)
    numbers = list(dict.fromkeys(row[0] for row in line))[:limit]
    found = yield from each(sql.DUE_RECIPIENTS, [(number, due) for number in numbers])
    messages = {row[0]: row for row in (yield from each(sql.LOAD_TO_SEND, [(n,) for n in numbers]))}
    waiting: dict[int, list[Row]] = {}
    for row in found:
        waiting.setdefault(row[1], []).append(row)
    if not waiting:
        return []
    last = yield from one(sql.NEXT_LEASES, len(waiting))
    first = 1 if last is None else last[0] - len(waiting) + 1
    given = [
        (first + n, messages[number], [(row, next_state(state_of(row), LeaseGiven(first + n))) for row in own])
        for n, (number, own) in enumerate(waiting.items())
    ]
    changes = [_change(row[0], state, end) for _lease, _stored, own in given for row, state in own]
    yield from each(sql.REPLACE_STATE, changes)
    taken = [_leased(*one) for one in given]
    unreadable = [(lease, own) for (lease, _stored, own), job in zip(given, taken, strict=True) if job is None]
    yield from _put_aside(unreadable, moment(due or 0))
    return [job for job in taken if job is not None]


def _leased(lease: int, stored: Row, own: Flying) -> Leased | None:
    """Return what a worker gets; None if the message cannot be read."""
    number, envelope, file, octets = stored
    message = read_message(number, envelope)
    if message is None:
        return None
    entries = tuple(RecipientEntry(row[0], row[1], recipient_at(message, row[2]), state) for row, state in own)
    return Leased(lease, number, message, entries, Body(octets, file))


def _put_aside(unreadable: Sequence[tuple[int, Flying]], now: datetime) -> Work[None]:
    """Let what cannot be read wait for somebody to put it right or to cancel it; it holds up nothing else."""
    tried = [(row[0], lease) for lease, own in unreadable for row, _state in own]
    later, trouble = now + UNREADABLE_WAITS, unreadable_trouble(now)
    yield from apply_events([(number, TryFailed(lease, later, trouble)) for number, lease in tried])


def end_leases_of(found: Sequence[Row], now: datetime) -> Work[None]:
    """Put back these recipients if they are under a lease."""
    events: list[Event] = []
    for row in found:
        state = state_of(row)
        if isinstance(state, InFlight):
            events.append((row[0], LeaseEnded(state.lease, now)))
    yield from apply_events(events)


def apply_events(events: Sequence[Event]) -> Work[list[RecipientState | None]]:
    """Apply events in order; rows are locked in the order of their numbers, so that no two who apply wait in a circle."""
    numbers = sorted({number for number, _event in events})
    found = {row[0]: row for row in (yield from each(sql.LOAD_RECIPIENT, [(number,) for number in numbers]))}
    first = {number: state_of(row) for number, row in found.items()}
    states, after, lines = dict(first), [], []
    for number, event in events:
        before = states.get(number)
        if before is not None:
            states[number] = next_state(before, event)
            lines.append((found[number][1], line_of(before, event, states[number], found[number][2])))
        after.append(states.get(number))
    changed = [number for number in numbers if number in found and states[number] is not first[number]]
    yield from each(sql.REPLACE_STATE, [_change(number, states[number], found[number][4]) for number in changed])
    yield from _write_history(gather(lines))
    return after


def _write_history(lines: Sequence[tuple[int, HistoryLine]]) -> Work[None]:
    if not lines:
        return
    yield from each(sql.ADD_HISTORY, [(number, encode_value(line)) for number, line in lines])
    counts = yield from each(sql.COUNT_HISTORY, [(number,) for number in sorted({number for number, _line in lines})])
    over = [(number, count - LINES_LIMIT, FIRST_LINES) for number, count in counts if count > LINES_LIMIT]
    yield from each(sql.TRIM_HISTORY, over)


def _change(number: int, state: RecipientState, lease_until: int | None) -> tuple[object, ...]:
    """Return the values of REPLACE_STATE."""
    ended = epoch(state.at) if isinstance(state, Delivered | Failed) else None
    payload = b"" if _is_plain(state) else encode_value(state)
    until = lease_until if isinstance(state, InFlight) else None
    return state.name.value, epoch(due_at(state)), until, ended, payload, number


def _is_plain(state: RecipientState) -> bool:
    return isinstance(state, Queued) and state == Queued(state.due_at)


def _stored(found: Sequence[Row]) -> Work[list[StoredQueued]]:
    messages = {row[0]: message_of(row) for row in found}
    entries: dict[int, list[RecipientEntry]] = {number: [] for number in messages}
    for row in (yield from each(sql.RECIPIENTS_OF, [(number,) for number in messages])):
        recipient = recipient_at(messages[row[1]], row[2])
        entries[row[1]].append(RecipientEntry(row[0], row[1], recipient, state_of(row)))
    return [StoredQueued(number, message, tuple(entries[number])) for number, message in messages.items()]
