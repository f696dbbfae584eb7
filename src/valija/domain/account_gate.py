"""Whether an account's mail may leave: one gate for all of its messages. Pure.

Theory of operation
-------------------
An account's fault is no message's fault. Without a working token, with SMTP AUTH switched off, without the right to send as
the mailbox, the gate is *blocked*: nothing of that account is leased, nothing burns a try, nothing expires. The gate is one
record, so that holding or releasing a hundred thousand messages costs nothing.

1. A gate has two locks that know nothing of each other: the account's trouble (``blocked``) and an operator's ``held_at``.
   It is open if neither is set.
2. Who closes it says how it opens. ``Blocked.opens_with_token``: the trouble is the token's, and ``TokenWorks`` opens it.
   Else somebody mends something at the provider that nobody here sees: after ``probe_at``, or at once when another token was
   got, one message is let through as a probe, and the gate opens with its success or is blocked for longer.
3. ``stopped`` adds up the closed times, so that a message's waiting time can leave them out
   (:mod:`valija.domain.retry_schedule`). A clock that was set back adds nothing.
4. Every change returns a new gate, or the very same one if nothing changed; ``version`` counts changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from valija.domain.trouble import Trouble

FIRST_PROBE: Final = timedelta(minutes=2)  # then 4, 8, 16, 30 minutes
LONGEST_PROBE: Final = timedelta(minutes=30)
PROBE_SPREAD: Final = 0.2
LONGEST_WAIT: Final = LONGEST_PROBE * (1 + PROBE_SPREAD)  # a probe that seems later: the clock was set back meanwhile


@dataclass(frozen=True, slots=True)
class Blocked:
    """The account's trouble since ``since``; ``probes`` how many were let through in vain."""

    trouble: Trouble
    since: datetime
    opens_with_token: bool
    probe_at: datetime
    probes: int = 0


@dataclass(frozen=True, slots=True)
class Gate:
    """One account's gate; ``closed_at`` is when it closed, None while it is open."""

    blocked: Blocked | None = None
    held_at: datetime | None = None
    closed_at: datetime | None = None
    stopped: timedelta = timedelta()
    version: int = 0

    @property
    def is_open(self) -> bool:
        """Tell whether mail may leave."""
        return self.closed_at is None

    def may_probe(self, now: datetime) -> bool:
        """Tell whether one message may try whether the account works again."""
        if self.held_at is not None or self.blocked is None:
            return False
        return not timedelta() < self.blocked.probe_at - now <= LONGEST_WAIT

    def stopped_until(self, now: datetime) -> timedelta:
        """Return for how long it has been closed altogether."""
        return self.stopped if self.closed_at is None else self.stopped + max(now - self.closed_at, timedelta())


def block(gate: Gate, trouble: Trouble, now: datetime, *, opens_with_token: bool, jitter: float) -> Gate:
    """Return the gate after the account's trouble: a probe's failure makes the next probe later."""
    was = gate.blocked
    probes = 0
    if was is not None:
        probes = was.probes + 1 if now >= was.probe_at else was.probes
    wait = min(FIRST_PROBE * 2 ** min(probes, 10), LONGEST_PROBE) * (1 - PROBE_SPREAD + 2 * PROBE_SPREAD * jitter)
    since = was.since if was is not None else now
    if was is not None and probes == was.probes and _same(was, trouble, opens_with_token=opens_with_token):
        return gate  # another worker's news of the same
    return _settle(gate, replace(gate, blocked=Blocked(trouble, since, opens_with_token, now + wait, probes)), now)


def token_works(gate: Gate, now: datetime, *, new: bool = False) -> Gate:
    """Return the gate after a token came back; ``new``: somebody got another one, and may have mended the trouble with it."""
    if gate.blocked is None:
        return gate
    if not gate.blocked.opens_with_token:
        return probe_now(gate, now) if new else gate
    return _settle(gate, replace(gate, blocked=None), now)


def account_works(gate: Gate, now: datetime) -> Gate:
    """Return the gate after the server took a message, or somebody changed the account's setting."""
    return gate if gate.blocked is None else _settle(gate, replace(gate, blocked=None), now)


def probe_now(gate: Gate, now: datetime) -> Gate:
    """Return the gate after somebody asked to try at once: the next message is a probe."""
    if gate.blocked is None or gate.blocked.probe_at <= now:
        return gate
    return replace(gate, blocked=replace(gate.blocked, probe_at=now), version=gate.version + 1)


def hold(gate: Gate, now: datetime) -> Gate:
    """Return the gate after an operator stopped the account's mail."""
    return gate if gate.held_at is not None else _settle(gate, replace(gate, held_at=now), now)


def release(gate: Gate, now: datetime) -> Gate:
    """Return the gate after an operator let the account's mail go on."""
    return gate if gate.held_at is None else _settle(gate, replace(gate, held_at=None), now)


def _same(was: Blocked, trouble: Trouble, *, opens_with_token: bool) -> bool:
    return was.trouble.reason == trouble.reason and was.opens_with_token == opens_with_token


def _settle(before: Gate, after: Gate, now: datetime) -> Gate:
    """Return ``after`` with its closed time kept right."""
    closed = after.blocked is not None or after.held_at is not None
    version = before.version + 1
    if closed:
        return replace(after, closed_at=before.closed_at or now, version=version)
    return replace(after, closed_at=None, stopped=before.stopped_until(now), version=version)
