"""The queue on SQLite: see :class:`valija.store.queue_port.QueueStore` for the meaning."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar, cast

from valija.domain.account_gate import Gate
from valija.domain.queue import (
    Deferred,
    Delivered,
    Failed,
    Held,
    InFlight,
    LeaseEnded,
    Queued,
    RecipientEvent,
    RecipientState,
    RecipientStateName,
    due_at,
    next_state,
)
from valija.domain.queue import Leased as LeaseGiven
from valija.domain.queue_history import FIRST_LINES, GATE_LINES, LINES_LIMIT, GateLine, HistoryLine, gather, line_of
from valija.domain.queued_message import QueuedMessage, RecipientEntry
from valija.store import queue_statements as sql
from valija.store.codec import NotReadable, decode_value, encode_value
from valija.store.queue_port import Body, Leased, StoredQueued
from valija.store.sqlite_engine import SqliteEngine
from valija.store.sqlite_rows import epoch, moment, unreadable

LEASE_ENDS_AT_ONCE: Final = 1000
LINE_FACTOR: Final = 8  # rows of the line that are looked at for each message wanted
_STATE_CLASSES: Final = (Queued, InFlight, Deferred, Held, Delivered, Failed)
_Lines = list[tuple[int, HistoryLine | None]]
_L = TypeVar("_L", HistoryLine, GateLine)
_Row = tuple[int, int, int, int | None, int | None, bytes]


class SqliteQueue:
    """The queue's rows in an open database."""

    shared = False

    def __init__(self, database: SqliteEngine) -> None:
        self._db = database

    async def accept(self, message: QueuedMessage, body: Body) -> int:
        envelope, at = encode_value(message), epoch(message.accepted_at)
        values = (message.account, message.device, at, envelope, body.file, body.octets)

        def work(c: sqlite3.Connection) -> int:
            number: int = c.execute(sql.ADD_MESSAGE, values).fetchone()[0]
            rows = ((number, message.account, n, "queued", at, b"") for n in range(len(message.recipients)))
            c.executemany(sql.ADD_RECIPIENT, rows)
            return number

        return await self._db.write(work)

    async def lease(self, account: str, now: datetime, until: datetime, limit: int) -> list[Leased]:
        due, end = epoch(now), epoch(until)

        def work(c: sqlite3.Connection) -> list[Leased]:
            line = c.execute(sql.FIRST_DUE, (account, due, limit * LINE_FACTOR))
            numbers = list(dict.fromkeys(row[0] for row in line))[:limit]
            return [_lease(c, number, due, end) for number in numbers]

        return await self._db.write(work)

    async def end_leases(self, now: datetime, ended_before: datetime | None = None) -> int:
        before = epoch(ended_before or now)

        def work(c: sqlite3.Connection) -> int:
            numbers = [row[0] for row in c.execute(sql.ENDED_LEASES, (before, LEASE_ENDS_AT_ONCE))]
            events: list[tuple[int, RecipientEvent]] = []
            for number in numbers:
                state = _state(c.execute(sql.LOAD_RECIPIENT, (number,)).fetchone())
                if isinstance(state, InFlight):
                    events.append((number, LeaseEnded(state.lease, now)))
            _apply_all(c, events)
            return len(numbers)

        return await self._db.write(work)

    async def apply(self, events: Sequence[tuple[int, RecipientEvent]]) -> list[RecipientState | None]:
        return await self._db.write(lambda c: _apply_all(c, events))

    async def next_due(self, account: str) -> datetime | None:
        row = await self._db.read(lambda c: c.execute(sql.NEXT_DUE, (account,)).fetchone())
        return None if row[0] is None else moment(row[0])

    async def load(self, message_id: int) -> StoredQueued | None:
        def work(c: sqlite3.Connection) -> StoredQueued | None:
            row = c.execute(sql.LOAD_MESSAGE, (message_id,)).fetchone()
            return None if row is None else _stored(c, *row)

        return await self._db.read(work)

    async def list_messages(
        self, *, account: str | None, state: RecipientStateName | None, limit: int, before_id: int | None = None
    ) -> list[StoredQueued]:
        below = before_id if before_id is not None else 2**62
        wanted, whose = state.value if state else "", account or ""
        values = (below, whose, whose, wanted, wanted, limit)
        return await self._db.read(
            lambda c: [_stored(c, *row) for row in c.execute(sql.LIST_MESSAGES, values).fetchall()]
        )

    async def load_body(self, message_id: int) -> Body | None:
        row = await self._db.read(lambda c: c.execute(sql.LOAD_BODY, (message_id,)).fetchone())
        return None if row is None else Body(row[1], row[0])

    async def counts(self) -> Mapping[tuple[str, RecipientStateName], int]:
        rows = await self._db.read(lambda c: c.execute(sql.COUNTS).fetchall())
        return {(account, RecipientStateName(state)): count for account, state, count in rows}

    async def forget_ended(self, before: datetime, limit: int) -> list[str]:
        at = epoch(before)

        def work(c: sqlite3.Connection) -> list[str]:
            numbers = c.execute(sql.ENDED_MESSAGES, (at, at, limit)).fetchall()
            gone = [c.execute(sql.DELETE_MESSAGE, number).fetchone()[0] for number in numbers]
            return [file for file in gone if file]

        return await self._db.write(work)

    async def files(self) -> set[str]:
        return {row[0] for row in await self._db.read(lambda c: c.execute(sql.FILES).fetchall())}

    async def load_gate(self, account: str) -> Gate:
        row = await self._db.read(lambda c: c.execute(sql.LOAD_GATE, (account,)).fetchone())
        return Gate() if row is None else _gate(account, row[0])

    async def save_gate(self, account: str, expected_version: int, gate: Gate, line: GateLine | None = None) -> bool:
        payload = encode_value(gate)

        def work(c: sqlite3.Connection) -> bool:
            if expected_version == 0:
                saved = c.execute(sql.INSERT_GATE, (account, gate.version, payload)).fetchone() is not None
            else:
                values = (gate.version, payload, account, expected_version)
                saved = c.execute(sql.REPLACE_GATE, values).fetchone() is not None
            if saved and line is not None:
                c.execute(sql.ADD_GATE_HISTORY, (account, encode_value(line)))
                c.execute(sql.TRIM_GATE_HISTORY, (account, account, GATE_LINES))
            return saved

        return await self._db.write(work)

    async def history(self, message_id: int) -> list[HistoryLine]:
        rows = await self._db.read(lambda c: c.execute(sql.HISTORY, (message_id,)).fetchall())
        return [_line(HistoryLine, "queue_history", str(message_id), row[0]) for row in rows]

    async def gate_history(self, account: str) -> list[GateLine]:
        rows = await self._db.read(lambda c: c.execute(sql.GATE_HISTORY, (account,)).fetchall())
        return [_line(GateLine, "gate_history", account, row[0]) for row in rows]

    async def gates(self) -> Mapping[str, Gate]:
        rows = await self._db.read(lambda c: c.execute(sql.LIST_GATES).fetchall())
        return {account: _gate(account, payload) for account, payload in rows}


# --- rows -----------------------------------------------------------------------------------------------------------------


def _lease(c: sqlite3.Connection, number: int, due: int | None, end: int | None) -> Leased:
    lease: int = c.execute(sql.NEXT_LEASE).fetchone()[0]
    message = _message(*c.execute(sql.LOAD_MESSAGE, (number,)).fetchone())
    entries = []
    for row in c.execute(sql.DUE_RECIPIENTS, (number, due)).fetchall():
        state = next_state(_state(row), LeaseGiven(lease))
        _replace(c, row[0], state, end)
        entries.append(RecipientEntry(row[0], number, message.recipients[row[2]], state))
    return Leased(lease, number, message, tuple(entries))


def _apply_all(c: sqlite3.Connection, events: Sequence[tuple[int, RecipientEvent]]) -> list[RecipientState | None]:
    lines: _Lines = []
    states = [_apply(c, number, event, lines) for number, event in events]
    for message_id, line in gather(lines):
        c.execute(sql.ADD_HISTORY, (message_id, encode_value(line)))
        over = c.execute(sql.COUNT_HISTORY, (message_id,)).fetchone()[0] - LINES_LIMIT
        if over > 0:
            c.execute(sql.TRIM_HISTORY, (message_id, over, FIRST_LINES))
    return states


def _apply(c: sqlite3.Connection, number: int, event: RecipientEvent, lines: _Lines) -> RecipientState | None:
    row: _Row | None = c.execute(sql.LOAD_RECIPIENT, (number,)).fetchone()
    if row is None:
        return None
    before = _state(row)
    after = next_state(before, event)
    if after is not before:
        _replace(c, number, after, row[4] if isinstance(after, InFlight) else None)
        lines.append((row[1], line_of(before, event, after, row[2])))
    return after


def _replace(c: sqlite3.Connection, number: int, state: RecipientState, lease_until: int | None) -> None:
    ended = epoch(state.at) if isinstance(state, Delivered | Failed) else None
    payload = b"" if _is_plain(state) else encode_value(state)
    c.execute(sql.REPLACE_STATE, (state.name.value, epoch(due_at(state)), lease_until, ended, payload, number))


def _is_plain(state: RecipientState) -> bool:
    return isinstance(state, Queued) and state == Queued(state.due_at)


def _state(row: _Row) -> RecipientState:
    number, _message_id, _place, due, _lease_until, payload = row
    if not payload and due is not None:
        return Queued(moment(due))
    try:
        return cast("RecipientState", decode_value(payload, *_STATE_CLASSES))
    except NotReadable as error:
        raise unreadable("queue_recipients", str(number), error) from None


def _message(number: int, envelope: bytes) -> QueuedMessage:
    try:
        return decode_value(envelope, QueuedMessage)
    except NotReadable as error:
        raise unreadable("queue_messages", str(number), error) from None


def _stored(c: sqlite3.Connection, number: int, envelope: bytes) -> StoredQueued:
    message = _message(number, envelope)
    rows = c.execute(sql.RECIPIENTS_OF, (number,)).fetchall()
    entries = tuple(RecipientEntry(row[0], number, message.recipients[row[2]], _state(row)) for row in rows)
    return StoredQueued(number, message, entries)


def _line(kind: type[_L], table: str, key: str, payload: bytes) -> _L:
    try:
        return decode_value(payload, kind)
    except NotReadable as error:
        raise unreadable(table, key, error) from None


def _gate(account: str, payload: bytes) -> Gate:
    try:
        return decode_value(payload, Gate)
    except NotReadable as error:
        raise unreadable("queue_gates", account, error) from None
