"""Dialogs of real devices, written as text in ``tests/dialogs/devices`` and replayed against the gateway, over sockets.

``C:`` a line of the device, ``B:`` its octets with escapes, ``S:`` a line of the gateway (``HOST`` is its name, ``...`` any
rest, ``␠`` a space at the end), ``E:`` its answer to EHLO, which must offer this at least; ``= tls`` the handshake,
``= queued`` what is in the queue in the end, ``= closed``. ``#!`` tells what the device is: ``known by address``,
``tls offered``, ``lf ends message``, ``begins with TLS``.

Each is replayed line by line, all at once, octet by octet, and in random cuts.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from quick_sender import Client
from running_gateway import OPERATOR, RunningGateway, upstream_fixture
from upstream import Upstream

from valija.apps.machine import local_name
from valija.domain.device import Device, TlsPolicy
from valija.domain.record import AuditAction, AuditRecord
from valija.secret import Secret

upstream = upstream_fixture
DIALOGS = sorted((Path(__file__).parents[1] / "dialogs" / "devices").glob("*.txt"))
PASSWORD = Secret(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("open sesame"))
WAYS = ("line by line", "all at once", "octet by octet", "in random cuts")
Expected = tuple[str, str]


def _device(directives: list[str]) -> Device:
    by_address = "known by address" in directives
    return Device(
        "scanner",
        "Scanner",
        "smtp",
        password=None if by_address else PASSWORD,
        ranges=("127.0.0.1/32",) if by_address else (),
        tls=TlsPolicy.OFFERED if by_address or "tls offered" in directives else TlsPolicy.REQUIRED,
        lf_ends_message="lf ends message" in directives,
    )


def _cut(data: bytes, way: str, chance: random.Random) -> Iterator[bytes]:
    at = len(data) if way in ("all at once", "line by line") else 0
    if at:
        yield data
    while at < len(data):
        length = 1 if way == "octet by octet" else chance.randint(1, 60)
        yield data[at : at + length]
        at += length


class Replay:
    """One dialog under way, in one way."""

    def __init__(self, path: Path, gateway: RunningGateway, way: str) -> None:
        self.lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
        self.directives = [line[3:] for line in path.read_text("utf-8").splitlines() if line.startswith("#!")]
        self.gateway = gateway
        self.way = way
        self.chance = random.Random(path.name + way)
        self.client: Client
        self.data = bytearray()
        self.expected: list[Expected] = []
        self.bodies: list[bytes] = []
        self.queued: list[str] = []

    async def run(self) -> None:
        """Replay it to its end."""
        self.client = await self._connect()
        in_message, message = False, bytearray()
        for line in self.lines:
            kind, text = line[:1], line[3:]
            if kind in "CB":
                octets = (
                    text.encode() + b"\r\n" if kind == "C" else text.encode().decode("unicode_escape").encode("latin-1")
                )
                self.data += octets
                message += octets if in_message else b""
                if in_message and message.replace(b"\r\n", b"\n").endswith(b"\n.\n"):
                    in_message = False
                    self.bodies.append(_body(bytes(message)))
                    message.clear()
            elif kind in "SE":
                self.expected.append((kind, text))
                in_message = in_message or text.startswith("354")
            elif kind == "=":
                await self._flush()
                await self._do(line[2:])
            if self.way == "line by line" and kind in "SE":
                await self._flush()
        self.client.writer.close()

    async def _connect(self) -> Client:
        if "begins with TLS" not in self.directives:
            return await Client.connect(self.gateway.port)
        context = ssl._create_unverified_context()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port, ssl=context)
        except OSError:  # as the device, which tries again
            reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port, ssl=context)
        return Client(reader, writer)

    async def _flush(self) -> None:
        """Say what is to be said, then hear what is expected."""
        for piece in _cut(bytes(self.data), self.way, self.chance):
            await self.client.send(piece)
            await asyncio.sleep(0)
        self.data.clear()
        for expected in self.expected:
            await self._hear(expected)
        self.expected.clear()

    async def _hear(self, expected: Expected) -> None:
        kind, text = expected
        async with asyncio.timeout(10):
            line = (await self.client.reader.readline()).decode()
            said = [line.removesuffix("\r\n")]
            while kind == "E" and line[3:4] == "-":
                line = (await self.client.reader.readline()).decode()
                said.append(line.removesuffix("\r\n"))
        if kind == "E":
            assert {offer[:4] for offer in said} <= {"250-", "250 "}, said
            assert {offer.strip() for offer in text.split(",")} <= {offer[4:] for offer in said}
            return
        wanted = text.replace("HOST", local_name()).replace("␠", " ")
        assert said[0].startswith(wanted[:-3]) if wanted.endswith("...") else said[0] == wanted, (wanted, said)

    async def _do(self, fact: str) -> None:
        if fact == "tls":
            await self.client.start_tls()
        elif fact == "closed":
            assert await self.client.rest() == b""
        else:
            self.queued.append(fact.removeprefix("queued "))


def _body(message: bytes) -> bytes:
    """Return what follows the head of what a device said, as it must be kept."""
    lines = message.replace(b"\r\n", b"\n").split(b"\n")[:-2]
    text = b"\r\n".join(line.removeprefix(b".") for line in lines) + b"\r\n"
    return text.partition(b"\r\n\r\n")[2]


async def _assert_queued(gateway: RunningGateway, queued: Sequence[str], bodies: Sequence[bytes]) -> None:
    store = gateway.store.queue
    found = await store.list_messages(account=None, state=None, limit=len(queued))
    got, kept = [], []
    for stored in reversed(found):
        whom = ", ".join(entry.recipient.address for entry in stored.entries)
        got.append(f"{stored.message.reverse_path} -> {whom}: {stored.message.subject}")
        body = await store.load_body(stored.id)
        assert body is not None
        head, _empty, rest = body.octets.partition(b"\r\n\r\n")
        assert b"\nBcc:" not in head
        assert head.count(b"\r\nDate: ") == head.count(b"\r\nMessage-ID: ") + head.count(b"\r\nMessage-Id: ") == 1
        kept.append(rest)
    assert got == queued
    assert kept == bodies


@pytest.mark.parametrize("path", DIALOGS, ids=[path.stem for path in DIALOGS])
async def test_the_device_is_understood_however_its_octets_come(path: Path, tmp_path: Path, upstream: Upstream) -> None:
    gateway = await RunningGateway(tmp_path, upstream.port).start()
    await gateway.machine.gateway.act_on_account("hold", "smtp", OPERATOR)
    record = AuditRecord(gateway.clock.now(), OPERATOR, AuditAction.DEVICE_ADDED, "scanner")
    assert await gateway.store.save_device(0, _device(Replay(path, gateway, "").directives), record) is not None
    await gateway.machine.gateway.devices.start()
    for way in WAYS:
        replay = Replay(path, gateway, way)
        await replay.run()
        await _assert_queued(gateway, replay.queued, replay.bodies)
    await gateway.stop()
