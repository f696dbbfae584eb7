"""How the printer is, for all who want to know: asked once, heard late, told when it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fakes import FakeClock

from valija.domain.printer import PrinterState, PrinterStateName, PrinterTarget, TargetKind
from valija.net.ipp import Ipp
from valija.net.tls import client_context
from valija.services.events import EventBus
from valija.services.printer_watch import KNOWN_S, SILENT, PrinterWatch

READY = PrinterState(PrinterStateName.IDLE)


class Sleepy:
    """A printer that takes connections and says nothing until it hangs up."""

    def __init__(self) -> None:
        self.connections = 0
        self.came, self.hangs_up = asyncio.Event(), asyncio.Event()
        self.target = PrinterTarget()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Sleepy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.target = PrinterTarget(TargetKind.IPP, f"ipp://127.0.0.1:{server.sockets[0].getsockname()[1]}/ipp/print")
        try:
            yield self
        finally:
            self.hangs_up.set()
            server.close()

    async def _serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.came.set()
        await self.hangs_up.wait()
        writer.close()


@pytest.fixture
async def printer() -> AsyncIterator[Sleepy]:
    async with Sleepy().running() as running:
        yield running


async def test_a_printer_is_asked_once_for_all_who_wait_and_heard_after_nobody_does(printer: Sleepy) -> None:
    events = EventBus()
    watch = PrinterWatch(Ipp(client_context()), FakeClock(), events)
    async with asyncio.timeout(10), events.subscribe() as told:
        found = await asyncio.gather(*(watch.ask(printer.target, 0.01) for _page in range(3)))
        assert found == [SILENT] * 3
        assert watch.known(printer.target) == SILENT
        waiting = asyncio.create_task(watch.ask(printer.target))
        await printer.came.wait()
        await told.get()
        assert told.empty(), "silent, said once"
        printer.hangs_up.set()
        late = await waiting
        assert (late.state, late.trouble) == (PrinterStateName.UNREACHABLE, "connection_lost")
        await told.get()
        assert watch.known(printer.target) == late
        assert printer.connections == 1


async def test_a_page_that_is_open_lets_the_printer_be_asked_only_when_what_is_known_is_old(printer: Sleepy) -> None:
    clock = FakeClock()
    watch = PrinterWatch(Ipp(client_context()), clock, EventBus())
    printer.hangs_up.set()
    await watch.ask(printer.target)
    watch.saw(printer.target, READY)
    watch.saw(PrinterTarget(TargetKind.QUEUE, "another"), SILENT)
    assert {watch.known(printer.target) for _page in range(3)} == {READY}
    clock.jump(KNOWN_S)
    assert {watch.known(printer.target) for _page in range(3)} == {READY}
    await watch.ask(printer.target)
    assert printer.connections == 2
    watch.saw(printer.target, READY)
    watch.doubt()
    watch.known(printer.target)
    await watch.ask(printer.target)
    assert printer.connections == 3


async def test_a_printer_that_is_slow_to_say_it_again_is_as_it_was(printer: Sleepy) -> None:
    watch = PrinterWatch(Ipp(client_context()), FakeClock(), EventBus())
    watch.saw(PrinterTarget(), SILENT)
    watch.known(printer.target)
    watch.saw(printer.target, READY)
    assert await watch.ask(printer.target, 0.01) == READY
    assert watch.known(printer.target) == READY
