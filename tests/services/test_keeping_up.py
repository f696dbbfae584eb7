"""Work in the background is begun again when something breaks it off, and that is logged at once."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest
from fakes import FakeClock, settle

from valija.services.keeping_up import FIRST_PAUSE_S, LAST_PAUSE_S, kept_up


async def test_what_broke_off_is_logged_and_begun_again_after_longer_and_longer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, began = FakeClock(by_itself=False), []

    async def work() -> None:
        began.append(clock.monotonic())
        if len(began) == 13:  # it goes well for a while
            clock.jump(LAST_PAUSE_S + 1)
        if len(began) == 15:
            return
        raise ZeroDivisionError

    task = asyncio.create_task(kept_up(work, "printer", clock))
    await settle()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert caplog.records[0].exc_info is not None
    while not task.done():
        await clock.advance(1)
    pauses = [round(after - before) for before, after in itertools.pairwise(began)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[9:12] == [LAST_PAUSE_S] * 3
    assert pauses[12:] == [LAST_PAUSE_S + 1 + FIRST_PAUSE_S, 2 * FIRST_PAUSE_S]


async def test_what_is_cancelled_ends() -> None:
    async def work() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(kept_up(work, "printer", FakeClock()))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
