"""The dispatcher: one account's trouble, its pace, its connections; what is delivered, when, how often."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes import START, FakeClock, settle

from valija.domain.account_gate import Gate
from valija.domain.errors import ConsentNeeded, TryLater
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
    RetryAsked,
)
from valija.domain.queued_message import QueuedMessage, QueuedRecipient, RecipientEntry
from valija.domain.retry_schedule import RetrySchedule
from valija.domain.text import message
from valija.domain.token import NotRetrieved, Retrieved, TokenSet
from valija.domain.trouble import Trouble, WhoActs
from valija.net.data_files import read_explainer
from valija.protocol.smtp_client import Capabilities, Stage
from valija.protocol.smtp_reply import ReplyReader
from valija.protocol.smtp_transaction import Envelope, RecipientOutcome, SendOutcome, Verdict
from valija.services import lane
from valija.services.dispatcher import AccountLimits, Dispatcher
from valija.services.events import EventBus, SettingsChanged, TokenChanged
from valija.services.lane_connection import MOST_CONNECTIONS
from valija.services.login import LoginFailed, Troubles
from valija.store.memory import MemoryStore
from valija.store.queue_port import Body
from valija.store.spool import Spool

ACCOUNT = "smtp"
Answer = str | Exception
ANSWER_S = 0.5


class Upstream:
    """A provider that answers as the test says, and notes when what was offered."""

    def __init__(self, clock: FakeClock, limits: PaceLimits = PaceLimits()) -> None:  # noqa: B008 - frozen
        self.clock = clock
        self.pace = limits
        self.per_message: int | None = None
        self.trouble: Exception | None = None
        self.answer: Callable[[Envelope], str] = lambda _envelope: "250 2.0.0 OK"
        self.answer_body: Callable[[Envelope, bytes], str] = lambda envelope, _body: self.answer(envelope)
        self.offered: list[tuple[datetime, Envelope]] = []
        self.opened = self.open_now = self.refused = self.busy = self.most_busy = 0
        self.takes: int | None = None  # so many connections at once
        self.has_token = True
        self.takes_s = ANSWER_S

    async def open(self, _account: str) -> Any:
        """Open a connection, or raise what the test wants."""
        if self.trouble is not None:
            raise self.trouble
        if self.takes is not None and self.open_now >= self.takes:
            self.refused += 1
            raise LoginFailed(Trouble("too_many_connections", WhoActs.NOBODY, "421 4.7.0 Too many connections", START))
        self.opened += 1
        self.open_now += 1
        return Connection(self)

    async def limits(self, _account: str) -> AccountLimits:
        return AccountLimits(self.pace, self.per_message)

    async def mailbox(self, _account: str) -> str:
        return "box@example.com"

    async def token_works(self, _account: str) -> bool:
        return self.has_token


class Connection:
    """One connection."""

    def __init__(self, upstream: Upstream) -> None:
        self._up = upstream
        self.capabilities = Capabilities({"8BITMIME": ""})

    async def send(self, envelope: Envelope, body: AsyncIterable[bytes]) -> SendOutcome:
        """Take a while for a message."""
        up = self._up
        up.offered.append((up.clock.now(), envelope))
        up.busy += 1
        up.most_busy = max(up.most_busy, up.busy)
        octets = b"".join([piece async for piece in body])
        assert octets.startswith(b"Subject")
        await up.clock.sleep(up.takes_s)
        up.busy -= 1
        said = up.answer_body(envelope, octets)
        found = [_outcome(r.address, said) for r in envelope.recipients]
        return SendOutcome(tuple(found), reusable=said[0] == "2")

    async def close(self, *, politely: bool = True) -> None:
        """Let it go."""
        self._up.open_now -= 1


def _outcome(address: str, said: str) -> RecipientOutcome:
    if said == "lost before":
        return RecipientOutcome(address, Verdict.DEFERRED, Stage.MAIL, None, "connection_lost")
    if said == "lost after":
        return RecipientOutcome(address, Verdict.IN_DOUBT, Stage.BODY, None, "connection_lost")
    stage, said = (Stage.MAIL, said[5:]) if said.startswith("MAIL ") else (Stage.BODY, said)
    reader = ReplyReader()
    reader.feed(f"{said}\r\n".encode())
    verdict = {"2": Verdict.ACCEPTED, "4": Verdict.DEFERRED, "5": Verdict.FAILED}[said[0]]
    return RecipientOutcome(address, verdict, stage, reader.next_reply())


class Office:
    """A dispatcher with all that it uses."""

    def __init__(
        self,
        directory: Path,
        limits: PaceLimits = PaceLimits(),  # noqa: B008 - frozen
        store: MemoryStore | None = None,
    ) -> None:
        self.clock, self.events, self.store = FakeClock(by_itself=False), EventBus(), store or MemoryStore()
        self.upstream = Upstream(self.clock, limits)
        troubles = Troubles(read_explainer(), self.clock)
        self.reports: list[tuple[str, FailureCause]] = []
        self.hands_over = False
        self.handed_over = 0
        self.dispatcher = Dispatcher(
            self.store.queue,
            Spool(directory),
            self.upstream,
            troubles,
            self.clock,
            self.events,
            schedule=RetrySchedule((60, 300), timedelta(hours=1)),
            spread=random.Random(1),
        )
        self.dispatcher.report = self._note
        self._following: asyncio.Task[None] | None = None

    async def _note(
        self, sent: QueuedMessage, _number: int, ended: list[tuple[RecipientEntry, Failed | Delivered]]
    ) -> None:
        self.reports += [(e.recipient.address, state.cause) for e, state in ended if isinstance(state, Failed)]

    async def start(self) -> None:
        """Start to send, and follow what happens."""
        await self.dispatcher.start()
        self._following = asyncio.create_task(self.dispatcher.run())
        await settle()

    async def stop(self) -> None:
        """Stop."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        stopping = asyncio.create_task(self.dispatcher.stop())
        while not stopping.done():  # what is under way takes its time
            await self.clock.advance(ANSWER_S)
        await stopping

    async def put(
        self,
        *addresses: str,
        size: int = 100,
        sender: str = "scanner@example.com",
        device: str = "ricoh",
        is_report: bool = False,
        head: bytes = b"Subject: x\r\n",
    ) -> int:
        """Queue a message."""
        recipients = tuple(QueuedRecipient(address) for address in addresses or ("b@example.org",))
        sent = QueuedMessage(
            ACCOUNT, device, sender, "1@example.com", size, self.clock.now(), recipients,
            stopped=self.dispatcher.stopped(ACCOUNT), is_report=is_report,
        )  # fmt: skip
        body, offer = Body(head + b"\r\n"), self.dispatcher.offer(ACCOUNT) if self.hands_over else None
        if offer is not None:
            self.handed_over += 1
            return await self.store.queue.accept_leased(sent, body, offer.until, offer.taken)
        number = await self.store.queue.accept(sent, body)
        self.dispatcher.wake(ACCOUNT)
        return number

    async def states(self) -> list[RecipientState]:
        """Return all recipients' states, earliest first."""
        found = await self.store.queue.list_messages(account=None, state=None, limit=1000)
        return [entry.state for stored in reversed(found) for entry in stored.entries]

    async def until(
        self, reached: Callable[[list[RecipientState]], bool], limit: timedelta = timedelta(days=6)
    ) -> None:
        """Let time pass until the states are as wanted."""
        end = self.clock.now() + limit
        while not reached(await self.states()):
            assert self.clock.now() < end, await self.states()
            await self.clock.advance(0.25)


def all_delivered(states: list[RecipientState]) -> bool:
    """Tell whether nothing is owed."""
    return all(isinstance(state, Delivered) for state in states)


@pytest.fixture(params=["from the store", "from hand to hand"])
async def office(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Office]:
    """A dispatcher that was started; mail comes to it out of the store, or straight from who accepts it."""
    made = Office(tmp_path)
    made.hands_over = request.param == "from hand to hand"
    await made.start()
    made.dispatcher.wake(ACCOUNT)
    await settle()
    yield made
    await made.stop()


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
