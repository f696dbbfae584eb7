"""Sessions of a server over real sockets: bounds, TLS that begins in odd ways, clients that hang up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme
import uvloop

from valija.net.listeners import Listener, pop3_listener, smtp_listener
from valija.net.visits import (
    LoginAccepted,
    LoginRefused,
    MessageRefused,
    Peer,
    PopHandler,
    PopVisit,
    SmtpHandler,
    SmtpVisit,
    Transaction,
    Verdict,
)
from valija.protocol.pop3_server_events import Entry, PopPolicy
from valija.protocol.sasl_server import Shown
from valija.protocol.smtp_path import Path
from valija.protocol.smtp_server_events import SmtpPolicy

PATIENCE_S = 10


class Sink:
    """Keeps a message; ``gate`` must be set before it says so."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.octets = b""

    def write(self, data: bytes) -> Awaitable[None] | None:
        self.octets += data
        return None

    async def commit(self) -> Verdict:
        self._house.committing.set()
        await self._house.gate.wait()
        self._house.kept.append(self.octets)
        return Verdict(250, "2.0.0", "Kept")

    def unheard(self) -> None:
        self._house.unheard += 1

    async def abandon(self) -> None:
        self._house.abandoned += 1


class House(SmtpHandler):
    """Takes everything from everybody; ``open_door`` false: after a log-in."""

    def __init__(self, *, open_door: bool = True) -> None:
        self.policy = SmtpPolicy("house.test", ("PLAIN",), tls_offered=True, auth_required=not open_door)
        self.kept: list[bytes] = []
        self.unheard = self.abandoned = self.visits = self.ended = 0
        self.gate, self.committing = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.versions: list[str] = []
        self.addresses: set[str] = set()

    def open(self, peer: Peer) -> SmtpVisit:
        self.addresses.add(peer.address)
        self.visits += 1
        return _Visit(self)


class _Visit(SmtpVisit):
    def __init__(self, house: House) -> None:
        self._house = house
        self.policy = house.policy

    def secured(self, version: str) -> None:
        self._house.versions.append(version)

    def login(self, shown: Shown) -> LoginAccepted | LoginRefused:
        return LoginAccepted(shown.user)

    def sender(self, path: Path) -> Verdict:
        return Verdict(250, "2.1.0", "OK")

    async def recipient(self, path: Path) -> Verdict:
        await asyncio.sleep(0)
        return Verdict(250, "2.1.5", "OK")

    def message(self, transaction: Transaction) -> Sink:
        return Sink(self._house)

    def ended(self) -> None:
        self._house.ended += 1


@asynccontextmanager
async def _listening(house: House, *, implicit_tls: bool = False, **bounds: Any) -> AsyncIterator[Listener]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    listener = smtp_listener(house, context, **bounds)
    await listener.start("127.0.0.1", 0, implicit_tls=implicit_tls)
    try:
        yield listener
    finally:
        await listener.stop(0.5)


async def _connect(listener: Listener, **named: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", listener.port, **named)


async def _line(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return await reader.readline()


def _careless() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


WHOLE = (
    b"EHLO a\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: x\r\n\r\none\r\n.\r\n"
    b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\ntwo\r\n.\r\nQUIT\r\n"
)


async def _until(reached: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not reached():  # noqa: ASYNC110 - it is a listener's own count
            await asyncio.sleep(0.01)


async def test_a_whole_session_sent_at_once_is_answered_in_order() -> None:
    house = House()
    async with _listening(house) as listener:
        reader, writer = await _connect(listener)
        writer.write(WHOLE)
        async with asyncio.timeout(PATIENCE_S):
            said = await reader.read()
        writer.close()
    codes = [line[:3] for line in said.splitlines() if line[3:4] == b" "]
    assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"354", b"250", b"221"]
    assert house.kept == [b"Subject: x\r\n\r\none\r\n", b"two\r\n"]


async def test_who_says_all_and_closes_its_half_is_served_to_the_end() -> None:
    house = House()
    async with _listening(house) as listener:
        reader, writer = await _connect(listener)
        writer.write(WHOLE.removesuffix(b"QUIT\r\n"))
        writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            said = await reader.read()
        writer.close()
    assert said.count(b"250 2.0.0 Kept") == 2
    assert house.ended == 1


async def test_a_message_whose_client_is_gone_before_the_answer_is_kept_and_known_as_unheard() -> None:
    house = House()
    house.gate.clear()
    async with _listening(house) as listener:
        _reader, writer = await _connect(listener)
        writer.write(WHOLE.partition(b".\r\n")[0] + b".\r\n")
        async with asyncio.timeout(PATIENCE_S):
            await house.committing.wait()
        writer.transport.abort()
        await asyncio.sleep(0.1)
        house.gate.set()
        await _until(lambda: house.ended)
    assert (len(house.kept), house.unheard) == (1, 1)


async def test_half_a_message_is_nothing() -> None:
    house = House()
    async with _listening(house) as listener:
        _reader, writer = await _connect(listener)
        writer.write(WHOLE.partition(b"one")[0])
        await asyncio.sleep(0.1)
        writer.transport.abort()
        await _until(lambda: house.ended)
    assert (house.kept, house.abandoned) == ([], 1)


async def test_an_octet_now_and_then_is_no_progress() -> None:
    """A session whose command never ends is over after the idle time, however often an octet comes."""
    async with _listening(House(), idle_s=0.8) as listener:
        reader, writer = await _connect(listener)
        await _line(reader)
        begun = asyncio.get_running_loop().time()

        async def drip() -> None:
            while True:
                writer.write(b"N")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert (await _line(reader))[:3] == b"421"
        dripping.cancel()
        assert asyncio.get_running_loop().time() - begun < 4
        writer.close()


@pytest.mark.parametrize(("known", "last"), [(True, b"250"), (False, b"421")])
async def test_commands_that_ask_nobody_keep_who_is_known_and_no_stranger(known: bool, last: bytes) -> None:
    """RFC 1939 section 3: any command begins the time anew. A stranger's place is for others (``idle`` NOOPs cost nothing)."""
    async with _listening(House(open_door=known), idle_s=0.4) as listener:
        reader, writer = await _connect(listener)
        await _line(reader)
        said = b""
        for _command in range(10):
            writer.write(b"NOOP\r\n")
            said = (await _line(reader))[:3]
            if said != b"250":
                break
            await asyncio.sleep(0.08)
        assert said == last
        writer.close()


async def test_who_reads_nothing_is_let_go() -> None:
    async with _listening(House(), idle_s=0.8) as listener:
        _reader, writer = await _connect(listener, limit=1)
        writer.write(b"NOOP\r\n" * 20_000)
        writer.write(b"HELP me\r\n" * 300_000)
        await _until(lambda: not listener._sessions)
        writer.transport.abort()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_two_colons_are_ipv6_and_ipv4(loop: Any) -> None:
    """A printer that knows IPv4 alone reaches a machine that listens at all of IPv6 (RFC 4291 section 2.5.5.2)."""

    async def greetings() -> list[bytes]:
        listener = smtp_listener(House(), None)
        await listener.start("::", 0)
        found = []
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(host, listener.port)
            found.append((await _line(reader))[:3])
            writer.close()
        await listener.stop(0.1)
        return found

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(greetings()) == [b"220", b"220"]


async def test_an_address_has_so_many_sessions_and_no_more() -> None:
    async with _listening(House(), address_limit=lambda _address: 2) as listener:
        kept = [await _connect(listener) for _number in range(2)]
        assert [(await _line(reader))[:3] for reader, _writer in kept] == [b"220", b"220"]
        reader, writer = await _connect(listener)
        assert (await _line(reader))[:3] == b"421"
        kept[0][1].close()
        await _until(lambda: len(listener._sessions) == 1)
        again, last = await _connect(listener)
        assert (await _line(again))[:3] == b"220"
        for _reader, open_one in [*kept, (reader, writer), (again, last)]:
            open_one.close()


async def test_at_the_limit_a_silent_stranger_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valija.net.listeners.STALE_S", 0.2)
    async with _listening(House(open_door=False), connections_limit=3, address_limit=lambda _address: 9) as listener:
        strangers = [await _connect(listener) for _number in range(3)]
        for reader, _writer in strangers:
            await _line(reader)
        await asyncio.sleep(0.4)
        reader, writer = await _connect(listener)
        assert (await _line(reader))[:3] == b"220"
        assert (await _line(strangers[0][0]))[:3] == b"421"
        for _reader, open_one in [*strangers, (reader, writer)]:
            open_one.close()


async def test_at_the_limit_of_an_address_its_own_silent_stranger_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a router are many; one of them that takes all its places takes them for a while only."""
    monkeypatch.setattr("valija.net.listeners.STALE_S", 0.2)
    async with _listening(House(open_door=False), address_limit=lambda _address: 2) as listener:
        other = await _connect(listener, local_addr=("127.0.0.9", 0))
        strangers = [await _connect(listener) for _number in range(2)]
        for reader, _writer in [other, *strangers]:
            assert (await _line(reader))[:3] == b"220"
        reader, writer = await _connect(listener)
        assert (await _line(reader))[:3] == b"421"
        await asyncio.sleep(0.4)
        again, last = await _connect(listener)
        assert (await _line(again))[:3] == b"220"
        assert (await _line(strangers[0][0]))[:3] == b"421"
        assert len(listener._sessions) == 3
        for _reader, open_one in [other, *strangers, (reader, writer), (again, last)]:
            open_one.close()


async def test_at_the_limit_a_stranger_makes_room_at_once_for_who_was_right_before() -> None:
    """One with a whole IPv6 network can begin anew all the time."""
    at_home = "127.0.0.9"
    bounds: dict[str, Any] = {"connections_limit": 3, "is_at_home": lambda address: address == at_home}
    async with _listening(House(open_door=False), **bounds) as listener:
        devices = [await _connect(listener, local_addr=(at_home, 0))]
        strangers = [await _connect(listener) for _number in range(2)]
        for reader, _writer in [*devices, *strangers]:
            assert (await _line(reader))[:3] == b"220"
        devices += [await _connect(listener, local_addr=(at_home, 0)) for _number in range(3)]
        assert [(await _line(reader))[:3] for reader, _writer in devices[1:]] == [b"220", b"220", b"421"]
        assert [(await _line(reader))[:3] for reader, _writer in strangers] == [b"421", b"421"]
        reader, writer = await _connect(listener)
        assert (await _line(reader))[:3] == b"421"
        for _reader, open_one in [*devices, *strangers, (reader, writer)]:
            open_one.close()


class _LargeMaildrop:
    entries: Sequence[Entry] = [Entry("x", 10)] * 5000

    async def read(self, index: int, lines: int | None) -> AsyncGenerator[bytes]:
        if index >= 0:
            raise MessageRefused("nothing here")
        yield b""

    async def delete(self, indexes: Sequence[int]) -> bool:
        return True

    async def close(self) -> None:
        pass


class _LargeHouse(PopHandler):
    def open(self, _peer: Peer) -> PopVisit:
        return _LargeVisit()


class _LargeVisit(PopVisit):
    policy = PopPolicy("house.test", ("PLAIN",), auth_needs_tls=False)

    def login(self, shown: Shown, *, utf8: bool) -> _LargeMaildrop:
        return _LargeMaildrop()


@pytest.mark.parametrize(("command", "stays"), [(b"NOOP\r\n", False), (b"STAT\r\n", False), (b"TOP 1 0\r\n", True)])
async def test_a_maildrop_is_not_held_by_commands_that_ask_for_no_message(command: bytes, stays: bool) -> None:
    """Others wait for it: a device that only says NOOP has it for some idle times, and then no more."""
    listener = pop3_listener(_LargeHouse(), None, idle_s=0.2)
    await listener.start("127.0.0.1", 0)
    reader, writer = await _connect(listener)
    writer.write(b"USER a\r\nPASS b\r\n")
    await _line(reader), await _line(reader)
    begun = time.monotonic()
    last = await _line(reader)
    while not last.startswith(b"-ERR Closing") and time.monotonic() - begun < 2:
        writer.write(command)
        last = await _line(reader)
        await asyncio.sleep(0.04)
    assert time.monotonic() - begun > 0.6
    assert last.startswith(b"-ERR nothing here" if stays else b"-ERR Closing")
    writer.close()
    await listener.stop(0.5)


async def test_who_asks_for_much_at_once_stops_nobody_else() -> None:
    """Commands that cost time and say little: the listing of a large maildrop in which all is marked."""
    listener = pop3_listener(_LargeHouse(), None)
    await listener.start("127.0.0.1", 0)
    marks = b"".join(b"DELE %d\r\n" % number for number in range(1, 5001))
    reader, writer = await _connect(listener)
    writer.write(b"USER a\r\nPASS b\r\n" + marks + b"LIST\r\n" * 2000 + b"QUIT\r\n")
    everything = asyncio.create_task(reader.read())
    longest, before = 0.0, time.perf_counter()
    async with asyncio.timeout(PATIENCE_S):
        while not everything.done():
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, before = max(longest, now - before), now
    assert (await everything).count(b"+OK 0 messages\r\n.\r\n") == 2000
    assert longest < 0.25
    writer.close()
    await listener.stop(0.5)


@pytest.mark.parametrize("implicit", [False, True])
async def test_what_comes_with_the_end_of_the_handshake_is_heard(implicit: bool) -> None:
    """TLS 1.3 clients may speak with their last handshake octets."""
    house = House()
    async with _listening(house, implicit_tls=implicit) as listener:
        if implicit:
            reader, writer = await _connect(listener, ssl=_careless(), server_hostname="localhost")
        else:
            reader, writer = await _connect(listener)
            await _line(reader)
            writer.write(b"STARTTLS\r\n")
            assert (await _line(reader))[:3] == b"220"
            await writer.start_tls(_careless(), server_hostname="localhost")
        writer.write(b"NOOP\r\n")
        if implicit:
            assert (await _line(reader))[:3] == b"220"
        assert (await _line(reader))[:3] == b"250"
        writer.close()
    assert house.versions == ["TLSv1.3"]


def _will_reset(listener: Listener) -> socket.socket:
    """Return a connection whose end is a reset."""
    sock = socket.create_connection(("127.0.0.1", listener.port))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return sock


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_who_asks_for_tls_and_is_gone_keeps_no_place(loop: Any) -> None:
    """Not even until a handshake takes too long."""

    async def go() -> None:
        async with _listening(House()) as listener:
            for _client in range(5):
                sock = _will_reset(listener)
                await _until(lambda: listener._sessions)
                await asyncio.sleep(0.02)
                sock.sendall(b"EHLO x\r\nSTARTTLS\r\n")
                sock.close()
                await _until(lambda: not listener._sessions)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(go())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_who_is_gone_before_it_was_there_is_nobody_without_an_address(loop: Any) -> None:
    """As who looks for open ports: of such a one uvloop knows no address any more."""

    async def go() -> None:
        house = House()
        async with _listening(house) as listener:
            for _client in range(5):
                _will_reset(listener).close()
            reader, writer = await _connect(listener)
            assert (await _line(reader))[:3] == b"220"
            assert house.addresses == {"127.0.0.1"}
            await _until(lambda: len(listener._sessions) == 1)
            writer.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(go())


async def test_a_stop_ends_a_session_behind_the_answer_that_is_under_way() -> None:
    """The next message would be broken off, perhaps after it was kept and before that was said."""
    house = House()
    house.gate.clear()
    async with _listening(house) as listener:
        reader, writer = await _connect(listener)
        writer.write(WHOLE)
        await house.committing.wait()
        stopping = asyncio.create_task(listener.stop(5))
        await asyncio.sleep(0.05)
        first, house.gate = house.gate, asyncio.Event()  # another commit would wait for ever
        first.set()
        async with asyncio.timeout(PATIENCE_S):
            said = await reader.read()
            await stopping
        writer.close()
    assert [line[:3] for line in said.splitlines() if line[3:4] == b" "][-3:] == [b"354", b"250", b"421"]
    assert len(house.kept) == 1
    assert house.unheard == 0


async def test_who_is_gone_is_let_go_of_when_the_listener_stops_though_an_answer_takes_too_long() -> None:
    house = House()
    house.gate.clear()
    async with _listening(house) as listener:
        sock = _will_reset(listener)
        sock.sendall(WHOLE)
        await house.committing.wait()
        sock.close()
        [session] = listener._sessions
        await _until(lambda: session._lost)
        await listener.stop(0.05)
        assert not listener._sessions
        assert house.ended == house.visits == 1


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_who_is_in_a_handshake_is_let_go_of_when_the_listener_stops(loop: Any) -> None:
    async def go() -> None:
        house = House()
        async with _listening(house) as listener:
            reader, writer = await _connect(listener)
            writer.write(b"EHLO x\r\nSTARTTLS\r\n")
            while await _line(reader) != b"220 2.0.0 Ready to start TLS\r\n":
                pass
            await listener.stop(0.05)
            await _until(lambda: not listener._sessions)
            assert house.ended == house.visits == 1
            assert await reader.read() == b""
            writer.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(go())


async def test_what_is_sent_ahead_of_the_handshake_is_dropped() -> None:
    """Commands injected in clear are not carried into TLS (CVE-2011-0411)."""
    house = House()
    async with _listening(house) as listener:
        reader, writer = await _connect(listener)
        await _line(reader)
        writer.write(b"STARTTLS\r\nMAIL FROM:<evil@example.com>\r\n")
        assert (await _line(reader))[:3] == b"220"
        await writer.start_tls(_careless(), server_hostname="localhost")
        writer.write(b"NOOP\r\nRCPT TO:<b@example.com>\r\n")
        assert [(await _line(reader))[:3] for _n in range(2)] == [b"250", b"503"]
        writer.close()


async def test_a_device_that_begins_with_tls_on_a_plain_port_is_served_the_second_time() -> None:
    """The first time it is only learnt; others are greeted without delay all the while."""
    house = House()
    async with _listening(house) as listener:
        with pytest.raises((ssl.SSLError, OSError)):
            await _connect(listener, ssl=_careless(), server_hostname="localhost")
        reader, writer = await _connect(listener, ssl=_careless(), server_hostname="localhost")
        assert (await _line(reader))[:3] == b"220"
        writer.write(b"EHLO a\r\n")
        assert (await _line(reader))[:3] == b"250"
        writer.close()
        plain, plain_writer = await _connect(listener)  # the same address may still speak in clear
        assert (await _line(plain))[:3] == b"220"
        plain_writer.close()
    assert house.versions == ["TLSv1.3"]


def _greeted(port: int, times: int) -> list[bytes]:
    """Connect with TLS from the first octet, so many times; return the greetings' codes."""
    found = []
    for _time in range(times):
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain, contextlib.suppress(OSError):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with _careless().wrap_socket(plain) as secured:
                found.append(secured.recv(100)[:3])
    return found


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_a_hello_that_comes_at_once_is_never_lost(factory: Any, implicit: bool) -> None:
    """Event loops differ in when they begin to read; on a plain port the first connection is only learnt from."""

    async def serve() -> list[bytes]:
        async with _listening(House(), implicit_tls=implicit) as listener, asyncio.timeout(PATIENCE_S * 3):
            return await asyncio.to_thread(_greeted, listener.port, 30)

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(serve()) == [b"220"] * (30 if implicit else 29)
