"""The picture of the last hours' mail, as paths of an SVG that stretches to the width of its place.

Words and numbers stand beside the picture in HTML: they keep their size on every screen. Above, two bars for each half hour
(accepted; delivered with what failed on top of it); below, a hill of what waits, with a measure of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from valija.domain.traffic import SLOT, TrafficSlot

SLOTS_A_BAR: Final = 3
STEP: Final = 10  # units of the picture for each bar's place
HEIGHT: Final = 100
LABEL_HOURS: Final = 6
EDGE: Final = 0.04  # of the width: an hour so near to it would be cut off


@dataclass(frozen=True, slots=True)
class Bar:
    """Half an hour."""

    at: datetime
    accepted: int
    delivered: int
    failed: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Chart:
    """What a template draws: paths by what they show; ``top`` and ``most`` are the measures of the two pictures."""

    width: int
    top: int
    most: int
    accepted: str
    delivered: str
    failed: str
    waiting: str
    hours: tuple[tuple[float, str], ...]
    bars: tuple[Bar, ...]
    total: Bar


def draw(slots: Sequence[TrafficSlot], zone: tzinfo | None) -> Chart:
    """Draw slots of ten minutes, the present one last."""
    bars = _bars(slots)
    top = nice(max((max(b.accepted, b.delivered + b.failed) for b in bars), default=0))
    most = nice(max((b.waiting for b in bars), default=0))
    return Chart(
        width=STEP * len(bars),
        top=top,
        most=most,
        accepted=_columns([(0, b.accepted) for b in bars], 1.2, top),
        delivered=_columns([(0, b.delivered) for b in bars], 5.2, top),
        failed=_columns([(b.delivered, b.failed) for b in bars], 5.2, top),
        waiting=_hill([b.waiting for b in bars], most),
        hours=_hours(bars, zone),
        bars=bars,
        total=_sum(bars),
    )


def _bars(slots: Sequence[TrafficSlot]) -> tuple[Bar, ...]:
    """Return bars that begin at a whole half hour; the last one may not be over yet."""
    span = int(SLOT.total_seconds()) * SLOTS_A_BAR
    together: dict[int, list[TrafficSlot]] = {}
    for slot in slots:
        together.setdefault(int(slot.at.timestamp()) // span, []).append(slot)
    return tuple(_bar(own) for own in together.values())


def _bar(slots: Sequence[TrafficSlot]) -> Bar:
    accepted, delivered = sum(s.accepted for s in slots), sum(s.delivered for s in slots)
    return Bar(slots[0].at, accepted, delivered, sum(s.failed for s in slots), slots[-1].waiting)


def _sum(bars: Sequence[Bar]) -> Bar:
    accepted, delivered = sum(b.accepted for b in bars), sum(b.delivered for b in bars)
    return Bar(bars[0].at, accepted, delivered, sum(b.failed for b in bars), bars[-1].waiting)


def hourly(bars: Sequence[Bar]) -> list[Bar]:
    """Return what a table shows: hours, the latest first."""
    together: dict[datetime, list[Bar]] = {}
    for bar in bars:
        together.setdefault(bar.at.replace(minute=0), []).append(bar)
    rows = [
        Bar(
            at, sum(b.accepted for b in own), sum(b.delivered for b in own), sum(b.failed for b in own), own[-1].waiting
        )
        for at, own in together.items()
    ]
    return rows[::-1]


def nice(number: int) -> int:
    """Return a round number that is not less than ``number`` and not less than 4, for the top of a picture."""
    size: int = 10 ** max(len(str(number)) - 2, 0)
    return next(step * size for step in (4, 8, 10, 12, 16, 20, 30, 40, 50, 60, 80, 100) if step * size >= number)


def _columns(parts: Sequence[tuple[int, int]], left: float, top: int) -> str:
    width, path = 3.6, []
    for place, (below, number) in enumerate(parts):
        if number:
            low, high = HEIGHT * below / top, max(HEIGHT * number / top, 1.5)
            path.append(f"M{place * STEP + left:g} {HEIGHT - low:.4g}v{-high:.4g}h{width}v{high:.4g}z")
    return "".join(path)


def _hill(numbers: Sequence[int], most: int) -> str:
    if not any(numbers):
        return ""
    path = [f"M0 {HEIGHT}"]
    for place, number in enumerate(numbers):
        path.append(f"L{place * STEP} {HEIGHT - HEIGHT * number / most:.4g}h{STEP}")
    return "".join(path) + f"V{HEIGHT}z"


def _hours(bars: Sequence[Bar], zone: tzinfo | None) -> tuple[tuple[float, str], ...]:
    """Return (share of the width, hour) where a day has its quarters."""
    found = []
    for place, bar in enumerate(bars):
        local = bar.at.astimezone(zone)
        share = place / len(bars)
        if local.hour % LABEL_HOURS == 0 and local.minute == 0 and EDGE < share < 1 - EDGE:
            found.append((share, f"{local:%H:%M}"))
    return tuple(found)
