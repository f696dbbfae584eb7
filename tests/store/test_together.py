"""Group commit: what is gathered, and for how long. The engine and the clock are the test's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import pytest

from valija.store import together
from valija.store.together import GATHER_S, TOGETHER, Together
from valija.store.work import Work

BUSY_S = 0.001


class Engine:
    """Keeps what each commit carried."""

    def __init__(self) -> None:
        self.commits: list[list[int]] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    def check_open(self) -> None:
        """It always is."""

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin something."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def commit(self, work: Callable[[], Work[list[int]]]) -> list[int]:
        """Commit; no work of these tests asks the database anything."""
        try:
            next(work())
        except StopIteration as end:
            self.commits.append(list(end.value))
            return list(end.value)
        raise AssertionError


class Clock:
    """Stands still but for what the loop's work takes."""

    def __init__(self) -> None:
        self.at = 0.0

    def perf_counter(self) -> float:
        """Return seconds."""
        return self.at


def _echo(items: Sequence[int]) -> Work[list[int]]:
    yield from ()
    return list(items)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time that only work takes."""
    made = Clock()
    monkeypatch.setattr(together, "time", made)
    return made


@pytest.fixture
async def writes(clock: Clock) -> AsyncIterator[tuple[Together[int, int], Engine]]:
    """What is tested."""
    engine: Any = Engine()
    yield Together(engine, _echo), engine


Writes = tuple[Together[int, int], Engine]


async def _works_before(turns: int, number: int, clock: Clock, to: Together[int, int]) -> int:
    for _turn in range(turns):
        clock.at += BUSY_S
        await asyncio.sleep(0)
    return await to.write(number)


async def test_who_is_alone_is_committed_after_one_turn_of_the_loop(writes: Writes, clock: Clock) -> None:
    """Nobody waits for others who do not come."""
    to, engine = writes
    assert await to.write(1) == 1
    assert (engine.commits, clock.at) == ([[1]], 0.0)


async def test_what_is_ready_while_the_loop_has_work_is_one_commit(writes: Writes, clock: Clock) -> None:
    """Four sessions, each with more to do before its message ends."""
    to, engine = writes
    assert await asyncio.gather(*(_works_before(n, n, clock, to) for n in range(3))) == [0, 1, 2]
    assert engine.commits == [[0, 1, 2]]


async def test_a_loop_that_never_rests_holds_nobody_up_for_long(writes: Writes, clock: Clock) -> None:
    """The first one's commit begins after ``GATHER_S``, whatever goes on."""
    to, engine = writes

    async def for_ever() -> None:
        while True:
            clock.at += BUSY_S
            await asyncio.sleep(0)

    busy = asyncio.create_task(for_ever())
    await to.write(1)
    assert clock.at <= GATHER_S + 3 * BUSY_S
    assert engine.commits == [[1]]
    busy.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await busy


async def test_of_two_batches_at_one_moment_none_is_empty(clock: Clock) -> None:
    """Both wait for the loop to rest; one of them takes all."""
    engine: Any = Engine()
    to = Together(engine, _echo, batches=2)
    assert await asyncio.gather(*(_works_before(n, n, clock, to) for n in range(5))) == list(range(5))
    assert [] not in engine.commits
    assert sorted(number for commit in engine.commits for number in commit) == list(range(5))


async def test_a_full_batch_waits_for_nobody(writes: Writes, clock: Clock) -> None:
    """And what is beyond it is the next one, in order."""
    to, engine = writes
    numbers = list(range(TOGETHER + 2))
    assert await asyncio.gather(*(to.write(n) for n in numbers)) == numbers
    assert engine.commits == [numbers[:TOGETHER], numbers[TOGETHER:]]


async def test_who_is_told_goes_on_before_the_next_commit_begins(
    writes: Writes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers of one batch are the loop's work: what waits already goes with what comes of them, not alone before it."""
    to, engine = writes
    monkeypatch.setattr(together, "TOGETHER", 2)

    async def twice(number: int) -> None:
        await to.write(number)
        clock.at += BUSY_S
        await to.write(number + 10)

    await asyncio.gather(twice(0), twice(1), to.write(2))
    assert engine.commits == [[0, 1], [2, 10], [11]]


async def test_who_is_cancelled_is_written_all_the_same(writes: Writes) -> None:
    """The others of the batch get what is theirs, and who else is told hears of it before the caller goes on."""
    to, engine = writes
    heard: list[int | None] = []

    async def write(number: int) -> bool:
        return await to.write(number, heard.append) in heard

    asked = [asyncio.create_task(write(number)) for number in range(3)]
    await asyncio.sleep(0)
    asked[1].cancel()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert engine.commits == [heard] == [[0, 1, 2]]
    assert isinstance(found.pop(1), asyncio.CancelledError)
    assert found == [True, True]
