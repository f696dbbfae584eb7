"""Fetching mail from servers that misbehave: stored before it is deleted, fetched once, nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from pop_upstream import LONG, Maildrop

from valija.apps.config import Configuration
from valija.apps.machine import Machine, SystemClock, build
from valija.domain.account import Actor, Presence, Setting
from valija.domain.errors import StoreFull
from valija.store.memory import MemoryStore

FAX = Setting.INTERNET_FAX
OPERATOR = Actor("uid 0", "cli", Presence.AT_MACHINE)


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A machine with a store in memory."""
    made = build(Configuration(), MemoryStore(), SystemClock(), tmp_path)
    yield made
    await made.stop()


@pytest.fixture
async def serve(machine: Machine) -> AsyncIterator[Callable[[Maildrop], Awaitable[None]]]:
    """Serve a maildrop and set the Internet fax setting to it."""
    servers: list[asyncio.Server] = []

    async def start(maildrop: Maildrop) -> None:
        server = await asyncio.start_server(maildrop.session, "127.0.0.1", 0)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        changes = {"server": "127.0.0.1", "port": port, "tls": False, "timeout": 2}
        login = {"auth": "password", "account": "ana@x.test", "password": "secret"}
        await machine.settings.change(FAX, changes | login, confirm=False, actor=OPERATOR)

    yield start
    for server in servers:
        server.close()


Serve = Callable[[Maildrop], Awaitable[None]]


async def test_messages_are_kept_whole_and_then_deleted(machine: Machine, serve: Serve) -> None:
    """Lines of 10,000 octets and leading dots arrive as they were."""
    maildrop = Maildrop()
    await serve(maildrop)
    report = await machine.retrieval.check(FAX)
    assert report.trouble is None
    files = [(machine.state_dir / m.message.file).read_bytes() for m in report.messages]
    assert files == [b"Subject: one\r\n\r\n1\r\n", LONG]
    assert maildrop.messages == {}
    assert [c.split()[0] for c in maildrop.commands[-5:]] == ["RETR", "DELE", "RETR", "DELE", "QUIT"]


@pytest.mark.parametrize("step", ["CAPA", "USER", "PASS", "UIDL", "RETR 1", "RETR 2", "DELE 1", "DELE 2", "QUIT"])
async def test_a_disconnect_at_any_step_loses_and_doubles_nothing(machine: Machine, serve: Serve, step: str) -> None:
    """The next check completes what was begun; what was stored is not fetched again."""
    maildrop = Maildrop(breaks=step)
    await serve(maildrop)
    first = await machine.retrieval.check(FAX)
    assert first.trouble is not None
    assert len(maildrop.messages) == 2, "nothing was deleted without QUIT"
    maildrop.breaks = ""
    second = await machine.retrieval.check(FAX)
    assert second.trouble is None
    assert maildrop.messages == {}
    kept = [m.message.unique_id for m in (*first.messages, *second.messages)]
    assert sorted(kept) == ["u1", "u2"]
    assert not list(machine.state_dir.rglob("*.tmp")), "no half message is left"


@pytest.mark.parametrize("step", ["UIDL", "RETR 1", "DELE 1", "PASS"])
async def test_a_refusal_at_any_step_is_told_and_loses_nothing(machine: Machine, serve: Serve, step: str) -> None:
    """With the server's own words."""
    maildrop = Maildrop(refuses=step)
    await serve(maildrop)
    report = await machine.retrieval.check(FAX)
    assert report.trouble is not None
    assert "no" in report.trouble.server_words
    assert len(maildrop.messages) == 2


async def test_two_checks_at_once_fetch_once(machine: Machine, serve: Serve) -> None:
    """The key and the timer at the same moment."""
    maildrop = Maildrop()
    await serve(maildrop)
    reports = await asyncio.gather(*(machine.retrieval.check(FAX) for _ in range(3)))
    assert sorted(len(r.messages) for r in reports) == [0, 0, 2]


async def test_a_full_disk_leaves_the_mail_on_the_server(
    machine: Machine, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is deleted that could not be kept."""
    maildrop = Maildrop()
    await serve(maildrop)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("valija.services.retrieval._Keeper.keep", full)
    with pytest.raises(StoreFull):
        await machine.retrieval.check(FAX)
    monkeypatch.undo()
    assert len(maildrop.messages) == 2
    assert len((await machine.retrieval.check(FAX)).messages) == 2
