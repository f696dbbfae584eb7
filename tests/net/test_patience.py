"""The end of waits, on a real loop."""

from __future__ import annotations

import asyncio

import pytest

from valija.net.patience import Patience

SOON = 0.05
LATE = 30.0


async def _wait(patience: Patience, seconds: float) -> float:
    """Wait in vain; return how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await patience.wait(loop.create_future(), seconds)
    return loop.time() - began


async def _answered(patience: Patience, seconds: float) -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, None)
    await patience.wait(future, seconds)


async def test_each_wait_ends_in_its_own_time_whatever_was_waited_for_before() -> None:
    """After a longer one, after a shorter one, after one that was cut off."""
    patience = Patience(asyncio.get_running_loop())
    assert SOON * 0.9 <= await _wait(patience, SOON) < SOON * 20
    await _answered(patience, LATE)
    assert SOON * 0.9 <= await _wait(patience, SOON) < SOON * 20, "the timer of the longer one was set already"
    await _answered(patience, SOON)
    assert 4 * SOON * 0.9 <= await _wait(patience, 4 * SOON) < SOON * 20, "the timer of the shorter one rings first"
    task = asyncio.create_task(patience.wait(asyncio.get_running_loop().create_future(), SOON))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await _answered(patience, LATE)
    await asyncio.sleep(2 * SOON)  # it rings, and nobody waits
    await _answered(patience, LATE)


async def test_once_it_has_ended_nothing_rings() -> None:
    """A connection that is gone leaves nothing behind in the loop."""
    patience = Patience(asyncio.get_running_loop())
    await _answered(patience, LATE)
    timer = patience._timer
    assert timer is not None
    patience.end()
    assert timer.cancelled()
