"""What a server's answers mean for the queue: events for the recipients, and what the account as a whole must do.

An answer is judged by the reply table, not by its first digit: Exchange says 5yz to what passes (a day's quota) and 4yz to what
somebody must mend (a mailbox without permission).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from valija.domain.explanations import Effect
from valija.domain.queue import (
    Accepted,
    Delivered,
    Failed,
    FailureCause,
    GivenBack,
    InDoubt,
    RecipientEvent,
    Refused,
    TimeOver,
    TryFailed,
)
from valija.domain.queued_message import RecipientEntry
from valija.domain.trouble import Trouble
from valija.protocol.smtp_client import Stage
from valija.protocol.smtp_transaction import RecipientOutcome, SendOutcome, Verdict
from valija.services.login import Troubles

TOO_FAST: Final = {  # no message's fault and no account's: the whole account slows down for so long
    "too_many_connections": timedelta(seconds=20),
    "mailbox_throttled": timedelta(minutes=15),
    "sending_quota": timedelta(hours=1),
}
RATE_WORDS: Final = re.compile(r"\brate", re.IGNORECASE)
RATE_PAUSE: Final = timedelta(seconds=65)
WRONG_SENDER: Final = "send_as_denied"  # this sender's fault: tried rarely, for it gets the whole mailbox throttled
NOT_TAKEN: Final = "server_refused"  # at MAIL without a reason that is known: nothing but the sender was said
WRONG_SENDER_PAUSE: Final = timedelta(hours=1)
Delay = Callable[[int], timedelta]


@dataclass
class Judgement:
    """What became of one try: ``events`` for recipients, the account's ``trouble`` if it is at fault, a ``pause`` for it."""

    events: list[tuple[int, RecipientEvent]] = field(default_factory=list)
    ended: list[tuple[RecipientEntry, Failed | Delivered]] = field(default_factory=list)  # what is to be reported
    account_trouble: Trouble | None = None
    pause: timedelta = timedelta()
    pause_trouble: Trouble | None = None
    accepted: int = 0
    wrong_sender: bool = False
    connection_lost: bool = False  # before anything was said: a kept connection that had ended


def judge(
    found: SendOutcome, entries: Sequence[RecipientEntry], lease: int, troubles: Troubles, now: datetime, delay: Delay
) -> Judgement:
    """Judge all recipients of one try; ``delay`` returns the wait after the n-th failure."""
    judgement = Judgement()
    judgement.connection_lost = all(_is_lost_early(outcome) for outcome in found.outcomes)
    for entry, outcome in zip(entries, found.outcomes, strict=True):
        event = _event(judgement, outcome, entry, lease, troubles, now, delay)
        judgement.events.append((entry.id, event))
        if isinstance(event, Refused):
            judgement.ended.append((entry, Failed(now, FailureCause.REFUSED, event.trouble, is_in_doubt(entry))))
        elif isinstance(event, Accepted) and not found.reports:
            judgement.ended.append((entry, Delivered(now, event.server_words)))
    return judgement


def blame_account(judgement: Judgement, lease: int) -> None:
    """Take a refused sender for the account's trouble: it is the mailbox itself. No try is burnt."""
    for place, (number, event) in enumerate(judgement.events):
        if isinstance(event, TryFailed) and event.trouble.reason in (WRONG_SENDER, NOT_TAKEN):
            judgement.events[place] = number, GivenBack(lease)
            judgement.account_trouble = event.trouble
    judgement.wrong_sender = False


def give_up(judgement: Judgement, entries: Sequence[RecipientEntry], now: datetime, spared: Collection[int]) -> None:
    """End what has failed for now, or could not be tried, and has waited as long as the schedule allows; none of ``spared``."""
    for entry, (_number, event) in zip(entries, list(judgement.events), strict=True):
        if isinstance(event, TryFailed | InDoubt | GivenBack) and entry.id not in spared:
            trouble = last_trouble(entry) if isinstance(event, GivenBack) else event.trouble
            doubt = isinstance(event, InDoubt) or is_in_doubt(entry)
            judgement.events.append((entry.id, TimeOver(now)))
            judgement.ended.append((entry, Failed(now, FailureCause.EXPIRED, trouble, doubt)))


def _is_lost_early(outcome: RecipientOutcome) -> bool:
    gone = outcome.reply is None or outcome.reply.code == 421
    return outcome.verdict is Verdict.DEFERRED and gone and outcome.stage is Stage.MAIL


def _event(
    judgement: Judgement,
    outcome: RecipientOutcome,
    entry: RecipientEntry,
    lease: int,
    troubles: Troubles,
    now: datetime,
    delay: Delay,
) -> RecipientEvent:
    tries = tries_of(entry) + 1
    words = outcome.reply.server_words if outcome.reply else outcome.words
    if outcome.verdict is Verdict.ACCEPTED:
        judgement.accepted += 1
        return Accepted(now, words)
    if outcome.verdict is Verdict.IN_DOUBT:
        return InDoubt(lease, now + delay(tries), troubles.of_reason("in_doubt", words))
    trouble, effect = _trouble(outcome, words, troubles)
    if (pause := _pause(trouble)) is not None:
        judgement.pause = max(judgement.pause, pause)
        judgement.pause_trouble = trouble
        return GivenBack(lease)
    if trouble.reason == WRONG_SENDER or (trouble.reason == NOT_TAKEN and outcome.stage is Stage.MAIL):
        judgement.wrong_sender = True
        return TryFailed(lease, now + WRONG_SENDER_PAUSE, trouble)
    match effect:
        case Effect.ACCOUNT | Effect.REFRESH:
            judgement.account_trouble = trouble
            return GivenBack(lease)
        case Effect.RECIPIENT | Effect.MESSAGE:
            return Refused(lease, trouble)
        case _:
            return TryFailed(lease, now + delay(tries), trouble)


def _trouble(outcome: RecipientOutcome, words: str, troubles: Troubles) -> tuple[Trouble, Effect]:
    if outcome.reply is not None and outcome.reply.code >= 400:
        stage = "data" if outcome.stage is Stage.BODY else outcome.stage.value
        return troubles.of_smtp(stage, outcome.reply)
    effect = Effect.MESSAGE if outcome.verdict is Verdict.FAILED else Effect.RETRY
    return troubles.of_reason(outcome.reason or "peer_nonsense", words), effect


def _pause(trouble: Trouble) -> timedelta | None:
    if trouble.reason in TOO_FAST:
        return RATE_PAUSE if RATE_WORDS.search(trouble.server_words) else TOO_FAST[trouble.reason]
    if trouble.reason == "server_busy" and "submission rate" in trouble.server_words.lower():
        return RATE_PAUSE
    return None


def tries_of(entry: RecipientEntry) -> int:
    """Return how often a leased recipient was tried before."""
    before = getattr(entry.state, "before", entry.state)
    return int(getattr(before, "tries", 0))


def last_trouble(entry: RecipientEntry) -> Trouble | None:
    """Return what its last try met."""
    found = getattr(getattr(entry.state, "before", entry.state), "trouble", None)
    return found if isinstance(found, Trouble) else None


def is_in_doubt(entry: RecipientEntry) -> bool:
    """Tell whether a try before may have delivered it."""
    return bool(getattr(getattr(entry.state, "before", entry.state), "in_doubt", False))
