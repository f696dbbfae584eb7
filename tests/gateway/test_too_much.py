"""More than there is room for: messages of 2 GB, sizes that are lies, disks and descriptors that run out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from gateway_process import GatewayProcesses, gateway_processes
from quick_sender import Client, code
from running_gateway import HurryClock, RunningGateway, gateway_fixture, upstream_fixture
from upstream import Upstream

upstream, gateway = upstream_fixture, gateway_fixture
MEBI = 1 << 20
GIBI = 1 << 30
BLOCK = (b"0123456789abcdef" * 4 + b"\r\n") * 15888  # about a mebibyte


@pytest.fixture
async def processes() -> AsyncIterator[GatewayProcesses]:
    """What starts gateways in processes of their own."""
    async with gateway_processes() as found:
        yield found


async def _opened(port: int, mail: bytes = b"MAIL FROM:<a@x.test>") -> Client:
    client = await Client.connect(port, patience_s=60)
    await client.reply()
    await client.say(b"EHLO x")
    assert await client.say(mail) == 250
    assert await client.say(b"RCPT TO:<b@x.test>") == 250
    assert await client.say(b"DATA") == 354
    await client.send(b"Subject: x\r\n\r\n")
    return client


async def _try(port: int, block: bytes) -> int:
    """Hand in a message; return the code that decided, at MAIL or at the end."""
    async with await Client.connect(port) as client:
        await client.reply()
        await client.say(b"EHLO x")
        if (said := await client.say(b"MAIL FROM:<a@x.test>")) == 250:
            await client.say(b"RCPT TO:<b@x.test>")
            assert await client.say(b"DATA") == 354
            await client.send(b"Subject: x\r\n\r\n" + block + b".\r\n")
            said = code(await client.reply())
        assert await client.say(b"NOOP") == 250
        return said


async def _until(reached: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def _is_well(port: int) -> bool:
    async with await Client.connect(port) as client:
        return code(await client.hand_in("a@x.test", ["b@x.test"], b"Subject: x\r\n\r\n")) == 250


async def test_a_message_that_says_it_is_too_large_is_refused_before_it_comes(gateway: RunningGateway) -> None:
    """By the number in MAIL (RFC 1870), whatever it is."""
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        await client.send(b"EHLO x\r\n")
        offered = next(line for line in (await client.reply()).splitlines() if b"SIZE" in line)
        limit = int(offered.split()[-1])
        for size in (limit + 1, 2 * GIBI, 2**31, 2**32, 2**63, 2**64 - 1, 10**19):
            assert await client.say(b"MAIL FROM:<a@x.test> SIZE=%d" % size) == 552, size
        assert await client.say(b"MAIL FROM:<a@x.test> SIZE=%d" % limit) == 250


async def test_a_size_that_is_a_lie_changes_nothing_that_is_kept(gateway: RunningGateway, upstream: Upstream) -> None:
    """Less than comes, more than comes, nothing: the octets that came are what counts, here and upstream."""
    bodies = {1: BLOCK * 3, 20_000_000: b"x\r\n", 0: b"hello\r\n"}
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        await client.say(b"EHLO x")
        for said, body in bodies.items():
            assert await client.say(b"MAIL FROM:<a@x.test> SIZE=%d" % said) == 250
            assert await client.say(b"RCPT TO:<b@x.test>") == 250
            assert await client.say(b"DATA") == 354
            await client.send(b"Message-ID: <%d@x>\r\n\r\n" % said + body + b".\r\n")
            assert code(await client.reply()) == 250
    await gateway.until_all_delivered()
    stored = await gateway.store.queue.list_messages(account=None, state=None, limit=9)
    sizes = {one.message.message_id: one.message.size for one in stored}
    offered = [line for visit in upstream.visits for line in visit.commands if line.startswith(b"MAIL")]
    for said, body in bodies.items():
        (copy,) = upstream.taken(f"<{said}@x>")
        assert copy.wire.endswith(b"\r\n\r\n" + body)
        assert sizes[f"{said}@x"] == len(copy.wire)
        assert any(b"SIZE=%d " % len(copy.wire) in line.replace(b"\r\n", b" ") for line in offered)


async def test_2_gb_without_a_size_are_read_refused_and_cost_no_memory(
    processes: GatewayProcesses, tmp_path: Path, upstream: Upstream
) -> None:
    """Read to the end rather than cut off: a device that hears 552 stops, one that loses its connection comes again."""
    await processes.begin(tmp_path, upstream.port)
    port = await processes.ready()
    assert await _is_well(port)
    before = processes.memory()
    async with await _opened(port) as client:
        for _block in range(2 * GIBI // len(BLOCK)):
            await client.send(BLOCK)
        await client.send(b".\r\n")
        assert code(await client.reply()) == 552
        assert await client.say(b"NOOP") == 250
    assert processes.most_memory() - before < 32 * MEBI
    assert list((tmp_path / "spool").iterdir()) == []
    assert await _is_well(port)


# --- no space -------------------------------------------------------------------------------------------------------------


class Disk:
    """The state directory's disk, which can be filled up and emptied."""

    def __init__(self, directory: Path, processes: GatewayProcesses, *, small: bool) -> None:
        self.directory = directory
        self._processes = processes
        self.is_small = small

    def options(self) -> list[str]:
        """Return what the gateway is told."""
        return [] if self.is_small else ["octets=4096"]

    def fill(self) -> None:
        """Leave no space at all."""
        if not self.is_small:
            os.kill(self._processes.pid, signal.SIGUSR1)
            return
        with (self.directory / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(b"x" * 4096):
                pass

    def empty(self) -> None:
        """Make space."""
        if self.is_small:
            (self.directory / "filler").unlink()
        else:
            os.kill(self._processes.pid, signal.SIGUSR2)


@pytest.fixture(params=["a small disk", "a limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path, processes: GatewayProcesses) -> Iterator[Disk]:
    """A disk of some megabytes; where none can be mounted, a limit on the length of files stands in for it."""
    if request.param == "a limit":
        yield Disk(tmp_path, processes, small=False)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("no disk can be mounted here")
    yield Disk(tmp_path, processes, small=True)
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


async def test_a_disk_without_space_is_said_with_452_and_nothing_is_left_behind(
    processes: GatewayProcesses, upstream: Upstream, disk: Disk
) -> None:
    """Small ones and large ones, before and in the middle; then there is space again, and it goes on by itself."""
    await processes.begin(disk.directory, upstream.port, *disk.options())
    port = await processes.ready()
    assert await _is_well(port)
    taken = 1
    spool = disk.directory / "spool"
    async with await _opened(port) as under_way:
        await under_way.send(BLOCK)
        await _until(lambda: list(spool.iterdir()) != [])
        disk.fill()
        for block in (b"", b"x\r\n" * 2000, BLOCK):
            said = await _try(port, block)
            taken += said == 250
            # a few octets may still fit what the database has allocated
            assert said == 452 or (said == 250 and disk.is_small and block != BLOCK)
        await under_way.send(BLOCK * 2 + b".\r\n")
        assert code(await under_way.reply()) == 452
        assert await under_way.say(b"NOOP") == 250
    assert list(spool.iterdir()) == []
    disk.empty()
    assert await _is_well(port)
    async with await _opened(port) as client:
        await client.send(BLOCK + b".\r\n")
        assert code(await client.reply()) == 250
    taken += 2
    await _until(lambda: len(upstream.copies) == taken)
    await processes.end()
    rest = await RunningGateway(disk.directory, upstream.port).start()
    assert len(await rest.until_all_delivered()) == taken
    await rest.stop()


async def test_what_was_delivered_while_there_was_no_space_is_not_sent_again(
    processes: GatewayProcesses, upstream: Upstream, disk: Disk
) -> None:
    """The server said 250, and it could not be written down: it is, as soon as there is space."""
    upstream.delay_s, speed, began = 0.4, 20, time.time()
    await processes.begin(disk.directory, upstream.port, *disk.options(), f"speed={speed}", f"began={began}")
    assert await _is_well(await processes.ready())
    await _until(lambda: len(upstream.copies) == 1)
    disk.fill()
    await asyncio.sleep(0.6)
    assert upstream.copies[0].is_taken
    disk.empty()
    await asyncio.sleep(1.0)
    await processes.end()
    rest = await RunningGateway(disk.directory, upstream.port, clock=HurryClock(speed, began)).start()
    await rest.until_all_delivered()
    await rest.stop()
    assert len(upstream.copies) == 1
