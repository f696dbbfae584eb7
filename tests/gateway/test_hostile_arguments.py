"""CR, LF, NUL, no UTF-8, and too much of everything, in every argument of every command: a reply, and nothing gets through."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from quick_sender import Client, code
from running_gateway import HurryClock, RunningGateway, gateway_fixture, upstream_fixture
from upstream import Upstream

from hostile_arguments import HOSTILE

upstream, gateway = upstream_fixture, gateway_fixture
# where %b stands, something hostile is put
COMMANDS = [
    b"EHLO %b",
    b"EHLO a%bz",
    b"HELO a%bz",
    b"%b",
    b"MAIL%b FROM:<a@x.test>",
    b"MAIL FROM:%b",
    b"MAIL FROM:<%b>",
    b"MAIL FROM:<a%b@x.test>",
    b"MAIL FROM:<a@x%b.test>",
    b'MAIL FROM:<"a%b"@x.test>',
    b"MAIL FROM:<@r%b:a@x.test>",
    b'MAIL FROM:"Name %b" <a@x.test>',
    b"MAIL FROM:<a@x.test>%b",
    b"MAIL FROM:<a@x.test> SIZE=%b",
    b"MAIL FROM:<a@x.test> SIZE=1%b1",
    b"MAIL FROM:<a@x.test> BODY=%b",
    b"MAIL FROM:<a@x.test> RET=%b",
    b"MAIL FROM:<a@x.test> ENVID=a%bz",
    b"MAIL FROM:<a@x.test> AUTH=%b",
    b"MAIL FROM:<a@x.test> SMTPUTF8=%b",
    b"MAIL FROM:<a@x.test> %b",
    b"RCPT TO:%b",
    b"RCPT TO:<%b>",
    b"RCPT TO:<b%b@x.test>",
    b"RCPT TO:<b@%bx.test>",
    b"RCPT TO:<b@x.test> NOTIFY=%b",
    b"RCPT TO:<b@x.test> NOTIFY=SUCCESS,%b",
    b"RCPT TO:<b@x.test> ORCPT=rfc822;a%bz@x.test",
    b"RCPT TO:<b@x.test> ORCPT=%b;b@x.test",
    b"RCPT TO:<b@x.test> %b",
    b"DATA %b",
    b"AUTH %b",
    b"AUTH PLAIN %b",
    b"AUTH LOGIN %b",
    b"STARTTLS %b",
    b"VRFY %b",
    b"EXPN %b",
    b"NOOP %b",
    b"HELP %b",
    b"RSET %b",
]


def _around(command: bytes) -> Iterator[bytes]:
    """Yield what makes a whole transaction of a command, as far as it has a place there."""
    if not command.startswith((b"EHLO", b"HELO")):
        yield b"EHLO x"
    if command.startswith((b"RCPT", b"DATA")):
        yield b"MAIL FROM:<a@x.test>"
    if command.startswith(b"DATA"):
        yield b"RCPT TO:<b@x.test>"
    yield command
    if not command.startswith((b"MAIL", b"RCPT", b"DATA")):
        yield b"MAIL FROM:<a@x.test>"
    if not command.startswith((b"RCPT", b"DATA")):
        yield b"RCPT TO:<b@x.test>"
    if not command.startswith(b"DATA"):
        yield b"DATA"


async def _replies(client: Client) -> list[int]:
    """Return the codes of all replies until the end; each of them is well-formed."""
    rest = await client.rest()
    assert rest == b"" or rest.endswith(b"\r\n")
    for line in rest.splitlines():
        assert re.fullmatch(rb"[2-5][0-9][0-9][ -][\x20-\x7e]{0,500}", line) or line[:4] == b"334 ", line
    return [int(line[:3]) for line in rest.splitlines() if line[3:4] == b" "]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.decode().replace("%b", "·"))
async def test_whatever_stands_in_an_argument_is_refused_or_harmless(
    gateway: RunningGateway, upstream: Upstream, command: bytes
) -> None:
    """Replies or a clean end here; upstream, nothing but commands of one line that name nobody else."""
    for hostile in HOSTILE:
        async with await Client.connect(gateway.port) as client:
            said = b"\r\n".join(_around(command.replace(b"%b", hostile)))
            subject = b"with LF" if b"\n" in hostile else b"without"
            await client.send(said + b"\r\nSubject: " + subject + b"\r\n\r\ntext\r\n.\r\nQUIT\r\n*\r\nQUIT\r\n")
            if command.startswith(b"STARTTLS"):
                client.writer.write_eof()
            assert (await _replies(client))[0] == 220
    await gateway.until_all_delivered()
    for address, _state in await gateway.entries():
        assert address.isprintable(), address
    for visit in upstream.visits:
        for line in visit.commands:
            assert re.fullmatch(rb"[\x20-\x7e\x80-\xff]+\r\n", line), line
            assert len(line) <= 1024, line
    for copy in upstream.copies:
        head = copy.wire.partition(b"\r\n\r\n")[0]
        assert "evil@x.test" not in copy.recipients or b"Subject: with LF" in head, "only a line end ends a command"
        assert head.count(b"\r\nReceived:") == 0
        assert head.startswith(b"Received: ")
        assert re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", head) is None, head
    async with await Client.connect(gateway.port) as client:
        assert code(await client.hand_in("a@x.test", ["b@x.test"], b"Subject: x\r\n\r\n")) == 250


RESPONSES = [
    b"*",
    b"",
    b"=",
    b"====",
    b"!!!",
    b"\0\0\0",
    b"AAAA\0AAAA",
    b"x" * 12_280,
    b"x" * 12_300,
    b"A" * 12_000,
    base64.b64encode(b"\0" * 3000),
    base64.b64encode(b"ricoh\r\nMAIL FROM:<a@x.test>"),
    base64.b64encode(b"\0ricoh\0" + b"p" * 8000),
    base64.b64encode(b"\0ricoh\n\0p\r\nq"),
    base64.b64encode(b"\xff\xfe\0ricoh\0\xff"),
    base64.b64encode("\0ricoh\0ñ\u2028\ufdd0\u0378".encode()),
    base64.b64encode(b"\0" + b"\xed\xa0\x80" + b"\0x"),
    b"MAIL FROM:<a@x.test>",
    b"EHLO x",
]


@pytest.fixture
async def hurried(tmp_path: Path, upstream: Upstream) -> AsyncIterator[RunningGateway]:
    """A gateway where the wait after a wrong password is short."""
    started = await RunningGateway(tmp_path, upstream.port, clock=HurryClock(20)).start()
    await started.open_door()
    yield started
    await started.stop()


@pytest.mark.parametrize("mechanism", [b"PLAIN", b"Login"])
async def test_whatever_answers_a_challenge_is_no_log_in_and_no_command(
    hurried: RunningGateway, mechanism: bytes
) -> None:
    """Refused with 5yz, or put off with 4yz; the sightings that are kept of it are short and printable."""
    gateway = hurried
    await gateway.add_device("Ricoh", tls="offered")
    for response in RESPONSES:
        async with await Client.connect(gateway.port) as client:
            await client.reply()
            await client.say(b"EHLO x")
            said = await client.say(b"AUTH " + mechanism)
            assert said in (334, 538), said
            for _answer in range(3):
                if said == 334:
                    said = await client.say(response)
            assert said in (535, 501, 500, 454, 538, 0), (response, said)
    desk = gateway.machine.gateway.devices
    for sighting in [*desk.strangers(), desk.sighting("old-fax")]:
        if sighting is not None:
            assert len(sighting.tried) <= 120
            assert sighting.tried.isprintable()
    await gateway.machine.gateway.devices.flush()
