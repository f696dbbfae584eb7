"""PostgreSQL goes away under load, again and again, as in a crash: what was said to be done is there, once."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from nodes import Nodes, nodes_fixture
from postgres import Postgres
from queue_engines import NOW, queued

from valija.domain.errors import StoreError
from valija.domain.queue import Accepted, Delivered
from valija.store.postgres import PostgresStore
from valija.store.queue_port import Body, StoredQueued

nodes = nodes_fixture
pytestmark = pytest.mark.peers
RESTARTS = 3
SENDERS = 10
LATER = NOW + timedelta(hours=1)


class Load:
    """Messages that are handed in to two nodes and delivered by one, without end."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.accepted: dict[str, int] = {}
        self.in_doubt: set[str] = set()
        self.delivered: Counter[str] = Counter()
        self.ends = False

    async def send(self, node: PostgresStore) -> None:
        """Hand in message after message; what fails is not handed in again, as by a careless device."""
        while not self.ends:
            name = f"{next(self.numbers)}@example.com"
            try:
                self.accepted[name] = await node.queue.accept(queued(message_id=name), Body(name.encode()))
            except StoreError:
                self.in_doubt.add(name)
            await asyncio.sleep(0)

    async def deliver(self, node: PostgresStore) -> None:
        """Deliver what is due; what became of it is told again until it is stored."""
        while True:
            try:
                jobs = await node.queue.lease("smtp", NOW, LATER, 16)
            except StoreError:
                jobs = []
            for job in jobs:
                self.delivered[job.message.message_id] += 1
                await self._settle(node, [(entry.id, Accepted(NOW, "250 ok")) for entry in job.entries])
            await asyncio.sleep(0.01)

    async def _settle(self, node: PostgresStore, events: list[tuple[int, Accepted]]) -> None:
        while True:
            try:
                await node.queue.apply(events)
            except StoreError:
                await asyncio.sleep(0.05)
            else:
                return


async def _restart_under(load: Load, nodes: Nodes, server: Postgres) -> list[StoredQueued]:
    """Return what is stored in the end."""
    one, two = await nodes.open(), await nodes.open()
    senders = [asyncio.create_task(load.send(node)) for node in (one, two) for _sender in range(SENDERS)]
    courier = asyncio.create_task(load.deliver(one))
    for number in range(RESTARTS):
        before = len(load.accepted)
        await _until(lambda before=before: len(load.accepted) > before + 50)  # type: ignore[misc]
        await server.restart_at_once(down_s=0.1 * number)
    await asyncio.sleep(0.3)
    load.ends = True
    await asyncio.gather(*senders)
    stored: list[StoredQueued] = []

    async def read() -> bool:
        stored[:] = await two.queue.list_messages(account=None, state=None, limit=1_000_000)
        return all(isinstance(entry.state, Delivered) for each in stored for entry in each.entries)

    async with asyncio.timeout(20):
        while not await read():  # noqa: ASYNC110 - the database is asked
            await asyncio.sleep(0.05)
    courier.cancel()
    await asyncio.gather(courier, return_exceptions=True)
    return stored


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not reached():  # noqa: ASYNC110 - what it waits for is counted by many
            await asyncio.sleep(0.01)


async def test_what_was_accepted_is_there_once_and_is_delivered_once(nodes: Nodes, postgres: Postgres) -> None:
    """Two nodes accept, one of them delivers; an accept that failed may be there or not, but not twice."""
    load = Load()
    stored = await _restart_under(load, nodes, postgres)
    found = Counter(each.message.message_id for each in stored)
    assert {name: number for name, number in load.accepted.items() if found[name] != 1} == {}
    numbers = {each.message.message_id: each.id for each in stored}
    assert {name: numbers[name] for name in load.accepted} == load.accepted
    assert max(found.values()) == 1
    assert set(found) - set(load.accepted) <= load.in_doubt
    assert load.delivered == found
    assert len(load.accepted) > RESTARTS * 50
