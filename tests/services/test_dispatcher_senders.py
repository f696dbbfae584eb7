"""Senders that a provider does not take: whose fault it is, who waits, and what goes out as the mailbox."""

from __future__ import annotations

from datetime import timedelta

import pytest
from dispatch_bench import ACCOUNT, Office, all_delivered, office_fixture
from fakes import settle

from valija.domain.queue import (
    Deferred,
    Delivered,
    Queued,
    RetryAsked,
)
from valija.protocol.smtp_transaction import Envelope
from valija.services.events import SettingsChanged

office = office_fixture


async def test_a_wrong_sender_waits_and_the_others_go_on(office: Office) -> None:
    """Its next message is not even tried for an hour."""
    office.upstream.answer = lambda envelope: (
        "554 5.2.252 SendAsDenied; not allowed to send as" if envelope.reverse_path == "bad@x.org" else "250 2.0.0 OK"
    )
    await office.put(sender="bad@x.org")
    await office.until(lambda states: isinstance(states[0], Deferred), timedelta(seconds=5))
    await office.put(sender="bad@x.org")
    await office.put()
    await office.until(lambda states: isinstance(states[2], Delivered), timedelta(seconds=5))
    assert sum(e.reverse_path == "bad@x.org" for _at, e in office.upstream.offered) == 1


async def test_a_mailbox_that_may_not_send_as_itself_holds_its_mail_until_the_right_is_given(office: Office) -> None:
    """No try is burnt, nothing fails however long it takes; a probe now and then finds that it was mended."""
    said = "554 5.2.252 SendAsDenied; delegate@example.com not allowed to send as box@example.com"
    office.upstream.answer = lambda _envelope: said
    for number in range(5):
        await office.put(f"{number}@example.org", sender="BOX@example.com")
    await office.clock.advance(10)
    blocked = office.dispatcher.gate(ACCOUNT).blocked
    assert blocked is not None
    assert blocked.trouble.reason == "send_as_denied"
    for _day in range(3):
        await office.clock.advance(86_400)
    assert all(isinstance(state, Queued) and not state.tries for state in await office.states())
    assert not office.reports
    office.upstream.answer = lambda _envelope: "250 2.0.0 OK"
    await office.until(all_delivered, timedelta(hours=1))


async def test_who_names_somebody_else_in_from_waits_alone_though_its_envelope_is_the_mailboxs(office: Office) -> None:
    """The provider looks at From; all others with the same envelope go on."""
    office.upstream.answer_body = lambda _envelope, body: (
        "554 5.2.252 SendAsDenied; not allowed to send as" if b"boss@x.org" in body else "250 2.0.0 OK"
    )
    for _time in range(2):
        await office.put(sender="box@example.com", head=b"Subject: x\r\nFrom: Boss <boss@x.org>\r\n")
        await office.until(lambda states: isinstance(states[-1], Deferred), timedelta(seconds=5))
    await office.put(sender="box@example.com", head=b"Subject: x\r\nFrom: box@example.com\r\n")
    await office.until(lambda states: isinstance(states[-1], Delivered), timedelta(seconds=5))
    assert len(office.upstream.offered) == 2


@pytest.mark.parametrize("mends", ["a changed setting", "somebody who asks"])
async def test_a_wrong_sender_is_tried_again_once_somebody_did_something(office: Office, mends: str) -> None:
    """Who has mended it wants to see it leave now, not in an hour."""
    office.upstream.answer = lambda _envelope: "550 5.7.60 Client does not have permissions to send as this sender"
    number = await office.put(sender="bad@x.org")
    await office.until(lambda states: isinstance(states[0], Deferred), timedelta(seconds=5))
    office.upstream.answer = lambda _envelope: "250 2.0.0 OK"
    if mends == "a changed setting":
        office.events.publish(SettingsChanged(ACCOUNT, office.clock.now()))
        await settle()
    else:
        office.dispatcher.forgive(ACCOUNT)
    stored = await office.store.queue.load(number)
    assert stored is not None
    await office.dispatcher.apply([(entry.id, RetryAsked(office.clock.now())) for entry in stored.entries])
    office.dispatcher.wake(ACCOUNT)
    await office.until(all_delivered, timedelta(seconds=5))


FORMER = "typo@example.com"
FORMER_HEAD = b"Subject: x\r\nFrom: Ana <typo@example.com>\r\nSender: typo@example.com\r\nTo: b@example.org\r\n"


async def test_what_was_taken_in_under_another_mailbox_goes_out_as_the_one_of_now(office: Office) -> None:
    """Somebody has mended the sender's address, as the cure says; only the first one is refused once more."""
    bodies: list[tuple[Envelope, bytes]] = []

    def answer(envelope: Envelope, body: bytes) -> str:
        bodies.append((envelope, body))
        return "250 2.0.0 OK" if envelope.reverse_path == "box@example.com" else "550 5.7.60 SendAsDenied"

    office.upstream.answer_body = answer
    office.dispatcher.goes_as_mailbox = lambda _message: True
    written = b"Subject: x\r\nFrom: Ana <box@example.com>\r\nTo: b@example.org\r\n\r\n"
    for _time in range(2):
        await office.put(sender=FORMER, head=FORMER_HEAD, size=len(FORMER_HEAD) + 2)
        await office.until(all_delivered, timedelta(seconds=10))
    assert [envelope.reverse_path for envelope, _body in bodies] == [FORMER, "box@example.com", "box@example.com"]
    assert [body for _envelope, body in bodies[1:]] == [written] * 2
    assert [envelope.size for envelope, _body in bodies[1:]] == [len(written)] * 2


async def test_the_mailbox_of_now_that_has_no_rights_either_holds_what_goes_out_as_it(office: Office) -> None:
    """It is the account's fault, then."""
    office.upstream.answer = lambda _envelope: "550 5.7.60 SendAsDenied"
    office.dispatcher.goes_as_mailbox = lambda _message: True
    await office.put(sender=FORMER, head=FORMER_HEAD)
    await office.clock.advance(10)
    assert not office.dispatcher.gate(ACCOUNT).is_open
    assert [isinstance(state, Queued) and not state.tries for state in await office.states()] == [True]


async def test_a_device_whose_sender_is_never_rewritten_keeps_the_one_that_it_named(office: Office) -> None:
    """Though the provider does not take it."""
    office.upstream.answer = lambda envelope: "250 2.0.0 OK" if envelope.reverse_path[0] == "b" else "550 5.7.60 No"
    await office.put(sender=FORMER, head=FORMER_HEAD)
    await office.until(lambda states: isinstance(states[0], Deferred), timedelta(seconds=5))
    assert office.dispatcher.gate(ACCOUNT).is_open


@pytest.mark.parametrize("said", ["501 5.1.7 Invalid address", "550 5.1.0 Sender rejected", "555 5.5.2 Syntax error"])
async def test_a_sender_that_the_server_does_not_take_stops_nobody_else(office: Office, said: str) -> None:
    """Whatever it says: the account's mail would stop for good, since the oldest message is what it is probed with."""
    office.upstream.answer = lambda e: "250 2.0.0 OK" if e.reverse_path == "box@example.com" else f"MAIL {said}"
    await office.put(sender="fax@office")
    await office.put(sender="box@example.com")
    await office.until(lambda states: isinstance(states[1], Delivered), timedelta(seconds=10))
    assert office.dispatcher.gate(ACCOUNT).is_open
    assert isinstance((await office.states())[0], Deferred)


async def test_a_mailbox_that_the_server_does_not_take_as_sender_holds_its_mail(office: Office) -> None:
    """That is the account's fault."""
    office.upstream.answer = lambda _envelope: "MAIL 550 5.1.0 Sender rejected"
    await office.put(sender="box@example.com")
    await office.clock.advance(10)
    assert not office.dispatcher.gate(ACCOUNT).is_open
    assert [isinstance(state, Queued) and not state.tries for state in await office.states()] == [True]


async def test_a_server_that_takes_no_empty_path_gets_reports_as_the_mailbox(office: Office) -> None:
    """Whatever words it has for it: no report of ours stops an account."""
    office.upstream.answer = lambda e: "250 2.0.0 OK" if e.reverse_path else "MAIL 553 5.1.7 Invalid address"
    await office.put(sender="", is_report=True)
    await office.until(all_delivered, timedelta(seconds=10))
    assert office.dispatcher.gate(ACCOUNT).is_open


async def test_a_device_that_names_another_bad_sender_each_time_gets_no_mailbox_throttled(office: Office) -> None:
    """A copier where everybody logs in: a few are tried in an hour; its good mail goes on, and so do the others."""
    office.upstream.answer = lambda e: "250 2.0.0 OK" if e.reverse_path == "box@example.com" else "550 5.7.60 No"
    for number in range(20):
        await office.put(sender=f"{number}@example.com", device="copier")
        await office.clock.advance(2)
    await office.put(sender="box@example.com", device="copier")
    await office.until(lambda states: isinstance(states[-1], Delivered), timedelta(seconds=5))
    tried = len(office.upstream.offered)
    assert tried == 6
    await office.put(sender="other@example.com")
    await office.clock.advance(2)
    assert len(office.upstream.offered) == tried + 1


async def test_a_report_goes_out_as_the_mailbox_where_the_empty_path_is_refused(office: Office) -> None:
    """Seen once, known from then on; a report of a report is never written."""
    office.upstream.answer = lambda envelope: (
        "250 2.0.0 OK" if envelope.reverse_path else "554 5.2.252 SendAsDenied; not allowed to send as"
    )
    await office.put(sender="", is_report=True)
    await office.until(all_delivered, timedelta(seconds=10))
    await office.put(sender="", is_report=True)
    await office.until(all_delivered, timedelta(seconds=10))
    assert [e.reverse_path for _at, e in office.upstream.offered] == ["", "box@example.com", "box@example.com"]


async def test_two_reports_refused_at_once_for_the_empty_path_both_go_out_as_the_mailbox(office: Office) -> None:
    """The second refusal tells nothing new: it is no fault of a sender."""
    office.upstream.answer = lambda envelope: (
        "250 2.0.0 OK" if envelope.reverse_path else "554 5.2.252 SendAsDenied; not allowed to send as"
    )
    office.upstream.takes_s = 1.0
    await office.put(sender="", is_report=True)
    await office.put(sender="", is_report=True)
    await office.until(all_delivered, timedelta(seconds=10))
    paths = [e.reverse_path for _at, e in office.upstream.offered]
    assert paths == ["", "", "box@example.com", "box@example.com"]
