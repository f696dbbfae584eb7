"""What is told of alerts, when, and by which channels. Pure.

Theory of operation
-------------------
1. One mail, not a hundred: what is raised waits ``GROUP`` for others and is told with them; after that ``SPACING`` passes until
   the next, unless something is critical; what lasts is told again once a day. There are at most ``TELLINGS_PER_HOUR`` in all,
   each of at most ``LINES_LIMIT`` lines.
2. "Solved" is told once, and only to whom the raise was told.
3. A *telling* is handed to each of its channels, which is tried again by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from valija.domain.alert import Alert, Condition, Level, Raised, Solved, Solving, Told, WasTold, next_state
from valija.domain.text import N_

GROUP: Final = timedelta(minutes=1)
SPACING: Final = timedelta(minutes=10)
REMIND: Final = timedelta(hours=24)
TELLINGS_PER_HOUR: Final = 6
LINES_LIMIT: Final = 30


class TellingWord(StrEnum):
    """What is said of an alert."""

    RAISED = "raised"
    WORSE = "worse"
    LASTS = "lasts"
    SOLVED = "solved"


WORD_LABELS: Final[Mapping[TellingWord, str]] = {
    TellingWord.RAISED: N_("New"),
    TellingWord.WORSE: N_("Worse"),
    TellingWord.LASTS: N_("Lasts"),
    TellingWord.SOLVED: N_("Solved"),
}


@dataclass(frozen=True, slots=True)
class TellingLine:
    """One line of what is told."""

    word: TellingWord
    condition: Condition
    since: datetime


def due_word(alert: Alert, now: datetime) -> TellingWord | None:
    """Return what should be said of an alert now; None for nothing."""
    match alert.state:
        case Raised() | Solving(told=None):
            return TellingWord.RAISED
        case Told(level=level) if alert.condition.level.rank > level.rank:
            return TellingWord.WORSE
        case Told(told_at=at) if not timedelta() <= now - at < REMIND:
            return TellingWord.LASTS
        case Solved(told=told) if told is not None:
            return TellingWord.SOLVED
        case _:
            return None


def choose(alerts: Collection[Alert], told_at: Sequence[datetime], now: datetime) -> list[tuple[Alert, TellingLine]]:
    """Return what to tell together now; nothing while it waits for others, or after too much was told in an hour.

    ``told_at`` is when something was told lately.
    """
    if sum(timedelta() <= now - at < timedelta(hours=1) for at in told_at) >= TELLINGS_PER_HOUR:
        return []
    lately = any(timedelta() <= now - at < SPACING for at in told_at)
    found = [(alert, word) for alert in alerts if (word := due_word(alert, now)) is not None]
    if not any(_is_ripe(alert, word, now, lately=lately) for alert, word in found):
        return []
    found.sort(key=lambda pair: (pair[1] is TellingWord.SOLVED, -pair[0].condition.level.rank, pair[0].since))
    return [(alert, TellingLine(word, alert.condition, alert.since)) for alert, word in found]


def _is_ripe(alert: Alert, word: TellingWord, now: datetime, *, lately: bool) -> bool:
    if lately and (alert.condition.level is not Level.CRITICAL or word not in (TellingWord.RAISED, TellingWord.WORSE)):
        return False
    return word is not TellingWord.RAISED or not timedelta() <= now - alert.since < GROUP


def tell(alert: Alert, now: datetime) -> Alert:
    """Return an alert after it was handed to the channels."""
    return replace(alert, state=next_state(alert.state, WasTold(now, alert.condition.level)))


# --- channels ---------------------------------------------------------------------------------------------------------


class Channel(StrEnum):
    """How something is told; the panel's lamp and the log always are."""

    MAIL = "mail"
    WEBHOOK = "webhook"
    SYSLOG = "syslog"


CHANNEL_LABELS: Final[Mapping[Channel, str]] = {
    Channel.MAIL: N_("Mail"),
    Channel.WEBHOOK: N_("Webhook"),
    Channel.SYSLOG: N_("Syslog"),
}
RETRIES: Final = (30, 60, 120, 300, 600, 1800, 3600)  # seconds after the first, second, ... try; then it is given up


class HandingName(StrEnum):
    """How it stands with one channel of a telling."""

    WAITING = "waiting"
    DONE = "done"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Handing:
    """One channel of a telling: ``tries`` that failed, when the ``next_at`` is, the last one's ``words``."""

    channel: Channel
    state: HandingName
    next_at: datetime
    tries: int = 0
    words: str = ""


class TellingKind(StrEnum):
    """What a telling is."""

    ALERTS = "alerts"
    STATUS = "status"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Telling:
    """Something that is told, and by which channels: ``name`` is given once. A status goes to the addresses ``to``."""

    name: str
    kind: TellingKind
    at: datetime
    lines: tuple[TellingLine, ...]
    handings: tuple[Handing, ...]
    to: tuple[str, ...] = ()
    since: datetime | None = None
    more: int = 0

    @property
    def due_at(self) -> datetime | None:
        """Return when something is to be done about it; None if all is done."""
        return min((h.next_at for h in self.handings if h.state is HandingName.WAITING), default=None)


def handed(handing: Handing, problem: str | None, now: datetime) -> Handing:
    """Return a channel's part after a try; ``problem`` is None if it worked."""
    if problem is None:
        return replace(handing, state=HandingName.DONE, words="")
    if handing.tries >= len(RETRIES):
        return replace(handing, state=HandingName.GIVEN_UP, words=problem)
    later = now + timedelta(seconds=RETRIES[handing.tries])
    return replace(handing, tries=handing.tries + 1, next_at=later, words=problem)
