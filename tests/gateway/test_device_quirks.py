"""What old devices need, from the socket to the queue; and what is kept from all others."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from quick_sender import Client, code, plain
from running_gateway import MAILBOX, OPERATOR, RunningGateway, upstream_fixture
from upstream import Upstream

__all__ = ["upstream_fixture"]


@pytest.fixture
async def office(tmp_path: Path, upstream: Upstream) -> AsyncIterator[RunningGateway]:
    """A gateway with an old fax that is known by its address, here."""
    running = await RunningGateway(tmp_path, upstream.port).start()
    await running.add_device("Old fax", ranges=["127.0.0.1"], rewriting="never")
    yield running
    await running.stop()


async def _hand_in(client: Client, sender: bytes = b"fax@office.test", recipient: bytes = b"luis@example.test") -> None:
    await client.reply()
    assert await client.say(b"HELO fax") == 250
    assert await client.say(b"MAIL FROM:<%b>" % sender) == 250
    assert await client.say(b"RCPT TO:<%b>" % recipient) == 250
    assert await client.say(b"DATA") == 354


async def test_a_fax_that_ends_lines_with_lf_alone_is_understood_where_that_is_switched_on(
    office: RunningGateway, upstream: Upstream
) -> None:
    """Its connection is closed after the message; what leaves has proper line ends."""
    await office.machine.gateway.devices.change("old-fax", {"lf_ends_message": True}, OPERATOR)
    async with await Client.connect(office.port) as client:
        await _hand_in(client)
        await client.send(b"Subject: fax\n\npage 1\n.\nMAIL FROM:<evil@x.test>\nRCPT TO:<victim@x.test>\n")
        said = await client.rest()
    assert said.startswith(b"250 ")
    assert said.count(b"\r\n") == 1
    assert [address for address, _state in await office.until_all_delivered()] == ["luis@example.test"]
    [copy] = upstream.taken()
    kept = copy.wire
    assert b"\r\n\r\npage 1\r\n" in kept
    assert b"\n" not in kept.replace(b"\r\n", b"")


async def test_nobody_else_can_end_a_message_so(office: RunningGateway) -> None:
    """The same octets are part of the message."""
    async with await Client.connect(office.port) as client:
        await _hand_in(client)
        await client.send(b"Subject: fax\n\npage 1\n.\nMAIL FROM:<evil@x.test>\n\r\n.\r\n")
        assert code(await client.reply()) == 250
        assert await client.say(b"NOOP") == 250
    assert await office.count() == 1


async def test_addresses_without_a_domain_get_the_mailboxes(office: RunningGateway) -> None:
    """``MAIL FROM:<printer>``, and a short name in the address book."""
    async with await Client.connect(office.port) as client:
        await _hand_in(client, b"printer", b"luis")
        await client.send(b"Subject: scan\r\n\r\nhello\r\n.\r\n")
        assert code(await client.reply()) == 250
    [message] = await office.store.queue.list_messages(account=None, state=None, limit=5)
    assert message.message.reverse_path == "printer@example.test"
    assert [entry.recipient.address for entry in message.entries] == ["luis@example.test"]


async def test_a_device_that_takes_only_addresses_as_user_name_can_log_in(tmp_path: Path, upstream: Upstream) -> None:
    """What follows the @ is not looked at."""
    running = await RunningGateway(tmp_path, upstream.port).start()
    made = await running.add_device("Ricoh", tls="offered")
    assert made.password is not None
    async with await Client.connect(running.port) as client:
        await client.reply()
        await client.say(b"EHLO x")
        assert await client.say(b"AUTH PLAIN " + plain("Ricoh@printers.local", made.password.reveal())) == 235
    await running.stop()


@pytest.mark.parametrize(("rewriting", "goes_as"), [("foreign", MAILBOX), ("always", MAILBOX), ("never", "ana@x.test")])
async def test_a_person_in_from_behind_the_mailboxs_own_envelope_is_no_sender_that_the_provider_sees(
    office: RunningGateway, upstream: Upstream, rewriting: str, goes_as: str
) -> None:
    """As machines do where people log in. A provider looks at From, too, and would refuse it."""
    await office.machine.gateway.devices.change("old-fax", {"rewriting": rewriting}, OPERATOR)
    async with await Client.connect(office.port) as client:
        await _hand_in(client, MAILBOX.encode())
        await client.send(b"From: Ana <ana@x.test>\r\nSubject: scan\r\n\r\nhello\r\n.\r\n")
        assert code(await client.reply()) == 250
    await office.until_all_delivered()
    [copy] = upstream.taken()
    assert copy.sender.strip("<>") == MAILBOX
    assert b"From: Ana <%b>\r\n" % goes_as.encode() in copy.wire
    assert (b"Reply-To: Ana <ana@x.test>\r\n" in copy.wire) == (goes_as == MAILBOX)


@pytest.mark.parametrize(
    ("rewriting", "envelope", "author", "goes_as", "shown_as"),
    [
        ("foreign", "fax@x.test", "fax@x.test", "fax@x.test", "fax@x.test"),
        ("foreign", "fax@x.test", "ana@sales.test", "fax@x.test", "ana@sales.test"),
        ("foreign", MAILBOX, "ana@sales.test", MAILBOX, "ana@sales.test"),
        ("foreign", "fax@x.test", "boss@x.test", "fax@x.test", "fax@x.test"),
        ("foreign", "boss@x.test", "ana@sales.test", MAILBOX, "ana@sales.test"),
        ("always", "fax@x.test", "ana@sales.test", MAILBOX, MAILBOX),
    ],
)
async def test_what_the_mailbox_has_the_right_to_send_as_goes_out_as_it_is(
    tmp_path: Path, upstream: Upstream, rewriting: str, envelope: str, author: str, goes_as: str, shown_as: str
) -> None:
    """Send As, as providers call it, of addresses or a whole domain: in the envelope and in From."""
    running = RunningGateway(tmp_path, upstream.port, may_send_as=["fax@x.test", "@sales.test"])
    await running.start()
    await running.add_device("Old fax", ranges=["127.0.0.1"], tls="offered", rewriting=rewriting)
    async with await Client.connect(running.port) as client:
        await _hand_in(client, envelope.encode())
        await client.send(b"From: Ana <%b>\r\nSubject: scan\r\n\r\nhello\r\n.\r\n" % author.encode())
        assert code(await client.reply()) == 250
    await running.until_all_delivered()
    [copy] = upstream.taken()
    assert copy.sender.strip("<>") == goes_as
    assert b"From: Ana <%b>\r\n" % shown_as.encode() in copy.wire
    await running.stop()


@pytest.mark.parametrize("rewriting", ["foreign", "never"])
async def test_a_sender_of_a_quarter_of_a_megabyte_is_refused_at_once(office: RunningGateway, rewriting: str) -> None:
    """Reading fifty thousand addresses would keep all other devices waiting."""
    await office.machine.gateway.devices.change("old-fax", {"rewriting": rewriting}, OPERATOR)
    async with await Client.connect(office.port) as client:
        await _hand_in(client, b"fax@office.test")
        await client.send(b"From: " + b"a@b.test,\r\n " * 20_000 + b"\r\nSubject: scan\r\n\r\nhello\r\n.\r\n")
        began = time.monotonic()
        assert code(await client.reply()) == 552
        assert time.monotonic() - began < 5
        assert await client.say(b"NOOP") == 250


@pytest.mark.parametrize("envelope_id", [b"a+0D+0Ab", b"+00", b"+C3+B1", b"x" * 101])
async def test_an_envelope_id_that_a_provider_would_refuse_is_refused_here(
    office: RunningGateway, envelope_id: bytes
) -> None:
    """It would be said at MAIL, and taken for a refusal of the mailbox."""
    async with await Client.connect(office.port) as client:
        await client.reply()
        assert await client.say(b"EHLO fax") == 250
        assert await client.say(b"MAIL FROM:<fax@office.test> ENVID=%b" % envelope_id) == 501
        assert await client.say(b"MAIL FROM:<fax@office.test> ENVID=4711+2B1") == 250
