"""Fetching mail from servers that misbehave: stored before it is deleted, fetched once, nothing lost."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pop_upstream import CAPABILITIES, LONG, Maildrop

from valija.apps.config import Configuration
from valija.apps.machine import Machine, SystemClock, build
from valija.domain.account import Actor, Presence, Setting
from valija.domain.errors import StoreError, StoreFull
from valija.domain.record import ReceivedMessage
from valija.domain.text import message
from valija.services.events import MailReceived
from valija.services.fetched import Fetched
from valija.services.retrieval import BUFFER, REFUSALS_A_CHECK, TOGETHER, CheckTimer
from valija.store.memory import MemoryStore
from valija.store.port import StoredMessage

FAX = Setting.INTERNET_FAX
PIPELINED_OR_NOT = pytest.mark.parametrize("capabilities", [Maildrop.capabilities, CAPABILITIES], ids=["", "pipelined"])
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
    assert [c.split()[0] for c in maildrop.commands[-5:]] == ["RETR", "RETR", "DELE", "DELE", "QUIT"]


async def test_messages_are_asked_for_together_where_the_server_takes_that(machine: Machine, serve: Serve) -> None:
    """It need not wait for us while we write, nor we for it."""
    maildrop = Maildrop(together=2, capabilities=CAPABILITIES)
    await serve(maildrop)
    report = await machine.retrieval.check(FAX)
    assert report.trouble is None
    files = [(machine.state_dir / m.message.file).read_bytes() for m in report.messages]
    assert files == [b"Subject: one\r\n\r\n1\r\n", LONG]


@PIPELINED_OR_NOT
@pytest.mark.parametrize("step", ["CAPA", "USER", "PASS", "UIDL", "RETR 1", "RETR 2", "DELE 1", "DELE 2", "QUIT"])
async def test_a_disconnect_at_any_step_loses_and_doubles_nothing(
    machine: Machine, serve: Serve, step: str, capabilities: bytes
) -> None:
    """The next check completes what was begun; what was stored is not fetched again."""
    maildrop = Maildrop(breaks=step, capabilities=capabilities)
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


@pytest.mark.parametrize("step", ["UIDL", "RETR", "DELE", "PASS"])
async def test_a_refusal_at_any_step_is_told_and_loses_nothing(machine: Machine, serve: Serve, step: str) -> None:
    """With the server's own words."""
    maildrop = Maildrop(refuses=step)
    await serve(maildrop)
    report = await machine.retrieval.check(FAX)
    assert report.trouble is not None
    assert "no" in report.trouble.server_words
    assert len(maildrop.messages) == 2


@PIPELINED_OR_NOT
@pytest.mark.parametrize(("step", "commands"), [("RETR 1", ["RETR 1"]), ("DELE 1", ["RETR 1", "DELE 1"])])
async def test_a_message_that_the_server_does_not_give_does_not_hold_up_the_others(
    machine: Machine, serve: Serve, step: str, commands: list[str], capabilities: bytes
) -> None:
    """It stays there, and is told each time; what is here already is not fetched again."""
    maildrop = Maildrop(refuses=step, capabilities=capabilities)
    await serve(maildrop)
    first = await machine.retrieval.check(FAX)
    assert first.trouble is not None
    assert "no" in first.trouble.server_words
    assert list(maildrop.messages) == ["u1"]
    maildrop.commands.clear()
    second = await machine.retrieval.check(FAX)
    assert second.trouble is not None
    assert maildrop.commands[-2:] == [commands[-1], "QUIT"]
    maildrop.refuses = ""
    third = await machine.retrieval.check(FAX)
    assert third.trouble is None
    assert maildrop.messages == {}
    kept = [m.message.unique_id for m in (*first.messages, *second.messages, *third.messages)]
    assert sorted(kept) == ["u1", "u2"]


async def test_a_server_that_gives_no_message_is_left_alone_after_some(machine: Machine, serve: Serve) -> None:
    """What it was not asked for is not deleted either."""
    maildrop = Maildrop(messages={f"u{n}": LONG for n in range(1, 41)}, refuses="RETR")
    await serve(maildrop)
    assert (await machine.retrieval.check(FAX)).trouble is not None
    asked = sum(line.startswith("RETR") for line in maildrop.commands)
    assert REFUSALS_A_CHECK <= asked < REFUSALS_A_CHECK + TOGETHER
    assert len(maildrop.messages) == 40


class Quick(SystemClock):
    """A clock on which no wait is long."""

    async def sleep(self, seconds: float) -> None:
        """Wait for a moment."""
        await asyncio.sleep(0.01)


async def test_what_is_too_much_for_one_check_comes_with_the_next_at_once(
    machine: Machine, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after an interval; then it is quiet again."""
    monkeypatch.setattr("valija.services.retrieval.MESSAGES_A_CHECK", 3)
    maildrop = Maildrop(messages={f"u{n}": LONG for n in range(1, 9)})
    await serve(maildrop)
    async with machine.events.subscribe() as events:
        timer = asyncio.create_task(CheckTimer(machine.retrieval, Quick(), (FAX,)).run())
        async with asyncio.timeout(20):
            while maildrop.messages:
                await events.get()
    await asyncio.sleep(0.2)
    timer.cancel()
    assert maildrop.sessions == 3


async def test_messages_that_stay_at_the_server_do_not_hide_the_new_ones(
    machine: Machine, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are before them in its list."""
    monkeypatch.setattr("valija.services.retrieval.MESSAGES_A_CHECK", 3)
    monkeypatch.setattr("valija.services.retrieval.LOOKED_UP", 2)
    maildrop = Maildrop(messages={f"u{n}": LONG for n in range(1, 8)}, refuses="DELE")
    await serve(maildrop)
    kept = [m.message.unique_id for _check in range(3) for m in (await machine.retrieval.check(FAX)).messages]
    assert kept == [f"u{n}" for n in range(1, 8)]


async def test_two_checks_at_once_fetch_once(machine: Machine, serve: Serve) -> None:
    """The key and the timer at the same moment."""
    maildrop = Maildrop()
    await serve(maildrop)
    reports = await asyncio.gather(*(machine.retrieval.check(FAX) for _ in range(3)))
    assert sorted(len(r.messages) for r in reports) == [0, 0, 2]


class Namesakes(Maildrop):
    """Gives the same unique-id to messages whose names differ after the #."""

    def _answer(self, line: str, marked: list[str]) -> bytes:
        if line != "UIDL":
            return super()._answer(line, marked)
        ids = "".join(f"{number} {name.partition('#')[0]}\r\n" for number, name in enumerate(self.messages, 1))
        return f"+OK\r\n{ids}.\r\n".encode()


async def test_messages_of_one_unique_id_are_all_kept_before_any_is_deleted(machine: Machine, serve: Serve) -> None:
    """Whatever the server takes them for; also where one of them is not given at first."""
    maildrop = Namesakes(
        messages={name: b"Subject: %s\r\n\r\n" % name.encode() for name in ("u#1", "v", "u#2", "u#3")},
        refuses="RETR 3",
    )
    await serve(maildrop)
    report = await machine.retrieval.check(FAX)
    assert [received.message.subject for received in report.messages] == ["u#1", "v", "u#3"]
    assert list(maildrop.messages) == ["u#1", "u#2", "u#3"]
    maildrop.refuses = ""
    report = await machine.retrieval.check(FAX)
    assert [received.message.subject for received in report.messages] == ["u#2"]
    assert maildrop.messages == {}


async def test_a_message_without_end_does_not_hold_up_the_others(
    machine: Machine, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is let go of at some length, stays at the server, and is not asked for again; that is told as long as it is so."""
    monkeypatch.setattr("valija.services.fetched.LIMIT", 500_000)
    maildrop = Maildrop(messages={"u1": b"x\r\n" * 300_000, "u2": LONG})
    await serve(maildrop)
    for expected in (0, 1, 0):
        report = await machine.retrieval.check(FAX)
        assert report.trouble is not None
        assert (report.trouble.reason, "more than 500,000 octets" in report.trouble.server_words) == (
            "peer_nonsense",
            True,
        )
        assert len(report.messages) == expected
    assert list(maildrop.messages) == ["u1"]
    assert maildrop.commands.count("RETR 1") == 1
    assert len([*(machine.state_dir / "received").rglob("*.*")]) == 1
    del maildrop.messages["u1"]
    assert (await machine.retrieval.check(FAX)).trouble is None


async def test_a_large_message_leaves_some_of_the_disk_to_others(
    machine: Machine, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mail is taken from devices meanwhile, and what became of it is noted; a small message is kept all the same."""
    monkeypatch.setattr("valija.services.fetched.RESERVE", 1 << 60)
    maildrop = Maildrop(messages={"u1": LONG, "u2": b"x\r\n" * BUFFER})
    await serve(maildrop)
    with pytest.raises(StoreFull):
        await machine.retrieval.check(FAX)
    assert len([*(machine.state_dir / "received").rglob("*.*")]) == 1


async def test_a_full_disk_leaves_the_mail_on_the_server(
    machine: Machine, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is deleted that could not be kept."""
    maildrop = Maildrop()
    await serve(maildrop)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("valija.services.fetched.Fetched.keep", full)
    with pytest.raises(StoreFull):
        await machine.retrieval.check(FAX)
    monkeypatch.undo()
    assert len(maildrop.messages) == 2
    assert len((await machine.retrieval.check(FAX)).messages) == 2


@pytest.mark.parametrize("size", [100, 3_000, 600_000])
async def test_a_disk_that_is_full_when_a_message_is_written_is_said_to_be_and_leaves_nothing_half(
    machine: Machine, serve: Serve, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Also where what waits in the file's own buffer cannot be written when it is closed; those beside it are kept."""
    maildrop = Maildrop(
        messages={f"u{n}": b"Subject: %d\r\n\r\n" % n + b"x" * (size * (n == 1)) + b"\r\n" for n in range(3)}
    )
    await serve(maildrop)
    fdopen, opened = os.fdopen, itertools.count()

    def on_full_disk(descriptor: int, mode: str) -> Any:
        if next(opened) != (1 if size < BUFFER else 0):
            return fdopen(descriptor, mode)
        os.close(descriptor)
        full = Path("/dev/full").open(mode)  # noqa: SIM115
        full.write(b"x")  # what the disk took last ended within a piece
        return full

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", on_full_disk)
        with pytest.raises(StoreFull):
            await machine.retrieval.check(FAX)
    there = {str(p.relative_to(machine.state_dir)) for p in (machine.state_dir / "received").rglob("*.*")}
    assert there == {m.message.file for m in await machine.store.list_received(FAX.value, 10)}
    await machine.retrieval.check(FAX)
    assert len(await machine.store.list_received(FAX.value, 10)) == 3
    assert maildrop.messages == {}


@PIPELINED_OR_NOT
async def test_many_come_in_their_order_and_what_came_before_a_break_is_kept(
    machine: Machine, serve: Serve, capabilities: bytes
) -> None:
    """Made durable some at a time; nothing is deleted by a session that did not end well."""
    many = {f"u{n}": b"Subject: %d\r\n\r\n%d\r\n" % (n, n) for n in range(1, 41)}
    maildrop = Maildrop(messages=dict(many), breaks="RETR 38", capabilities=capabilities)
    await serve(maildrop)
    first = await machine.retrieval.check(FAX)
    assert first.trouble is not None
    assert [m.message.unique_id for m in first.messages] == [f"u{n}" for n in range(1, 38)]
    assert [m.id for m in first.messages] == sorted(m.id for m in first.messages)
    assert not [line for line in maildrop.commands if line.startswith("DELE")]
    maildrop.breaks = ""
    second = await machine.retrieval.check(FAX)
    assert [m.message.unique_id for m in second.messages] == ["u38", "u39", "u40"]
    assert maildrop.messages == {}
    kept = [(machine.state_dir / m.message.file).read_bytes() for m in (*first.messages, *second.messages)]
    assert kept == list(many.values())
    assert len(list((machine.state_dir / "received").rglob("*.*"))) == 40


async def _told_by_a_check_that_fails(machine: Machine, error: type[Exception]) -> int:
    """Check; return of how many messages was told all the same."""
    async with machine.events.subscribe() as told:
        with pytest.raises(error):
            await machine.retrieval.check(FAX)
        event = await asyncio.wait_for(told.get(), 5)
    assert isinstance(event, MailReceived)
    return event.count


async def test_one_that_cannot_be_written_holds_up_none_of_those_beside_it(
    machine: Machine, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told of, and known the next time."""
    maildrop = Maildrop(messages={f"u{n}": b"Subject: %d\r\n\r\n" % n for n in range(5)})
    await serve(maildrop)
    keep = Fetched.keep

    def full(fetched: Fetched) -> None:
        if fetched.unique_id == "u2":
            raise OSError(28, "No space left on device")
        keep(fetched)

    monkeypatch.setattr(Fetched, "keep", full)
    assert await _told_by_a_check_that_fails(machine, StoreFull) == 4
    monkeypatch.undo()
    assert len(maildrop.messages) == 5
    assert len(list((machine.state_dir / "received").rglob("*.*"))) == 4
    assert [m.message.unique_id for m in (await machine.retrieval.check(FAX)).messages] == ["u2"]
    assert maildrop.messages == {}


async def test_one_that_cannot_be_noted_hides_none_of_those_beside_it(
    machine: Machine, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told of; that one is fetched again."""
    maildrop = Maildrop(messages={f"u{n}": b"Subject: %d\r\n\r\n" % n for n in range(5)})
    await serve(maildrop)
    record = machine.store.record_received

    async def fails(received: ReceivedMessage) -> StoredMessage | None:
        if received.unique_id == "u2":
            raise StoreError(message("no"))
        return await record(received)

    monkeypatch.setattr(machine.store, "record_received", fails)
    assert await _told_by_a_check_that_fails(machine, StoreError) == 4
    monkeypatch.undo()
    assert len(maildrop.messages) == 5
    assert [m.message.unique_id for m in (await machine.retrieval.check(FAX)).messages] == ["u2"]
    assert maildrop.messages == {}


async def test_who_is_stopped_while_a_message_comes_leaves_nothing_half(machine: Machine, serve: Serve) -> None:
    """What is on disk has a note; what has none is fetched again."""
    maildrop = Maildrop(messages={f"u{n}": b"Subject: x\r\n\r\n" + b"x" * 2_000_000 + b"\r\n" for n in range(3)})
    await serve(maildrop)
    checking = asyncio.create_task(machine.retrieval.check(FAX))
    for _look in range(4000):
        if maildrop.octets_taken >= 2_500_000:
            break
        await asyncio.sleep(0.005)
    checking.cancel()
    await asyncio.gather(checking, return_exceptions=True)
    noted = {m.message.file for m in await machine.store.list_received(FAX.value, 10)}
    there = {str(p.relative_to(machine.state_dir)) for p in (machine.state_dir / "received").rglob("*.*")}
    assert there == noted
    assert len(maildrop.messages) == 3
