"""Nothing is relayed for anybody who is not known, in whatever form it is asked for."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from quick_sender import Client, code, plain
from running_gateway import MAILBOX, OPERATOR, HurryClock, RunningGateway, upstream_fixture
from upstream import Upstream

upstream = upstream_fixture
VICTIM = "victim@elsewhere.example"
SENDERS = [
    "spam@elsewhere.example",
    "",
    "scanner@office.test",  # a device's own
    "box@example.test",  # the mailbox itself
    "postmaster@localhost",
    "spam@[127.0.0.1]",
    "spam",
    '"spam@office.test"',
    "@office.test:spam@elsewhere.example",
]
RECIPIENTS = [
    VICTIM,
    f"<{VICTIM}>",
    "victim%elsewhere.example@localhost",
    "victim%elsewhere.example@[127.0.0.1]",
    "victim%elsewhere.example",
    '"victim@elsewhere.example"',
    '"victim%elsewhere.example"@localhost',
    '"victim@elsewhere.example"@[127.0.0.1]',
    "@localhost:victim@elsewhere.example",
    "@[127.0.0.1]:victim@elsewhere.example",
    "@localhost,@elsewhere.example:victim@elsewhere.example",
    "elsewhere.example!victim",
    "elsewhere.example!victim@localhost",
    "localhost!elsewhere.example!victim",
    "victim@elsewhere.example@localhost",
    "victim@elsewhere.example%localhost",
    "postmaster",
    "postmaster@localhost",
]
# what a stranger may say first, in the hope that MAIL is taken then
OPENINGS: Final[dict[str, list[bytes]]] = {
    "nothing": [],
    "HELO": [b"HELO x"],
    "EHLO": [b"EHLO x"],
    "the name of this host": [b"EHLO localhost"],
    "the address of a device": [b"EHLO [192.168.7.20]"],
    "RSET": [b"EHLO x", b"RSET"],
    "EHLO twice": [b"EHLO x", b"EHLO x"],
    "XCLIENT": [b"EHLO x", b"XCLIENT ADDR=192.168.7.20 LOGIN=ricoh"],
    "XFORWARD": [b"EHLO x", b"XFORWARD ADDR=192.168.7.20"],
    "a log-in in clear": [b"EHLO x", b"AUTH PLAIN " + plain("ricoh", "wrong")],
    "ANONYMOUS": [b"EHLO x", b"AUTH ANONYMOUS c3BhbQ=="],
    "EXTERNAL": [b"EHLO x", b"AUTH EXTERNAL ="],
    "a bearer token": [b"EHLO x", b"AUTH XOAUTH2 dXNlcj1hbmEBYXV0aD1CZWFyZXIgYmFkAQE="],
}
SECURE_OPENINGS: Final[dict[str, list[bytes]]] = {
    "only TLS": [],
    "EHLO": [b"EHLO x"],
    "wrong password": [b"EHLO x", b"AUTH PLAIN " + plain("ricoh", "wrong")],
    "no password": [b"EHLO x", b"AUTH PLAIN " + plain("ricoh", "")],
    "nothing at all": [b"EHLO x", b"AUTH PLAIN " + plain("", "")],
    "the device's name twice": [b"EHLO x", b"AUTH PLAIN " + plain("", "", "ricoh")],
    "a device without a password": [b"EHLO x", b"AUTH PLAIN " + plain("old-fax", "")],
    "cancelled": [b"EHLO x", b"AUTH LOGIN", b"*"],
    "half a log-in": [b"EHLO x", b"AUTH LOGIN", base64.b64encode(b"ricoh"), b"*"],
    "wrong, then RSET": [b"EHLO x", b"AUTH PLAIN " + plain("ricoh", "wrong"), b"RSET"],
}


@pytest.fixture
async def gateway(tmp_path: Path, upstream: Upstream) -> AsyncIterator[RunningGateway]:
    """A gateway that knows two devices, neither of which is here."""
    clock = HurryClock(30)  # answers to wrong passwords come late
    made = RunningGateway(tmp_path, upstream.port, clock=clock, submission_port=-1, submissions_port=-1)
    await made.start()
    await made.add_device("Ricoh")
    await made.add_device("Old fax", ranges=["192.168.7.0/24"], tls="offered")
    yield made
    await made.stop()


async def _assert_refused(port: int, opening: list[bytes], *, secure: bool) -> None:
    """Every sender is refused after this opening, and what follows too; a session may end after too many tries."""
    async with await Client.connect(port) as client:
        await client.reply()
        if secure:
            await client.say(b"EHLO x")
            assert await client.say(b"STARTTLS") == 220
            await client.start_tls()
        for line in opening:
            assert await client.say(line) not in (235, 0), line
        for sender in SENDERS[:5]:
            assert await client.say(b"MAIL FROM:<%b>" % sender.encode()) in (530, 503), (opening, sender)
            assert await client.say(b"RCPT TO:<%b>" % VICTIM.encode()) == 503, (opening, sender)
            assert await client.say(b"DATA") == 503, (opening, sender)


async def test_a_stranger_cannot_send(gateway: RunningGateway, upstream: Upstream) -> None:
    """In clear or over TLS, whatever was said before."""
    for name in ("smtp", "submission"):
        for opening in OPENINGS.values():
            await _assert_refused(gateway.ports[name], opening, secure=False)
        for opening in SECURE_OPENINGS.values():
            await _assert_refused(gateway.ports[name], opening, secure=True)
    assert await gateway.count() == 0
    assert upstream.visits == []


async def test_a_stranger_cannot_send_while_the_machine_learns_either(
    gateway: RunningGateway, upstream: Upstream
) -> None:
    """It is listened to, but no form of a recipient is taken."""
    await gateway.machine.gateway.learning.begin(30, OPERATOR)
    for recipient in RECIPIENTS:
        async with await Client.connect(gateway.port) as client:
            await client.reply()
            await client.say(b"EHLO x")
            await client.say(b"MAIL FROM:<%b>" % SENDERS[0].encode())
            assert await client.say(b"RCPT TO:<%b>" % recipient.encode()) in (450, 501), recipient
            assert await client.say(b"DATA") in (503, 554), recipient
    assert await gateway.count() == 0
    assert upstream.visits == []


async def test_a_stranger_finds_no_form_of_a_recipient_that_is_taken(gateway: RunningGateway) -> None:
    """Nor a sender that makes one taken: each pair, all at once, in one packet."""
    for recipient in RECIPIENTS:
        for sender in SENDERS[:3]:
            async with await Client.connect(gateway.port) as client:
                await client.reply()
                said = f"EHLO x\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\nSubject: x\r\n\r\n.\r\nQUIT\r\n"
                await client.send(said.encode())
                assert b"354" not in (rest := await client.rest())
                assert b"\r\n250 2.1.5" not in rest
    assert await gateway.count() == 0


async def test_a_known_device_reaches_exactly_whom_it_names(tmp_path: Path, upstream: Upstream) -> None:
    """Hacks, bangs and routes have no meaning of their own here: one address in, the same one out, or refused."""
    gateway = await RunningGateway(tmp_path, upstream.port).start()
    await gateway.open_door()
    taken = []
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        await client.say(b"EHLO x")
        for recipient in RECIPIENTS:
            assert await client.say(b"MAIL FROM:<scanner@office.test>") == 250
            if await client.say(b"RCPT TO:<%b>" % recipient.encode()) == 250:
                assert await client.say(b"DATA") == 354
                assert await client.say(b"Subject: x\r\n\r\n.") == 250
                taken.append(recipient)
            await client.say(b"RSET")
    await gateway.until_all_delivered()
    expected = [
        VICTIM
        if recipient.endswith(f":{VICTIM}")  # routes are to be ignored (RFC 5321 appendix C)
        else recipient
        if "@" in recipient
        else f"{recipient}@{MAILBOX.partition('@')[2]}"  # a plain name is the mailbox's neighbour
        for recipient in taken
    ]
    assert sorted(address for address, _state in await gateway.entries()) == sorted(expected)
    assert sorted(r for copy in upstream.copies for r in copy.recipients) == sorted(expected)
    assert [recipient for recipient in RECIPIENTS if recipient not in taken] == [
        f"<{VICTIM}>",
        "victim%elsewhere.example",
        '"victim@elsewhere.example"',
        "elsewhere.example!victim",
        "localhost!elsewhere.example!victim",
        "victim@elsewhere.example@localhost",
        "victim@elsewhere.example%localhost",
    ]
    await gateway.stop()


async def test_a_device_that_is_switched_off_or_gone_sends_nothing_more_even_where_it_is_logged_in(
    gateway: RunningGateway,
) -> None:
    """Revoked means now, not after the session."""
    desk = gateway.machine.gateway.devices
    made = await gateway.add_device("Kyocera")
    assert made.password is not None
    for revoke in ("off", "password", "delete"):
        login, password = made.device.login, made.password.reveal()
        async with await Client.connect(gateway.port) as client:
            await client.reply()
            await client.say(b"EHLO x")
            assert await client.log_in(login, password) == 235
            assert await client.say(b"MAIL FROM:<a@office.test>") == 250
            assert await client.say(b"RSET") == 250
            if revoke == "off":
                await desk.change(login, {"enabled": False}, OPERATOR)
            elif revoke == "password":
                await desk.new_password(login, OPERATOR)
            else:
                await desk.delete(login, OPERATOR)
            assert await client.say(b"MAIL FROM:<a@office.test>") in (530, 421)
            assert await client.say(b"RCPT TO:<b@x.test>") in (503, 0)
        if revoke == "off":
            await desk.change(login, {"enabled": True}, OPERATOR)
        elif revoke == "password":
            made = await desk.new_password(login, OPERATOR)
            assert made.password is not None
    assert await gateway.count() == 0


async def test_a_device_known_by_its_address_must_keep_its_tls_policy(tmp_path: Path, upstream: Upstream) -> None:
    """TLS required means before the mail, too, not only before a log-in."""
    gateway = await RunningGateway(tmp_path, upstream.port).start()
    await gateway.add_device("Scanner", ranges=["127.0.0.1"], tls="required")
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        await client.say(b"EHLO x")
        assert await client.say(b"MAIL FROM:<a@office.test>") == 530
        assert await client.say(b"STARTTLS") == 220
        await client.start_tls()
        await client.say(b"EHLO x")
        assert await client.say(b"MAIL FROM:<a@office.test>") == 250
    await gateway.stop()


async def test_a_device_known_by_its_address_makes_nobody_show_a_password_in_clear(gateway: RunningGateway) -> None:
    """Log-ins without TLS are offered only where a device with a password may do that."""
    for allowed in (False, True):
        async with await Client.connect(gateway.port) as client:
            await client.reply()
            await client.send(b"EHLO x\r\n")
            assert (b"AUTH" in await client.reply()) is allowed
            assert await client.say(b"AUTH PLAIN " + plain("ricoh", "wrong")) == (535 if allowed else 538)
        await gateway.machine.gateway.devices.change("ricoh", {"tls": "offered"}, OPERATOR)


async def test_a_device_names_only_the_senders_that_it_may(tmp_path: Path, upstream: Upstream) -> None:
    """In every form; after a refusal there is no transaction to go on with."""
    gateway = await RunningGateway(tmp_path, upstream.port).start()
    await gateway.add_device("Fax", ranges=["127.0.0.1"], tls="offered", senders=["fax@office.test", "@branch.test"])
    forbidden = [
        b"<boss@office.test>",
        b"<>",
        b"<fax@office.test.evil.example>",
        b"<fax@office.test@evil.example>",
        b"<@office.test:boss@evil.example>",
        b"fax@office.test <boss@evil.example>",
        b'"fax@office.test" <boss@evil.example>',
        b"<boss@evil.example> fax@office.test",
        b"<branch.test>",
        b"<x@notbranch.test>",
        b"<x@branch.test.evil.example>",
    ]
    for path in forbidden:
        async with await Client.connect(gateway.port) as client:
            await client.reply()
            await client.say(b"EHLO x")
            assert await client.say(b"MAIL FROM:" + path) in (553, 501), path
            assert await client.say(b"RCPT TO:<b@x.test>") == 503
            assert await client.say(b"DATA") == 503
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        await client.say(b"EHLO x")
        for path in (b"<fax@office.test>", b"<FAX@Office.Test>", b"<x@branch.test>"):
            await client.send(b"RSET\r\nMAIL FROM:" + path + b"\r\n")
            assert [code(await client.reply()), code(await client.reply())] == [250, 250]
    await gateway.stop()


@pytest.mark.parametrize("rewriting", ["never", "foreign"])
async def test_a_device_names_no_other_sender_in_from_either(
    tmp_path: Path, upstream: Upstream, rewriting: str
) -> None:
    """People see From, not the envelope. Where the mailbox takes its place, nothing need be refused."""
    gateway = await RunningGateway(tmp_path, upstream.port).start()
    allowed = ["fax@office.test", "@branch.test"]
    await gateway.add_device("Fax", ranges=["127.0.0.1"], tls="offered", senders=allowed, rewriting=rewriting)
    heads = {
        b"From: Boss <boss@office.test>": 553,
        b"From: fax@office.test, boss@office.test": 553,
        b"From: fax@office.test\r\nSender: boss@office.test": 553,
        b"From: =?utf-8?q?Boss?=\r\n <boss@office.test>": 553,
        b"From: Fax <FAX@office.test>": 250,
        b"From: ana@branch.test": 250,
        b"From: fax": 250,
        b"Subject: none": 250,
    }
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        await client.say(b"EHLO x")
        for head, wanted in heads.items():
            await client.send(b"MAIL FROM:<fax@office.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n")
            assert [code(await client.reply()) for _command in range(3)] == [250, 250, 354]
            await client.send(head + b"\r\n\r\ntext\r\n.\r\n")
            assert code(await client.reply()) == (250 if rewriting == "foreign" else wanted), head
            if head.endswith(b"boss@office.test"):
                seen = gateway.machine.gateway.devices.sighting("fax")
                assert seen is not None
                assert (seen.last_error == "may not send as boss@office.test") == (rewriting == "never")
    await gateway.until_all_delivered()
    assert not any(b"boss@office.test>" in copy.wire and rewriting == "never" for copy in upstream.taken())
    await gateway.stop()
