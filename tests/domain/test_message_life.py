"""A message's life in order, from all the places where it is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from valija.domain.message_life import LifeWord, life_of
from valija.domain.queue import Delivered, Failed, FailureCause, Queued, RecipientState
from valija.domain.queue_history import GateLine, GateWord, HistoryLine, HistoryWord
from valija.domain.queued_message import QueuedMessage, QueuedRecipient, RecipientEntry
from valija.domain.trouble import Trouble, WhoActs

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TROUBLE = Trouble("no_token", WhoActs.OPERATOR, "535 no", NOW)
NAMES = ("a@x.org", "b@x.org", "c@x.org")
W = LifeWord


def at(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


def message(*states: RecipientState) -> tuple[QueuedMessage, list[RecipientEntry]]:
    """Return a message with a recipient in each of these states."""
    recipients = tuple(QueuedRecipient(name) for name in NAMES[: len(states)])
    queued = QueuedMessage("smtp", "ricoh", "s@x.org", "1@x.org", 9, NOW, recipients)
    return queued, [RecipientEntry(n, 7, r, s) for n, (r, s) in enumerate(zip(recipients, states, strict=True))]


def test_a_life_begins_with_acceptance_and_ends_with_the_servers_words() -> None:
    """What was delivered together is one event."""
    done = Delivered(at(3), "250 ok")
    queued, entries = message(done, done, Delivered(at(4), "250 later"))
    failed = HistoryLine(at(1), HistoryWord.TRY_FAILED, (2,), TROUBLE, 1, at(4))
    life = life_of(queued, entries, [failed], [])
    assert [(e.word, e.recipients, e.server_words) for e in life] == [
        (W.ACCEPTED, (), ""),
        (W.TRY_FAILED, NAMES[2:], "535 no"),
        (W.DELIVERED, NAMES[:2], "250 ok"),
        (W.DELIVERED, NAMES[2:], "250 later"),
    ]
    assert (life[1].tries, life[1].next_at, life[1].trouble) == (1, at(4), TROUBLE)


def test_the_accounts_stops_belong_to_it_while_it_lived() -> None:
    """Also one that had begun before; not one that was over, nor one after its end."""
    lines = [
        GateLine(at(-9), GateWord.HELD, who="ana"),
        GateLine(at(-8), GateWord.RELEASED, who="ana"),
        GateLine(at(-5), GateWord.BLOCKED, TROUBLE),
        GateLine(at(2), GateWord.OPENED),
        GateLine(at(9), GateWord.HELD, who="luis"),
    ]
    queued, entries = message(Delivered(at(3), "250 ok"))
    words = [W.ACCOUNT_BLOCKED, W.ACCEPTED, W.ACCOUNT_OPENED, W.DELIVERED]
    assert [e.word for e in life_of(queued, entries, [], lines)] == words
    queued, entries = message(Queued(at(9)))
    life = life_of(queued, entries, [], lines)
    assert [e.word for e in life] == [*words[:3], W.ACCOUNT_HELD]
    assert (life[0].trouble, life[-1].who) == (TROUBLE, "luis")


def test_a_cancellation_is_told_once() -> None:
    """By who asked for it; when it was only a wish, also that it came true."""
    gone = Failed(at(2), FailureCause.CANCELLED)
    queued, entries = message(gone, gone)
    history = [
        HistoryLine(at(1), HistoryWord.CANCEL_WISHED, (0,), who="ana"),
        HistoryLine(at(2), HistoryWord.CANCELLED, (1,), who="ana"),
    ]
    life = life_of(queued, entries, history, [])
    assert [(e.word, e.recipients, e.who) for e in life[1:]] == [
        (W.CANCEL_WISHED, NAMES[:1], "ana"),
        (W.CANCELLED, NAMES[1:2], "ana"),
        (W.CANCELLED, NAMES[:1], ""),
    ]


def test_every_word_of_the_stores_is_a_word_of_life() -> None:
    """None is without a name."""
    words = {word.value for word in HistoryWord} | {f"account_{word.value}" for word in GateWord}
    assert {word.value for word in LifeWord} == words | {"accepted", "delivered"}
