"""The end of a process that was started with ``asyncio.create_subprocess_exec(..., start_new_session=True)``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process and what it has started, at once, and let go of its pipes."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    # asyncio waits for the end of the pipes too, and of one that nobody reads any more it would never hear; there is no public
    # way to close them
    transport = process._transport  # type: ignore[attr-defined]
    for number in (0, 1, 2):
        if (pipe := transport.get_pipe_transport(number)) is not None:
            pipe.close()
    try:
        await _waited(asyncio.ensure_future(process.wait()))
    finally:
        transport.close()  # not before: it would take the process's status from who waits for it


async def _waited(ended: asyncio.Future[int]) -> None:
    """Wait for what comes at once, however often the caller is cancelled meanwhile: nobody else would hear of it."""
    cancelled: asyncio.CancelledError | None = None
    while not ended.done():
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
