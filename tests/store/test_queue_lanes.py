"""Lanes and the pace: the same promises of every engine; and of several nodes on one PostgreSQL."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from nodes import Nodes, Wire, nodes_fixture
from queue_engines import MINUTE, NOW, TROUBLE, line_fixture, queued

from valija.domain import queue as q
from valija.domain.errors import StoreUnreachable
from valija.domain.pace import Pace, slice_of
from valija.domain.queue import Accepted, Delivered, Queued
from valija.store.queue_port import Body, QueueStore

line = line_fixture
nodes = nodes_fixture
SOON = NOW + MINUTE


async def test_who_has_a_lane_keeps_it(line: QueueStore) -> None:
    """And may ask again, and leave it."""
    assert await line.take_lane("smtp", NOW, 30)
    assert await line.renew_lane("smtp", 30)
    assert await line.take_lane("smtp", NOW, 30)
    await line.leave_lane("smtp")
    assert await line.take_lane("smtp", NOW, 30)


async def test_the_pace_is_what_was_delivered_in_the_last_minute_and_day(line: QueueStore) -> None:
    """Messages of the last minute, recipients of the last day by slice, of this account alone, and what failed not at all."""
    assert await line.pace("smtp", NOW) == Pace()
    moments = [NOW - timedelta(days=2), NOW - timedelta(hours=3), NOW - 0.5 * MINUTE, NOW - 0.25 * MINUTE]
    for at in moments:
        await line.accept(queued("a@x.org", "b@x.org"), Body())
        (leased,) = await line.lease("smtp", NOW, SOON, 9)
        await line.apply([(e.id, Accepted(at, "250 ok")) for e in leased.entries])
    await line.accept(queued("c@x.org", account="other"), Body())
    (other,) = await line.lease("other", NOW, SOON, 9)
    await line.apply([(other.entries[0].id, Accepted(NOW, "250 ok"))])
    await line.accept(queued("d@x.org"), Body())
    (refused,) = await line.lease("smtp", NOW, SOON, 9)
    await line.apply([(refused.entries[0].id, q.Refused(refused.lease, TROUBLE))])
    found = await line.pace("smtp", NOW)
    assert found.ended == (moments[2], moments[3])
    assert found.day == ((slice_of(moments[1]), 2), (slice_of(moments[2]), 4))
    assert (found.begun, found.not_before) == (0, None)


@pytest.mark.peers
async def test_two_nodes_lease_without_overlap(nodes: Nodes) -> None:
    """Both at one moment, many times, each message once, all of them."""
    one, two = await nodes.open(), await nodes.open()
    await asyncio.gather(*(node.queue.accept(queued(), Body()) for node in (one, two) for _n in range(60)))
    found = await asyncio.gather(*(n.queue.lease("smtp", NOW, SOON, 7) for _n in range(12) for n in (one, two)))
    given = Counter(leased.id for each in found for leased in each)
    assert len(given) == 120
    assert set(given.values()) == {1}
    leases = [leased.lease for each in found for leased in each]
    assert len(set(leases)) == 120


@pytest.mark.peers
async def test_a_lane_is_one_nodes_until_it_is_left_or_its_time_is_over(nodes: Nodes) -> None:
    """By the server's clock."""
    one, two = await nodes.open(), await nodes.open()
    nodes.server_is_old()
    assert await one.queue.take_lane("smtp", NOW, 30)
    assert not await two.queue.take_lane("smtp", NOW, 30)
    assert not await two.queue.renew_lane("smtp", 30)
    assert await two.queue.take_lane("other", NOW, 30)
    await two.queue.leave_lane("smtp")  # not its own
    assert await one.queue.renew_lane("smtp", 30)
    await one.queue.leave_lane("smtp")
    assert await two.queue.take_lane("smtp", NOW, 0.05)
    await asyncio.sleep(0.1)
    assert await one.queue.take_lane("smtp", NOW, 30)
    assert not await two.queue.renew_lane("smtp", 30)
    assert await one.queue.renew_lane("smtp", 30)


@pytest.mark.peers
async def test_after_a_restart_of_the_server_nobody_takes_a_lane_before_its_node_could_renew_it(nodes: Nodes) -> None:
    """That node was alive, and its mail under way, while the server was not there."""
    one, two = await nodes.open(), await nodes.open()
    assert await one.queue.take_lane("smtp", NOW, 0.01)
    await nodes.server.restart_at_once()
    assert not await two.queue.take_lane("smtp", NOW, 30)
    assert await one.queue.renew_lane("smtp", 30)


@pytest.mark.peers
async def test_a_killed_nodes_mail_is_taken_over_and_its_late_news_do_not_win(nodes: Nodes) -> None:
    """With a higher fencing number; only that it delivered is still news."""
    dead, alive = await nodes.open(), await nodes.open()
    nodes.server_is_old()
    assert await dead.queue.take_lane("smtp", NOW, 30)
    for _message in range(3):
        await dead.queue.accept(queued(), Body())
    old = await dead.queue.lease("smtp", NOW, NOW + timedelta(hours=2), 9)
    assert len(old) == 3
    assert not await alive.queue.take_lane("smtp", NOW, 30)
    nodes.end_holds()
    assert await alive.queue.take_lane("smtp", SOON, 30)
    assert await dead.queue.lease("smtp", SOON, SOON + MINUTE, 9) == []
    new = await alive.queue.lease("smtp", SOON, SOON + MINUTE, 9)
    assert [job.id for job in new] == [job.id for job in old]
    assert min(job.lease for job in new) > max(job.lease for job in old)
    assert new[0].entries[0].state == q.InFlight(new[0].lease, Queued(SOON, in_doubt=True))
    entries = [job.entries[0] for job in new]
    late: list[tuple[int, q.RecipientEvent]] = [
        (entries[0].id, q.Refused(old[0].lease, TROUBLE)),
        (entries[1].id, q.GivenBack(old[1].lease)),
        (entries[2].id, Accepted(SOON, "250 ok")),
    ]
    assert await dead.queue.apply(late) == [entries[0].state, entries[1].state, Delivered(SOON, "250 ok")]


@pytest.mark.peers
async def test_leases_that_ended_come_back_once_whoever_asks_first(nodes: Nodes) -> None:
    """Both ask at one moment; it is told once."""
    one, two = await nodes.open(), await nodes.open()
    numbers = [await one.queue.accept(queued("a@x.org", "b@x.org"), Body()) for _message in range(20)]
    await one.queue.lease("smtp", NOW, SOON, 99)
    asked = [node.queue.end_leases(SOON + MINUTE) for node in (one, two, one, two)]
    assert sum(await asyncio.gather(*asked)) == 40
    assert len(await two.queue.lease("smtp", SOON + MINUTE, SOON + 2 * MINUTE, 99)) == 20
    for number in numbers:
        assert [entry.word.value for entry in await one.queue.history(number)] == ["lease_ended"]


@pytest.mark.peers
async def test_leases_whose_answer_was_lost_come_back_with_the_next_one(nodes: Nodes) -> None:
    """Nobody works on them."""
    async with Wire(nodes.server) as wire:
        node = await nodes.open(url=wire.url)
        for _message in range(3):
            await node.queue.accept(queued(), Body())
        (kept,) = await node.queue.lease("smtp", NOW, SOON, 1)
        wire.cut_at_commit = True
        with pytest.raises(StoreUnreachable, match="before it confirmed"):
            await node.queue.lease("smtp", NOW, SOON, 1)
        again = await node.queue.lease("smtp", NOW, SOON, 9)
    assert wire.cuts == 1
    assert len(again) == 2
    assert kept.id not in [job.id for job in again]
    assert {entry.state for job in again for entry in job.entries} == {
        q.InFlight(job.lease, Queued(NOW)) for job in again
    }


@pytest.mark.peers
async def test_what_became_of_a_try_is_stored_though_an_answer_is_lost(nodes: Nodes) -> None:
    """To say it twice is as good as once."""
    async with Wire(nodes.server) as wire:
        node = await nodes.open(url=wire.url)
        await node.queue.accept(queued(), Body())
        (job,) = await node.queue.lease("smtp", NOW, SOON, 1)
        wire.cut_at_commit = True
        assert await node.queue.apply([(job.entries[0].id, Accepted(SOON, "ok"))]) == [Delivered(SOON, "ok")]
    assert wire.cuts == 1


@pytest.mark.peers
async def test_an_accept_whose_answer_was_lost_is_not_said_to_be_done_and_not_repeated(nodes: Nodes) -> None:
    """It may be there or not; here it is, once."""
    async with Wire(nodes.server) as wire:
        node = await nodes.open(url=wire.url)
        wire.cut_at_commit = True
        with pytest.raises(StoreUnreachable, match="before it confirmed"):
            await node.queue.accept(queued(), Body())
        assert wire.cuts == 1
        assert len(await node.queue.list_messages(account=None, state=None, limit=9)) == 1
