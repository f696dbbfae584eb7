"""A process that is ended is ended, whatever happens to who ends it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from valija.paper import children


async def _start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )


def _is_over(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().split()[2] == "Z"  # dead, and its new parent has not looked


async def test_what_it_has_started_ends_too() -> None:
    """The whole group."""
    process = await _start("sh", "-c", "sleep 600 & echo $!; wait")
    assert process.stdout is not None
    child = int(await process.stdout.readline())
    await children.end(process)
    assert process.returncode == -9
    for _look in range(200):
        if _is_over(child):
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("it goes on")


async def test_it_is_waited_for_though_the_caller_is_cancelled_again_and_again() -> None:
    process = await _start("sleep", "600")
    ending = asyncio.create_task(children.end(process))
    for _cancel in range(3):
        await asyncio.sleep(0)
        ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert process.returncode == -9


async def test_one_that_has_ended_by_itself_is_let_go() -> None:
    process = await _start("true")
    await process.wait()
    await children.end(process)
    await children.end(process)
    assert process.returncode == 0
