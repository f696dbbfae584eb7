"""Two gateways on one PostgreSQL: what an operator stops at one of them is stopped at the other one, which sends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from postgres import Postgres
from running_gateway import OPERATOR, RunningGateway
from test_nodes import new_node
from upstream import Upstream

from valija.domain.queue import Delivered, Failed, Held, InFlight, Queued, RecipientState
from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.store.queue_port import Body

pytestmark = pytest.mark.peers
MAILS = 60
SLOW_S = 1.0


async def put(gateway: RunningGateway, address: str) -> int:
    """Queue a message, as if a device had handed it in."""
    now, recipients = gateway.machine.gateway.clock.now(), (QueuedRecipient(address),)
    mail = QueuedMessage("smtp", "", "box@example.test", f"<{address}>", 20, now, recipients)
    number = await gateway.store.queue.accept(mail, Body(b"Subject: x\r\n\r\nx\r\n"))
    gateway.machine.gateway.dispatcher.wake("smtp")
    return number


@dataclass
class Pair:
    """``sender`` has the lane; ``asked`` is where the operator is."""

    sender: RunningGateway
    asked: RunningGateway
    upstream: Upstream

    async def fill(self) -> list[int]:
        """Queue mail, and wait until the sender has begun with some of it and has all in hand."""
        self.upstream.delay_s = SLOW_S
        numbers = await asyncio.gather(*(self.put(f"{number}@example.org") for number in range(MAILS)))
        await self.until(lambda states: sum(isinstance(state, InFlight) for state in states) == MAILS)
        await self._until_begun()
        return numbers

    async def put(self, address: str) -> int:
        """Queue a message at the sender."""
        return await put(self.sender, address)

    async def _until_begun(self) -> None:
        async with asyncio.timeout(10):
            while not self.begun():  # noqa: ASYNC110 - the sender begins
                await asyncio.sleep(0.01)

    def begun(self) -> set[str]:
        """Return the recipients of what the provider has seen."""
        said = [line for visit in self.upstream.visits for line in visit.commands if line.startswith(b"RCPT")]
        return {line.partition(b"<")[2].partition(b">")[0].decode() for line in said}

    async def until(self, reached: Callable[[list[RecipientState]], bool]) -> None:
        """Wait until the queue is as wanted."""
        await self.asked.until(lambda entries: reached([state for _address, state in entries]), 30)


@pytest.fixture(name="pair")
async def pair_fixture(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Pair]:
    """Two gateways, the first of which has the lane."""
    url = await postgres.empty_database()
    upstream = await Upstream().start()
    sender = await RunningGateway(new_node(tmp_path / "a"), upstream.port).on(url).start()
    pair = Pair(sender, sender, upstream)
    await pair.put("first@example.org")
    await sender.until_all_delivered()
    pair.asked = await RunningGateway(new_node(tmp_path / "b", tmp_path / "a"), upstream.port).on(url).start()
    yield pair
    upstream.delay_s = 0
    await pair.asked.stop()
    await sender.stop()
    await upstream.stop()


@pytest.mark.parametrize(("action", "stopped"), [("hold", Held), ("cancel", Failed)])
async def test_messages_that_are_stopped_at_one_node_are_not_begun_by_the_other(
    pair: Pair, action: str, stopped: type
) -> None:
    """The answer says which were on their way already; those leave, the others never do."""
    numbers = await pair.fill()
    answer = await pair.asked.machine.gateway.act(action, numbers, OPERATOR)
    said = {entry.recipient.address: entry.state for stored in answer for entry in stored.entries}
    at_once = {address for address, state in said.items() if isinstance(state, stopped)}
    assert len(at_once) > MAILS // 2
    pair.upstream.delay_s = 0
    await pair.until(lambda states: all(isinstance(state, Delivered | stopped) for state in states))
    await asyncio.sleep(0.5)
    assert pair.begun().isdisjoint(at_once)
    assert {f"{number}@example.org" for number in range(MAILS)} - at_once <= pair.begun()


async def test_an_account_that_is_held_at_one_node_is_held_at_the_other(pair: Pair) -> None:
    """What had not begun waits again when the answer is there, and all leaves when it is released here."""
    await pair.fill()
    await pair.asked.machine.gateway.act_on_account("hold", "smtp", OPERATOR)
    waiting = {address for address, state in await pair.asked.entries() if isinstance(state, Queued)}
    assert len(waiting) > MAILS // 2
    pair.upstream.delay_s = 0
    await asyncio.sleep(1)
    assert pair.begun().isdisjoint(waiting)
    await pair.asked.machine.gateway.act_on_account("release", "smtp", OPERATOR)
    await pair.asked.until_all_delivered()
