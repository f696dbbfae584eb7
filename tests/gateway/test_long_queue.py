"""A hundred thousand messages that wait: the gateway goes on taking mail, shows them, and lets them go in order."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quick_sender import Client, code
from running_gateway import OPERATOR, ORIGIN, RunningGateway
from upstream import Upstream

from valija.domain.queue import RecipientStateName
from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.store.opening import open_store
from valija.store.queue_port import Body

WAITING = 100_000
AT_ONCE = 2_000
FIRST = 300
MEBI = 1 << 20


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A provider's server without faults."""
    started = await Upstream().start()
    yield started
    await started.stop()


async def _fill(directory: Path) -> None:
    store = await open_store("", directory, None, {}, ssl.create_default_context)
    for begin in range(1, WAITING + 1, AT_ONCE):
        some = [_message(number) for number in range(begin, begin + AT_ONCE)]
        await asyncio.gather(*(store.queue.accept(message, body) for message, body in some))
    await store.close()


def _message(number: int) -> tuple[QueuedMessage, Body]:
    recipients = (QueuedRecipient(f"{number}@x.test"),)
    message = QueuedMessage("smtp", "", "scanner@x.test", f"{number}@x.test", 30, ORIGIN, recipients)
    return message, Body(b"Message-ID: <%d@x.test>\r\n\r\n" % number)


def _memory() -> int:
    """Return the octets of this process in memory."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024


async def test_a_hundred_thousand_wait_and_nothing_else_does(tmp_path: Path, upstream: Upstream) -> None:
    """Held by an operator; then released."""
    await _fill(tmp_path)
    before = _memory()
    gateway = RunningGateway(tmp_path, upstream.port)
    await gateway.start_held()
    await gateway.open_door()
    async with await Client.connect(gateway.port) as client:
        assert code(await client.hand_in("a@x.test", ["late@x.test"], b"Subject: x\r\n\r\n")) == 250
    queue, desk = gateway.store.queue, gateway.machine.gateway
    assert dict(await queue.counts()) == {("smtp", RecipientStateName.QUEUED): WAITING + 1}
    latest = await queue.list_messages(account="smtp", state=None, limit=50)
    assert [stored.id for stored in latest] == [*range(WAITING + 1, WAITING - 49, -1)]
    (cancelled,) = await desk.act("cancel", [WAITING // 2], OPERATOR)
    assert cancelled.entries[0].state.name is RecipientStateName.FAILED

    await desk.act_on_account("release", "smtp", OPERATOR)
    end = time.monotonic() + 60
    while len(upstream.taken()) < FIRST:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    await gateway.stop()
    went = [int(copy.recipients[0].partition("@")[0]) for copy in upstream.taken()]
    assert len(went) == len(set(went))
    assert all(abs(number - place) <= 16 for place, number in enumerate(went, 1))  # workers side by side
    assert _memory() - before < 64 * MEBI


async def test_what_is_held_or_cancelled_while_it_waits_in_hand_is_not_sent(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came from hand to hand, and the server is slow: no worker had begun with it."""
    gateway = await RunningGateway(tmp_path, upstream.port).start()
    await gateway.open_door()
    answer, goes_on = upstream._answer_body, asyncio.Event()

    async def slow(*of: Any) -> None:
        await goes_on.wait()
        await answer(*of)

    monkeypatch.setattr(upstream, "_answer_body", slow)
    for number in range(1, 31):
        async with await Client.connect(gateway.port) as client:
            said = await client.hand_in("a@x.test", [f"{number}@x.test"], b"Subject: x\r\n\r\n")
            assert code(said) == 250
    desk = gateway.machine.gateway
    (held,), (cancelled,) = await desk.act("hold", [29], OPERATOR), await desk.act("cancel", [30], OPERATOR)
    assert held.entries[0].state.name is RecipientStateName.HELD
    assert cancelled.entries[0].state.name is RecipientStateName.FAILED
    goes_on.set()
    await gateway.until(lambda entries: [s.name for _a, s in entries].count(RecipientStateName.DELIVERED) == 28)
    await desk.act("release", [29], OPERATOR)
    await gateway.until(lambda entries: [s.name for _a, s in entries].count(RecipientStateName.DELIVERED) == 29)
    await gateway.stop()
    assert sorted(copy.recipients[0] for copy in upstream.taken()) == sorted(f"{n}@x.test" for n in range(1, 30))
