"""The end of a process, whatever it and its reader are doing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from valija.paper import children

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("script", ["exec yes", "yes & exec yes >&2", "exec sleep 60", "exit 3", "yes"])
def test_a_process_that_nobody_reads_is_ended(loop: Callable[[], Any], script: str) -> None:
    """Its pipes are full, and reading has stopped: of their end nobody would hear."""

    async def go() -> None:
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True
        )
        await asyncio.sleep(0.2)
        async with asyncio.timeout(5):
            await children.end(process)
        assert process.returncode == (3 if script == "exit 3" else -9)
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(go())
