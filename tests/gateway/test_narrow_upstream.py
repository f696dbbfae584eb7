"""A server that takes 7 bits only, and lines that no server must take: mail is written anew, and a reader finds the same.

And one that takes few connections.
"""

from __future__ import annotations

import email
import email.policy
import os

import pytest
from quick_sender import Client, code
from running_gateway import RunningGateway, gateway_fixture, upstream_fixture
from upstream import Upstream, Visit

upstream, gateway = upstream_fixture, gateway_fixture
SCAN = os.urandom(300_000).translate(None, b"\0\r").replace(b"\n", b"\r\n")  # goes through the spool
SUBJECT = "Digitalización nº 5"
MAIL = (
    f"Message-ID: <1@device.test>\r\nFrom: <scanner@x.test>\r\nTo: <b@x.test>\r\nSubject: {SUBJECT}\r\nMIME-Version: 1.0\r\n"
    'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n.Ahí va, mañana.\r\n"
    "--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: binary\r\n\r\n"
).encode() + SCAN
LONG = b"Message-ID: <1@device.test>\r\nSubject: long\r\n\r\n" + b"<td>1</td>" * 500 + b"\r\n.\r\nend\r\n"


def _narrow(_visit: Visit, step: str, when: str) -> bytes | None:
    return b"250-up.test\r\n250 PIPELINING\r\n" if (step, when) == ("EHLO", "before") else None


async def _through(gateway: RunningGateway, upstream: Upstream, message: bytes) -> tuple[bytes, bytes]:
    """Hand in a message; return the MAIL command that the upstream got, and the message without the dots' dots."""
    async with await Client.connect(gateway.port) as client:
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        assert code(await client.hand_in("scanner@x.test", ("b@x.test",), stuffed)) == 250
    await gateway.until_all_delivered()
    (copy,) = upstream.taken("<1@device.test>")
    (mail,) = [line for visit in upstream.visits for line in visit.commands if line.upper().startswith(b"MAIL")]
    return mail, copy.wire.replace(b"\r\n..", b"\r\n.")


def _is_narrow(message: bytes) -> bool:
    return message.isascii() and all(len(line) <= 998 for line in message.split(b"\r\n"))


async def test_a_server_of_7_bits_gets_all_in_7_bits(gateway: RunningGateway, upstream: Upstream) -> None:
    """Text, a scan in raw octets, and a subject in raw letters."""
    upstream.fault = _narrow
    mail, message = await _through(gateway, upstream, MAIL + b"\r\n--b--\r\n")
    assert b"BODY" not in mail.upper() and _is_narrow(message)
    read = email.message_from_bytes(message, policy=email.policy.default)
    assert read["Subject"] == SUBJECT
    text, scan = read.iter_parts()
    assert (text.get_content().strip(), scan.get_content()) == (".Ahí va, mañana.", SCAN)


@pytest.mark.parametrize("narrow", [True, False])
async def test_lines_that_are_too_long_go_to_no_server(
    gateway: RunningGateway, upstream: Upstream, narrow: bool
) -> None:
    """RFC 5322 lets a server refuse them; what a reader sees has them still."""
    if narrow:
        upstream.fault = _narrow
    _mail, message = await _through(gateway, upstream, LONG)
    assert _is_narrow(message)
    read = email.message_from_bytes(message, policy=email.policy.default)
    assert read.get_content().encode() == LONG.partition(b"\r\n\r\n")[2]


async def test_a_server_that_takes_8_bits_gets_them_as_they_came(gateway: RunningGateway, upstream: Upstream) -> None:
    """Nothing is written anew that need not be."""
    wide = MAIL.partition(b"--b\r\nContent-Type: application")[0] + b"--b--\r\n"
    mail, message = await _through(gateway, upstream, wide)
    assert b"BODY=8BITMIME" in mail.upper()
    assert message.endswith(wide.partition(b"\r\n\r\n")[2])


async def test_a_server_of_two_connections_gets_all_over_two(gateway: RunningGateway, upstream: Upstream) -> None:
    """The others are refused in their greetings; no mail waits for that, none comes twice."""
    most = 0

    def two(_visit: Visit, step: str, when: str) -> bytes | None:
        nonlocal most
        if (step, when) == ("greeting", "before") and upstream.open > 2:
            return b"421 4.7.0 Too many connections\r\n"
        most = max(most, upstream.open) if step == "body" else most
        return None

    upstream.fault, upstream.delay_s = two, 0.05
    for number in range(30):
        message = f"Message-ID: <{number}@device.test>\r\nSubject: scan\r\n\r\n".encode()
        async with await Client.connect(gateway.port) as client:
            assert code(await client.hand_in("scanner@x.test", ("b@x.test",), message)) == 250
    await gateway.until_all_delivered(10)
    assert sorted(copy.message_id for copy in upstream.taken()) == sorted(f"<{n}@device.test>" for n in range(30))
    assert sum(bool(visit.messages) for visit in upstream.visits) == 2
    assert len(upstream.visits) <= 20
