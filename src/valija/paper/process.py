"""The process that opens what came from outside, seen from the daemon: it has limits, says how far it is, and can be killed.

Theory of operation
-------------------
1. A :class:`PaperWorker` is one process (:mod:`valija.paper.worker`); it is asked by JSON lines on its standard input and
   answers by JSON lines. Files go by their paths; their octets never pass through here.
2. The process sets its own limits before it reads the first request: address space, size of a file, open files, no core. Each
   request has a limit of processor time, set there, and one of time, kept here.
3. A request that is cancelled, late or answered with nonsense ends the process, and all that it has started.
4. The daemon imports no decoder: nothing of Pillow or PDFium is in its memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from valija.paper import children

LINE_LIMIT: Final = 4_000_000
MEGABYTE: Final = 1_048_576
ENVIRONMENT: Final = ("PATH", "TESSDATA_PREFIX", "SYSTEMROOT")
Told = Callable[[int, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may use: megabytes of address space and of one file; seconds of processor and clock a request."""

    memory_mb: int = 1536
    file_mb: int = 2048
    processor_s: int = 300
    clock_s: float = 600.0


class PaperProblem(Exception):
    """A file could not be dealt with: ``reason`` is a key of the explanations, ``words`` the decoder's own."""

    def __init__(self, reason: str, words: str = "") -> None:
        super().__init__(reason, words)
        self.reason = reason
        self.words = words


class PaperWorker:
    """One process; an asynchronous context. Requests are made one after the other."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def pid(self) -> int | None:
        """Return the process's number, while there is one."""
        return self._process.pid if self._process is not None else None

    async def call(self, operation: str, told: Told | None = None, /, **arguments: Any) -> dict[str, Any]:
        """Return what an operation found; ``told`` hears of its progress. Raises :class:`PaperProblem`."""
        try:
            async with asyncio.timeout(self._limits.clock_s):
                return await self._call(operation, told, arguments)
        except TimeoutError:
            await self.close()
            raise PaperProblem("paper_too_hard", "time") from None
        except BaseException as error:
            if not isinstance(error, PaperProblem):
                await self.close()
            raise

    async def _call(self, operation: str, told: Told | None, arguments: dict[str, Any]) -> dict[str, Any]:
        process = self._process or await self._start()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        request = {"operation": operation, "arguments": arguments, "processor_s": self._limits.processor_s}
        with contextlib.suppress(ConnectionError):  # that it has died is seen below
            process.stdin.write(json.dumps(request).encode() + b"\n")
            await process.stdin.drain()
        while line := await process.stdout.readline():
            answer = json.loads(line)
            if "progress" in answer:
                if told is not None:
                    await told(*answer["progress"])
            elif "problem" in answer:
                raise PaperProblem(answer["problem"], answer["words"])
            else:
                return dict(answer["found"])
        status = await process.wait()
        await self.close()
        raise PaperProblem("paper_too_hard", f"signal {-status}" if status < 0 else f"exit {status}")

    async def _start(self) -> asyncio.subprocess.Process:
        limits = self._limits
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "valija.paper.worker",
            str(limits.memory_mb * MEGABYTE),
            str(limits.file_mb * MEGABYTE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            start_new_session=True,
            limit=LINE_LIMIT,
        )
        return self._process

    async def close(self) -> None:
        """End the process and what it has started, at once."""
        process, self._process = self._process, None
        if process is not None:
            await children.end(process)
