"""Work in the background is begun again when something breaks it off, and that is logged at once."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fakes import FakeClock, settle

from valija.apps.config import Configuration
from valija.apps.machine import build
from valija.services.dispatcher import CHECK_S
from valija.services.keeping_up import FIRST_PAUSE_S, LAST_PAUSE_S, kept_up, to_its_end
from valija.store.memory import MemoryStore


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


async def test_everything_that_a_machine_does_in_the_background_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, began = FakeClock(by_itself=False), Counter[str]()
    machine = build(Configuration(), MemoryStore(), clock, tmp_path)
    works = {
        "jobs": machine.jobs,
        "printer": machine.printing.line,
        "faxes": machine.fax.receiver.mail,
        "folder": machine.hot_folder,
        "refresher": machine.refresher,
        "dispatcher": machine.gateway.dispatcher,
        "devices": machine.gateway.devices,
    }

    def breaking_off(name: str) -> Callable[..., Awaitable[None]]:
        async def work(*_self: object) -> None:
            began[name] += 1
            raise ZeroDivisionError

        return work

    for name, service in works.items():
        monkeypatch.setattr(type(service), "run", breaking_off(name))
    await machine.start()
    for _second in range(4):
        await clock.advance(1)
    await machine.stop()
    assert set(began) >= set(works)
    assert min(began.values()) >= 3, began


async def test_a_queue_that_could_not_be_tidied_once_is_tidied_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, tries = FakeClock(by_itself=False), 0
    machine = build(Configuration(), MemoryStore(), clock, tmp_path)

    async def forget(*_told: object) -> list[str]:
        nonlocal tries
        tries += 1
        raise ZeroDivisionError

    monkeypatch.setattr(machine.gateway.dispatcher.queue, "forget_ended", forget)
    task = asyncio.create_task(machine.gateway.dispatcher.run())
    for _minute in range(5):
        await clock.advance(CHECK_S + 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await machine.http.close()
    assert tries >= 3


async def test_what_is_cancelled_ends() -> None:
    async def work() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(kept_up(work, "printer", FakeClock()))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_work_that_must_not_stop_halfway_outlasts_who_is_cancelled_however_often(times: int) -> None:
    """A person cancels, and then the machine stops: what is being written is written before what it is of is let go."""
    may_end, done = asyncio.Event(), []

    async def work() -> None:
        await may_end.wait()
        done.append("written")

    async def caller() -> None:
        try:
            await to_its_end(work())
        finally:
            done.append("let go")

    task = asyncio.create_task(caller())
    for _time in range(times):
        await settle()
        task.cancel()
    await settle()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["written", "let go"]


async def test_what_a_work_raises_is_its_callers() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await to_its_end(work())
