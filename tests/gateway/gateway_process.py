"""Gateways in processes of their own, forked one after the other from one that has everything imported."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("forked_gateway.py")

Place = tuple[Any, ...]  # arguments of begin


class GatewayProcesses:
    """Starts and ends them; ``port`` (for devices) is 0 while none is ready."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = 0
        self.port = 0
        self.ports: dict[str, int] = {}

    async def _hear(self) -> list[str]:
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            return (await self._process.stdout.readline()).decode().split()

    async def begin(self, directory: Path, upstream_port: int, *options: str) -> None:
        """Start one, and do not wait until it is ready; ``options`` are NAME=VALUE (:mod:`forked_gateway`)."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join((str(directory), str(upstream_port), *options)).encode() + b"\n")
        self.pid = int((await self._hear())[1])

    async def ready(self) -> int:
        """Wait until it is ready; return its port."""
        word, *ports = await self._hear()
        assert word == "ready", word
        self.ports = {name: int(port) for name, port in (one.split("=") for one in ports)}
        self.port = self.ports["smtp"]
        return self.port

    async def end(self, number: int = signal.SIGKILL) -> None:
        """End it."""
        self.port = 0
        os.kill(self.pid, number)
        while (said := await self._hear())[0] != "gone":
            assert said[0] == "ready", said

    async def life(self, seconds: float, place: Place, *, while_starting: bool = False) -> None:
        """Start one, let it live so long, kill it."""
        await self.begin(*place)
        if not while_starting:
            await self.ready()
        await asyncio.sleep(seconds)
        await self.end()

    def memory(self) -> int:
        """Return how many octets it has in memory now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def most_memory(self) -> int:
        """Return how many octets it had in memory at the most."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@asynccontextmanager
async def gateway_processes() -> AsyncIterator[GatewayProcesses]:
    """Give what starts gateways; it must have ended them before this ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    processes = GatewayProcesses(process)
    try:
        yield processes
    finally:
        assert process.stdin is not None
        if processes.port:
            await processes.end()
        process.stdin.close()
        assert await process.wait() == 0
