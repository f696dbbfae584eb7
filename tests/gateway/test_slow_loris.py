"""Who takes places and does nothing with them: the gateway goes on serving others, and what it spends on them is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway_process import GatewayProcesses, gateway_processes
from quick_sender import Client, code
from running_gateway import RunningGateway, gateway_fixture, upstream_fixture
from upstream import Upstream

upstream, gateway = upstream_fixture, gateway_fixture
PLACES = 2000
BY_ADDRESS = 50  # the configuration's default
MEBI = 1 << 20
STALE_S = 2.0  # after which a stranger without progress makes room here; ten seconds are usual
# what each of them says before it says no more
TRICKLES = [
    b"",
    b"E",
    b"EHLO x\r\n",
    b"EHLO x\r\nAUTH PLAIN",
    b"EHLO x\r\nNOOP\r\nNOO",
    b"\x16",
    b"EHLO x\r\nMAIL FROM:<",
]
SHAKING = [b"EHLO x\r\nSTARTTLS\r\n"]


@pytest.fixture(autouse=True)
def _many_descriptors() -> None:
    """The attacker is this process: it needs as many as the gateway."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < PLACES + 500:
        pytest.skip(f"only {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, PLACES + 500), hard))


@pytest.fixture
async def processes() -> AsyncIterator[GatewayProcesses]:
    """What starts gateways in processes of their own."""
    async with gateway_processes() as found:
        yield found


class Loris:
    """Connections from many addresses that stay and hardly say a thing."""

    def __init__(self, port: int, words: list[bytes]) -> None:
        self._port = port
        self._words = words
        self.sockets: list[socket.socket] = []

    async def take(self, count: int) -> None:
        """Take places, as many by address as one may."""
        loop = asyncio.get_running_loop()
        for number in range(count):
            sock = socket.socket()
            sock.setblocking(False)
            sock.bind((f"127.0.1.{1 + number // BY_ADDRESS}", 0))
            await loop.sock_connect(sock, ("127.0.0.1", self._port))
            await loop.sock_sendall(sock, self._words[number % len(self._words)])
            self.sockets.append(sock)

    def say(self, octet: bytes) -> None:
        """Show some life on each of them."""
        for sock in self.sockets:
            try:
                sock.send(octet)
            except OSError:
                continue  # sent away

    def leave(self) -> None:
        """Go."""
        for sock in self.sockets:
            sock.close()


async def _is_served(port: int, *, within_s: float) -> bool:
    begun = time.monotonic()
    try:
        async with await Client.connect(port) as client:
            done = code(await client.hand_in("a@x.test", ["b@x.test"], b"Subject: x\r\n\r\n")) == 250
    except ConnectionError:
        return False
    return done and time.monotonic() - begun < within_s


@pytest.mark.parametrize(
    ("words", "each"), [(TRICKLES, 20_000), (SHAKING, 60_000)], ids=["hardly a word", "before a handshake"]
)
async def test_2000_that_take_all_places_make_room_for_a_device(
    processes: GatewayProcesses, tmp_path: Path, upstream: Upstream, words: list[bytes], each: int
) -> None:
    """One octet now and then is no progress; who has kept us waiting is told to go when somebody comes."""
    await processes.begin(tmp_path, upstream.port, f"stale_s={STALE_S}")
    port = await processes.ready()
    assert await _is_served(port, within_s=5)
    before = processes.memory()
    loris = Loris(port, words)
    try:
        await loris.take(PLACES)
        begun = time.monotonic()
        assert processes.memory() - before < PLACES * each
        while time.monotonic() - begun < STALE_S + 0.5:
            await asyncio.sleep(0.5)
            if words is TRICKLES:
                loris.say(b"x")
        for _device in range(20):
            assert await _is_served(port, within_s=2)
    finally:
        loris.leave()


async def _is_greeted_by_pop3(port: int) -> bool:
    begun = time.monotonic()
    try:
        async with await Client.connect(port) as client:
            await client.send(b"CAPA\r\nQUIT\r\n")
            said = await client.rest()
    except ConnectionError:
        return False
    return said.startswith(b"+OK") and said.endswith(b"+OK Bye\r\n") and time.monotonic() - begun < 2


async def test_who_takes_all_places_of_pop3_makes_room_too(
    processes: GatewayProcesses, tmp_path: Path, upstream: Upstream
) -> None:
    """Fewer places, the same rule; SMTP is not even touched."""
    places = 300
    await processes.begin(tmp_path, upstream.port, f"stale_s={STALE_S}", "pop3_port=-1", f"connections={places}")
    smtp = await processes.ready()
    port = processes.ports["pop3"]
    assert await _is_greeted_by_pop3(port)
    loris = Loris(port, [b"", b"U", b"USER x\r\nPAS", b"\x16", b"AUTH PLAIN\r\n", b"STLS\r\n"])
    try:
        await loris.take(places)
        assert await _is_served(smtp, within_s=2)
        begun = time.monotonic()
        while time.monotonic() - begun < STALE_S + 0.5:
            await asyncio.sleep(0.5)
            loris.say(b"x")
        for _device in range(20):
            assert await _is_greeted_by_pop3(port)
    finally:
        loris.leave()


async def test_one_address_takes_no_more_than_its_places(
    processes: GatewayProcesses, tmp_path: Path, upstream: Upstream
) -> None:
    """The others are not even slowed down."""
    await processes.begin(tmp_path, upstream.port, "submissions_port=-1")
    await processes.ready()
    for name in ("smtp", "submissions"):
        port = processes.ports[name]
        sockets = []
        for _number in range(BY_ADDRESS + 20):
            sock = socket.create_connection(("127.0.0.1", port), 5, source_address=("127.0.2.1", 0))
            sockets.append(sock)
        await asyncio.sleep(0.3)
        ended = 0
        for sock in sockets:
            sock.setblocking(False)
            try:
                said = sock.recv(1000)
                ended += not said or said.startswith(b"421")
            except BlockingIOError:
                pass
            except ConnectionResetError:
                ended += 1
        assert ended == 20
        assert await _is_served(processes.port, within_s=2)
        for sock in sockets:
            sock.close()


async def test_a_gateway_out_of_descriptors_goes_on_when_there_are_some_again(
    processes: GatewayProcesses, tmp_path: Path, upstream: Upstream
) -> None:
    """Nothing that it had accepted is lost meanwhile, and nobody has to start it anew."""
    await processes.begin(tmp_path, upstream.port, "files=120")
    port = await processes.ready()
    assert await _is_served(port, within_s=5)
    loris = Loris(port, [b"EHLO x\r\n"])
    try:
        with contextlib.suppress(OSError):
            await loris.take(400)
        with contextlib.suppress(OSError, TimeoutError):
            await _is_served(port, within_s=1)
    finally:
        loris.leave()
    await asyncio.sleep(1.5)
    for _device in range(5):
        assert await _is_served(port, within_s=3)
    end = time.monotonic() + 60  # a lane that could not connect waits up to 20 s
    while len(upstream.copies) < 6:
        assert time.monotonic() < end, "it was not delivered"
        await asyncio.sleep(0.05)


async def test_a_thousand_commands_before_a_greeting_are_not_listened_to(gateway: RunningGateway) -> None:
    """Neither good ones nor bad ones; ended with 421 long before, and nobody else notices."""
    for line in (
        b"NOOP\r\n",
        b"RSET\r\n",
        b"VRFY x\r\n",
        b"HELP\r\n",
        b"XYZZY\r\n",
        b"\r\n",
        b"MAIL FROM:<a@x.test>\r\n",
    ):
        async with await Client.connect(gateway.port) as client:
            await client.send(line * 1000)
            said = (await client.rest()).splitlines()
            assert said[-1].startswith(b"421")
            assert len(said) <= 102
    assert await _is_served(gateway.port, within_s=2)


async def test_a_hundred_commands_before_ehlo_do_not_hurt_a_polite_client(gateway: RunningGateway) -> None:
    """Some programs ask a lot: it is answered, and then it is too much; a new session is as good as any."""
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        said = [await client.say(b"NOOP") for _number in range(100)]
        assert set(said) == {250}
        assert await client.say(b"EHLO x") == 421
    assert await _is_served(gateway.port, within_s=2)


async def test_whole_sessions_at_once_are_answered_in_order(gateway: RunningGateway, upstream: Upstream) -> None:
    """Everything in one write, before the greeting was read; many messages, then QUIT, then what nobody hears."""
    count = 100
    message = b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\nMessage-ID: <%d@x>\r\n\r\n..\r\n.\r\n"
    said = b"EHLO x\r\n" + b"".join(message % number for number in range(count)) + b"QUIT\r\n" + message % count
    async with await Client.connect(gateway.port) as client:
        await client.send(said)
        lines = (await client.rest()).splitlines()
    codes = [int(line[:3]) for line in lines if line[3:4] == b" "]
    assert codes == [220, 250, *[250, 250, 354, 250] * count, 221]
    entries = await gateway.until_all_delivered()
    assert len(entries) == count
    assert {copy.message_id for copy in upstream.copies} == {f"<{number}@x>" for number in range(count)}


async def test_a_client_that_never_reads_costs_little_and_stops_nobody(
    processes: GatewayProcesses, tmp_path: Path, upstream: Upstream
) -> None:
    """Commands without end whose replies pile up: the gateway stops reading them."""
    await processes.begin(tmp_path, upstream.port)
    port = await processes.ready()
    assert await _is_served(port, within_s=5)
    before = processes.memory()
    deaf = []
    commands = b"EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nRSET\r\n" * 20_000
    for _number in range(20):
        sock = socket.create_connection(("127.0.0.1", port), 5)
        sock.setblocking(False)
        deaf.append(sock)
    for _round in range(10):
        for sock in deaf:
            try:
                sock.send(commands)
            except OSError:
                continue  # full, or sent away
        await asyncio.sleep(0.05)
        assert await _is_served(port, within_s=3)
    assert processes.most_memory() - before < 32 * MEBI
    for sock in deaf:
        sock.close()
