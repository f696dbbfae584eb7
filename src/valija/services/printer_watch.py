"""How the printer is: asked once for all who want to know, remembered, and told when it has changed."""

from __future__ import annotations

import asyncio
from typing import Final

from valija.domain.clock import Clock
from valija.domain.printer import PrinterState, PrinterStateName, PrinterTarget
from valija.net.ipp import Ipp
from valija.services.events import EventBus, PrinterChanged

KNOWN_S: Final = 15.0  # so long what was heard is good for a page that is only open
SILENT: Final = PrinterState(PrinterStateName.UNREACHABLE, accepting=False, trouble="timed_out")


class PrinterWatch:
    """Knows how one printer is, the one that was asked for last."""

    def __init__(self, ipp: Ipp, clock: Clock, events: EventBus) -> None:
        self._ipp = ipp
        self._clock = clock
        self._events = events
        self._target = PrinterTarget()
        self._state: PrinterState | None = None
        self._heard_at = float("-inf")
        self._asking: dict[PrinterTarget, asyncio.Task[PrinterState]] = {}

    async def ask(self, target: PrinterTarget, limit_s: float | None = None) -> PrinterState:
        """Ask a printer how it is, together with who asks it already. Never raises.

        One that takes longer is as it was, or silent if that is not known. What it says at last is heard and told.
        """
        self._turn_to(target)
        task = self._begin(target)
        await asyncio.wait([task], timeout=limit_s)
        if task.done():
            return task.result()
        if self._state is None:
            self.saw(target, SILENT)
        return self._state if self._state is not None and target == self._target else SILENT

    def known(self, target: PrinterTarget) -> PrinterState:
        """Return at once how a printer is, as far as that is known; if that is old, the printer is asked meanwhile."""
        self._turn_to(target)
        if self._clock.monotonic() - self._heard_at >= KNOWN_S:
            self._begin(target)
        return self._state or PrinterState(PrinterStateName.UNKNOWN)

    def saw(self, target: PrinterTarget, state: PrinterState) -> None:
        """Take what somebody has heard of a printer."""
        if target != self._target:
            return
        self._heard_at = self._clock.monotonic()
        if state != self._state:
            self._state = state
            self._events.publish(PrinterChanged(self._clock.now()))

    def doubt(self) -> None:
        """Take what is known for old: something happened at the printer."""
        self._heard_at = float("-inf")

    def _turn_to(self, target: PrinterTarget) -> None:
        if target != self._target:
            self._target, self._state = target, None
            self.doubt()

    def _begin(self, target: PrinterTarget) -> asyncio.Task[PrinterState]:
        task = self._asking.get(target)
        if task is None:
            task = self._asking[target] = asyncio.create_task(self._hear(target), name="printer")
            task.add_done_callback(lambda _done: self._asking.pop(target, None))
        return task

    async def _hear(self, target: PrinterTarget) -> PrinterState:
        state = await self._ipp.printer_state(target)
        self.saw(target, state)
        return state
