"""The queue in memory: the same contract, nothing on disk. For trying and for tests of what stands on the port."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from valija.domain.account_gate import Gate
from valija.domain.pace import DAY_WINDOW, MINUTE_WINDOW, Pace, resume, slice_of
from valija.domain.queue import (
    Delivered,
    Failed,
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
from valija.domain.queue_history import GATE_LINES, GateLine, HistoryLine, gather, keep, line_of
from valija.domain.queued_message import QueuedMessage, RecipientEntry, mentions
from valija.domain.traffic import TrafficSlot, plus, slot_of
from valija.store.queue_port import Body, Leased, StoredQueued


@dataclass(slots=True)
class _Kept:
    message: QueuedMessage
    body: Body
    entries: list[RecipientEntry] = field(default_factory=list)
    history: list[HistoryLine] = field(default_factory=list)


class MemoryQueue:
    """See :class:`valija.store.queue_port.QueueStore`; nothing here awaits, so every method is atomic."""

    shared = False

    def __init__(self) -> None:
        self._messages: dict[int, _Kept] = {}
        self._entries: dict[int, tuple[_Kept, int]] = {}
        self._ends: dict[int, datetime] = {}
        self._gates: dict[str, Gate] = {}
        self._traffic: dict[datetime, TrafficSlot] = {}
        self._gate_lines: dict[str, list[GateLine]] = {}
        self._last = self._last_entry = self._last_lease = 0

    async def accept(self, message: QueuedMessage, body: Body) -> int:
        self._last += 1
        kept = self._messages[self._last] = _Kept(message, body)
        for place, recipient in enumerate(message.recipients):
            self._last_entry += 1
            kept.entries.append(RecipientEntry(self._last_entry, self._last, recipient, Queued(message.accepted_at)))
            self._entries[self._last_entry] = kept, place
        return self._last

    async def accept_leased(
        self, message: QueuedMessage, body: Body, until: datetime, taken: Callable[[Leased | None], None]
    ) -> int:
        number = await self.accept(message, body)
        taken(self._lease(number, message.accepted_at, until))
        return number

    async def lease(self, account: str, now: datetime, until: datetime, limit: int) -> list[Leased]:
        line = sorted((due, e.message_id) for due, e in self._waiting(account) if due <= now)
        numbers = list(dict.fromkeys(number for _due, number in line))[:limit]
        return [self._lease(number, now, until) for number in numbers]

    def _lease(self, number: int, now: datetime, until: datetime) -> Leased:
        self._last_lease += 1
        kept = self._messages[number]
        due = [e for e in kept.entries if (at := due_at(e.state)) is not None and at <= now]
        for entry in due:
            self._put(entry.id, next_state(entry.state, LeaseGiven(self._last_lease)))
            self._ends[entry.id] = until
        taken = {entry.id for entry in due}
        entries = tuple(e for e in kept.entries if e.id in taken)
        return Leased(self._last_lease, number, kept.message, entries, kept.body)

    async def under_lease(self, account: str) -> list[tuple[int, InFlight]]:
        entries = [e for kept in self._messages.values() if kept.message.account == account for e in kept.entries]
        return [(entry.id, entry.state) for entry in entries if isinstance(entry.state, InFlight)]

    async def end_leases(self, now: datetime, ended_before: datetime | None = None) -> int:
        over = [number for number, end in self._ends.items() if end < (ended_before or now)]
        flying = [(number, state) for number in over if isinstance(state := self._state(number), InFlight)]
        await self.apply([(number, LeaseEnded(state.lease, now)) for number, state in flying])
        return len(over)

    async def apply(self, events: Sequence[tuple[int, RecipientEvent]]) -> list[RecipientState | None]:
        lines: list[tuple[int, HistoryLine | None]] = []
        states = [self._apply(number, event, lines) for number, event in events]
        for message_id, line in gather(lines):
            kept = self._messages[message_id]
            kept.history = keep([*kept.history, line])
        return states

    def _apply(
        self, number: int, event: RecipientEvent, lines: list[tuple[int, HistoryLine | None]]
    ) -> RecipientState | None:
        before = self._state(number)
        if before is None:
            return None
        after = self._put(number, next_state(before, event))
        kept, place = self._entries[number]
        lines.append((kept.entries[place].message_id, line_of(before, event, after, place)))
        return after

    async def take_lane(self, account: str, now: datetime, seconds: float) -> bool:
        return True  # there is no other node

    async def renew_lane(self, account: str, seconds: float) -> bool:
        return True

    async def leave_lane(self, account: str) -> None:
        return None

    async def pace(self, account: str, now: datetime) -> Pace:
        ended: set[tuple[datetime, int]] = set()
        day: Counter[datetime] = Counter()
        for kept in self._messages.values():
            for entry in kept.entries if kept.message.account == account else ():
                if isinstance(entry.state, Delivered) and now - entry.state.at < DAY_WINDOW:
                    ended.add((entry.state.at, entry.message_id))
                    day[slice_of(entry.state.at)] += 1
        return resume((at for at, _message in ended if now - at < MINUTE_WINDOW), day.items())

    async def next_due(self, account: str) -> datetime | None:
        return min((due for due, _entry in self._waiting(account)), default=None)

    async def load(self, message_id: int) -> StoredQueued | None:
        kept = self._messages.get(message_id)
        return None if kept is None else StoredQueued(message_id, kept.message, tuple(kept.entries))

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
        found = [
            StoredQueued(number, kept.message, tuple(kept.entries))
            for number, kept in sorted(self._messages.items(), reverse=True)
            if (before_id is None or number < before_id)
            and account in (None, kept.message.account)
            and device in (None, kept.message.device)
            and (not text or mentions(kept.message, text))
            and (state is None or any(e.state.name is state for e in kept.entries))
        ]
        return found[:limit]

    async def load_body(self, message_id: int) -> Body | None:
        kept = self._messages.get(message_id)
        return None if kept is None else kept.body

    async def counts(self) -> Mapping[tuple[str, RecipientStateName], int]:
        kept = self._messages.values()
        return Counter((k.message.account, entry.state.name) for k in kept for entry in k.entries)

    async def oldest_waiting(self) -> Mapping[str, datetime]:
        found: dict[str, datetime] = {}
        for kept in self._messages.values():
            if any(e.state.name in (RecipientStateName.QUEUED, RecipientStateName.DEFERRED) for e in kept.entries):
                account, at = kept.message.account, kept.message.accepted_at
                found[account] = min(at, found.get(account, at))
        return found

    async def forget_ended(self, before: datetime, limit: int) -> list[str]:
        over = [n for n, k in self._messages.items() if all(_ended_before(e.state, before) for e in k.entries)][:limit]
        gone = [self._messages.pop(number) for number in over]
        for kept in gone:
            for entry in kept.entries:
                del self._entries[entry.id]
        return [kept.body.file for kept in gone if kept.body.file]

    async def files(self) -> set[str]:
        return {kept.body.file for kept in self._messages.values() if kept.body.file}

    async def load_gate(self, account: str) -> Gate:
        return self._gates.get(account, Gate())

    async def save_gate(self, account: str, expected_version: int, gate: Gate, line: GateLine | None = None) -> bool:
        if self._gates.get(account, Gate()).version != expected_version:
            return False
        self._gates[account] = gate
        if line is not None:
            self._gate_lines[account] = [*self._gate_lines.get(account, []), line][-GATE_LINES:]
        return True

    async def history(self, message_id: int) -> list[HistoryLine]:
        kept = self._messages.get(message_id)
        return [] if kept is None else list(kept.history)

    async def gate_history(self, account: str) -> list[GateLine]:
        return list(self._gate_lines.get(account, []))

    async def add_traffic(self, slots: Sequence[TrafficSlot], forget_before: datetime) -> None:
        for slot in slots:
            self._traffic[slot.at] = plus(self._traffic.get(slot.at, TrafficSlot(slot.at)), slot)
        self._traffic = {at: slot for at, slot in self._traffic.items() if at >= forget_before}

    async def traffic(self, since: datetime | None = None) -> list[TrafficSlot]:
        return [slot for at, slot in sorted(self._traffic.items()) if since is None or at >= slot_of(since)]

    async def gates(self) -> Mapping[str, Gate]:
        return dict(sorted(self._gates.items()))

    def _waiting(self, account: str) -> list[tuple[datetime, RecipientEntry]]:
        entries = (e for kept in self._messages.values() if kept.message.account == account for e in kept.entries)
        return [(at, entry) for entry in entries if (at := due_at(entry.state)) is not None]

    def _state(self, number: int) -> RecipientState | None:
        found = self._entries.get(number)
        return None if found is None else found[0].entries[found[1]].state

    def _put(self, number: int, state: RecipientState) -> RecipientState:
        kept, place = self._entries[number]
        kept.entries[place] = replace(kept.entries[place], state=state)
        if not isinstance(state, InFlight):
            self._ends.pop(number, None)
        return state


def _ended_before(state: RecipientState, before: datetime) -> bool:
    return isinstance(state, Delivered | Failed) and state.at < before
