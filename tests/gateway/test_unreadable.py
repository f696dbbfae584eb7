"""What cannot be read in the store costs only itself: other mail leaves, it is shown, and what is wrong with it is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from postgres import Postgres
from running_gateway import OPERATOR, RunningGateway, upstream_fixture
from upstream import Upstream

from valija.domain.job import Failed as JobFailed
from valija.domain.job import JobKind
from valija.domain.queue import CancelAsked, Deferred, Delivered, Failed, FailureCause, RecipientState
from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.domain.sighting import Seen
from valija.services.job_run import JobRun, card_of
from valija.store.queue_port import Body, StoredQueued
from valija.store.sql_queue import SqlQueue
from valija.store.work import do

upstream = upstream_fixture
BAD = "bad@example.org"
OTHERS = 30
ENVELOPE = "UPDATE queue_messages SET envelope = ? WHERE id = ?"
STATE = "UPDATE queue_recipients SET state_payload = ? WHERE message_id = ?"
LEASED = STATE.replace("SET", "SET state = 'in_flight', due_at = NULL, lease_until = 1,")
HELD = STATE.replace("SET", "SET state = 'held', due_at = NULL,")


@pytest.fixture(name="gateway", params=["sqlite", pytest.param("postgres", marks=pytest.mark.peers)])
async def gateway_fixture(
    request: pytest.FixtureRequest, tmp_path: Path, upstream: Upstream
) -> AsyncIterator[RunningGateway]:
    """A gateway whose mail is held."""
    gateway = RunningGateway(tmp_path, upstream.port)
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        gateway.on(await server.empty_database())
    await gateway.start_held()
    yield gateway
    await gateway.stop()


def _mail(gateway: RunningGateway, address: str) -> QueuedMessage:
    recipients = (QueuedRecipient(address),)
    return QueuedMessage("smtp", "", "box@example.test", f"<{address}>", 20, gateway.clock.now(), recipients)


async def _put(gateway: RunningGateway, address: str, body: Body = Body(b"Subject: x\r\n\r\nx\r\n")) -> int:  # noqa: B008
    return await gateway.store.queue.accept(_mail(gateway, address), body)


async def _spoil(gateway: RunningGateway, statement: str, number: int) -> None:
    queue = gateway.store.queue
    assert isinstance(queue, SqlQueue)
    await queue._db.write(lambda: do(statement, b"{nonsense", number))


async def _state(gateway: RunningGateway, number: int) -> RecipientState:
    stored = await gateway.store.queue.load(number)
    assert stored is not None
    return stored.entries[0].state


async def _send_all(gateway: RunningGateway) -> None:
    """Release what waits, and wait for the others."""
    for number in range(OTHERS):
        await _put(gateway, f"{number}@example.org")
    await gateway.machine.gateway.act_on_account("release", "smtp", OPERATOR)
    await gateway.until(lambda entries: sum(isinstance(state, Delivered) for _a, state in entries) >= OTHERS, 4)


async def _listed(gateway: RunningGateway) -> StoredQueued:
    """Return the first message as it is listed."""
    return (await gateway.store.queue.list_messages(account="smtp", state=None, limit=100))[-1]


async def test_a_message_that_cannot_be_read_waits_and_says_why(gateway: RunningGateway) -> None:
    """As long as somebody needs to put it right; it is looked at again, and can be cancelled."""
    number = await _put(gateway, BAD)
    await _spoil(gateway, ENVELOPE, number)
    await _send_all(gateway)
    state = await _state(gateway, number)
    assert isinstance(state, Deferred)
    assert state.trouble.reason == "entry_unreadable"
    assert timedelta(minutes=50) < state.due_at - gateway.clock.now() <= timedelta(hours=1)
    assert (await _listed(gateway)).id == number
    assert "smtp" in await gateway.store.queue.oldest_waiting()
    life = await gateway.machine.gateway.life(await gateway.machine.gateway.message(number))
    assert "entry_unreadable" in [event.trouble.reason for event in life if event.trouble is not None]
    (cancelled,) = await gateway.machine.gateway.act("cancel", [number], OPERATOR)
    assert isinstance(cancelled.entries[0].state, Failed)


@pytest.mark.parametrize("spoiled", [STATE, LEASED])
async def test_a_state_that_cannot_be_read_is_what_its_columns_say(gateway: RunningGateway, spoiled: str) -> None:
    """Waiting, or under a lease that nobody has; it leaves as the others do."""
    number = await _put(gateway, BAD)
    await _spoil(gateway, spoiled, number)
    await gateway.stop()
    await gateway.start()
    await _send_all(gateway)
    await gateway.until_all_delivered(4)
    assert isinstance(await _state(gateway, number), Delivered)


async def test_held_mail_whose_state_cannot_be_read_stays_held_until_it_is_released(gateway: RunningGateway) -> None:
    """What it went through is not known: it may have been delivered."""
    number = await _put(gateway, BAD)
    await _spoil(gateway, HELD, number)
    await _send_all(gateway)
    assert (await _listed(gateway)).entries[0].state.name.value == "held"
    (cancelled,) = await gateway.store.queue.apply(
        [((await _listed(gateway)).entries[0].id, CancelAsked(gateway.clock.now()))]
    )
    assert isinstance(cancelled, Failed)
    assert (cancelled.cause, cancelled.in_doubt) == (FailureCause.CANCELLED, True)


async def test_a_message_whose_octets_are_gone_pauses_no_other(gateway: RunningGateway) -> None:
    """Its try fails, and when that is over it is reported, without what is not there."""
    number = await _put(gateway, BAD, Body(file="0" * 32))
    await _send_all(gateway)
    state = await _state(gateway, number)
    assert isinstance(state, Deferred)
    assert state.trouble.reason == "body_missing"
    assert gateway.machine.gateway.dispatcher.pause_of("smtp") is None
    stored, report = await _listed(gateway), gateway.machine.gateway.dispatcher.report
    assert report is not None
    failed = Failed(gateway.clock.now(), FailureCause.EXPIRED, state.trouble)
    before = await gateway.count()
    await report(replace(stored.message, ret="FULL"), number, [(stored.entries[0], failed)])
    assert await gateway.count() == before + 1


@pytest.mark.parametrize("column", ["card", "payload"])
async def test_a_job_that_cannot_be_read_ends_and_keeps_nothing_from_its_start(
    gateway: RunningGateway, column: str
) -> None:
    """It is listed, as one that has failed for that."""

    async def work(_run: JobRun) -> None:
        await asyncio.sleep(60)

    job = await gateway.machine.jobs.begin(card_of(JobKind.SCAN, "Scan", OPERATOR, gateway.clock.now()), work)
    await _spoil(gateway, f"UPDATE jobs SET {column} = ? WHERE id = ?", job.id)
    await gateway.stop()
    await gateway.start()
    (listed,) = await gateway.store.jobs.list_jobs(kind=None, state=None, limit=9)
    assert (listed.id, listed.card.kind) == (job.id, JobKind.SCAN)
    assert isinstance(listed.state, JobFailed)
    assert listed.state.trouble.reason == "job_unreadable"
    await _send_all(gateway)


async def test_a_gate_that_cannot_be_read_is_held_until_somebody_releases_it(gateway: RunningGateway) -> None:
    """It may have been held; what nobody wanted sent yet must not leave."""
    number = await _put(gateway, BAD)
    await _spoil(gateway, "UPDATE queue_gates SET payload = ? WHERE version = ?", 1)
    await gateway.stop()
    await gateway.start()
    assert gateway.machine.gateway.dispatcher.gate("smtp").held_at is not None
    await _send_all(gateway)
    await gateway.until_all_delivered(4)
    assert isinstance(await _state(gateway, number), Delivered)


async def test_a_line_of_a_life_that_cannot_be_read_is_left_out(gateway: RunningGateway) -> None:
    number = await _put(gateway, BAD)
    for action in ("hold", "release", "hold"):
        (stored,) = await gateway.machine.gateway.act(action, [number], OPERATOR)
    await _spoil(gateway, "UPDATE queue_history SET payload = ? WHERE id = ?", 2)
    life = await gateway.machine.gateway.life(stored)
    assert [event.word.value for event in life if event.who == OPERATOR.who] == ["held", "held"]


async def test_a_device_that_cannot_be_read_is_switched_off_and_can_be_given_a_password_again(
    gateway: RunningGateway,
) -> None:
    """Others work; what was seen of one is left out."""
    desk = gateway.machine.gateway.devices
    for name in ("Bad", "Good"):
        await gateway.add_device(name)
    desk.saw("bad", Seen(gateway.clock.now(), "127.0.0.5", "esmtp", ""))
    await desk.flush()
    await _spoil(gateway, "UPDATE devices SET payload = ? WHERE version = ? AND login = 'bad'", 1)
    await _spoil(gateway, "UPDATE sightings SET payload = ? WHERE length(subject) > ?", 0)
    await gateway.stop()
    await gateway.start()
    desk = gateway.machine.gateway.devices
    assert [(device.login, device.enabled) for device in desk.all()] == [("bad", False), ("good", True)]
    made = await desk.new_password("bad", OPERATOR)
    await desk.change("bad", {"enabled": True}, OPERATOR)
    assert made.password is not None
    assert await desk.verify("bad", made.password, "127.0.0.5") is not None
    await desk.delete("bad", OPERATOR)
