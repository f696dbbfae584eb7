"""What is written down of a message's life and of an account's gate, for people who ask later. Pure.

Theory of operation
-------------------
1. Acceptance is in the message and delivery in the final state: a message that leaves at once writes no line at all.
2. A line is written with the change that it tells of, in the same transaction, by whoever applies the event
   (:func:`line_of`). What changed nothing (a stale worker, a wish twice) is no line.
3. What befell several recipients of a message alike, at one moment, is one line with their places (:func:`gather`).
4. A message keeps its first ``FIRST_LINES`` lines and its last ones, ``LINES_LIMIT`` in all; a gate its last ``GATE_LINES``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from valija.domain.account_gate import Gate
from valija.domain.queue import (
    CancelAsked,
    Deferred,
    HoldAsked,
    InDoubt,
    InFlight,
    LeaseEnded,
    RecipientEvent,
    RecipientState,
    Refused,
    ReleaseAsked,
    RetryAsked,
    TimeOver,
    TryFailed,
)
from valija.domain.trouble import Trouble

FIRST_LINES: Final = 20
LINES_LIMIT: Final = 100
GATE_LINES: Final = 200


class HistoryWord(StrEnum):
    """What befell a message, by the names that programs use."""

    TRY_FAILED = "try_failed"
    IN_DOUBT = "in_doubt"
    REFUSED = "refused"
    LEASE_ENDED = "lease_ended"
    EXPIRED = "expired"
    HELD = "held"
    HOLD_WISHED = "hold_wished"  # while a worker had it
    RELEASED = "released"
    RETRIED = "retried"
    CANCELLED = "cancelled"
    CANCEL_WISHED = "cancel_wished"


class GateWord(StrEnum):
    """What befell an account's gate."""

    BLOCKED = "blocked"
    OPENED = "opened"
    HELD = "held"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One thing that befell the recipients at ``places``.

    ``trouble`` and ``tries`` (how many there had been then) belong to a try, ``next_at`` is when the next one was due;
    ``who`` asked for it, empty if nobody did.
    """

    at: datetime
    word: HistoryWord
    places: tuple[int, ...]
    trouble: Trouble | None = None
    tries: int = 0
    next_at: datetime | None = None
    who: str = ""


@dataclass(frozen=True, slots=True)
class GateLine:
    """One change of an account's gate; ``who`` is an operator, ``trouble`` what blocked it."""

    at: datetime
    word: GateWord
    trouble: Trouble | None = None
    who: str = ""


def line_of(before: RecipientState, event: RecipientEvent, after: RecipientState, place: int) -> HistoryLine | None:
    """Return what is worth a line of a change; None for nothing."""
    if after is before:
        return None
    places = (place,)
    match event:
        case TryFailed() | InDoubt():
            word = HistoryWord.IN_DOUBT if isinstance(event, InDoubt) else HistoryWord.TRY_FAILED
            return HistoryLine(event.trouble.at, word, places, event.trouble, _tries(before) + 1, _next(after))
        case Refused():
            return HistoryLine(event.trouble.at, HistoryWord.REFUSED, places, event.trouble, _tries(before) + 1)
        case LeaseEnded():
            return HistoryLine(event.due_at, HistoryWord.LEASE_ENDED, places)
        case TimeOver():
            return HistoryLine(event.at, HistoryWord.EXPIRED, places)
        case HoldAsked() | ReleaseAsked() | RetryAsked() | CancelAsked():
            return HistoryLine(event.at, _asked(event, wish=isinstance(after, InFlight)), places, who=event.who)
        case _:
            return None


def _asked(event: HoldAsked | ReleaseAsked | RetryAsked | CancelAsked, *, wish: bool) -> HistoryWord:
    match event:
        case HoldAsked():
            return HistoryWord.HOLD_WISHED if wish else HistoryWord.HELD
        case CancelAsked():
            return HistoryWord.CANCEL_WISHED if wish else HistoryWord.CANCELLED
        case ReleaseAsked():
            return HistoryWord.RELEASED
        case RetryAsked():
            return HistoryWord.RETRIED


def _tries(before: RecipientState) -> int:
    return before.before.tries if isinstance(before, InFlight) else 0


def _next(after: RecipientState) -> datetime | None:
    return after.due_at if isinstance(after, Deferred) else None


def gather(found: Iterable[tuple[int, HistoryLine | None]]) -> list[tuple[int, HistoryLine]]:
    """Return lines by message number with those that say the same of several recipients made one."""
    together: dict[tuple[object, ...], tuple[int, HistoryLine]] = {}
    for number, line in found:
        if line is None:
            continue
        said = (line.trouble.reason, line.trouble.server_words) if line.trouble else None
        key = (number, line.word, line.tries, line.who, said)
        if key in together:
            first = together[key][1]
            line = replace(first, places=first.places + line.places, next_at=_earlier(first.next_at, line.next_at))
        together[key] = number, line
    return list(together.values())


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((at for at in (one, other) if at is not None), default=None)


def keep(lines: list[HistoryLine]) -> list[HistoryLine]:
    """Return the first and the last of too many lines."""
    over = len(lines) - LINES_LIMIT
    return lines if over <= 0 else lines[:FIRST_LINES] + lines[FIRST_LINES + over :]


def gate_line(before: Gate, after: Gate, at: datetime, who: str = "") -> GateLine | None:
    """Return what is worth a line of a gate's change: not a probe in vain, nor the same trouble again."""
    if before.held_at is None and after.held_at is not None:
        return GateLine(at, GateWord.HELD, who=who)
    if before.held_at is not None and after.held_at is None:
        return GateLine(at, GateWord.RELEASED, who=who)
    if after.blocked is None:
        return None if before.blocked is None else GateLine(at, GateWord.OPENED)
    trouble = after.blocked.trouble
    if before.blocked is not None and before.blocked.trouble.reason == trouble.reason:
        return None
    return GateLine(at, GateWord.BLOCKED, trouble)
