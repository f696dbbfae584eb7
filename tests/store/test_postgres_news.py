"""What nodes on one PostgreSQL hear of each other, and what only one of them does at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nodes import Nodes, nodes_fixture
from queue_engines import NOW, queued
from store_values import audit_record, received, registration, smtp_settings, token_set

from valija.domain import queue as q
from valija.domain.account import Setting
from valija.domain.account_gate import Gate, hold
from valija.domain.device import Device
from valija.domain.errors import StoreError
from valija.domain.token import Retrieved
from valija.store import postgres_engine, postgres_nodes
from valija.store.port import Change, ChangeKind
from valija.store.postgres import PostgresStore
from valija.store.queue_port import Body

nodes = nodes_fixture
pytestmark = pytest.mark.peers
K = ChangeKind


class Ear:
    """Hears what others tell a node."""

    def __init__(self, node: PostgresStore) -> None:
        self._changes: AsyncIterator[Change] = node.changes()

    async def next(self, within_s: float = 5.0) -> Change:
        """Return what comes next."""
        async with asyncio.timeout(within_s):
            return await anext(self._changes)

    async def until(self, change: Change, within_s: float = 5.0) -> None:
        """Hear until this one comes."""
        async with asyncio.timeout(within_s):
            while await anext(self._changes) != change:
                pass


async def test_what_a_node_changes_is_heard_by_the_others_at_once_and_not_by_itself(nodes: Nodes) -> None:
    """Accepted mail, gates, lanes, tokens, settings, registrations, devices; what an operator makes due."""
    one, two = await nodes.open(), await nodes.open()
    own, other = Ear(one), Ear(two)
    assert await own.next() == await other.next() == Change(K.ANYTHING)

    number = await one.queue.accept(queued(), Body())
    began = time.monotonic()
    assert await other.next() == Change(K.MAIL, "smtp")
    assert time.monotonic() - began < 1
    await one.queue.save_gate("smtp", 0, hold(Gate(), NOW))
    assert await other.next() == Change(K.GATE, "smtp")
    await one.replace_token("smtp", 0, Retrieved(token_set("1")), due_at=NOW)
    assert await other.next() == Change(K.TOKEN, "smtp")
    await one.save_settings(Setting.SMTP, 0, smtp_settings(), audit_record("smtp"))
    assert await other.next() == Change(K.SETTINGS, "smtp")
    await one.save_registration(0, registration("office"), audit_record("provider office"), forget_tokens=["smtp"])
    assert {await other.next(), await other.next()} == {
        Change(K.SETTINGS, "provider office"),
        Change(K.TOKEN, "smtp"),
    }
    await one.save_device(0, Device("ricoh", "Ricoh", "smtp", created_at=NOW), audit_record("ricoh"))
    assert await other.next() == Change(K.DEVICES)
    await one.delete_device("ricoh", audit_record("ricoh"))
    assert await other.next() == Change(K.DEVICES)
    await one.queue.take_lane("smtp", NOW, 30)
    await one.queue.leave_lane("smtp")
    assert await other.next() == Change(K.LANE, "smtp")

    stored = await one.queue.load(number)
    assert stored is not None
    entry = stored.entries[0].id
    await one.queue.apply([(entry, q.HoldAsked(NOW))])
    await one.queue.apply([(entry, q.ReleaseAsked(NOW))])
    assert await other.next() == Change(K.MAIL, "smtp")

    (job,) = await one.queue.lease("smtp", NOW, NOW + timedelta(hours=1), 1)
    await one.queue.apply([(job.entries[0].id, q.CancelAsked(NOW))])
    assert await other.next() == Change(K.STOPPED, "smtp")

    await two.queue.accept(queued(account="other"), Body())
    assert await own.next() == Change(K.MAIL, "other")  # the first that it heard: nothing of its own


async def test_news_that_may_have_been_missed_is_told_as_such(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the connection was lost, and after too much news for who is slow."""
    monkeypatch.setattr(postgres_nodes, "AGAIN_S", 0.05)
    monkeypatch.setattr(postgres_nodes, "NEWS_LIMIT", 5)
    one, two = await nodes.open(), await nodes.open()
    ear = Ear(two)
    assert await ear.next() == Change(K.ANYTHING)
    nodes.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    assert await ear.next() == Change(K.ANYTHING)
    await one.queue.accept(queued(), Body())
    assert await ear.next() == Change(K.MAIL, "smtp")
    for number in range(20):
        await one.queue.accept(queued(account=f"account-{number}"), Body())
    await ear.until(Change(K.ANYTHING))


async def test_a_silent_connection_is_asked_whether_it_is_there(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """News goes on after many questions."""
    monkeypatch.setattr(postgres_nodes, "HEARTBEAT_S", 0.02)
    one, two = await nodes.open(), await nodes.open()
    ear = Ear(two)
    assert await ear.next() == Change(K.ANYTHING)
    waiting = asyncio.create_task(ear.next())
    await asyncio.sleep(0.2)
    asked = nodes.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = 'kept' AND query = 'SELECT clock_timestamp()'"
    )
    assert int(asked) >= 1
    await one.queue.accept(queued(), Body())
    assert await waiting == Change(K.MAIL, "smtp")


async def test_a_connection_that_is_there_and_says_nothing_any_more_is_replaced(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon: what is stopped at another node meanwhile is not heard of."""
    for name, seconds in (("HEARTBEAT_S", 0.1), ("ANSWERS_WITHIN_S", 0.2), ("AGAIN_S", 0.05)):
        monkeypatch.setattr(postgres_nodes, name, seconds)
    node = await nodes.open()
    ear = Ear(node)
    assert await ear.next() == Change(K.ANYTHING)
    listening = "SELECT pid FROM pg_stat_activity WHERE datname = 'kept' AND query LIKE 'LISTEN%'"
    process = int(nodes.sql(listening))
    os.kill(process, signal.SIGSTOP)
    try:
        assert await ear.next(3) == Change(K.ANYTHING)
    finally:
        os.kill(process, signal.SIGCONT)


async def test_one_node_refreshes_an_account_and_the_next_one_finds_what_it_brought(nodes: Nodes) -> None:
    """Another account does not wait."""
    one, two = await nodes.open(), await nodes.open()
    steps: list[str] = []

    async def second() -> None:
        async with two.refreshing("smtp"):
            stored = await two.load_token("smtp")
            steps.append(f"second finds {stored.version}")

    async with one.refreshing("smtp"):
        task = asyncio.create_task(second())
        async with two.refreshing("internet-fax"):
            steps.append("another account")
        await asyncio.sleep(0.2)
        await one.replace_token("smtp", 0, Retrieved(token_set("1")), due_at=NOW)
        steps.append("first is done")
    await task
    assert steps == ["another account", "first is done", "second finds 1"]


async def test_who_dies_while_it_refreshes_holds_nobody_up(nodes: Nodes) -> None:
    """The server lets go of it with the connection; a live one is not waited for without end."""
    one, two = await nodes.open(), await nodes.open()
    holder = one.refreshing("smtp")
    await holder.__aenter__()
    waiter = asyncio.create_task(two.refreshing("smtp").__aenter__())
    await asyncio.sleep(0.1)
    assert not waiter.done()
    nodes.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
    async with asyncio.timeout(5):
        await waiter


async def test_a_refresh_of_another_node_is_not_waited_for_without_end(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_engine, "ALONE_WITHIN_S", 1)
    one, two = await nodes.open(), await nodes.open()
    async with one.refreshing("smtp"):
        with pytest.raises(StoreError):
            await two.refreshing("smtp").__aenter__()


@pytest.mark.parametrize("same", [False, True], ids=["two nodes", "one node"])
async def test_who_takes_received_mail_by_its_number_passes_none_over(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    """A number whose transaction is slow is not seen after a higher one."""
    one, run = await nodes.open(), postgres_engine.run
    two = one if same else await nodes.open()
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def slow_once(connection: Any, work: Any) -> Any:
        value = await run(connection, work)
        if connection.is_in_transaction() and not begun.is_set():
            begun.set()
            await may_end.wait()
        return value

    monkeypatch.setattr(postgres_engine, "run", slow_once)
    first = asyncio.create_task(one.record_received(received("u1")))
    await begun.wait()
    second = asyncio.create_task(two.record_received(received("u2")))
    await asyncio.wait([second], timeout=0.3)
    seen = await two.received_after("internet-fax", 0, 10)
    may_end.set()
    await asyncio.gather(first, second)
    seen += await two.received_after("internet-fax", seen[-1].id if seen else 0, 10)
    assert [stored.message.unique_id for stored in seen] == ["u1", "u2"]


async def test_one_message_that_cannot_be_noted_holds_up_none_of_those_beside_it(nodes: Nodes) -> None:
    """PostgreSQL has no NUL in a text."""
    node = await nodes.open()
    asked = [replace(received(f"u{n}"), subject="\0" if n == 2 else "Fax") for n in range(4)]
    found = await asyncio.gather(*(node.record_received(one) for one in asked), return_exceptions=True)
    assert isinstance(found[2], StoreError)
    assert [stored.message.unique_id for stored in await node.received_after("internet-fax", 0, 10)] == [
        "u0",
        "u1",
        "u3",
    ]


async def test_a_duty_is_one_nodes_for_its_time(nodes: Nodes) -> None:
    one, two = await nodes.open(), await nodes.open()
    nodes.server_is_old()
    assert await one.have_duty("check internet-fax", 30)
    assert not await two.have_duty("check internet-fax", 30)
    assert await one.have_duty("check internet-fax", 30)
    nodes.end_holds()
    assert await two.have_duty("check internet-fax", 30)
    assert not await one.have_duty("check internet-fax", 30)
    await two.close()
    assert await one.have_duty("check internet-fax", 30)


async def test_how_far_a_nodes_clock_is_off_is_known_also_when_it_is_set(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, by the steady clock; a second is nothing."""
    off = timedelta(hours=-3)
    monkeypatch.setattr(postgres_nodes, "wall", lambda: datetime.now(UTC) + off)
    node = await nodes.open()
    for off in (timedelta(hours=-3), timedelta(hours=5), timedelta(seconds=1)):
        expected = timedelta() if abs(off) < timedelta(seconds=2) else -off
        assert abs(node.clock_shift - expected) < timedelta(seconds=0.5)
