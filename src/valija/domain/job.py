"""The life of a job of the machine (a scan, a fax, a print, a status request): six states, their events, one table. Pure.

Theory of operation
-------------------
All kinds of jobs go through the same states; a kind that has no use for one leaves it out.

=========  ==========================================================================================================
Preparing  its pages are being scanned, received or rendered; how many, is its :class:`Progress`
Sending    it is in the mail queue as ``messages``, which have their own lives (:mod:`valija.domain.queue`)
Awaiting   the machine has done its part and waits, for a confirmation or for a printer, at most until ``until``
Done       (final)
Failed     for the reason that the trouble has (final)
Cancelled  somebody did not want it any more (final)
=========  ==========================================================================================================

Rules:

1. Every (state, event) pair has a row in ``TRANSITIONS``. A final state stays.
2. ``HandedOn`` is taken in Awaiting, too: what was not confirmed can be sent again, as other messages.
3. What is waited for ends in time: whoever keeps jobs makes ``TroubleCame`` of an Awaiting whose ``until`` is over.
4. ``CancelAsked`` ends a job at any moment; what follows from it (a scanner stopped, mail taken from the queue) is the
   keeper's to do.
5. What befell a job is written down with the change (:func:`line_of`); a change that changed nothing is no line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from valija.domain.trouble import Trouble

TITLE_LIMIT: Final = 200
LINES_LIMIT: Final = 200  # a folder that is away for days is tried every hour
RECIPIENT_LINES: Final = 8  # more for each recipient: what is answered for one must not push out what another one said


class JobKind(StrEnum):
    """What a job does."""

    SCAN = "scan"
    FAX_SEND = "fax_send"
    FAX_RECEIVE = "fax_receive"
    PRINT = "print"
    STATUS_REQUEST = "status_request"


class JobStateName(StrEnum):
    """The states by the names that programs use."""

    PREPARING = "preparing"
    SENDING = "sending"
    AWAITING = "awaiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Awaited(StrEnum):
    """What a job waits for."""

    PERSON = "person"  # who looks at the pages before they are sent
    CONFIRMATION = "confirmation"  # a DSN or MDN
    PRINTER = "printer"
    RETRY = "retry"  # the time to try again


@dataclass(frozen=True, slots=True)
class Progress:
    """So many pages ``done`` of ``of``; 0 for as long as nobody knows how many there will be."""

    done: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True)
class Detail:
    """One thing more that is known of a job, by a name of its kind."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class JobCard:
    """What does not change about a job: its kind, ``who`` began it and ``where`` (a face, a folder, a sender's address)."""

    kind: JobKind
    who: str
    where: str
    title: str
    created_at: datetime
    recipients: tuple[str, ...] = ()
    details: tuple[Detail, ...] = ()

    def detail(self, name: str) -> str:
        """Return a detail; empty if there is none of that name."""
        return next((detail.value for detail in self.details if detail.name == name), "")


# --- states ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preparing:
    """Since ``since``."""

    since: datetime
    name = JobStateName.PREPARING


@dataclass(frozen=True, slots=True)
class Sending:
    """The numbers that its ``messages`` have in the mail queue."""

    since: datetime
    messages: tuple[int, ...]
    name = JobStateName.SENDING


@dataclass(frozen=True, slots=True)
class Awaiting:
    """Waits for ``what``, until ``until`` (None: for ever); ``messages`` as they were sent."""

    since: datetime
    what: Awaited
    until: datetime | None = None
    messages: tuple[int, ...] = ()
    name = JobStateName.AWAITING


@dataclass(frozen=True, slots=True)
class Done:
    """It came to its end; ``words`` are the other side's, if it said any."""

    at: datetime
    words: str = ""
    name = JobStateName.DONE


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot come to its end."""

    at: datetime
    trouble: Trouble
    name = JobStateName.FAILED


@dataclass(frozen=True, slots=True)
class Cancelled:
    """``who`` did not want it any more."""

    at: datetime
    who: str = ""
    name = JobStateName.CANCELLED


JobState = Preparing | Sending | Awaiting | Done | Failed | Cancelled


# --- events ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HandedOn:
    """It was put into the mail queue, durably, as these messages."""

    at: datetime
    messages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Waits:
    """The machine has done its part for now."""

    at: datetime
    what: Awaited
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Resumed:
    """What was waited for came, and there is more to do."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Finished:
    """It came to its end."""

    at: datetime
    words: str = ""


@dataclass(frozen=True, slots=True)
class TroubleCame:
    """It cannot come to its end."""

    at: datetime
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """``who`` does not want it any more."""

    at: datetime
    who: str = ""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something worth a line, without a change: a word of ``NOTES`` and what it is about."""

    at: datetime
    word: str
    about: str = ""


JobEvent = HandedOn | Waits | Resumed | Finished | TroubleCame | CancelAsked | Noted


# --- transitions ----------------------------------------------------------------------------------------------------------


def _stay(state: JobState, _event: JobEvent) -> JobState:
    return state


def _send(_state: JobState, event: HandedOn) -> JobState:
    return Sending(event.at, event.messages)


def _wait(state: JobState, event: Waits) -> JobState:
    messages = state.messages if isinstance(state, Sending | Awaiting) else ()
    return Awaiting(event.at, event.what, event.until, messages)


def _resume(_state: JobState, event: Resumed) -> JobState:
    return Preparing(event.at)


def _finish(_state: JobState, event: Finished) -> JobState:
    return Done(event.at, event.words)


def _fail(_state: JobState, event: TroubleCame) -> JobState:
    return Failed(event.at, event.trouble)


def _cancel(_state: JobState, event: CancelAsked) -> JobState:
    return Cancelled(event.at, event.who)


@dataclass(frozen=True, slots=True)
class Transition:
    """One row: what computes the next state, and which state that is."""

    next: Callable[[Any, Any], JobState]
    leads_to: type


_LIVE: Final = (Preparing, Sending, Awaiting)
_FINAL: Final = (Done, Failed, Cancelled)
_EVENTS: Final = (HandedOn, Waits, Resumed, Finished, TroubleCame, CancelAsked)

TRANSITIONS: Final[dict[tuple[type, type], Transition]] = {
    **{(state, event): Transition(_stay, state) for state in _FINAL for event in _EVENTS},
    **{(state, Noted): Transition(_stay, state) for state in (*_LIVE, *_FINAL)},
    **{(state, HandedOn): Transition(_send, Sending) for state in _LIVE},
    **{(state, Waits): Transition(_wait, Awaiting) for state in _LIVE},
    **{(state, Finished): Transition(_finish, Done) for state in _LIVE},
    **{(state, TroubleCame): Transition(_fail, Failed) for state in _LIVE},
    **{(state, CancelAsked): Transition(_cancel, Cancelled) for state in _LIVE},
    (Preparing, Resumed): Transition(_stay, Preparing),
    (Sending, Resumed): Transition(_resume, Preparing),
    (Awaiting, Resumed): Transition(_resume, Preparing),
}


def next_state(state: JobState, event: JobEvent) -> JobState:
    """Return the state after ``event``; the very same object if it changes nothing."""
    return TRANSITIONS[type(state), type(event)].next(state, event)


def is_final(state: JobState) -> bool:
    """Tell whether nothing more will happen."""
    return isinstance(state, _FINAL)


# --- history --------------------------------------------------------------------------------------------------------------


class JobWord(StrEnum):
    """What befell a job, by the names that programs use; those from ``BLANK_DROPPED`` on are notes."""

    BEGAN = "began"
    HANDED_ON = "handed_on"
    WAITS = "waits"
    RESUMED = "resumed"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    BLANK_DROPPED = "blank_dropped"
    SHRUNK = "shrunk"
    SPLIT = "split"
    TAKEN_FROM_FOLDER = "taken_from_folder"
    NOT_SHOWN = "not_shown"  # kept, but it cannot be shown as pages
    ANSWERED = "answered"  # a confirmation came
    CONFIRMED = "confirmed"  # a confirmation was sent
    SENT_AGAIN = "sent_again"
    PRINTED = "printed"
    FILED = "filed"
    FORWARDED = "forwarded"
    LEFT_OUT = "left_out"  # options that were not understood, or that the printer does not know
    AT_PRINTER = "at_printer"  # the printer has it, by a number of its own
    PRINTER_SAYS = "printer_says"
    NOT_FILED = "not_filed"  # in a folder that cannot be written now


@dataclass(frozen=True, slots=True)
class JobLine:
    """One thing that befell a job; ``about`` is a name, a number, the other side's words; ``who`` asked for it."""

    at: datetime
    word: JobWord
    about: str = ""
    trouble: Trouble | None = None
    who: str = ""


def lines_limit(card: JobCard) -> int:
    """Return how many lines a job's history has at most: what it goes by must be among them."""
    return LINES_LIMIT + RECIPIENT_LINES * len(card.recipients)


def line_of(before: JobState, event: JobEvent, after: JobState) -> JobLine | None:
    """Return what is worth a line of a change; None for nothing."""
    if isinstance(event, Noted):
        return JobLine(event.at, JobWord(event.word), event.about)
    if after is before:
        return None
    match event:
        case HandedOn():
            return JobLine(event.at, JobWord.HANDED_ON, ", ".join(map(str, event.messages)))
        case Waits():
            return JobLine(event.at, JobWord.WAITS, event.what.value)
        case Resumed():
            return JobLine(event.at, JobWord.RESUMED)
        case Finished():
            return JobLine(event.at, JobWord.FINISHED, event.words)
        case TroubleCame():
            return JobLine(event.at, JobWord.FAILED, trouble=event.trouble)
        case CancelAsked():
            return JobLine(event.at, JobWord.CANCELLED, who=event.who)
