"""The dispatcher: one account's trouble, its pace, its connections; what is delivered, when, how often."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dispatch_bench import ACCOUNT, Connection, Office, all_delivered, office_fixture
from fakes import START, settle

from valija.domain.account_gate import Gate
from valija.domain.pace import PaceLimits
from valija.domain.queue import (
    CancelAsked,
    Deferred,
    Delivered,
    Failed,
    FailureCause,
    Held,
    HoldAsked,
    InFlight,
    Queued,
    RecipientState,
)
from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.domain.retry_schedule import RetrySchedule
from valija.domain.trouble import Trouble, WhoActs
from valija.services import lane
from valija.services.events import SettingsChanged
from valija.services.lane_connection import MOST_CONNECTIONS
from valija.services.login import LoginFailed
from valija.store.queue_port import Body

office = office_fixture


async def test_what_is_queued_leaves_at_once_over_kept_connections(office: Office) -> None:
    """In order, few connections, each message once."""
    count = 2 * MOST_CONNECTIONS
    for number in range(count):
        await office.put(f"{number}@example.org")
    await office.until(all_delivered, timedelta(seconds=10))
    assert sorted(e.recipients[0].address for _at, e in office.upstream.offered) == sorted(
        f"{n}@example.org" for n in range(count)
    )
    assert office.upstream.opened <= MOST_CONNECTIONS
    assert office.upstream.most_busy <= MOST_CONNECTIONS
    assert office.handed_over == (count if office.hands_over else 0)


async def test_what_waits_in_the_store_is_not_overtaken(office: Office) -> None:
    """More than is kept in hand; then what is put off until later lets new mail pass, and leaves at its time."""
    office.upstream.takes_s = 2
    for number in range(1100):
        await office.put(f"{number}@example.org")
    if office.hands_over:
        assert 1000 <= office.handed_over < 1020
    await office.until(all_delivered, timedelta(minutes=6))
    went = [int(e.recipients[0].address.partition("@")[0]) for _at, e in office.upstream.offered]
    assert all(abs(number - place) < MOST_CONNECTIONS for place, number in enumerate(went))
    before = office.handed_over
    office.upstream.answer = lambda e: "451 4.7.1 Greylisted" if len(office.upstream.offered) == 1101 else "250 OK"
    await office.put("later@example.org")
    await office.until(lambda states: isinstance(states[-1], Deferred), timedelta(seconds=5))
    await office.put("now@example.org")
    await office.until(lambda states: isinstance(states[-1], Delivered), timedelta(seconds=5))
    assert office.handed_over == (before + 2 if office.hands_over else 0)
    await office.until(all_delivered, timedelta(minutes=2))


async def test_mail_that_comes_while_the_last_connection_is_closed_does_not_wait_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is slow to say goodbye keeps the only place taken."""
    closing, gone = asyncio.Event(), asyncio.Event()

    async def slow_goodbye(_connection: Connection, **_how: bool) -> None:
        closing.set()
        await gone.wait()

    monkeypatch.setattr(lane, "KEEP_S", 0)
    monkeypatch.setattr(Connection, "close", slow_goodbye)
    for hands_over in (True, False):
        closing.clear()
        gone.clear()
        office = Office(tmp_path, PaceLimits(connections=2))  # one of them is left to others
        office.hands_over = hands_over
        await office.start()
        office.dispatcher.wake(ACCOUNT)
        await settle()
        await office.put("first@example.org")
        await office.until(lambda states: closing.is_set() and all_delivered(states))
        await office.put("second@example.org")
        await settle()
        gone.set()
        await office.until(all_delivered, timedelta(seconds=30))
        await office.stop()


async def test_what_is_long_in_hand_is_leased_anew(office: Office) -> None:
    """A slow server must not make a lease end while its message still waits in hand."""
    office.upstream.takes_s = 1300
    for number in range(60):
        await office.put(f"{number}@example.org")
    await office.until(all_delivered, timedelta(hours=3))
    assert len(office.upstream.offered) == 60


async def test_a_message_that_takes_longer_than_its_lease_is_sent_once(office: Office) -> None:
    """A hundred megabytes over a slow line."""
    office.upstream.takes_s = 3 * 3600
    await office.put()
    await office.clock.advance(60)
    office.upstream.takes_s = 1
    await office.put()
    for _quarter in range(13):
        await office.clock.advance(900)
    assert all_delivered(await office.states())
    assert len(office.upstream.offered) == 2


async def test_never_more_than_the_provider_allows_and_little_less(tmp_path: Path) -> None:
    """Three connections, thirty a minute: one connection is left for others; the pace is kept."""
    office = Office(tmp_path, PaceLimits(3, 30, 10_000))
    await office.start()
    for number in range(120):
        await office.put(f"{number}@example.org")
    begun = office.clock.now()
    await office.until(all_delivered, timedelta(minutes=10))
    times = [at for at, _envelope in office.upstream.offered]
    assert len(times) == 120
    assert office.upstream.most_busy <= 2
    for at in times:
        assert sum(at <= other < at + timedelta(minutes=1) for other in times) <= 30
    assert office.clock.now() - begun < timedelta(minutes=3) * 1.07 + timedelta(seconds=20)
    await office.stop()


@pytest.mark.parametrize("hands_over", [False, True], ids=["from the store", "from hand to hand"])
async def test_a_changed_setting_makes_nothing_of_what_is_in_hand_go_faster(tmp_path: Path, hands_over: bool) -> None:
    """What the provider allows is read anew; until it is, it is what it was."""
    office = Office(tmp_path, PaceLimits(3, 30, 10_000))
    office.hands_over = hands_over
    await office.start()
    office.dispatcher.wake(ACCOUNT)
    await settle()
    for number in range(90):
        await office.put(f"{number}@example.org")
    await office.clock.advance(5)
    office.events.publish(SettingsChanged(ACCOUNT, office.clock.now()))
    await office.clock.advance(50)
    assert len(office.upstream.offered) <= 30
    assert office.upstream.most_busy <= 2
    office.upstream.pace = PaceLimits(3, 60, 10_000)
    office.events.publish(SettingsChanged(ACCOUNT, office.clock.now()))
    await office.clock.advance(60)
    assert len(office.upstream.offered) > 75
    await office.stop()


async def test_a_new_provider_that_allows_fewer_connections_gets_no_more(office: Office) -> None:
    """Those that send finish what they have; as many go on as are allowed."""
    up = office.upstream
    up.takes_s = 5
    for number in range(3 * MOST_CONNECTIONS):
        await office.put(f"{number}@example.org")
    await office.clock.advance(1)
    up.pace = PaceLimits(connections=3)
    office.events.publish(SettingsChanged(ACCOUNT, office.clock.now()))
    await office.clock.advance(5)
    up.most_busy = 0
    await office.clock.advance(30)
    assert (up.most_busy, up.open_now) == (2, 2)
    await office.until(all_delivered, timedelta(minutes=3))


async def test_a_server_that_takes_few_connections_is_sent_to_over_those_without_a_pause(office: Office) -> None:
    """One more is tried in vain once a minute, and used as soon as the server takes it."""
    up = office.upstream
    up.takes, up.takes_s = 3, 5
    for number in range(180):
        await office.put(f"{number}@example.org")
    begun = office.clock.now()
    await office.clock.advance(5)
    assert (up.most_busy, up.refused) == (3, MOST_CONNECTIONS - 3)
    assert office.dispatcher.pause_of(ACCOUNT) is None
    await office.until(all_delivered, timedelta(minutes=6))
    minutes = (office.clock.now() - begun) / timedelta(minutes=1)
    assert minutes < 180 * 5 / 3 / 60 + 0.5
    assert up.refused <= MOST_CONNECTIONS - 3 + minutes
    assert (up.most_busy, len(up.offered)) == (3, 180)
    up.takes = None
    for number in range(160):
        await office.put(f"{number}@example.net")
    await office.until(all_delivered, timedelta(minutes=2))
    assert up.most_busy == MOST_CONNECTIONS


async def test_after_a_refusal_nothing_waits_for_the_end_of_a_long_message(office: Office) -> None:
    """One more connection is tried a minute later, and then the next one, though no try ends until then."""
    up = office.upstream
    up.takes, up.takes_s = 1, 1500
    await office.put("long@example.org")
    await office.clock.advance(1)
    for number in range(2):
        await office.put(f"{number}@example.org")
    await office.clock.advance(1)
    assert len(up.offered) == 1
    assert up.refused > 0
    up.takes = None
    await office.clock.advance(62)
    assert len(up.offered) == 3


async def test_a_server_that_was_away_gets_as_many_connections_as_before(office: Office) -> None:
    """The connections that were open had ended: that tells nothing of how many it takes."""
    up = office.upstream
    for number in range(40):
        await office.put(f"{number}@example.org")
    await office.until(all_delivered, timedelta(seconds=10))
    up.trouble = LoginFailed(Trouble("connection_refused", WhoActs.OPERATOR, "Connection refused", START))
    up.answer = lambda _envelope: "lost before"
    for number in range(60):
        await office.put(f"{number}@example.net")
    await office.until(lambda _states: office.dispatcher.pause_of(ACCOUNT) is not None, timedelta(seconds=60))
    pause = office.dispatcher.pause_of(ACCOUNT)
    assert pause is not None
    assert (pause.words, pause.reason) == ("Connection refused", "connection_refused"), "what is shown has a meaning"
    up.trouble, up.answer, up.most_busy = None, lambda _envelope: "250 2.0.0 OK", 0
    await office.until(all_delivered, timedelta(seconds=30))
    assert up.most_busy > 10


async def test_what_a_recipient_is_refused_for_fails_and_is_reported_once(office: Office) -> None:
    """At once, with no other try."""
    office.upstream.answer = lambda _envelope: "550 5.1.1 No such user"
    await office.put("nobody@example.org")
    await office.until(lambda states: isinstance(states[0], Failed), timedelta(seconds=5))
    assert office.reports == [("nobody@example.org", FailureCause.REFUSED)]
    assert len(office.upstream.offered) == 1


async def test_what_passes_is_tried_again_until_its_time_is_over(office: Office) -> None:
    """After a minute, then every five; an hour at the most; then it is told."""
    office.upstream.answer = lambda _envelope: "451 4.7.1 Greylisted"
    await office.put()
    await office.until(lambda states: isinstance(states[0], Deferred), timedelta(seconds=5))
    await office.until(lambda states: isinstance(states[0], Failed), timedelta(hours=2))
    assert office.reports == [("b@example.org", FailureCause.EXPIRED)]
    assert 8 <= len(office.upstream.offered) <= 18


@pytest.mark.parametrize(("asked", "ends"), [(HoldAsked, Held), (CancelAsked, Failed)])
async def test_who_stops_a_message_during_its_last_try_is_heard_and_nobody_is_told_of_its_time(
    office: Office, asked: type[HoldAsked | CancelAsked], ends: type[RecipientState]
) -> None:
    """It may still go out when it is released."""
    office.dispatcher.schedule = RetrySchedule((60, 300), timedelta(0))
    office.upstream.answer = lambda _envelope: "451 4.7.1 Greylisted"
    await office.put()
    await office.until(lambda states: isinstance(states[0], InFlight), timedelta(seconds=5))
    [message] = await office.store.queue.list_messages(account=None, state=None, limit=1)
    await office.store.queue.apply([(message.entries[0].id, asked(office.clock.now(), "ana"))])
    await office.until(lambda states: isinstance(states[0], ends), timedelta(seconds=5))
    await settle()
    assert office.reports == []


async def test_a_doubt_is_tried_again_with_the_same_message(office: Office) -> None:
    """Nobody knows whether it came; the Message-ID is the same."""
    office.upstream.answer = lambda _envelope: "lost after" if len(office.upstream.offered) == 1 else "250 2.0.0 OK"
    await office.put()
    await office.until(all_delivered, timedelta(minutes=5))
    assert len(office.upstream.offered) == 2


async def test_a_kept_connection_that_has_ended_costs_nothing(office: Office) -> None:
    """The next try is at once, over a new one."""
    await office.put()
    await office.until(all_delivered, timedelta(seconds=5))
    office.upstream.answer = lambda _envelope: "lost before" if len(office.upstream.offered) == 2 else "250 2.0.0 OK"
    await office.put()
    await office.until(all_delivered, timedelta(seconds=5))
    assert len(office.upstream.offered) == 3


async def test_too_fast_pauses_the_account_and_burns_no_try(office: Office) -> None:
    """What the provider says counts more than what is computed."""
    said = "421 4.4.2 Message submission rate for this client has exceeded the configured limit"
    office.upstream.answer = lambda _envelope: said if len(office.upstream.offered) == 1 else "250 2.0.0 OK"
    await office.put()
    begun = office.clock.now()
    await office.until(all_delivered, timedelta(minutes=5))
    assert office.clock.now() - begun >= timedelta(seconds=60)
    assert office.dispatcher.gate(ACCOUNT).is_open


async def test_many_recipients_go_in_parts(office: Office) -> None:
    """Each part is a message for the provider."""
    office.upstream.per_message = 10
    office.events.publish(SettingsChanged(ACCOUNT, office.clock.now()))
    await settle()
    await office.put(*(f"{n}@example.org" for n in range(25)))
    await office.until(all_delivered, timedelta(seconds=10))
    assert [len(e.recipients) for _at, e in office.upstream.offered] == [10, 10, 5]


async def test_an_account_that_is_stuck_takes_nothing_from_another_one(office: Office) -> None:
    """Its server takes connections and says nothing, and much waits for it: the other account's mail leaves at once."""
    really_open, answers = office.upstream.open, asyncio.Event()

    async def stuck(account: str) -> Any:
        if account == ACCOUNT:
            await answers.wait()
        return await really_open(account)

    office.upstream.open = stuck  # type: ignore[method-assign, assignment]
    for number in range(500):
        await office.put(f"{number}@example.org")
    await office.clock.advance(1)
    for number in range(20):
        recipients = (QueuedRecipient(f"other{number}@example.org"),)
        sent = QueuedMessage("other", "", "s@example.com", f"{number}@x", 9, office.clock.now(), recipients)
        await office.store.queue.accept(sent, Body(b"Subject: x\r\n\r\n"))
        office.dispatcher.wake("other")
    begun = office.clock.now()
    while len(office.upstream.offered) < 20:
        assert office.clock.now() - begun < timedelta(seconds=10)
        await office.clock.advance(0.25)
    assert {e.recipients[0].address[:5] for _at, e in office.upstream.offered} == {"other"}
    answers.set()  # it can be stopped at once


async def test_a_stop_gives_back_what_was_not_begun(tmp_path: Path) -> None:
    """And a later start sends it, each message once."""
    office = Office(tmp_path, PaceLimits(2, 5, 100))
    await office.start()
    for number in range(10):
        await office.put(f"{number}@example.org")
    await office.clock.advance(5)
    await office.stop()
    assert {type(state) for state in await office.states()} <= {Queued, Delivered}
    assert await office.store.queue.load_gate(ACCOUNT) == Gate()
    later = Office(tmp_path)
    later.store, later.clock = office.store, office.clock
    assert len({e.recipients[0].address for _at, e in office.upstream.offered}) == len(office.upstream.offered)
