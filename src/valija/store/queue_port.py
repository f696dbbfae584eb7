"""The queue's port: what every engine does, with the same meaning (the contract suite in tests/store holds them to it).

Theory of operation
-------------------
1. :meth:`QueueStore.accept` is durable when it returns: only then may a 250 be said. :meth:`QueueStore.accept_leased` is too;
   what it stores need not wait in the line: who sends it has it in hand.
2. What waits is taken with :meth:`QueueStore.lease`, in order of ``due_at`` and then of acceptance, all due recipients of a
   message together. Each lease has a number that was never given before; a lease that is over comes back with
   :meth:`QueueStore.end_leases`, whoever asks first.
3. States change only by :meth:`QueueStore.apply`, through the one table (:mod:`valija.domain.queue`): the state is read and
   replaced in one transaction, so that a stale worker's news cannot win.
4. What is worth telling of a change is written with it (:mod:`valija.domain.queue_history`), by :meth:`QueueStore.apply` and
   :meth:`QueueStore.end_leases`.
5. Where several nodes share the queue, an account's lane is on one of them at a time (:meth:`QueueStore.take_lane`), so that
   its provider sees one pace. Who takes a lane finds what the former node had under lease back in the line.
6. A body is either inside the row (small) or a file that was made durable before ``accept``; the file goes after the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from valija.domain.account_gate import Gate
from valija.domain.pace import Pace
from valija.domain.queue import InFlight, RecipientEvent, RecipientState, RecipientStateName
from valija.domain.queue_history import GateLine, HistoryLine
from valija.domain.queued_message import QueuedMessage, RecipientEntry
from valija.domain.traffic import TrafficSlot


@dataclass(frozen=True, slots=True)
class Body:
    """Where a message's octets are: ``octets``, or the name of a ``file`` in the spool."""

    octets: bytes = b""
    file: str = ""


@dataclass(frozen=True, slots=True)
class StoredQueued:
    """A message, its number, and the present states of its recipients."""

    id: int
    message: QueuedMessage
    entries: tuple[RecipientEntry, ...]


@dataclass(frozen=True, slots=True)
class Leased:
    """What a worker may try now: ``entries`` are the recipients under ``lease``, of the message ``id``."""

    lease: int
    id: int
    message: QueuedMessage
    entries: tuple[RecipientEntry, ...]
    body: Body


class QueueStore(Protocol):
    """Durable queue. ``shared``: other processes may have leases too; else all leases of a former process are over."""

    shared: bool

    async def accept(self, message: QueuedMessage, body: Body) -> int:
        """Store a message, all recipients Queued from its ``accepted_at``; return its number."""
        ...

    async def accept_leased(
        self, message: QueuedMessage, body: Body, until: datetime, taken: Callable[[Leased | None], None]
    ) -> int:
        """Store a message under a lease for the caller, who has the account's lane; return its number.

        ``taken`` is called once, even if the caller was cancelled: with the lease once it is durable, with None if there is
        none (the message was not stored, or is Queued as any other).
        """
        ...

    async def lease(self, account: str, now: datetime, until: datetime, limit: int) -> list[Leased]:
        """Take up to ``limit`` messages of an account that are due, each under a lease of its own until ``until``."""
        ...

    async def under_lease(self, account: str) -> list[tuple[int, InFlight]]:
        """Return an account's recipients that are under lease, by number."""
        ...

    async def end_leases(self, now: datetime, ended_before: datetime | None = None) -> int:
        """Put back, due ``now``, what is under leases that ended before ``now`` or ``ended_before`` (``LeaseEnded``).

        Returns how many recipients; there may be more until it returns 0.
        """
        ...

    async def apply(self, events: Sequence[tuple[int, RecipientEvent]]) -> list[RecipientState | None]:
        """Apply events to recipients by number, all or none; return their states after, None for one that is gone."""
        ...

    async def take_lane(self, account: str, now: datetime, seconds: float) -> bool:
        """Have an account's lane for so long; False while another node has it.

        What is under lease of the account comes back, due ``now``, if there are other nodes: nobody works on it any more.
        """
        ...

    async def renew_lane(self, account: str, seconds: float) -> bool:
        """Go on having a lane; False if another node has taken it."""
        ...

    async def leave_lane(self, account: str) -> None:
        """Let another node take the lane at once."""
        ...

    async def pace(self, account: str, now: datetime) -> Pace:
        """Return what an account has sent in the last minute and day, by whatever node."""
        ...

    async def next_due(self, account: str) -> datetime | None:
        """Return when the first of an account's waiting mail is due; None if none waits."""
        ...

    async def load(self, message_id: int) -> StoredQueued | None:
        """Return a message; None if it is gone."""
        ...

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
        """Return messages, latest first: of an account, with a recipient in a state, of a device (empty: the machine itself).

        ``text``: those that mention it, of the latest 5,000 that fit the rest.
        """
        ...

    async def load_body(self, message_id: int) -> Body | None:
        """Return where a message's octets are; None if it is gone."""
        ...

    async def counts(self) -> Mapping[tuple[str, RecipientStateName], int]:
        """Return how many recipients there are by account and state."""
        ...

    async def oldest_waiting(self) -> Mapping[str, datetime]:
        """Return by account when the oldest mail was accepted that waits for its turn."""
        ...

    async def forget_ended(self, before: datetime, limit: int) -> list[str]:
        """Delete up to ``limit`` messages all of whose recipients ended before ``before``; return the files they leave."""
        ...

    async def files(self) -> set[str]:
        """Return the files that messages name: what else is in the spool is nobody's."""
        ...

    async def load_gate(self, account: str) -> Gate:
        """Return an account's gate; open if none was ever stored."""
        ...

    async def save_gate(self, account: str, expected_version: int, gate: Gate, line: GateLine | None = None) -> bool:
        """Store a gate in place of the one of ``expected_version``, with what is told of it; False if another one is stored."""
        ...

    async def history(self, message_id: int) -> list[HistoryLine]:
        """Return what befell a message, in order: of too many lines, the first and the last ones."""
        ...

    async def gate_history(self, account: str) -> list[GateLine]:
        """Return what befell an account's gate, in order: the last of it."""
        ...

    async def add_traffic(self, slots: Sequence[TrafficSlot], forget_before: datetime) -> None:
        """Add to what is stored of these slots, ``waiting`` in its place; forget what is older."""
        ...

    async def traffic(self, since: datetime | None = None) -> list[TrafficSlot]:
        """Return what is stored of how much mail passed, in order; from the slot of ``since`` on."""
        ...

    async def gates(self) -> Mapping[str, Gate]:
        """Return all gates that were stored, by account."""
        ...
