"""How much mail passed, in slots of ten minutes: what a picture is drawn and a month is counted from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from valija.domain.queue import (
    Accepted,
    CancelAsked,
    Delivered,
    Failed,
    RecipientEvent,
    RecipientState,
    Refused,
    TimeOver,
)

SLOT: Final = timedelta(minutes=10)
SHOWN: Final = timedelta(hours=48)
KEPT: Final = timedelta(days=40)  # a status mail tells of a whole month


@dataclass(frozen=True, slots=True)
class TrafficSlot:
    """The ten minutes from ``at``: recipients accepted, delivered and failed; ``waiting``: how many waited at its end."""

    at: datetime
    accepted: int = 0
    delivered: int = 0
    failed: int = 0
    waiting: int = 0


def slot_of(moment: datetime) -> datetime:
    """Return when the slot of a moment begins."""
    seconds = int(SLOT.total_seconds())
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def plus(slot: TrafficSlot, more: TrafficSlot) -> TrafficSlot:
    """Return a slot with what came to it; ``waiting`` is the later one's."""
    return replace(
        slot,
        accepted=slot.accepted + more.accepted,
        delivered=slot.delivered + more.delivered,
        failed=slot.failed + more.failed,
        waiting=more.waiting,
    )


def series(slots: Iterable[TrafficSlot], now: datetime, length: timedelta) -> list[TrafficSlot]:
    """Return every slot of the last ``length``, the present one last; what is not known was quiet, with as many waiting."""
    found = {slot.at: slot for slot in slots}
    end = slot_of(now)
    at = end - length + SLOT
    before = max((slot for slot in found.values() if slot.at < at), key=lambda slot: slot.at, default=None)
    waiting, result = before.waiting if before else 0, []
    while at <= end:
        slot = found.get(at) or TrafficSlot(at, waiting=waiting)
        waiting = slot.waiting
        result.append(slot)
        at += SLOT
    return result


def count_ended(
    events: Sequence[tuple[int, RecipientEvent]], states: Sequence[RecipientState | None]
) -> tuple[int, int]:
    """Return how many recipients were delivered and how many failed by these events, not those that had ended before."""
    delivered = failed = 0
    for (_number, event), state in zip(events, states, strict=True):
        match event, state:
            case Accepted(at=at), Delivered(at=ended) if at == ended:
                delivered += 1
            case ((CancelAsked(at=at) | TimeOver(at=at)), Failed(at=ended)) if at == ended:
                failed += 1
            case Refused(trouble=trouble), Failed(at=ended) if trouble.at == ended:
                failed += 1
            case _:
                pass
    return delivered, failed
