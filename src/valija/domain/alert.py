"""What somebody should know of the machine: alerts, and how long one lasts. Pure.

Theory of operation
-------------------
1. A *condition* is what somebody should know now. An *alert* is a condition over time, one for each kind and subject, in one
   of four states, each a type with only its own fields:

   =========  ==============================================================================================
   Raised     it holds, and nobody was told yet
   Told       it holds, and was told
   Solving    it does not hold at the moment; it may come back (hysteresis)
   Solved     it has not held for ``PATIENCE``
   =========  ==============================================================================================

2. Every (state, event) pair has a row in ``TRANSITIONS``. A state that does not change comes back as the very same object.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from valija.domain.text import N_

PATIENCE: Final = timedelta(minutes=6)  # and 5 of a lock-out are more than SPACING: none is missed
AHEAD: Final = ((timedelta(days=1), "critical"), (timedelta(days=7), "warning"), (timedelta(days=30), "info"))


class Level(StrEnum):
    """How much an alert matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Return its place, the least first."""
        return tuple(Level).index(self)


class AlertKind(StrEnum):
    """What there are alerts on."""

    TOKEN_INVALID = "token_invalid"
    TOKEN_ENDING = "token_ending"
    SECRET_ENDING = "secret_ending"
    CERTIFICATE_ENDING = "certificate_ending"
    ACCOUNT_HELD = "account_held"
    QUEUE_OLD = "queue_old"
    QUEUE_LARGE = "queue_large"
    DISK_LOW = "disk_low"
    DEVICE_ERRORS = "device_errors"
    LOCKOUT = "lockout"
    PRINTER_FAULT = "printer_fault"
    SUPPLIES_LOW = "supplies_low"
    SCANNER_FAULT = "scanner_fault"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    CHANNEL_FAILED = "channel_failed"


SENTENCES: Final[Mapping[AlertKind, str]] = {
    AlertKind.TOKEN_INVALID: N_("The token of {subject} is not valid: mail does not go or come. Get a new token."),
    AlertKind.TOKEN_ENDING: N_("The token of {subject} ends on {date} if it cannot be refreshed before."),
    AlertKind.SECRET_ENDING: N_("The client secret of the provider {subject} ends on {date}. Make a new one there."),
    AlertKind.CERTIFICATE_ENDING: N_("The certificate {subject} ends on {date}. Renew it."),
    AlertKind.ACCOUNT_HELD: N_("Mail of {subject} does not leave: {words}"),
    AlertKind.QUEUE_OLD: N_("Mail of {subject} has been waiting for {hours} hours."),
    AlertKind.QUEUE_LARGE: N_("There is much mail in the queue of {subject}: more than {count} recipients wait."),
    AlertKind.DISK_LOW: N_("The disk of {subject} is nearly full: less than {free} MB are free."),
    AlertKind.DEVICE_ERRORS: N_("The device {subject} is refused again and again: {words}"),
    AlertKind.LOCKOUT: N_("Somebody guesses passwords and is locked out: {subject}, from {words}."),
    AlertKind.PRINTER_FAULT: N_("The printer {subject} cannot print: {words}"),
    AlertKind.SUPPLIES_LOW: N_("The printer {subject} runs out of supplies: {words}"),
    AlertKind.SCANNER_FAULT: N_("The scanner {subject} does not work: {words}"),
    AlertKind.UPSTREAM_UNREACHABLE: N_("The mail server {subject} cannot be reached: {words}"),
    AlertKind.CHANNEL_FAILED: N_("Alerts cannot be sent by {subject}: {words}"),
}
LEVEL_LABELS: Final[Mapping[Level, str]] = {
    Level.INFO: N_("Information"),
    Level.WARNING: N_("Warning"),
    Level.CRITICAL: N_("Urgent"),
}


@dataclass(frozen=True, slots=True)
class Value:
    """What fills a gap of an alert's sentence."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Condition:
    """What somebody should know now. ``node`` is the machine it is true of; empty: of all that share the store."""

    kind: AlertKind
    subject: str
    level: Level
    values: tuple[Value, ...] = ()
    node: str = ""

    @property
    def key(self) -> str:
        """Return what tells it from all others."""
        return "|".join((self.kind, self.node, self.subject))


def condition(kind: AlertKind, subject: str, level: Level, *, node: str = "", **values: str) -> Condition:
    """Return a condition with what fills its sentence."""
    return Condition(kind, subject, level, tuple(Value(k, v) for k, v in sorted(values.items())), node)


def ending(
    kind: AlertKind, subject: str, ends_at: datetime, now: datetime, *, node: str = "", life: timedelta | None = None
) -> Condition | None:
    """Return that something ends in 30, 7 or 1 days or has ended; None while it is further away.

    What lives only for ``life`` is not told of before half of that is over.
    """
    for ahead, level in AHEAD:
        if ends_at - now <= (ahead if life is None else min(ahead, life / 2)):
            return condition(kind, subject, Level(level), node=node, date=ends_at.isoformat())
    return None


# --- states -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Raised:
    """It holds, and nobody was told."""

    since: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """It holds; ``told_at`` is when it was told last, of what ``level`` it was then."""

    since: datetime
    told_at: datetime
    level: Level


@dataclass(frozen=True, slots=True)
class Solving:
    """It has not held since ``clear_at``; ``told`` is what it goes back to if it comes back."""

    since: datetime
    clear_at: datetime
    told: Told | None


@dataclass(frozen=True, slots=True)
class Solved:
    """It is over; ``told`` is set while that is still to be told."""

    since: datetime
    at: datetime
    told: Told | None


AlertState = Raised | Told | Solving | Solved


@dataclass(frozen=True, slots=True)
class Seen:
    """The condition holds."""

    at: datetime


@dataclass(frozen=True, slots=True)
class NotSeen:
    """The condition does not hold."""

    at: datetime


@dataclass(frozen=True, slots=True)
class WasTold:
    """It was handed to the channels; ``level`` is the one that was told."""

    at: datetime
    level: Level


AlertEvent = Seen | NotSeen | WasTold


def _same(state: AlertState, _event: AlertEvent) -> AlertState:
    return state


def _told(state: Raised | Told, event: WasTold) -> AlertState:
    return Told(state.since, event.at, event.level)


def _clear(state: Raised | Told, event: NotSeen) -> AlertState:
    return Solving(state.since, event.at, state if isinstance(state, Told) else None)


def _back(state: Solving, _event: Seen) -> AlertState:
    return state.told or Raised(state.since)


def _clear_long(state: Solving, event: NotSeen) -> AlertState:
    # a clock that was set back makes nobody wait longer
    return state if timedelta() <= event.at - state.clear_at < PATIENCE else Solved(state.since, event.at, state.told)


def _told_meanwhile(state: Solving, event: WasTold) -> AlertState:
    return replace(state, told=Told(state.since, event.at, event.level))


def _again(state: Solved, event: Seen) -> AlertState:
    """What comes back before its end was told has never ended for whom was told."""
    return state.told or Raised(event.at)


def _end_told(state: Solved, _event: WasTold) -> AlertState:
    return state if state.told is None else replace(state, told=None)


TRANSITIONS: Final[Mapping[tuple[type, type], Callable[[Any, Any], AlertState]]] = {
    (Raised, Seen): _same,
    (Raised, NotSeen): _clear,
    (Raised, WasTold): _told,
    (Told, Seen): _same,
    (Told, NotSeen): _clear,
    (Told, WasTold): _told,
    (Solving, Seen): _back,
    (Solving, NotSeen): _clear_long,
    (Solving, WasTold): _told_meanwhile,
    (Solved, Seen): _again,
    (Solved, NotSeen): _same,
    (Solved, WasTold): _end_told,
}


def next_state(state: AlertState, event: AlertEvent) -> AlertState:
    """Return the state after an event."""
    return TRANSITIONS[type(state), type(event)](state, event)


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition, as it was seen last, and how it stands with it."""

    condition: Condition
    state: AlertState

    @property
    def is_open(self) -> bool:
        """Tell whether it holds, as far as is known."""
        return not isinstance(self.state, Solved)

    @property
    def since(self) -> datetime:
        """Return when it began."""
        return self.state.since


def see(before: Alert | None, found: Condition | None, now: datetime) -> Alert:
    """Return an alert after a look at what it is about; ``before`` is the very same if nothing changed."""
    if before is None:
        if found is None:
            raise ValueError("neither an alert nor a condition")
        return Alert(found, Raised(now))
    state = next_state(before.state, NotSeen(now) if found is None else Seen(now))
    seen = before.condition if found is None else found
    return before if state is before.state and seen == before.condition else Alert(seen, state)


def worst(alerts: Collection[Alert]) -> Level | None:
    """Return the level of the lamp; None while all is well."""
    return max((a.condition.level for a in alerts if a.is_open), key=lambda level: level.rank, default=None)
