"""Where a message came from, as the trace and the queue say it; whose it was until when."""

from __future__ import annotations

import pytest
from quick_sender import Client
from running_gateway import OPERATOR, RunningGateway, gateway_fixture, upstream_fixture
from upstream import Upstream

from valija.net.visits import Peer
from valija.services.submission import Submission

upstream, gateway = upstream_fixture, gateway_fixture


@pytest.mark.parametrize(
    ("peer", "said", "trace"),
    [
        ("127.0.0.1", "127.0.0.1", b"([127.0.0.1])"),
        ("::ffff:127.0.0.1", "127.0.0.1", b"([127.0.0.1])"),
        ("fe80::7%eth0", "fe80::7", b"([IPv6:fe80::7])"),
    ],
)
async def test_an_address_is_said_as_it_is(
    gateway: RunningGateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, peer: str, said: str, trace: bytes
) -> None:
    """An IPv4 device at an IPv6 socket is an IPv4 device; a zone is this machine's own matter (RFC 4007 section 6)."""
    await gateway.add_device("Printer", ranges=["fe80::/64"], tls="offered", rewriting="never")
    opened = Submission.open
    monkeypatch.setattr(Submission, "open", lambda self, found: opened(self, Peer(peer, found.port, found.listener)))
    async with await Client.connect(gateway.port) as client:
        await client.hand_in("a@example.test", ["b@example.test"], b"Subject: x\r\n\r\nx\r\n")
    await gateway.until_all_delivered()
    [stored] = await gateway.store.queue.list_messages(account=None, state=None, limit=9)
    assert stored.message.address == said
    [copy] = upstream.taken()
    assert trace in copy.wire


@pytest.mark.parametrize("when", ["before MAIL", "before DATA", "before the end"])
async def test_a_device_that_is_switched_off_hands_in_nothing_more(gateway: RunningGateway, when: str) -> None:
    """Not even the message that it has begun: it may have been stolen."""
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        assert await client.say(b"EHLO fax") == 250
        course = {b"MAIL FROM:<a@example.test>": 250, b"RCPT TO:<b@example.test>": 250, b"DATA": 354}
        for command in [*course][: {"before MAIL": 0, "before DATA": 2, "before the end": 3}[when]]:
            assert await client.say(command) == course.pop(command)
        if when == "before the end":
            await client.send(b"Subject: x\r\n\r\n" + b"x" * 70_000 + b"\r\n")
        await gateway.machine.gateway.devices.change("old-fax", {"enabled": False}, OPERATOR)
        assert await client.say(next(iter(course), b".")) == (530 if course else 554)
        assert await client.say(b"NOOP") == 250
    assert gateway.spooled() == []
    assert await gateway.count() == 0
