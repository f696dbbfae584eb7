"""What is too large for the provider, or for the disk, is said before it is sent."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from quick_sender import Client
from running_gateway import RunningGateway, gateway_fixture, upstream_fixture
from upstream import Upstream

from valija.domain.errors import StoreError, TryLater
from valija.domain.queue import RecipientStateName
from valija.domain.text import message
from valija.store import spool

upstream, gateway = upstream_fixture, gateway_fixture
MESSAGE = b"Subject: scan\r\n\r\nScanned.\r\n"


async def test_the_size_that_is_offered_is_the_providers_once_it_is_known(
    gateway: RunningGateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a message that says it is larger is refused at MAIL, for good: the person at the scanner can act."""
    monkeypatch.setitem(upstream._replies, "EHLO", b"250-up.test\r\n250-SIZE 1000000\r\n250 8BITMIME\r\n")
    async with await Client.connect(gateway.port) as client:
        await client.hand_in("a@example.test", ["b@example.test"], MESSAGE)
    await gateway.until(lambda entries: [s.name for _a, s in entries] == [RecipientStateName.DELIVERED])
    await asyncio.sleep(2.1)  # what the provider says is read again every two seconds
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        assert await client.say(b"HELO scanner") == 250
        assert await client.say(b"MAIL FROM:<a@example.test>") == 250
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        await client.send(b"EHLO scanner\r\n")
        assert b"SIZE 995904\r\n" in await client.reply()
        assert await client.say(b"MAIL FROM:<a@example.test> SIZE=995905") == 552
        assert await client.say(b"MAIL FROM:<a@example.test> SIZE=900000") == 250


async def test_a_full_disk_is_said_at_mail(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporarily: the device tries again, and nothing is begun that cannot be finished."""
    found = os.statvfs(gateway.directory)
    real = os.statvfs

    def nearly_full(path: Any) -> Any:
        real(path)
        return type("Full", (), {"f_bavail": 50_000_000 // found.f_frsize, "f_frsize": found.f_frsize})

    monkeypatch.setattr(spool, "LOOK_S", -1.0)
    monkeypatch.setattr(os, "statvfs", nearly_full)
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        assert await client.say(b"EHLO scanner") == 250
        assert await client.say(b"MAIL FROM:<a@example.test> SIZE=30000000") == 452
        assert await client.say(b"MAIL FROM:<a@example.test> SIZE=10000") == 250


async def test_a_store_that_does_not_answer_is_said_and_nobody_is_cut_off(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At MAIL, when a lock-out cannot be put on record, with too little memory for a hash: the session goes on."""

    async def down(*_what: Any) -> None:
        raise StoreError(message("The store is down."))

    async def no_memory(*_what: Any) -> None:
        raise TryLater(message("The machine has too little memory left."))

    await gateway.add_device("Scanner", tls="offered")
    async with await Client.connect(gateway.port) as client:
        await client.reply()
        assert await client.say(b"EHLO scanner") == 250
        with monkeypatch.context() as now:
            now.setattr("valija.services.submission.SETTINGS_FRESH_S", -1.0)
            now.setattr(gateway.store, "load_settings", down)
            assert await client.say(b"MAIL FROM:<a@example.test>") == 451
        assert await client.say(b"MAIL FROM:<a@example.test>") == 250
        assert await client.say(b"RSET") == 250
        with monkeypatch.context() as now:
            now.setattr("valija.domain.guess_guard.FAILURES", 1)
            now.setattr(gateway.store, "append_audit", down)
            assert await client.say(b"AUTH PLAIN AG5vYm9keQBndWVzcw==") == 535
        with monkeypatch.context() as now:
            now.setattr(gateway.machine.gateway.devices._passwords, "_aside", no_memory)
            assert await client.say(b"AUTH PLAIN AG5vYm9keTIAZ3Vlc3M=") == 454
        assert await client.say(b"NOOP") == 250
