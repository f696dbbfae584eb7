"""A gateway whose process stands still for longer than it has the lane: when it goes on, another one has sent its mail."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from gateway_process import gateway_processes
from postgres import Postgres
from running_gateway import OPERATOR, HurryClock, RunningGateway
from test_nodes import new_node
from test_nodes_stop import put
from upstream import Upstream

from valija.domain.queue import InFlight
from valija.services import lane_hold
from valija.store import postgres_nodes

pytestmark = pytest.mark.peers
MAILS = 40


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that is not renewed is free after a second, as in the process."""
    for name, seconds in (("HOLD_S", 1.0), ("MARGIN_S", 0.3), ("RENEW_S", 0.2)):
        monkeypatch.setattr(lane_hold, name, seconds)
    monkeypatch.setattr(postgres_nodes, "GRACE_S", 0.0)


async def test_what_another_node_has_sent_meanwhile_is_not_sent_again(tmp_path: Path, postgres: Postgres) -> None:
    """Only what was under way when it was stopped may come twice."""
    url, began = await postgres.empty_database(), time.time()
    upstream = await Upstream().start()
    other = RunningGateway(new_node(tmp_path / "b"), upstream.port, clock=HurryClock(1.0, began)).on(url)
    await other.start()
    for action in ("hold", "release"):  # a lane for the process to take
        await other.machine.gateway.act_on_account(action, "smtp", OPERATOR)
    await other.stop()
    async with gateway_processes() as process:
        place = new_node(tmp_path / "a", tmp_path / "b")
        await process.begin(place, upstream.port, f"began={began}", "speed=1", f"store={url}")
        await process.ready()
        await asyncio.sleep(1.2)
        await other.start()
        assert not other.machine.gateway.dispatcher._lanes["smtp"].hold.held
        upstream.delay_s = 0.5
        for number in range(MAILS):
            await put(other, f"{number}@example.org")
        await other.until(lambda entries: sum(isinstance(state, InFlight) for _a, state in entries) > 30)
        async with asyncio.timeout(5):
            while len(upstream.copies) < 20:  # noqa: ASYNC110 - the process sends
                await asyncio.sleep(0.01)
        os.kill(process.pid, signal.SIGSTOP)
        upstream.delay_s = 0
        await asyncio.sleep(0.6)
        under_way = {recipient for copy in upstream.copies for recipient in copy.recipients}
        await other.until(lambda entries: all(not isinstance(state, InFlight) for _a, state in entries), 10)
        await other.until_all_delivered()
        os.kill(process.pid, signal.SIGCONT)
        await asyncio.sleep(1)
        await process.end()
    await other.stop()
    await upstream.stop()
    copies = Counter(recipient for copy in upstream.copies for recipient in copy.recipients)
    assert set(copies) == {f"{number}@example.org" for number in range(MAILS)}
    assert {recipient for recipient, count in copies.items() if count > 1} <= under_way
