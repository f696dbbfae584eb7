"""Trouble of an account, of its network and of its store: mail waits, and leaves by itself; nothing is lost or burnt."""

from __future__ import annotations

from collections.abc import AsyncIterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dispatch_bench import ACCOUNT, Connection, Office, all_delivered, office_fixture
from fakes import START, settle

from valija.domain.errors import ConsentNeeded, TryLater
from valija.domain.queue import (
    Delivered,
    Failed,
    Queued,
)
from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.domain.text import message
from valija.domain.token import NotRetrieved, Retrieved, TokenSet
from valija.domain.trouble import Trouble, WhoActs
from valija.protocol.smtp_transaction import Envelope, SendOutcome
from valija.services.events import SettingsChanged, TokenChanged
from valija.services.login import LoginFailed
from valija.store.queue_port import Body

office = office_fixture


async def test_without_a_token_nothing_is_tried_and_all_leaves_when_it_is_back(office: Office) -> None:
    """No try is burnt however long it takes, and nothing expires meanwhile."""
    office.upstream.trouble = ConsentNeeded(message("no token"))
    office.upstream.has_token = False
    await office.put()
    await office.put()
    await office.clock.advance(3600 * 6)
    assert office.upstream.offered == []
    assert [type(state) for state in await office.states()] == [Queued, Queued]
    gate = office.dispatcher.gate(ACCOUNT)
    assert gate.blocked is not None
    assert gate.blocked.opens_with_token
    office.upstream.trouble, office.upstream.has_token = None, True
    tokens = TokenSet.__new__(TokenSet)
    office.events.publish(TokenChanged(ACCOUNT, 2, NotRetrieved(), Retrieved(tokens), office.clock.now()))
    await office.until(all_delivered, timedelta(seconds=10))
    assert office.dispatcher.gate(ACCOUNT).is_open
    assert office.reports == []


async def test_another_token_is_tried_at_once_whatever_the_trouble_was(office: Office) -> None:
    """Who had signed in as somebody else does so again, and looks whether the mail leaves; a refresh proves nothing."""
    refused = Trouble("login_refused", WhoActs.OPERATOR, "535 5.7.3", office.clock.now())
    office.upstream.trouble = LoginFailed(refused)
    await office.put()
    for _hour in range(3):
        await office.clock.advance(3600)
    office.upstream.trouble = None
    same, other = TokenSet.__new__(TokenSet), TokenSet.__new__(TokenSet)
    for tokens, grant in ((same, "1"), (other, "2")):
        object.__setattr__(tokens, "grant_id", grant)
    office.events.publish(TokenChanged(ACCOUNT, 2, Retrieved(same), Retrieved(same), office.clock.now()))
    await office.clock.advance(5)
    assert [type(state) for state in await office.states()] == [Queued]
    office.events.publish(TokenChanged(ACCOUNT, 3, Retrieved(same), Retrieved(other), office.clock.now()))
    await office.until(all_delivered, timedelta(seconds=5))
    assert office.dispatcher.gate(ACCOUNT).is_open


async def test_who_asks_for_a_try_waits_for_no_pause_but_the_providers_own(office: Office) -> None:
    """The network is there again, and somebody knows it. What the provider said against the pace counts for them, too."""
    office.upstream.trouble = TryLater(message("no network"))
    await office.put()
    await office.clock.advance(1500)
    office.upstream.trouble = None
    office.upstream.answer = lambda _envelope: (
        "421 4.4.2 Message submission rate for this client has exceeded the limit"
    )
    for _time in range(2):
        office.dispatcher.forgive(ACCOUNT)
        office.dispatcher.wake(ACCOUNT)
        await office.clock.advance(3)
        assert len(office.upstream.offered) == 1


async def test_who_asks_for_a_try_does_not_lose_why_the_provider_wants_a_long_pause(office: Office) -> None:
    """The mailbox has sent what it may: that is still what is said, until it is over."""
    office.upstream.answer = lambda _envelope: (
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException"
    )
    await office.put()
    await office.clock.advance(5)
    office.dispatcher.forgive(ACCOUNT)
    office.dispatcher.wake(ACCOUNT)
    await office.clock.advance(5)
    pause = office.dispatcher.pause_of(ACCOUNT)
    assert pause is not None
    assert pause.reason == "sending_quota"
    assert len(office.upstream.offered) == 1


async def test_a_connection_that_is_kept_dies_with_its_token(office: Office) -> None:
    """Whoever deletes a token is promised that nothing is sent with it any more."""
    await office.put()
    await office.until(all_delivered, timedelta(seconds=5))
    office.upstream.trouble, office.upstream.has_token = ConsentNeeded(message("no token")), False
    tokens = TokenSet.__new__(TokenSet)
    office.events.publish(TokenChanged(ACCOUNT, 2, Retrieved(tokens), NotRetrieved(), office.clock.now()))
    await office.put()
    await office.clock.advance(5)
    assert len(office.upstream.offered) == 1
    assert office.dispatcher.gate(ACCOUNT).blocked is not None


async def test_an_accounts_trouble_is_probed_with_one_message_and_opens_by_itself(office: Office) -> None:
    """Somebody mends it at the provider; nobody tells this machine."""
    office.upstream.trouble = LoginFailed(Trouble("smtp_auth_disabled", WhoActs.ADMINISTRATOR, "535 5.7.139", START))
    for _number in range(5):
        await office.put()
    await office.clock.advance(600)
    assert not office.dispatcher.gate(ACCOUNT).is_open
    assert [type(state) for state in await office.states()] == [Queued] * 5
    office.upstream.trouble = None
    await office.until(all_delivered, timedelta(hours=1))
    assert office.dispatcher.gate(ACCOUNT).is_open


async def test_a_changed_setting_is_tried_at_once(office: Office) -> None:
    """Whoever has just corrected it wants to see it."""
    office.upstream.trouble = LoginFailed(Trouble("tls_untrusted", WhoActs.OPERATOR, "", START))
    await office.put()
    await office.clock.advance(5)
    office.upstream.trouble = None
    office.events.publish(SettingsChanged(ACCOUNT, office.clock.now()))
    await office.until(all_delivered, timedelta(seconds=5))


async def test_what_does_not_concern_the_account_opens_nothing(office: Office) -> None:
    """A log-in, a time zone: the account is not tried again for that."""
    office.upstream.trouble = LoginFailed(Trouble("tls_untrusted", WhoActs.OPERATOR, "", START))
    await office.put()
    await office.clock.advance(5)
    office.upstream.trouble = None
    for subject in ("administrator", "machine", "internet-fax"):
        office.events.publish(SettingsChanged(subject, office.clock.now()))
    await office.clock.advance(5)
    assert not office.dispatcher.gate(ACCOUNT).is_open
    office.events.publish(SettingsChanged("provider work", office.clock.now()))
    await office.until(all_delivered, timedelta(seconds=5))


async def test_no_network_is_nobodys_fault(office: Office) -> None:
    """The lane waits longer and longer; no message pays for it; then all leaves."""
    office.upstream.trouble = TryLater(message("no network"))
    await office.put()
    await office.clock.advance(1800)
    assert office.dispatcher.gate(ACCOUNT).is_open
    assert [state for state in await office.states() if isinstance(state, Queued) and state.tries == 0]
    office.upstream.trouble = None
    await office.until(all_delivered, timedelta(minutes=7))


@pytest.mark.parametrize("reason", ["connection_refused", "timed_out", "tls_protocol"])
async def test_a_server_that_starts_anew_is_waited_for_a_minute_before_anybody_must_act(
    office: Office, reason: str
) -> None:
    """Not there at first: pauses. Not there on and on: the account's trouble, with a cure, and probes."""
    refused = Trouble(reason, WhoActs.OPERATOR, "Connection refused", START)
    office.upstream.trouble = LoginFailed(refused)
    await office.put()
    await office.clock.advance(30)
    assert office.dispatcher.gate(ACCOUNT).is_open
    assert office.dispatcher.pause_of(ACCOUNT) is not None
    await office.clock.advance(120)
    blocked = office.dispatcher.gate(ACCOUNT).blocked
    assert blocked is not None
    assert blocked.trouble.reason == reason
    office.upstream.trouble = None
    await office.clock.advance(300)
    assert office.dispatcher.gate(ACCOUNT).is_open
    assert len(office.upstream.offered) == 1


async def test_what_is_being_stored_when_a_pause_begins_waits_for_its_end(tmp_path: Path) -> None:
    """It was offered to the lane before, and comes to its hand afterwards; nothing is tried for it."""
    office, tries = Office(tmp_path), 0
    await office.start()
    office.dispatcher.wake(ACCOUNT)
    await settle()

    async def refuses(_account: str) -> Any:
        nonlocal tries
        tries += 1
        raise LoginFailed(Trouble("server_busy", WhoActs.NOBODY, "454 4.7.0 Too many log-ins", START))

    offers = [office.dispatcher.offer(ACCOUNT) for _number in range(50)]
    works = office.upstream.open
    office.upstream.open = refuses  # type: ignore[method-assign]
    await office.put()
    await settle()
    assert (tries, office.dispatcher.pause_of(ACCOUNT) is not None) == (1, True)
    sent = QueuedMessage(ACCOUNT, "d", "a@x.org", "2@x.org", 100, office.clock.now(), (QueuedRecipient("c@x.org"),))
    for offer in offers:
        assert offer is not None
        await office.store.queue.accept_leased(sent, Body(b"Subject: x\r\n\r\n"), offer.until, offer.taken)
    await settle()
    assert tries == 1
    office.upstream.open = works  # type: ignore[method-assign]
    await office.until(all_delivered, timedelta(seconds=30))
    await office.stop()


async def test_one_message_that_cannot_be_sent_at_all_stops_no_other(office: Office) -> None:
    """Whatever a fault there is in this program: the others leave, and that one ends in its time."""
    send = Connection.send

    async def broken(connection: Connection, envelope: Envelope, body: AsyncIterable[bytes]) -> SendOutcome:
        if envelope.reverse_path == "bad@x.org":
            raise ZeroDivisionError
        return await send(connection, envelope, body)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "send", broken)
        await office.put(sender="bad@x.org")
        for _number in range(20):
            await office.put()
        await office.until(lambda states: sum(isinstance(s, Delivered) for s in states) == 20, timedelta(minutes=1))
        await office.until(lambda states: isinstance(states[0], Failed), timedelta(hours=3))
    assert len(office.reports) == 1


@pytest.mark.parametrize("of", ["take_lane", "pace", "lease", "next_due", "apply"])
async def test_a_fault_while_the_queue_is_asked_stops_no_lane_for_ever_and_doubles_nothing(
    of: str, tmp_path: Path
) -> None:
    """No thread or no memory for a moment, or a fault in this program."""
    office = Office(tmp_path)
    queue, failures = office.store.queue, 2
    works = getattr(queue, of)

    async def fails(*asked: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise RuntimeError("can't start new thread")
        return await works(*asked)

    await office.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, of, fails)
        await office.put()
        await office.until(all_delivered, timedelta(minutes=1))
        await office.stop()
    assert failures < 2
    assert len(office.upstream.offered) == 1


async def test_a_report_that_cannot_be_written_sends_nothing_again(office: Office) -> None:
    """The fault is in the report: what was delivered is delivered."""

    async def broken(*_of: Any) -> None:
        raise ZeroDivisionError

    office.dispatcher.report = broken
    await office.put()
    await office.until(all_delivered, timedelta(minutes=1))
    assert len(office.upstream.offered) == 1
