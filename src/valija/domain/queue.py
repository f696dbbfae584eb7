"""The life of an accepted message for one recipient: six states, their events, one table. Pure.

Theory of operation
-------------------
A message that got a 250 is owed to each of its recipients by itself. For a recipient it is in exactly one of six states:

=========  ==========================================================================================================
Queued     waits for its first try, or for another one that somebody asked for
InFlight   a worker has it under a lease; what it was ``before`` comes back if the lease ends without an outcome
Deferred   a try failed for a reason that passes, or its end is in doubt; tried again at ``due_at``
Held       an operator stopped it; it neither leaves nor expires
Delivered  the server said 250 for it (final)
Failed     refused, expired or cancelled (final)
=========  ==========================================================================================================

Rules:

1. Every (state, event) pair has a row in ``TRANSITIONS``.
2. An outcome names the lease of the worker that has it. With another lease it is stale and the very same state comes back,
   but for one: ``Accepted`` is a fact, whoever reports it. What was delivered is never sent again.
3. ``tries`` counts what was the recipient's or the message's own trouble. An account's trouble (no token, wrong rights)
   burns no try: the message goes back to what it was, and the account's gate (:mod:`valija.domain.account_gate`) is closed.
4. What an operator asks for while a worker has the message is kept as a ``wish`` and comes true when the try has ended
   without delivery; the last wish counts.
5. A final state stays, but for a late ``Accepted`` after ``Failed``: the outcome that is true.
6. A lost connection after the final dot is ``InDoubt`` (RFC 5321 section 4.5.4.1: try again): deferred, with the doubt
   remembered, since the next try may be the second copy.

When to try, and for how long, says :mod:`valija.domain.retry_schedule`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from valija.domain.trouble import Trouble


class RecipientStateName(StrEnum):
    """The states by the names that programs use."""

    QUEUED = "queued"
    IN_FLIGHT = "in_flight"
    DEFERRED = "deferred"
    HELD = "held"
    DELIVERED = "delivered"
    FAILED = "failed"


class Wish(StrEnum):
    """What an operator asked for while a worker had the message."""

    HOLD = "hold"
    CANCEL = "cancel"


class FailureCause(StrEnum):
    """Why a message will not be delivered."""

    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


# --- states ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Queued:
    """Waits since ``due_at``; ``tries`` so far, the last one's ``trouble``; ``in_doubt``: it may have been delivered."""

    due_at: datetime
    tries: int = 0
    trouble: Trouble | None = None
    in_doubt: bool = False
    name = RecipientStateName.QUEUED


@dataclass(frozen=True, slots=True)
class Deferred:
    """Tried again at ``due_at``, because of ``trouble``."""

    due_at: datetime
    tries: int
    trouble: Trouble
    in_doubt: bool = False
    name = RecipientStateName.DEFERRED


@dataclass(frozen=True, slots=True)
class InFlight:
    """A worker has it under ``lease``, which grows with each lease that is given (a fencing token)."""

    lease: int
    before: Queued | Deferred
    wish: Wish | None = None
    name = RecipientStateName.IN_FLIGHT


@dataclass(frozen=True, slots=True)
class Held:
    """Stopped by an operator at ``since``."""

    since: datetime
    before: Queued | Deferred
    name = RecipientStateName.HELD


@dataclass(frozen=True, slots=True)
class Delivered:
    """The server said 250 for it, in ``server_words``."""

    at: datetime
    server_words: str
    name = RecipientStateName.DELIVERED


@dataclass(frozen=True, slots=True)
class Failed:
    """It will not be delivered; ``in_doubt``: a try before may have delivered it all the same."""

    at: datetime
    cause: FailureCause
    trouble: Trouble | None = None
    in_doubt: bool = False
    name = RecipientStateName.FAILED


Waiting = Queued | Deferred
RecipientState = Queued | InFlight | Deferred | Held | Delivered | Failed


# --- events ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leased:
    """A worker takes it."""

    lease: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server took it for this recipient."""

    at: datetime
    server_words: str


@dataclass(frozen=True, slots=True)
class TryFailed:
    """A try failed for a reason that passes: 4yz, or no connection."""

    lease: int
    due_at: datetime
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class InDoubt:
    """The connection was lost after the final dot: nobody knows."""

    lease: int
    due_at: datetime
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Refused:
    """The server refused the recipient or the message for good."""

    lease: int
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The worker could not try: the account's trouble, its pace, or the worker stops. Burns no try."""

    lease: int


@dataclass(frozen=True, slots=True)
class LeaseEnded:
    """The lease's time is over and its worker is gone. The try may have reached the final dot."""

    lease: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class HoldAsked:
    """An operator (``who``) stops it."""

    at: datetime
    who: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseAsked:
    """An operator lets it go on."""

    at: datetime
    who: str = ""


@dataclass(frozen=True, slots=True)
class RetryAsked:
    """An operator wants it tried now."""

    at: datetime
    who: str = ""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """An operator does not want it delivered any more."""

    at: datetime
    who: str = ""


@dataclass(frozen=True, slots=True)
class TimeOver:
    """It has waited as long as the schedule allows."""

    at: datetime


RecipientEvent = (
    Leased
    | Accepted
    | TryFailed
    | InDoubt
    | Refused
    | GivenBack
    | LeaseEnded
    | HoldAsked
    | ReleaseAsked
    | RetryAsked
    | CancelAsked
    | TimeOver
)


# --- transitions ----------------------------------------------------------------------------------------------------------


def _stay(state: RecipientState, _event: RecipientEvent) -> RecipientState:
    return state


def _lease(state: Waiting, event: Leased) -> RecipientState:
    return InFlight(event.lease, state)


def _deliver(_state: RecipientState, event: Accepted) -> RecipientState:
    return Delivered(event.at, event.server_words)


def _come_back(state: InFlight, waiting: Waiting, at: datetime) -> RecipientState:
    if state.wish is Wish.HOLD:
        return Held(at, waiting)
    if state.wish is Wish.CANCEL:
        return Failed(at, FailureCause.CANCELLED, waiting.trouble, waiting.in_doubt)
    return waiting


def _fail_try(state: InFlight, event: TryFailed) -> RecipientState:
    if event.lease != state.lease:
        return state
    was = state.before
    return _come_back(state, Deferred(event.due_at, was.tries + 1, event.trouble, was.in_doubt), event.trouble.at)


def _doubt(state: InFlight, event: InDoubt) -> RecipientState:
    if event.lease != state.lease:
        return state
    return _come_back(state, Deferred(event.due_at, state.before.tries + 1, event.trouble, True), event.trouble.at)


def _refuse(state: InFlight, event: Refused) -> RecipientState:
    if event.lease != state.lease:
        return state
    return Failed(event.trouble.at, FailureCause.REFUSED, event.trouble, state.before.in_doubt)


def _give_back(state: InFlight, event: GivenBack) -> RecipientState:
    if event.lease != state.lease:
        return state
    return _come_back(state, state.before, state.before.due_at)


def _end_lease(state: InFlight, event: LeaseEnded) -> RecipientState:
    if event.lease != state.lease:
        return state
    return _come_back(state, replace(state.before, due_at=event.due_at, in_doubt=True), event.due_at)


def _hold(state: Waiting, event: HoldAsked) -> RecipientState:
    return Held(event.at, state)


def _wish_hold(state: InFlight, _event: HoldAsked) -> RecipientState:
    return state if state.wish is Wish.HOLD else replace(state, wish=Wish.HOLD)


def _wish_cancel(state: InFlight, _event: CancelAsked) -> RecipientState:
    return state if state.wish is Wish.CANCEL else replace(state, wish=Wish.CANCEL)


def _forget_wish(state: InFlight, _event: ReleaseAsked | RetryAsked) -> RecipientState:
    return state if state.wish is None else replace(state, wish=None)


def _release(state: Held, _event: ReleaseAsked) -> RecipientState:
    return state.before


def _retry(state: Waiting, event: RetryAsked) -> RecipientState:
    if isinstance(state, Queued) and state.due_at <= event.at:
        return state
    return Queued(event.at, state.tries, state.trouble, state.in_doubt)


def _retry_held(state: Held, event: RetryAsked) -> RecipientState:
    return _retry(state.before, event)


def _cancel(state: Waiting, event: CancelAsked) -> RecipientState:
    return Failed(event.at, FailureCause.CANCELLED, state.trouble, state.in_doubt)


def _cancel_held(state: Held, event: CancelAsked) -> RecipientState:
    return _cancel(state.before, event)


def _expire(state: Waiting, event: TimeOver) -> RecipientState:
    return Failed(event.at, FailureCause.EXPIRED, state.trouble, state.in_doubt)


@dataclass(frozen=True, slots=True)
class Transition:
    """One row: what computes the next state, and which states that can be."""

    next: Callable[[Any, Any], RecipientState]
    leads_to: frozenset[type]


def _row(function: Callable[[Any, Any], RecipientState], *leads_to: type) -> Transition:
    return Transition(function, frozenset(leads_to))


_Q, _I, _R, _H, _D, _F = Queued, InFlight, Deferred, Held, Delivered, Failed
_OUTCOMES: Final = (TryFailed, InDoubt, Refused, GivenBack, LeaseEnded)
_ASKED: Final = (HoldAsked, ReleaseAsked, RetryAsked, CancelAsked, TimeOver, Leased)

TRANSITIONS: Final[dict[tuple[type, type], Transition]] = {
    **{(s, event): _row(_stay, s) for s in (_Q, _R, _H, _D, _F) for event in _OUTCOMES},
    **{(s, event): _row(_stay, s) for s in (_D, _F) for event in _ASKED},
    **{(s, Accepted): _row(_deliver, _D) for s in (_Q, _I, _R, _H, _F)},
    (_D, Accepted): _row(_stay, _D),
    (_Q, Leased): _row(_lease, _I),
    (_R, Leased): _row(_lease, _I),
    (_I, Leased): _row(_stay, _I),
    (_H, Leased): _row(_stay, _H),
    (_I, TryFailed): _row(_fail_try, _I, _R, _H, _F),
    (_I, InDoubt): _row(_doubt, _I, _R, _H, _F),
    (_I, Refused): _row(_refuse, _I, _F),
    (_I, GivenBack): _row(_give_back, _I, _Q, _R, _H, _F),
    (_I, LeaseEnded): _row(_end_lease, _I, _Q, _R, _H, _F),
    (_Q, HoldAsked): _row(_hold, _H),
    (_R, HoldAsked): _row(_hold, _H),
    (_H, HoldAsked): _row(_stay, _H),
    (_I, HoldAsked): _row(_wish_hold, _I),
    (_Q, ReleaseAsked): _row(_stay, _Q),
    (_R, ReleaseAsked): _row(_stay, _R),
    (_H, ReleaseAsked): _row(_release, _Q, _R),
    (_I, ReleaseAsked): _row(_forget_wish, _I),
    (_Q, RetryAsked): _row(_retry, _Q),
    (_R, RetryAsked): _row(_retry, _Q),
    (_H, RetryAsked): _row(_retry_held, _Q),
    (_I, RetryAsked): _row(_forget_wish, _I),
    (_Q, CancelAsked): _row(_cancel, _F),
    (_R, CancelAsked): _row(_cancel, _F),
    (_H, CancelAsked): _row(_cancel_held, _F),
    (_I, CancelAsked): _row(_wish_cancel, _I),
    (_Q, TimeOver): _row(_expire, _F),
    (_R, TimeOver): _row(_expire, _F),
    (_H, TimeOver): _row(_stay, _H),
    (_I, TimeOver): _row(_stay, _I),
}


def next_state(state: RecipientState, event: RecipientEvent) -> RecipientState:
    """Return the state after ``event``; the very same object if the event is stale or changes nothing."""
    return TRANSITIONS[type(state), type(event)].next(state, event)


def is_final(state: RecipientState) -> bool:
    """Tell whether nothing is owed any more."""
    return isinstance(state, Delivered | Failed)


def due_at(state: RecipientState) -> datetime | None:
    """Return when a worker should take it; None for never, or not before something else happens."""
    return state.due_at if isinstance(state, Queued | Deferred) else None
