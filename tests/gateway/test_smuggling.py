"""No octets of a message become commands, here or at the next server, and no octets in clear get into a secured session.

What is called smuggling: two servers that do not agree where a message ends (CVE-2023-51764, -51765, -51766). Only CR LF "." CR
LF ends one here, and what goes on holds no lone CR, no lone LF and no NUL: the next server has nothing to disagree about.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from itertools import product

import pytest
from quick_sender import Client, code, codes
from running_gateway import RunningGateway, gateway_fixture, upstream_fixture
from upstream import Upstream

upstream, gateway = upstream_fixture, gateway_fixture
EVIL = b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<victim@x.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n"
LINE_ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0\r\n", b"\r\0\n", b"\r\n\0", b"\x0b", b"\x85", b"")
FALSE_ENDS = [b"%b.%b" % ends for ends in product(LINE_ENDS, repeat=2) if b"\r\n.\r\n" not in b"%b.%b" % ends]
SESSIONS = 20
TRUE_END = b"\r\n.\r\n"
HEAD = b"MAIL FROM:<ana@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"


def assert_clean(wire: bytes) -> None:
    """What leaves has whole line ends only, no NUL, and no line with one dot."""
    assert re.search(rb"\r(?!\n)|(?<!\r)\n|\0", wire) is None
    assert b"\r\n.\r\n" not in wire
    assert not wire.startswith(b".\r\n")


async def _opened(gateway: RunningGateway) -> Client:
    client = await Client.connect(gateway.port)
    await client.reply()
    assert await client.say(b"EHLO x") == 250
    await client.send(HEAD)
    assert [code(await client.reply()) for _line in HEAD.splitlines()] == [250, 250, 354]
    return client


async def _hand_in(gateway: RunningGateway, messages: Sequence[tuple[bytes, ...]], pause_s: float | None) -> None:
    """Hand in messages, which come in pieces, some sessions at once; each must be taken as one."""
    await asyncio.gather(*(_session(gateway, messages[n::SESSIONS], pause_s) for n in range(SESSIONS)))


async def _session(gateway: RunningGateway, messages: Iterable[tuple[bytes, ...]], pause_s: float | None) -> None:
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        await client.say(b"EHLO x")
        for pieces in messages:
            await client.send(HEAD)
            for piece in pieces:
                await client.send(piece)
                if pause_s is not None:
                    await asyncio.sleep(pause_s)
            await client.send(TRUE_END)
            assert [code(await client.reply()) for _reply in range(4)] == [250, 250, 354, 250], pieces


async def test_no_false_end_ends_a_message_here_or_is_passed_on(gateway: RunningGateway, upstream: Upstream) -> None:
    """Each form, whole: one message in, one message out, and it holds what was to be smuggled as text."""
    await _hand_in(gateway, [(b"Subject: x\r\n\r\ntext" + end + EVIL,) for end in FALSE_ENDS], None)
    entries = await gateway.until_all_delivered()
    assert {address for address, _state in entries} == {"b@x.test"}
    assert len(entries) == len(upstream.copies) == len(FALSE_ENDS)
    for copy in upstream.copies:
        assert (copy.sender, copy.recipients) == ("ana@x.test", ("b@x.test",))
        assert b"MAIL FROM:<evil@x.test>" in copy.wire
        assert_clean(copy.wire)


@pytest.mark.parametrize("pause_s", [None, 0.001], ids=["at once", "in packets"])
async def test_no_false_end_ends_a_message_however_it_is_cut(
    gateway: RunningGateway, upstream: Upstream, pause_s: float | None
) -> None:
    """Each form, cut in two at each of its octets."""
    cases = [
        (b"Subject: x\r\n\r\ntext" + end[:at], end[at:] + EVIL) for end in FALSE_ENDS for at in range(len(end) + 1)
    ]
    await _hand_in(gateway, cases, pause_s)
    await gateway.until_all_delivered()
    assert len(upstream.copies) == len(cases)
    for copy in upstream.copies:
        assert copy.recipients == ("b@x.test",)
        assert_clean(copy.wire)


async def test_a_dot_that_was_doubled_is_not_an_end_on_either_side(gateway: RunningGateway, upstream: Upstream) -> None:
    """What is text here is text at the next server, however often it passes."""
    texts = [b".", b"..", b"...", b".\0", b"\0.", b".\r\n.", b".x\r\n.", b"\r\n.\r\n"]
    for text in texts:
        async with await _opened(gateway) as client:
            stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in text.split(b"\r\n"))
            await client.send(b"Subject: x\r\n\r\n" + stuffed + b"\r\n.\r\nQUIT\r\n")
            assert codes(await client.rest()) == [250, 221]
    await gateway.until_all_delivered()
    bodies = [copy.wire.partition(b"\r\n\r\n")[2] for copy in upstream.copies]
    for body in bodies:
        assert_clean(b"\r\n" + body)
    unstuffed = sorted(re.sub(rb"(?m)^\.", b"", body) for body in bodies)
    assert unstuffed == sorted(text.replace(b"\0", b"") + b"\r\n" for text in texts)


async def test_a_head_that_ends_in_odd_ways_smuggles_no_field_and_no_message(
    gateway: RunningGateway, upstream: Upstream
) -> None:
    """The head is taken apart and put together again: here it must not become something else."""
    heads = [
        b"Subject: a\rBcc: victim@x.test\r\n\r\n",
        b"Subject: a\nBcc: victim@x.test\n\n",
        b"Subject: a\r\r\nBcc: victim@x.test\r\n\r\n",
        b"Subject: a\0\r\n\0Bcc: victim@x.test\r\n\r\n",
        b"Subject: a\r\n.\rBcc: victim@x.test\r\n\r\n",
        b"\n.\n" + EVIL + b"\r\n",
        b"\r.\r" + EVIL + b"\r\n",
        b"Bcc\0: victim@x.test\r\n\r\n",
        b"B\0cc: victim@x.test\r\n\r\n",
        b"Bcc : victim@x.test\r\n\r\n",
        b"bCC:victim@x.test\r\n folded@x.test\r\n\r\n",
    ]
    for head in heads:
        async with await _opened(gateway) as client:
            await client.send(head + b"text\r\n.\r\nQUIT\r\n")
            assert codes(await client.rest()) == [250, 221], head
    await gateway.until_all_delivered()
    assert len(upstream.copies) == len(heads)
    for copy in upstream.copies:
        assert copy.recipients == ("b@x.test",)
        assert_clean(copy.wire)
        head, _blank, _body = copy.wire.partition(b"\r\n\r\n")
        assert re.search(rb"(?im)^bcc[ \t]*:", head) is None, head


async def test_a_large_message_is_as_clean_as_a_small_one(gateway: RunningGateway, upstream: Upstream) -> None:
    """Through the spool, false ends on every border of a piece."""
    block = b"0123456789abcdef" * 40
    text = b"".join(block[: 1000 - number] + FALSE_ENDS[number % len(FALSE_ENDS)] for number in range(600))
    async with await _opened(gateway) as client:
        await client.send(b"Subject: x\r\n\r\n" + text + TRUE_END + b"QUIT\r\n")
        assert codes(await client.rest()) == [250, 221]
    assert len(gateway.spooled()) == 1
    await gateway.until_all_delivered()
    (copy,) = upstream.copies
    assert_clean(copy.wire)


# --- STARTTLS -------------------------------------------------------------------------------------------------------------


INJECTED = [
    b"RSET\r\n",
    b"EHLO evil\r\n" + HEAD,
    b"EHLO evil\r\n" + HEAD + b"Subject: injected\r\n\r\n.\r\n",
    b"\x16",
    b"STARTTLS\r\n" * 3,
    b"x" * 20_000,
]


@pytest.mark.parametrize("injected", INJECTED, ids=["RSET", "HEAD", "message", "half a record", "again", "long"])
@pytest.mark.parametrize("how", ["same packet", "next packet"])
async def test_what_is_sent_in_clear_behind_starttls_is_never_worked_through(
    gateway: RunningGateway, how: str, injected: bytes
) -> None:
    """CVE-2011-0411: it is dropped, or the handshake fails; inside, the session begins anew."""
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        await client.say(b"EHLO x")
        if how == "same packet":
            await client.send(b"STARTTLS\r\n" + injected)
        else:
            await client.send(b"STARTTLS\r\n")
            await asyncio.sleep(0)
            await client.send(injected)
        assert code(await client.reply()) == 220
        try:
            await client.start_tls()
        except OSError:  # the octets were taken for the handshake
            assert await gateway.count() == 0
            return
        assert await client.say(b"MAIL FROM:<a@x.test>") == 503, "no EHLO was said inside"
        assert await client.say(b"EHLO x") == 250
        assert await client.say(b"RCPT TO:<b@x.test>") == 503
    assert await gateway.count() == 0


async def test_what_was_said_in_clear_counts_for_nothing_inside(gateway: RunningGateway) -> None:
    """A transaction and a greeting of somebody in the middle are forgotten."""
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        await client.say(b"EHLO evil")
        assert await client.say(b"MAIL FROM:<evil@x.test>") == 250
        assert await client.say(b"RCPT TO:<victim@x.test>") == 250
        assert await client.say(b"STARTTLS") == 220
        await client.start_tls()
        assert await client.say(b"DATA") == 503
        assert await client.say(b"RCPT TO:<b@x.test>") == 503
        assert await client.say(b"MAIL FROM:<a@x.test>") == 503
        await client.send(b"EHLO x\r\n")
        assert b"STARTTLS" not in await client.reply()
        assert await client.say(b"STARTTLS") in (502, 503)
    assert await gateway.count() == 0


async def test_a_gateway_that_was_fed_nonsense_instead_of_a_handshake_serves_the_next(
    gateway: RunningGateway,
) -> None:
    """A failed handshake is nobody else's trouble."""
    for nonsense in (b"", b"\x16\x03\x01\x00", b"\x16\x03\x01\xff\xff" + b"\0" * 300, b"GET / HTTP/1.0\r\n\r\n"):
        async with await Client.connect(gateway.port) as client:
            await client.reply()
            await client.say(b"EHLO x")
            await client.say(b"STARTTLS")
            await client.send(nonsense)
            client.writer.write_eof()
            await client.rest()
    async with await Client.connect(gateway.port) as client:
        assert code(await client.hand_in("a@x.test", ["b@x.test"], b"Subject: x\r\n\r\n")) == 250
