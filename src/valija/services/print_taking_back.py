"""What is cancelled is taken back from the printer, and looked for there if need be, for up to an hour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from valija.domain.clock import Clock
from valija.domain.printer import PrinterTarget, parse_target
from valija.net.errors import NetError
from valija.net.ipp import Ipp, IppRefused
from valija.services.print_order import PrintOrder

TAKE_BACK_S: Final = 3600.0
AGAIN_S: Final = 10.0
Say = Callable[[int, str], Awaitable[None]]


class TakingBack:
    """The jobs that a printer may still have. ``say`` writes what the printer says into a job's history."""

    def __init__(self, ipp: Ipp, clock: Clock, say: Say) -> None:
        self._ipp = ipp
        self._clock = clock
        self._say = say
        self._jobs: dict[int, tuple[PrintOrder, float, float]] = {}  # until when, when next

    def add(self, number: int, order: PrintOrder) -> None:
        """Take a job back from now on."""
        now = self._clock.monotonic()
        self._jobs[number] = (order, now + TAKE_BACK_S, now)

    def due(self) -> list[float]:
        """Return when there is something to do, by the monotonic clock."""
        return [at for _order, _until, at in self._jobs.values()]

    async def turn(self) -> None:
        """Do what is due now."""
        for number, (order, until, at) in list(self._jobs.items()):
            now = self._clock.monotonic()
            if at > now:
                continue
            try:
                await self._take_back(order)
            except (NetError, IppRefused) as error:
                if now < until:
                    self._jobs[number] = (order, until, now + AGAIN_S)
                    continue
                await self._say(number, str(error)[:200])
            del self._jobs[number]

    async def _take_back(self, order: PrintOrder) -> None:
        target = parse_target(order.target) or PrinterTarget()
        number = order.at_printer
        if not number:
            found = await self._ipp.find(target, order.name)
            number = found.id if found else 0
        if number:
            await self._ipp.cancel(target, number)
