"""Gateways on one PostgreSQL whose machines' clocks are hours apart: mail leaves at once, jobs stay whose they are."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from postgres import Postgres
from running_gateway import OPERATOR, HurryClock, RunningGateway, upstream_fixture
from test_nodes import new_node
from test_nodes_stop import put
from upstream import Upstream

from valija.domain.job import JobKind, is_final
from valija.services.job_run import JobRun, card_of
from valija.store import postgres_nodes

pytestmark = pytest.mark.peers
upstream = upstream_fixture
HOUR = timedelta(hours=1)


class Nodes:
    """Starts gateways with clocks that are off by so much."""

    def __init__(self, directory: Path, url: str, port: int, patch: pytest.MonkeyPatch) -> None:
        self._directory, self._url, self._port, self._patch = directory, url, port, patch
        self._first: Path | None = None
        self._started: list[RunningGateway] = []

    async def start(self, off: timedelta = timedelta()) -> RunningGateway:
        """Start one more."""
        place = new_node(self._directory / f"node-{len(self._started)}", self._first)
        self._first = self._first or place
        self._patch.setattr(postgres_nodes, "wall", lambda: datetime.now(UTC) + off)
        clock = HurryClock(began=time.time() - off.total_seconds())
        self._started.append(await RunningGateway(place, self._port, clock=clock).on(self._url).start())
        return self._started[-1]

    async def stop(self) -> None:
        """Stop all."""
        for gateway in self._started:
            await gateway.stop()


@pytest.mark.parametrize(("sender_off", "other_off"), [(timedelta(), HOUR), (-HOUR, timedelta()), (HOUR, -3 * HOUR)])
async def test_mail_of_one_node_leaves_from_the_other_at_once(
    tmp_path: Path,
    postgres: Postgres,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    sender_off: timedelta,
    other_off: timedelta,
) -> None:
    """What is accepted by a clock that is ahead is not due later for that."""
    nodes = Nodes(tmp_path, await postgres.empty_database(), upstream.port, monkeypatch)
    sender = await nodes.start(sender_off)
    await put(sender, "first@example.org")
    await sender.until_all_delivered()
    other = await nodes.start(other_off)
    await put(other, "second@example.org")
    await sender.until_all_delivered(4)
    assert [copy.recipients[0] for copy in upstream.taken()] == ["first@example.org", "second@example.org"]
    await nodes.stop()


async def test_a_job_is_not_taken_from_a_node_that_is_there(
    tmp_path: Path, postgres: Postgres, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one whose clock is more than a day ahead; nor does it lose the own one to the others for a clock that is behind."""
    nodes = Nodes(tmp_path, await postgres.empty_database(), upstream.port, monkeypatch)
    behind = await nodes.start(-26 * HOUR)

    async def work(_run: JobRun) -> None:
        await asyncio.sleep(60)

    card = card_of(JobKind.SCAN, "Scan", OPERATOR, behind.clock.now())
    job = await behind.machine.jobs.begin(card, work)
    for off in (timedelta(), 26 * HOUR):
        await nodes.start(off)
        stored = await behind.store.jobs.load(job.id)
        assert stored is not None
        assert stored.node == job.node
        assert not is_final(stored.state)
    await nodes.stop()
