"""SMTP and POP3 servers misbehave over real sockets: a reason, a bounded wait, an outcome for every recipient."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme
from hostile import script, serving, silence

from valija.net.errors import NetError
from valija.net.pop3 import Pop3Connection, PopRefusal
from valija.net.smtp import SmtpConnection, SmtpRefused
from valija.net.tls import ClientContext, client_context
from valija.net.wire import Endpoint, TlsMode, connect
from valija.protocol.sasl import BearerCredentials, PasswordCredentials
from valija.protocol.smtp_client import Stage
from valija.protocol.smtp_transaction import Envelope, Recipient, Verdict
from valija.secret import Secret

TIMEOUT_S = 0.5


def _endpoint(port: int, tls: TlsMode = TlsMode.NONE) -> Endpoint:
    return Endpoint("localhost", port, tls, TIMEOUT_S)


@pytest.fixture
def trusting(tmp_path: Path) -> tuple[ClientContext, ssl.SSLContext]:
    """A client that trusts an authority, and a server with a certificate of it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    return client_context(tmp_path / "ca.pem"), server


async def _smtp(port: int, tls: TlsMode = TlsMode.NONE, context: ClientContext | None = None) -> SmtpConnection:
    return await SmtpConnection.open(_endpoint(port, tls), context or client_context())


async def _pop(port: int, tls: TlsMode = TlsMode.NONE, context: ClientContext | None = None) -> Pop3Connection:
    return await Pop3Connection.open(_endpoint(port, tls), context or client_context())


OPENERS = [_smtp, _pop]
Opener = Callable[..., Awaitable[SmtpConnection | Pop3Connection]]


@pytest.mark.parametrize("opener", OPENERS)
async def test_silence_ends_after_the_timeout(opener: Opener) -> None:
    """A server that never greets."""
    async with serving(silence) as port:
        begun = time.monotonic()
        with pytest.raises(NetError) as caught:
            await opener(port)
    assert caught.value.reason == "timed_out"
    assert time.monotonic() - begun < 3


async def _drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send an octet now and then."""
    for octet in data:
        writer.write(bytes((octet,)))
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("line", [b"x" * 1000, b"220-x\r\n" * 100])
async def test_a_server_that_sends_an_octet_now_and_then_is_not_waited_for(opener: Opener, line: bytes) -> None:
    """It would hold a place, and the mail of its account, for hours."""

    async def handler(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _drip(writer, line)

    async with serving(handler) as port, asyncio.timeout(10):
        with pytest.raises(NetError) as caught:
            await opener(port)
    assert caught.value.reason in ("timed_out", "peer_nonsense")


async def test_an_octet_now_and_then_is_no_message_and_no_listing() -> None:
    """But what comes in time, in whatever pieces, is."""
    goes_on = True

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+OK hi\r\n")
        for answer in (b"-ERR no CAPA\r\n", b"+OK\r\n"):
            await reader.readline()
            writer.write(answer)
        for _piece in range(5):
            writer.write(b"1 a\r\n" * 250)
            await writer.drain()
            await asyncio.sleep(0.12)
        if goes_on:
            await _drip(writer, b"1 a\r\n" * 100)
        writer.write(b".\r\n")

    async with serving(handler) as port, asyncio.timeout(10):
        for goes_on in (True, False):
            listing, retrieving = await _pop(port), await _pop(port)
            if goes_on:
                with pytest.raises(NetError, match="too little"):
                    await listing.unique_ids()
                with pytest.raises(NetError, match="too little"):
                    assert [piece async for piece in retrieving.retrieve(1)]
            else:
                assert await listing.unique_ids() == [(1, "a")]
                assert len(b"".join([piece async for piece in retrieving.retrieve(1)])) == 6250
            await listing.close()
            await retrieving.close()


@pytest.mark.parametrize("opener", OPENERS)
async def test_nobody_there(opener: Opener) -> None:
    """Connection refused."""
    async with serving(silence) as port:
        pass
    with pytest.raises(NetError) as caught:
        await opener(port)
    assert caught.value.reason == "connection_refused"


async def test_a_name_that_does_not_exist() -> None:
    """The reserved domain .invalid (RFC 2606)."""
    with pytest.raises(NetError) as caught:
        await SmtpConnection.open(Endpoint("nothing.invalid", 25, TlsMode.NONE, 5.0), client_context())
    assert caught.value.reason in ("name_not_found", "timed_out")


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(
    "greeting",
    [b"\x16\x03\x01 garbage\r\n", b"x" * 10_000 + b"\r\n", b"x" * 200_000, b"HTTP/1.1 400 Bad\r\n\r\n", b"\0\0\r\n"],
)
async def test_garbage_is_nonsense_not_a_crash(opener: Opener, greeting: bytes) -> None:
    """Another protocol, lines of 10,000 octets, lines without an end."""

    async def handler(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()
        await asyncio.sleep(0.3)

    async with serving(handler) as port:
        with pytest.raises((NetError, SmtpRefused, PopRefusal)) as caught:
            await opener(port)
    if isinstance(caught.value, NetError):
        assert caught.value.reason in ("peer_nonsense", "connection_lost", "timed_out")


@pytest.mark.parametrize("opener", OPENERS)
async def test_disconnect_right_after_the_connection(opener: Opener) -> None:
    """Closed before a greeting."""

    async def handler(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        return

    async with serving(handler) as port:
        with pytest.raises(NetError) as caught:
            await opener(port)
    assert caught.value.reason == "connection_lost"


async def test_no_starttls_means_no_session() -> None:
    """Never a silent fall back to plain text."""
    async with serving(script(b"250 plain\r\n", greeting=b"220 hi\r\n")) as port:
        with pytest.raises(NetError) as caught:
            await _smtp(port, TlsMode.STARTTLS)
    assert caught.value.reason == "starttls_not_offered"
    async with serving(script(b"+OK\r\nUSER\r\n.\r\n", greeting=b"+OK hi\r\n")) as port:
        with pytest.raises(NetError) as caught:
            await _pop(port, TlsMode.STARTTLS)
    assert caught.value.reason == "starttls_not_offered"


async def test_octets_in_clear_after_starttls_end_the_session() -> None:
    """Injected replies (CVE-2011-0411 and its kin) never reach the session inside TLS."""
    turns = (b"250-x\r\n250 STARTTLS\r\n", b"220 go\r\n250 injected\r\n")
    async with serving(script(*turns, None, greeting=b"220 hi\r\n")) as port:
        with pytest.raises(NetError) as caught:
            await _smtp(port, TlsMode.STARTTLS)
    assert caught.value.reason == "peer_nonsense"
    turns = (b"+OK\r\nSTLS\r\n.\r\n", b"+OK go\r\n+OK injected\r\n")
    async with serving(script(*turns, None, greeting=b"+OK hi\r\n")) as port:
        with pytest.raises(NetError) as caught:
            await _pop(port, TlsMode.STARTTLS)
    assert caught.value.reason == "peer_nonsense"


@pytest.mark.parametrize("opener", OPENERS)
async def test_a_wrong_certificate_is_never_accepted(
    opener: Opener, trusting: tuple[ClientContext, ssl.SSLContext]
) -> None:
    """Unknown authority; then a right authority for another name."""
    _client, server = trusting
    async with serving(silence, server) as port:
        with pytest.raises(NetError) as caught:
            await opener(port, TlsMode.IMPLICIT)
    assert caught.value.reason == "tls_untrusted"


async def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    """The name on it must be the one that was set."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(server)
    async with serving(silence, server) as port:
        with pytest.raises(NetError) as caught:
            await _smtp(port, TlsMode.IMPLICIT, client_context(tmp_path / "ca.pem"))
    assert caught.value.reason == "tls_name_mismatch"


async def test_a_plain_server_on_the_tls_port_is_named(trusting: tuple[ClientContext, ssl.SSLContext]) -> None:
    """The usual mistake: 465 set, but the server begins in clear."""
    async with serving(script(None, greeting=b"220 plain\r\n")) as port:
        with pytest.raises(NetError) as caught:
            await _smtp(port, TlsMode.IMPLICIT, trusting[0])
    assert caught.value.reason == "tls_protocol"


async def test_an_unusual_port_is_found_to_begin_with_tls(trusting: tuple[ClientContext, ssl.SSLContext]) -> None:
    """A silent server wants TLS; the second connection does not wait to find out."""
    client, server = trusting
    async with serving(script(b"250 x\r\n", b"221 bye\r\n", greeting=b"220 hi\r\n"), server) as port:
        endpoint = Endpoint("localhost", port, TlsMode.DETECT, 5.0)
        connection = await SmtpConnection.open(endpoint, client)
        await connection.close()
        begun = time.monotonic()
        connection = await SmtpConnection.open(endpoint, client)
        assert time.monotonic() - begun < 1
        await connection.close()


async def test_a_token_never_goes_out_in_clear() -> None:
    """Whatever the server offers."""
    async with serving(script(b"250-x\r\n250 AUTH XOAUTH2\r\n", None, greeting=b"220 hi\r\n")) as port:
        connection = await _smtp(port)
        with pytest.raises(NetError) as caught:
            await connection.authenticate(BearerCredentials("ana@rig.test", Secret("t"), "localhost", port))
        await connection.close(politely=False)
    assert caught.value.reason == "plaintext_token"


async def _body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _send(port: int) -> dict[str, Verdict]:
    connection = await _smtp(port)
    envelope = Envelope("a@rig.test", (Recipient("b@rig.test"), Recipient("c@rig.test")), 20)
    outcome = await connection.send(envelope, _body(b"Subject: x\r\n\r\n", b"hello\r\n"))
    await connection.close(politely=False)
    return {o.recipient: o.verdict for o in outcome.outcomes}


BEFORE = (b"250 x\r\n", b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n")


@pytest.mark.parametrize(
    ("turns", "verdict"),
    [
        ((b"250 x\r\n",), Verdict.DEFERRED),
        (BEFORE[:2], Verdict.DEFERRED),
        (BEFORE[:3], Verdict.DEFERRED),
        (BEFORE, Verdict.DEFERRED),
        ((*BEFORE, b"354 go\r\n", b"", b"", b""), Verdict.IN_DOUBT),
    ],
)
async def test_disconnect_at_each_step_of_a_delivery(turns: tuple[bytes, ...], verdict: Verdict) -> None:
    """Before the final dot nothing was taken; after it, it is in doubt."""
    async with serving(_drained(turns)) as port:
        assert set((await _send(port)).values()) == {verdict}


def _drained(turns: tuple[bytes, ...]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Answer, and after 354 read to the final dot before the connection is closed."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for turn in turns:
            if not turn:
                break
            await reader.readline()
            writer.write(turn)
            await writer.drain()
            if turn.startswith(b"354"):
                await reader.readuntil(b"\r\n.\r\n")
                return
        await reader.readline()

    return handler


@pytest.mark.parametrize(
    ("step", "reply", "expected"),
    [
        (1, b"451 4.3.0 later\r\n", {"b@rig.test": Verdict.DEFERRED, "c@rig.test": Verdict.DEFERRED}),
        (1, b"550 5.7.60 SendAsDenied\r\n", {"b@rig.test": Verdict.FAILED, "c@rig.test": Verdict.FAILED}),
        (2, b"450 4.2.0 later\r\n", {"b@rig.test": Verdict.DEFERRED, "c@rig.test": Verdict.ACCEPTED}),
        (2, b"550 5.1.1 unknown\r\n", {"b@rig.test": Verdict.FAILED, "c@rig.test": Verdict.ACCEPTED}),
        (4, b"452 4.3.1 full\r\n", {"b@rig.test": Verdict.DEFERRED, "c@rig.test": Verdict.DEFERRED}),
        (4, b"554 5.6.0 no\r\n", {"b@rig.test": Verdict.FAILED, "c@rig.test": Verdict.FAILED}),
        (5, b"451 4.0.0 later\r\n", {"b@rig.test": Verdict.DEFERRED, "c@rig.test": Verdict.DEFERRED}),
        (5, b"554 5.7.1 spam\r\n", {"b@rig.test": Verdict.FAILED, "c@rig.test": Verdict.FAILED}),
    ],
)
async def test_4yz_and_5yz_at_each_step(step: int, reply: bytes, expected: dict[str, Verdict]) -> None:
    """Each recipient gets its own outcome."""
    answers = [*BEFORE, b"354 go\r\n", b"250 taken\r\n"]
    answers[step] = reply

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for number, answer in enumerate(answers):
            if number == 5:
                await reader.readuntil(b"\r\n.\r\n")
            elif not await reader.readline():
                return
            writer.write(answer)
        await reader.read()

    async with serving(handler) as port:
        assert await _send(port) == expected


async def _slowly(pieces: int) -> AsyncIterator[bytes]:
    for _ in range(pieces):
        yield b"x" * 998 + b"\r\n"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("early", "stays", "verdict"),
    [
        (b"552 5.3.4 too big\r\n", False, Verdict.FAILED),
        (b"552 5.3.4 too big\r\n", True, Verdict.FAILED),
        (b"421 4.3.0 going down\r\n", False, Verdict.DEFERRED),
        (b"250 taken\r\n", False, Verdict.DEFERRED),
        (b"250 taken\r\n", True, Verdict.DEFERRED),
        (b"354 go on\r\n", True, Verdict.DEFERRED),
        (b"55", False, Verdict.DEFERRED),
        (b"nonsense\r\n", True, Verdict.DEFERRED),
    ],
)
async def test_an_answer_before_the_message_is_whole(early: bytes, stays: bool, verdict: Verdict) -> None:
    """A refusal counts, though the server hangs up; nothing else does: what is not whole was not taken."""
    took: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for answer in (b"250 x\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n" + early):
            await reader.readline()
            writer.write(answer)
        if stays:
            took.append(await reader.read(1 << 20))
            await asyncio.sleep(3600)

    async with serving(handler) as port:
        connection = await _smtp(port)
        envelope = Envelope("a@rig.test", (Recipient("b@rig.test"),), 20)
        outcome = await connection.send(envelope, _slowly(20))
        await connection.close(politely=False)
    assert [o.verdict for o in outcome.outcomes] == [verdict]
    assert not outcome.reusable
    assert b"\r\n.\r\n" not in b"".join(took)


async def test_a_server_that_refuses_and_reads_no_more_has_refused() -> None:
    """The reason is the server's, not that time was over."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for answer in (b"250 x\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await asyncio.sleep(0.1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"552 5.3.4 too big\r\n")
        await asyncio.sleep(2 * TIMEOUT_S)
        writer.transport.abort()

    async def much() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield (b"x" * 998 + b"\r\n") * 100

    async with serving(handler) as port:
        connection = await _smtp(port)
        outcome = await connection.send(Envelope("a@rig.test", (Recipient("b@rig.test"),), 20), much())
        await connection.close(politely=False)
    assert [o.reply.code for o in outcome.outcomes if o.reply is not None] == [552]


@pytest.mark.parametrize("extra", [b"250 once more\r\n", b"421 4.4.2 idle for too long\r\n", b"25"])
async def test_an_answer_that_nobody_asked_for_decides_nothing_about_the_next_message(extra: bytes) -> None:
    """With one answer too many, what is said of the second recipient would count for both."""
    answers = [b"250-x\r\n250 PIPELINING\r\n", *[b"250 ok\r\n"] * 3, b"354 go\r\n", b"250 taken\r\n" + extra]
    answers += [b"250 ok\r\n", b"250 ok\r\n", b"550 5.1.1 unknown\r\n", b"354 go\r\n", b"250 taken\r\n"]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for number, answer in enumerate(answers):
            await (reader.readuntil(b"\r\n.\r\n") if number in (5, 10) else reader.readline())
            writer.write(answer)

    async with serving(handler) as port:
        connection = await _smtp(port)
        envelope = Envelope("a@rig.test", (Recipient("b@rig.test"), Recipient("c@rig.test")), 20)
        first = await connection.send(envelope, _body(b"Subject: x\r\n\r\n"))
        second = await connection.send(envelope, _body(b"Subject: x\r\n\r\n"))
        await connection.close(politely=False)
    assert [o.verdict for o in first.outcomes] == [Verdict.ACCEPTED] * 2
    assert [(o.verdict, o.stage) for o in second.outcomes] == [(Verdict.DEFERRED, Stage.MAIL)] * 2
    assert not second.reusable


async def test_challenges_without_end_are_nonsense() -> None:
    """PLAIN has one round; a server that goes on asking is not talking SASL."""
    turns = (b"250-x\r\n250 AUTH PLAIN\r\n", b"334 \r\n", b"334 \r\n", b"334 \r\n")
    async with serving(script(*turns, greeting=b"220 hi\r\n")) as port:
        connection = await _smtp(port)
        with pytest.raises(NetError) as caught:
            await connection.authenticate(PasswordCredentials("ana", Secret("p")))
        await connection.close(politely=False)
    assert caught.value.reason == "peer_nonsense"


async def test_a_listing_without_end_costs_no_more_memory_than_a_large_maildrop() -> None:
    """Lines as long as may be, as many as may be: 400 MB."""
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"+OK hi\r\n")
        for answer in (b"-ERR no CAPA\r\n", b"+OK\r\n"):
            await reader.readline()
            writer.write(answer)
        lines = (b"1 " + b"x" * 2000 + b"\r\n") * 50
        while sent < 100_000_000:
            writer.write(lines)
            await writer.drain()
            sent += len(lines)

    async with serving(handler) as port:
        connection = await _pop(port)
        with pytest.raises(NetError) as caught:
            await connection.unique_ids()
        await connection.close()
    assert caught.value.reason == "peer_nonsense"
    assert sent < 50_000_000


# --- who gives up -------------------------------------------------------------------------------------------------------


async def _noticed(writer_gone: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(1):
            await writer_gone.wait()
    except TimeoutError:
        return False
    return True


async def test_who_gives_up_while_the_server_is_watched_leaves_no_connection_open() -> None:
    """On an unusual port the server is waited for, whether it greets."""
    came, gone = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        came.set()
        await reader.read()
        gone.set()

    async with serving(handler) as port:
        endpoint = Endpoint("localhost", port, TlsMode.DETECT, 5.0)
        caller = asyncio.create_task(SmtpConnection.open(endpoint, client_context()))
        await came.wait()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        assert await _noticed(gone)


async def test_who_gives_up_while_closing_leaves_no_connection_open() -> None:
    """The server reads nothing more: what was to be sent is not waited for."""
    gone = asyncio.Event()
    took: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"220 hi\r\n")
        await asyncio.sleep(0.3)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        while data := await reader.read(1 << 20):
            took.append(len(data))
        gone.set()

    async with serving(handler) as port:
        wire = await connect(_endpoint(port), client_context())
        await wire.receive("greeting")
        wire.write(b"x" * 20_000_000)
        closing = asyncio.create_task(wire.close())
        await asyncio.sleep(0.1)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        assert await _noticed(gone)
    assert sum(took) < 20_000_000
