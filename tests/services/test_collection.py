"""A device fetches a mailbox: what the provider does, what the device does, and that nothing is lost or told between them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pop_upstream import CAPABILITIES, LONG, Maildrop

from hostile_arguments import HOSTILE
from valija.apps.api.gateway_views import show_device
from valija.apps.api.views import Views
from valija.apps.config import Configuration
from valija.apps.language import translate
from valija.apps.machine import Machine, SystemClock, build
from valija.domain import device as domain_device
from valija.domain.account import Actor, Presence, Setting
from valija.domain.device_hints import refusal
from valija.domain.errors import StoreError
from valija.domain.sighting import Sighting
from valija.domain.text import message as sentence
from valija.net.listeners import Listener, pop3_listener
from valija.services import collection
from valija.services.collection import Collection
from valija.services.login import Troubles
from valija.services.retrieval import MaildropBusy
from valija.store.memory import MemoryStore

FAX = Setting.INTERNET_FAX
OPERATOR = Actor("uid 0", "cli", Presence.AT_MACHINE)
TIMEOUT_S = 10.0
ODD = b".\r\n..\r\nSubject: \xf1\xff\x00\r\n\r\nbare\n.\nlf\r\n.hidden\r\n" + b"y" * 100_000 + b"\r\n"


class Device:
    """A device's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def line(self) -> bytes:
        """Return the next line, without its end; nothing at the end of the connection."""
        async with asyncio.timeout(TIMEOUT_S):
            return (await self.reader.readline()).removesuffix(b"\r\n")

    async def say(self, *commands: str) -> bytes:
        """Say commands; return the answer to the last."""
        for command in commands:
            self.writer.write(command.encode() + b"\r\n")
            answer = await self.line()
        return answer

    async def many(self, command: str) -> bytes:
        """Say a command; return the octets of its multi-line answer, unstuffed."""
        assert (await self.say(command)).startswith(b"+OK")
        found = b""
        async with asyncio.timeout(TIMEOUT_S):
            while (line := await self.reader.readuntil(b"\r\n")) != b".\r\n":
                found += line[1:] if line.startswith(b".") else line
        return found

    async def log_in(self, password: str = "") -> bytes:
        """Log in with the password."""
        return await self.say("USER old", f"PASS {password}")


@dataclass
class Office:
    """A machine with one device; ``upstream`` is its provider's server."""

    machine: Machine
    listener: Listener
    password: str
    open: list[Device]

    async def serve(self, upstream: Maildrop) -> asyncio.Server:
        """Let the Internet fax setting lead to this server."""
        server = await asyncio.start_server(upstream.session, "127.0.0.1", 0)
        where = {"server": "127.0.0.1", "port": server.sockets[0].getsockname()[1], "tls": False, "timeout": 2}
        account = {"auth": "password", "account": "ana@x.test", "password": "upstream-secret"}
        await self.machine.settings.change(FAX, where | account, confirm=False, actor=OPERATOR)
        return server

    async def connect(self) -> Device:
        """Connect as the device does, and hear the greeting."""
        device = Device(*await asyncio.open_connection("127.0.0.1", self.listener.port, limit=1 << 20))
        self.open.append(device)
        assert (await device.line()).startswith(b"+OK")
        return device

    async def logged_in(self) -> Device:
        """Connect and log in."""
        device = await self.connect()
        answer = await device.log_in(self.password)
        assert answer.startswith(b"+OK"), answer
        return device

    def shown(self) -> tuple[domain_device.Device, Sighting | None]:
        """Return the device and what was seen of it."""
        desk = self.machine.gateway.devices
        return desk.get("old"), desk.sighting("old")

    def last_error(self) -> str:
        """Return what was last seen to go wrong with the device."""
        seen = self.machine.gateway.devices.sighting("old")
        assert seen is not None
        return seen.last_error

    async def free(self) -> None:
        """Wait until nobody has the mailbox."""
        async with asyncio.timeout(TIMEOUT_S):
            (await self.machine.retrieval.take(FAX, TIMEOUT_S))()


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """A machine with a device that fetches Internet faxes."""
    machine = build(Configuration(), MemoryStore(), SystemClock(), tmp_path)
    devices = machine.gateway.devices
    made = await devices.add({"name": "Old", "mailbox": FAX.value}, OPERATOR)
    assert made.password is not None
    troubles = Troubles(machine.explainer, machine.clock)
    handler = Collection(devices, machine.retrieval, troubles, machine.clock, host_name="gate", tls=False)
    listener: Listener = pop3_listener(handler, None)
    await listener.start("127.0.0.1", 0)
    here = Office(machine, listener, made.password.reveal(), [])
    yield here
    for device in here.open:
        device.writer.close()
    await listener.stop(0.2)
    await machine.stop()


@pytest.fixture
async def serve(office: Office) -> AsyncIterator[Callable[[Maildrop], Awaitable[Maildrop]]]:
    """Serve a maildrop."""
    servers = []

    async def start(upstream: Maildrop) -> Maildrop:
        servers.append(await office.serve(upstream))
        return upstream

    yield start
    for server in servers:
        server.close()


Serve = Callable[[Maildrop], Awaitable[Maildrop]]


# --- messages ---------------------------------------------------------------------------------------------------------------


async def test_every_octet_passes_as_the_provider_gives_it(office: Office, serve: Serve) -> None:
    """Dots, bare LF, 8 bits, NUL, a line of 100,000 octets, an empty message; unique-ids and sizes are the provider's."""
    await serve(Maildrop({"u1": ODD, "u2": LONG, "u3": b""}, capabilities=CAPABILITIES))
    device = await office.logged_in()
    assert await device.many("UIDL") == b"1 u1\r\n2 u2\r\n3 u3\r\n"
    assert await device.many("LIST") == b"1 %d\r\n2 %d\r\n3 0\r\n" % (len(ODD), len(LONG))
    for number, message in enumerate((ODD, LONG, b""), 1):
        assert await device.many(f"RETR {number}") == message
    assert await device.say("QUIT") == b"+OK Bye"


@pytest.mark.parametrize("capabilities", [CAPABILITIES, b"USER\r\nUIDL\r\n"], ids=["top", "no top"])
async def test_the_top_of_a_message_is_the_providers_or_cut_here(
    office: Office, serve: Serve, capabilities: bytes
) -> None:
    """A provider without TOP is asked for all of it; the session is in step afterwards."""
    upstream = await serve(Maildrop({"u1": b"A: b\r\n\r\n..1\r\n2\r\n3\r\n", "u2": LONG}, capabilities=capabilities))
    device = await office.logged_in()
    assert await device.many("TOP 1 0") == b"A: b\r\n\r\n"
    assert await device.many("TOP 1 2") == b"A: b\r\n\r\n..1\r\n2\r\n"
    assert await device.many("TOP 2 1") == LONG.removesuffix(b"..dots\r\n")
    assert await device.many("RETR 2") == LONG
    assert ("TOP 1 2" in upstream.commands) is (capabilities == CAPABILITIES)


@pytest.mark.parametrize(
    ("refusal", "said"), [(b"-ERR no", b"-ERR no"), (b"-ERR", b"-ERR The provider refuses it")], ids=["words", "bare"]
)
async def test_a_message_that_is_refused_is_refused_and_the_next_one_comes(
    office: Office, serve: Serve, refusal: bytes, said: bytes
) -> None:
    """With the provider's words, if it has any."""
    await serve(Maildrop(refuses="RETR 1", refusal=refusal, capabilities=CAPABILITIES))
    device = await office.logged_in()
    assert await device.say("RETR 1") == said
    assert await device.many("RETR 2") == LONG


async def test_a_slow_device_slows_the_provider_down(office: Office, serve: Serve) -> None:
    """60 MB are not read ahead for a device that does not take them."""
    upstream = await serve(Maildrop({"u1": b"x" * 60_000_000 + b"\r\n"}, capabilities=CAPABILITIES))
    device = await office.logged_in()
    assert await device.say("RETR 1") == b"+OK"
    taken = -1
    while taken != upstream.octets_taken:
        taken = upstream.octets_taken
        await asyncio.sleep(0.2)
    assert taken < 30_000_000  # the sockets' buffers and ours


async def test_utf8_is_asked_for_upstream_where_it_is_offered(office: Office, serve: Serve) -> None:
    """RFC 6856: before the log-in, and only if the device wants it."""
    upstream = await serve(Maildrop(capabilities=CAPABILITIES + b"UTF8\r\n"))
    device = await office.connect()
    await device.say("UTF8")
    assert (await device.log_in(office.password)).startswith(b"+OK")
    assert upstream.commands[:3] == ["CAPA", "UTF8", "USER ana@x.test"]
    await device.say("QUIT")
    await office.logged_in()
    assert upstream.commands.count("UTF8") == 1


# --- deletions --------------------------------------------------------------------------------------------------------------


async def test_deletions_take_effect_at_quit_here_and_there(office: Office, serve: Serve) -> None:
    """Marks are not sent before; RSET takes them back."""
    upstream = await serve(Maildrop(capabilities=CAPABILITIES))
    device = await office.logged_in()
    assert await device.say("DELE 1", "RSET", "DELE 2") == b"+OK Marked"
    assert not [c for c in upstream.commands if c.startswith("DELE")]
    assert await device.say("QUIT") == b"+OK Bye"
    assert list(upstream.messages) == ["u1"]
    assert upstream.commands[-2:] == ["DELE 2", "QUIT"]


@pytest.mark.parametrize("last", ["", "RETR 2", "DELE 2", "QUI"])
async def test_a_device_that_breaks_off_deletes_nothing(office: Office, serve: Serve, last: str) -> None:
    """In the middle of a message, of a command, or between two; the provider's session is left in order."""
    upstream = await serve(Maildrop(capabilities=CAPABILITIES))
    device = await office.logged_in()
    assert await device.say("DELE 1") == b"+OK Marked"
    device.writer.write(last.encode() + (b"" if last == "QUI" else b"\r\n"))
    device.writer.close()
    await office.free()
    assert list(upstream.messages) == ["u1", "u2"]
    assert not [c for c in upstream.commands if c.startswith("DELE")]


@pytest.mark.parametrize("reset", [False, True], ids=["an end", "a reset"])
async def test_a_device_that_is_gone_at_any_octet_has_deleted_all_that_it_asked_for_or_nothing(
    office: Office, serve: Serve, reset: bool
) -> None:
    """All of its session up to there; the mailbox is free each time, and the provider's session in order."""
    upstream = await serve(Maildrop(capabilities=CAPABILITIES))
    kept = dict(upstream.messages)
    said = f"USER old\r\nPASS {office.password}\r\nDELE 1\r\nRETR 2\r\nQUIT\r\n".encode()
    for length in range(len(said) + 1):
        device = await office.connect()
        device.writer.write(said[:length])
        if reset:
            await device.writer.drain()
            await asyncio.sleep(0)
            device.writer.transport.abort()
        else:
            device.writer.write_eof()
            async with asyncio.timeout(TIMEOUT_S):
                heard = await device.reader.read()
            assert length < len(said) or heard.endswith(b"+OK Bye\r\n")
        await office.free()
        if length < len(said):
            assert upstream.messages == kept, said[:length]
        elif not reset:
            assert list(upstream.messages) == ["u2"]
    assert await (await office.logged_in()).say("QUIT") == b"+OK Bye"


@pytest.mark.parametrize(
    "command", ["RETR %", "RETR 1%", "TOP 1 %", "TOP % 1", "DELE %", "LIST %", "UIDL %", "STAT%", "%"]
)
async def test_whatever_stands_in_an_argument_reaches_nobody(office: Office, serve: Serve, command: str) -> None:
    """A reply of one line, or the end; the provider hears what we say, and no octet of the device's."""
    upstream = await serve(Maildrop(capabilities=CAPABILITIES))
    for hostile in HOSTILE:
        device = await office.logged_in()
        device.writer.write(command.encode().replace(b"%", hostile) + b"\r\nQUIT\r\n")
        async with asyncio.timeout(TIMEOUT_S):
            with contextlib.suppress(ConnectionError):  # an endless line ends the session at once
                answers = await device.reader.read()
                assert answers.endswith(b"\r\n")
                assert re.fullmatch(rb"(?:[\x20-\x7e]*\r\n)+", answers), answers[:200]
        await office.free()
    ours = r"CAPA|UTF8|USER ana@x\.test|PASS upstream-secret|UIDL|LIST|STAT|NOOP|QUIT|RETR [12]|TOP [12] \d{1,9}"
    assert [said for said in upstream.commands if not re.fullmatch(ours, said)] == []
    assert list(upstream.messages) == ["u1", "u2"]


@pytest.mark.parametrize("refused", ["DELE 1", "QUIT"])
async def test_a_deletion_that_the_provider_refuses_is_told_at_quit(office: Office, serve: Serve, refused: str) -> None:
    """And kept in what was seen of the device."""
    upstream = await serve(Maildrop(refuses=refused, capabilities=CAPABILITIES))
    device = await office.logged_in()
    assert await device.say("DELE 1", "DELE 2", "QUIT") == b"-ERR [SYS/TEMP] Some messages were not deleted"
    assert await device.line() == b""
    assert "u1" in upstream.messages
    assert "internet-fax: server_refused -ERR no" in office.last_error()


@pytest.mark.parametrize("step", ["DELE", "QUIT"])
async def test_a_provider_that_goes_away_at_the_end_is_told_at_quit(office: Office, serve: Serve, step: str) -> None:
    """Whether it has deleted cannot be known; it is not said to be done."""
    await serve(Maildrop(breaks=step, capabilities=CAPABILITIES))
    device = await office.logged_in()
    assert await device.say("DELE 1", "QUIT") == b"-ERR [SYS/TEMP] Some messages were not deleted"
    assert "connection_lost" in office.last_error()


# --- the provider goes away ---------------------------------------------------------------------------------------------------


async def test_a_provider_that_goes_away_before_a_message_ends_the_session_in_order(
    office: Office, serve: Serve
) -> None:
    """A clear -ERR, nothing deleted, and the next session works."""
    upstream = await serve(Maildrop(breaks="TOP", capabilities=CAPABILITIES))
    device = await office.logged_in()
    assert await device.say("DELE 1") == b"+OK Marked"
    assert (await device.say("TOP 2 0")).startswith(b"-ERR [SYS/TEMP] The connection to the mailbox is lost, nothing")
    assert await device.line() == b""
    assert list(upstream.messages) == ["u1", "u2"]
    assert await (await office.logged_in()).say("QUIT") == b"+OK Bye"


async def test_a_provider_that_goes_away_inside_a_message_never_looks_like_its_end(
    office: Office, serve: Serve
) -> None:
    """The connection is cut, without the terminator."""
    upstream = await serve(Maildrop(breaks="RETR", capabilities=CAPABILITIES))
    device = await office.logged_in()
    assert await device.say("RETR 1") == b"+OK"
    async with asyncio.timeout(TIMEOUT_S):
        assert await device.reader.read() == b"Subject: ha"
    await office.free()
    assert list(upstream.messages) == ["u1", "u2"]
    assert "internet-fax: connection_lost" in office.last_error()


@pytest.mark.parametrize("step", ["CAPA", "USER", "PASS", "UIDL", "LIST"])
async def test_a_provider_that_cannot_be_opened_is_never_the_devices_fault(
    office: Office, serve: Serve, step: str
) -> None:
    """Gone or refusing at each step: later, in the same few words; the cause is in what was seen; then it works."""
    upstream = await serve(Maildrop(breaks=step, capabilities=CAPABILITIES))
    device = await office.connect()
    later = b"-ERR [SYS/TEMP] The mailbox cannot be opened now: try again later"
    assert await device.log_in(office.password) == later
    assert "internet-fax: connection_lost" in office.last_error()
    upstream.breaks, upstream.refuses = "", step
    if step != "CAPA":  # one without CAPA is no worse
        assert await device.log_in(office.password) == later
        assert "-ERR no" in office.last_error()
    upstream.refuses = ""
    assert (await device.log_in(office.password)).startswith(b"+OK")


async def test_a_provider_that_is_never_ready_is_waited_for_with_an_end(
    office: Office, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device hears something before it gives up."""
    monkeypatch.setattr(collection, "OPEN_S", 0.3)
    await serve(Maildrop(goes_on=asyncio.Event()))
    device = await office.connect()
    assert (await device.log_in(office.password)).startswith(b"-ERR [SYS/TEMP]")
    assert "timed_out" in office.last_error()


async def test_without_a_token_the_device_is_told_to_come_again(office: Office) -> None:
    """The setting wants OAuth, and nobody has obtained a token."""
    microsoft = {"client_id": "x", "tenant": "example.com"}
    await office.machine.providers.set("microsoft", microsoft, confirm=False, actor=OPERATOR)
    login = {"auth": "oauth2", "provider": "microsoft", "account": "ana@example.com"}
    await office.machine.settings.change(FAX, login, confirm=False, actor=OPERATOR)
    device = await office.connect()
    assert (await device.log_in(office.password)).startswith(b"-ERR [SYS/TEMP]")
    assert office.last_error().startswith("internet-fax: no_token")
    shown = show_device(Views("es", office.machine.status), *office.shown())
    assert shown.last_error_cure.startswith("No hay ningún token")
    assert translate(refusal(shown.last_error), "es") == "no se puede leer el buzón de Internet Fax"
    said = translate(refusal("email-print: server_refused -ERR no"), "es")
    assert said == "no se puede leer el buzón de Impresión de correo: -ERR no"


# --- who may have it ----------------------------------------------------------------------------------------------------------


async def test_a_wrong_password_reaches_nobody(office: Office, serve: Serve) -> None:
    """The same words for a wrong login, a wrong password, a device that is off or has no mailbox; nobody is asked upstream."""
    upstream = await serve(Maildrop())
    device = await office.connect()
    devices = office.machine.gateway.devices
    refused = b"-ERR [AUTH] Log-in refused"
    assert await device.log_in("upstream-secret") == refused
    assert await device.say("USER nobody", f"PASS {office.password}") == refused
    await devices.change("old", {"mailbox": ""}, OPERATOR)
    assert await device.log_in(office.password) == refused
    assert "no mailbox" in office.last_error()
    await devices.change("old", {"mailbox": FAX.value, "enabled": False}, OPERATOR)
    assert await device.log_in(office.password) == refused
    assert upstream.sessions == 0


@pytest.mark.parametrize(
    "changes", [{"enabled": False}, {"mailbox": "email-print"}, {}], ids=["off", "mailbox", "password"]
)
async def test_revoked_means_now(office: Office, serve: Serve, changes: dict[str, object]) -> None:
    """A session that is open gets no further message, and deletes nothing."""
    upstream = await serve(Maildrop(capabilities=CAPABILITIES))
    first = await office.logged_in()
    assert await first.say("DELE 1") == b"+OK Marked"
    devices = office.machine.gateway.devices
    await (devices.change("old", changes, OPERATOR) if changes else devices.new_password("old", OPERATOR))
    assert (await first.say("RETR 2")).startswith(b"-ERR [AUTH]")
    assert await first.line() == b""
    await office.free()
    assert list(upstream.messages) == ["u1", "u2"]


@pytest.mark.parametrize(
    "changes", [{"enabled": False}, {"mailbox": "email-print"}, {}], ids=["off", "mailbox", "password"]
)
async def test_revoked_while_the_mailbox_opens_is_not_let_in(
    office: Office, serve: Serve, changes: dict[str, object]
) -> None:
    """A provider takes its time; what is in the mailbox is not told, and nobody keeps it."""
    upstream = await serve(Maildrop(goes_on=asyncio.Event(), capabilities=CAPABILITIES))
    device = await office.connect()
    answer = asyncio.create_task(device.log_in(office.password))
    await upstream.waits.wait()
    devices = office.machine.gateway.devices
    await (devices.change("old", changes, OPERATOR) if changes else devices.new_password("old", OPERATOR))
    assert upstream.goes_on is not None
    upstream.goes_on.set()
    assert await answer == b"-ERR [AUTH] Log-in refused"
    assert "revoked" in office.last_error()
    await office.free()
    assert "QUIT" in upstream.commands


async def test_who_guesses_is_not_looked_at_for_a_while(
    office: Office, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked, by address; a device that was right before goes on."""
    monkeypatch.setattr("valija.domain.guess_guard.FAILURES", 3)
    upstream = await serve(Maildrop())
    await (await office.logged_in()).say("QUIT")
    device = await office.connect()
    answers = [await device.say("USER nobody", "PASS guess") for _guess in range(4)]
    assert [answer[:9] for answer in answers] == [b"-ERR [AUT"] * 3 + [b"-ERR [SYS"]
    await office.logged_in()
    assert upstream.sessions == 2


async def test_a_log_in_that_cannot_be_put_on_record_is_answered(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is away: who guesses is refused all the same, and the session goes on."""

    async def down(_record: object) -> None:
        raise StoreError(sentence("The store is down."))

    monkeypatch.setattr("valija.domain.guess_guard.FAILURES", 1)
    monkeypatch.setattr(office.machine.store, "append_audit", down)
    device = await office.connect()
    assert (await device.say("USER nobody", "PASS guess")).startswith(b"-ERR [AUTH]")
    assert (await device.say("NOOP")).startswith(b"+OK")


async def test_a_mailbox_is_open_once(office: Office, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second device waits a moment, then hears IN-USE; so does one that comes while the machine itself fetches."""
    monkeypatch.setattr(collection, "TURN_S", 0.2)
    upstream = await serve(Maildrop(capabilities=CAPABILITIES))
    first = await office.logged_in()
    second = await office.connect()
    assert await second.log_in(office.password) == b"-ERR [IN-USE] The mailbox is in use"
    await first.say("QUIT")
    assert (await second.log_in(office.password)).startswith(b"+OK")
    await second.say("QUIT")
    upstream.goes_on = asyncio.Event()
    check = asyncio.create_task(office.machine.retrieval.check(FAX))
    await upstream.waits.wait()
    assert (await (await office.connect()).log_in(office.password)).startswith(b"-ERR [IN-USE]")
    upstream.goes_on.set()
    assert len((await check).messages) == 2


async def test_a_device_that_was_switched_off_is_noticed(office: Office, serve: Serve) -> None:
    """Its address is asked by the system, so that it cannot keep the mailbox from itself when it is on again."""
    await serve(Maildrop())
    device = await office.logged_in()
    [session] = office.listener._sessions
    assert session._transport is not None
    kept_alive = session._transport.get_extra_info("socket")
    assert kept_alive.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert kept_alive.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
    assert await device.say("QUIT") == b"+OK Bye"


async def test_a_check_waits_for_a_device_and_then_says_so(
    office: Office, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Try later; or its turn, when the device has gone."""
    await serve(Maildrop())
    device = await office.logged_in()
    monkeypatch.setattr("valija.services.retrieval.TURN_S", 0.1)
    with pytest.raises(MaildropBusy):
        await office.machine.retrieval.check(FAX)
    monkeypatch.setattr("valija.services.retrieval.TURN_S", 10)
    check = asyncio.create_task(office.machine.retrieval.check(FAX))
    await asyncio.sleep(0)
    device.writer.close()
    assert len((await check).messages) == 2


async def test_a_mailbox_that_a_device_fetches_is_not_checked_by_the_machine(office: Office, serve: Serve) -> None:
    """Until the device is switched off, or asked for by hand."""
    upstream = await serve(Maildrop())
    machine = office.machine
    await machine.check_timer._check_if_due(FAX)
    assert upstream.sessions == 0
    assert len((await machine.retrieval.check(FAX)).messages) == 2
    await machine.gateway.devices.change("old", {"enabled": False}, OPERATOR)
    await machine.check_timer._check_if_due(FAX)
    assert upstream.sessions == 2


async def test_a_maildrop_in_use_at_the_provider_is_in_use_here(office: Office, serve: Serve) -> None:
    """Another program has it there."""

    class InUse(Maildrop):
        def _answer(self, line: str, marked: list[str]) -> bytes:
            return b"-ERR [IN-USE] locked\r\n" if line.startswith("PASS") else super()._answer(line, marked)

    await serve(InUse())
    assert await (await office.connect()).log_in(office.password) == b"-ERR [IN-USE] The mailbox is in use"
    assert "maildrop_in_use" in office.last_error()


async def test_a_device_that_leaves_while_the_mailbox_opens_leaves_nothing_open(office: Office, serve: Serve) -> None:
    """The provider's session ends, and the mailbox is free."""
    go_on = asyncio.Event()
    upstream = await serve(Maildrop(goes_on=go_on, capabilities=CAPABILITIES))
    device = await office.connect()
    device.writer.write(b"USER old\r\nPASS %s\r\n" % office.password.encode())
    await upstream.waits.wait()
    device.writer.close()
    go_on.set()
    await office.free()
    assert await (await office.logged_in()).say("QUIT") == b"+OK Bye"
