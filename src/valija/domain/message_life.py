"""A message's whole life in order, from what is stored in several places: its acceptance, what befell it, its end. Pure.

The stops of its account belong to it as long as it lived: one that began before it was accepted comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from valija.domain.queue import Delivered, Failed, FailureCause
from valija.domain.queue_history import GateLine, GateWord, HistoryLine, HistoryWord
from valija.domain.queued_message import QueuedMessage, RecipientEntry
from valija.domain.trouble import Trouble


class LifeWord(StrEnum):
    """What befell a message, by the names that programs use."""

    ACCEPTED = "accepted"
    TRY_FAILED = "try_failed"
    IN_DOUBT = "in_doubt"
    REFUSED = "refused"
    LEASE_ENDED = "lease_ended"
    EXPIRED = "expired"
    HELD = "held"
    HOLD_WISHED = "hold_wished"
    RELEASED = "released"
    RETRIED = "retried"
    CANCELLED = "cancelled"
    CANCEL_WISHED = "cancel_wished"
    DELIVERED = "delivered"
    ACCOUNT_BLOCKED = "account_blocked"
    ACCOUNT_OPENED = "account_opened"
    ACCOUNT_HELD = "account_held"
    ACCOUNT_RELEASED = "account_released"


@dataclass(frozen=True, slots=True)
class LifeEvent:
    """One thing in a message's life; ``recipients`` are those that it concerned, empty for the message as a whole."""

    at: datetime
    word: LifeWord
    recipients: tuple[str, ...] = ()
    trouble: Trouble | None = None
    server_words: str = ""
    tries: int = 0
    next_at: datetime | None = None
    who: str = ""


def life_of(
    message: QueuedMessage,
    entries: Sequence[RecipientEntry],
    history: Sequence[HistoryLine],
    gate_lines: Iterable[GateLine],
) -> list[LifeEvent]:
    """Return all that is known of a message's life, in order."""
    ends = [entry.state.at for entry in entries if isinstance(entry.state, Delivered | Failed)]
    until = max(ends) if ends and len(ends) == len(entries) else None
    addresses = [recipient.address for recipient in message.recipients]
    events = [LifeEvent(message.accepted_at, LifeWord.ACCEPTED)]
    events += [_told(line, addresses) for line in history]
    events += _ended(entries, history)
    events += [_stop(line) for line in _stops(gate_lines, message.accepted_at, until)]
    return sorted(events, key=lambda event: event.at)


def _told(line: HistoryLine, addresses: Sequence[str]) -> LifeEvent:
    words = line.trouble.server_words if line.trouble else ""
    concerned = tuple(addresses[place] for place in line.places if place < len(addresses))
    word = LifeWord(line.word.value)
    return LifeEvent(line.at, word, concerned, line.trouble, words, line.tries, line.next_at, line.who)


def _ended(entries: Sequence[RecipientEntry], history: Sequence[HistoryLine]) -> list[LifeEvent]:
    """Return deliveries, alike ones as one; and cancellations that came true only when a try had ended."""
    said = {place for line in history if line.word is HistoryWord.CANCELLED for place in line.places}
    found: dict[LifeEvent, list[str]] = {}
    for place, entry in enumerate(entries):
        match entry.state:
            case Delivered(at=at, server_words=words):
                found.setdefault(LifeEvent(at, LifeWord.DELIVERED, server_words=words), []).append(
                    entry.recipient.address
                )
            case Failed(at=at, cause=FailureCause.CANCELLED) if place not in said:
                found.setdefault(LifeEvent(at, LifeWord.CANCELLED), []).append(entry.recipient.address)
            case _:
                pass
    return [
        LifeEvent(event.at, event.word, tuple(who), server_words=event.server_words) for event, who in found.items()
    ]


def _stops(lines: Iterable[GateLine], since: datetime, until: datetime | None) -> list[GateLine]:
    blocked: GateLine | None = None
    held: GateLine | None = None
    during = []
    for line in lines:
        if line.at >= since:
            if until is None or line.at <= until:
                during.append(line)
        elif line.word in (GateWord.BLOCKED, GateWord.OPENED):
            blocked = line if line.word is GateWord.BLOCKED else None
        else:
            held = line if line.word is GateWord.HELD else None
    return [line for line in (blocked, held) if line is not None] + during


def _stop(line: GateLine) -> LifeEvent:
    words = line.trouble.server_words if line.trouble else ""
    return LifeEvent(line.at, LifeWord(f"account_{line.word.value}"), (), line.trouble, words, who=line.who)
