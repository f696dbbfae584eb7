"""Who is not known: listened to while the machine learns, never served; let in by what it tried; slowed when it guesses."""

from __future__ import annotations

import asyncio
import poplib
import smtplib
import socket
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from running_gateway import OPERATOR, HurryClock, RunningGateway, upstream_fixture
from upstream import Upstream

from valija.apps.machine import SystemClock
from valija.domain.guess_guard import FAILURES, FIRST_DELAY_S, LONGEST_DELAY_S
from valija.domain.record import AuditAction
from valija.domain.sighting import Attempt, Sighting

__all__ = ["upstream_fixture"]
HERE, STRANGER, OTHER = "127.0.0.1", "127.0.0.40", "127.0.0.41"
LUIS = "luis@example.test"
CLIENTS = ThreadPoolExecutor(40)
T = TypeVar("T")
SCAN = b"Subject: scan\r\n\r\nhello\r\n"


@pytest.fixture
async def office(tmp_path: Path, upstream: Upstream) -> AsyncIterator[RunningGateway]:
    """A gateway without devices."""
    running = await RunningGateway(tmp_path, upstream.port, clock=SystemClock(), submission_port=-1).start()
    yield running
    await running.stop()


@pytest.fixture
async def hurried(tmp_path: Path, upstream: Upstream) -> AsyncIterator[RunningGateway]:
    """The same, with time that passes faster."""
    running = await RunningGateway(tmp_path, upstream.port, clock=HurryClock(20)).start()
    yield running
    await running.stop()


class Device(smtplib.SMTP):
    """A client at an address of its own."""

    def __init__(self, office: RunningGateway, place: str = STRANGER, *, listener: str = "smtp") -> None:
        super().__init__(HERE, office.ports[listener], "printer", timeout=20, source_address=(place, 0))

    def secure(self) -> Device:
        self.starttls(context=ssl._create_unverified_context())
        return self


async def aside(work: Callable[..., T], *arguments: Any) -> T:
    """Run a client in a thread of its own: the gateway in this process needs the usual ones for its hashes."""
    return await asyncio.get_running_loop().run_in_executor(CLIENTS, work, *arguments)


def _stranger(office: RunningGateway) -> Sighting:
    [seen] = office.machine.gateway.devices.strangers()
    return seen


async def _seen(office: RunningGateway) -> Sighting:
    for _try in range(200):
        if office.machine.gateway.devices.strangers():
            break
        await asyncio.sleep(0.01)
    return _stranger(office)


async def _learn(office: RunningGateway) -> None:
    await office.machine.gateway.learning.begin(30, OPERATOR)


async def test_a_stranger_is_listened_to_while_the_machine_learns_and_nothing_is_taken(office: RunningGateway) -> None:
    """Sender and recipients are known then; each recipient is refused for now, and there is nothing to send."""
    await _learn(office)

    def printer() -> list[int]:
        with Device(office, listener="submission") as session:
            session.ehlo("RNP0026738A")
            codes = [session.mail("scan@office.local")[0], session.rcpt(LUIS)[0], session.rcpt("ana@example.test")[0]]
            return [*codes, session.docmd("DATA")[0]]

    assert await aside(printer) == [250, 450, 450, 554]
    seen = await _seen(office)
    assert seen.attempt == Attempt("submission", "RNP0026738A", "", "scan@office.local", 2)
    assert (seen.address, seen.tls, seen.refused) == (STRANGER, "", 1)
    assert await office.count() == 0


async def test_outside_of_learning_mode_a_stranger_is_refused_before_it_says_anything(office: RunningGateway) -> None:
    """It is listed, but neither its sender nor its name."""

    def printer() -> int:
        with Device(office) as session:
            session.ehlo("RNP0026738A")
            return session.mail("scan@office.local")[0]

    assert await aside(printer) == 530
    assert (await _seen(office)).attempt is None


async def test_a_device_that_tries_again_gets_through_once_it_is_accepted(office: RunningGateway) -> None:
    """By its address, in clear, as it tried; nobody else does."""
    await _learn(office)

    def scan(place: str = STRANGER) -> str:
        with Device(office, place) as session:
            try:
                session.sendmail("scan@office.local", [LUIS], SCAN)
            except smtplib.SMTPRecipientsRefused as refused:
                return str(refused.recipients[LUIS][0])
            return "sent"

    assert await aside(scan) == "450"
    await _seen(office)
    made = await office.machine.gateway.learning.accept(STRANGER, {"name": "Old fax"}, OPERATOR)
    assert made.password is None
    assert await aside(scan) == "sent"
    assert await aside(scan, OTHER) == "450"
    assert await office.count() == 1


async def test_a_device_that_logs_in_is_accepted_under_the_login_it_showed(office: RunningGateway) -> None:
    """With a new password; the one that it tried is kept nowhere."""
    await _learn(office)

    def log_in(login: str, password: str) -> int:
        with Device(office).secure() as session:
            try:
                return session.login(login, password)[0]
            except smtplib.SMTPAuthenticationError as refused:
                return refused.smtp_code

    assert await aside(log_in, "scanner@example.com", "old-secret-password") == 535
    seen = await _seen(office)
    assert seen.attempt is not None
    assert (seen.tried, seen.attempt.mechanism, seen.tls[:5]) == ("scanner@example.com", "LOGIN", "TLSv1")
    assert "old-secret-password" not in repr(seen)
    made = await office.machine.gateway.learning.accept(STRANGER, {}, OPERATOR)
    assert made.password is not None
    assert made.device.login == "scanner"
    assert await aside(log_in, "Scanner", made.password.reveal()) == 235


async def test_a_log_in_in_clear_is_noticed_without_asking_for_the_password(office: RunningGateway) -> None:
    """It is not offered there; who tries all the same is refused before it has shown anything, and can be accepted."""
    await _learn(office)

    def printer() -> tuple[int, bool]:
        with Device(office) as session:
            session.ehlo()
            return session.docmd("AUTH", "LOGIN")[0], session.has_extn("auth")

    assert await aside(printer) == (538, False)
    seen = await _seen(office)
    assert seen.attempt is not None
    assert (seen.attempt.mechanism, seen.last_error) == ("LOGIN", "log-in without TLS")
    made = await office.machine.gateway.learning.accept(STRANGER, {}, OPERATOR)
    assert (made.device.tls.value, made.password is not None) == ("offered", True)


async def test_a_device_too_old_for_our_tls_is_found_and_can_be_let_in(office: RunningGateway) -> None:
    """Why its handshake failed is known; accepting it names its address for old TLS, and gives it a password."""

    def handshake() -> str:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        client.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1
        session = Device(office)
        try:
            session.starttls(context=client)
            assert isinstance(session.sock, ssl.SSLSocket)
            return str(session.sock.version())
        except (ssl.SSLError, OSError, smtplib.SMTPException):
            return "refused"
        finally:
            session.close()

    assert await aside(handshake) == "refused"
    seen = await _seen(office)
    assert seen.last_error == "TLS: UNSUPPORTED_PROTOCOL"
    made = await office.machine.gateway.learning.accept(STRANGER, {"name": "HP"}, OPERATOR)
    assert (made.device.tls.value, made.device.ranges, made.password is not None) == (
        "legacy",
        (f"{STRANGER}/32",),
        True,
    )
    assert await aside(handshake) == "TLSv1"


async def test_a_stranger_that_fetches_mail_is_found_too(tmp_path: Path, upstream: Upstream) -> None:
    """By POP3: its listener, its login, that it wanted to log in."""
    running = await RunningGateway(tmp_path, upstream.port, clock=SystemClock(), pop3_port=-1).start()
    await _learn(running)

    def fetch() -> str:
        session = poplib.POP3(HERE, running.ports["pop3"], timeout=20)
        session.stls(ssl._create_unverified_context())
        session.user("fax-inbox@example.com")
        try:
            session.pass_("old-secret-password")
        except poplib.error_proto as refused:
            return str(refused)
        finally:
            session.close()
        return "let in"

    assert "AUTH" in await aside(fetch)
    seen = await _seen(running)
    assert (seen.protocol, seen.tried) == ("pop3", "fax-inbox@example.com")
    assert seen.attempt is not None
    assert (seen.attempt.listener, bool(seen.attempt.mechanism)) == ("pop3", True)
    made = await running.machine.gateway.learning.accept(HERE, {"mailbox": "internet-fax"}, OPERATOR)
    assert (made.device.login, made.password is not None) == ("fax-inbox", True)
    await running.stop()


# --- who guesses ------------------------------------------------------------------------------------------------------------


def _guess(office: RunningGateway, place: str, login: str, password: str) -> tuple[int, float]:
    """Try a password; return the code and how long the answer took."""
    session = Device(office, place).secure()
    session.ehlo_or_helo_if_needed()
    session.user, session.password = login, password
    began = time.monotonic()
    try:
        code = session.auth("PLAIN", session.auth_plain)[0]
    except smtplib.SMTPAuthenticationError as refused:
        code = refused.smtp_code
    finally:
        took = time.monotonic() - began
        session.close()
    return code, took


async def test_each_wrong_password_is_answered_later_and_nobody_else_waits(office: RunningGateway) -> None:
    """A device that is right is answered at once meanwhile, from another address."""
    made = await office.add_device("Ricoh")
    assert made.password is not None
    right = made.password.reveal()
    assert (await aside(_guess, office, OTHER, "ricoh", right))[0] == 235
    delays = [(await aside(_guess, office, STRANGER, "ricoh", f"guess-{n}"))[1] for n in range(3)]
    assert delays[0] >= FIRST_DELAY_S
    assert delays[2] >= 4 * FIRST_DELAY_S
    slow = asyncio.create_task(aside(_guess, office, STRANGER, "ricoh", "guess-4"))
    await asyncio.sleep(0.1)
    assert (await aside(_guess, office, OTHER, "ricoh", right))[0] == 235
    assert not slow.done()
    assert (await slow)[1] <= LONGEST_DELAY_S + 2


async def test_who_guesses_on_many_connections_at_once_is_locked_out_all_the_same(hurried: RunningGateway) -> None:
    """Not one guess more is looked at; it is on record, once; the device goes on where it was right."""
    office = hurried
    made = await office.add_device("Ricoh")
    assert made.password is not None
    right = made.password.reveal()
    await aside(_guess, office, OTHER, "ricoh", right)
    checked = 0
    passwords = office.machine.gateway.devices._passwords
    matches = passwords.matches

    async def counted(stored: Any, password: Any) -> bool:
        nonlocal checked
        checked += 1
        return await matches(stored, password)

    passwords.matches = counted  # type: ignore[method-assign]
    codes = [
        code
        for code, _took in await asyncio.gather(
            *(aside(_guess, office, STRANGER, "ricoh", f"guess-{n}") for n in range(2 * FAILURES))
        )
    ]
    assert checked == FAILURES
    assert set(codes) <= {535, 454}
    assert (await aside(_guess, office, STRANGER, "ricoh", right))[0] == 454
    assert (await aside(_guess, office, OTHER, "ricoh", right))[0] == 235
    records = [r.record for r in await office.store.list_audit(50) if r.record.action is AuditAction.DEVICE_LOCKED_OUT]
    assert [(r.subject, r.actor.where) for r in records] == [("ricoh", STRANGER)]


async def test_an_address_has_so_many_sessions_and_one_that_is_named_has_more(
    tmp_path: Path, upstream: Upstream
) -> None:
    """Others are served meanwhile; who comes too often is told so."""
    running = await RunningGateway(tmp_path, upstream.port, connections_per_address=2).start()
    await running.add_device("Print server", ranges=[OTHER])

    def greetings(place: str, count: int) -> list[int]:
        sockets = [socket.create_connection((HERE, running.port), 20, (place, 0)) for _one in range(count)]
        codes = [int(sock.recv(3)) for sock in sockets]
        for sock in sockets:
            sock.close()
        return codes

    assert await aside(greetings, STRANGER, 4) == [220, 220, 421, 421]
    assert await aside(greetings, HERE, 2) == [220, 220]
    assert await aside(greetings, OTHER, 9) == [220] * 8 + [421]
    await running.stop()
