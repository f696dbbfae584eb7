"""A dispatcher with all that it uses, and a provider that answers as a test says; time passes when the test lets it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes import START, FakeClock, settle

from valija.domain.pace import PaceLimits
from valija.domain.queue import (
    Delivered,
    Failed,
    FailureCause,
    RecipientState,
)
from valija.domain.queued_message import QueuedMessage, QueuedRecipient, RecipientEntry
from valija.domain.retry_schedule import RetrySchedule
from valija.domain.trouble import Trouble, WhoActs
from valija.net.data_files import read_explainer
from valija.protocol.smtp_client import Capabilities, Stage
from valija.protocol.smtp_reply import ReplyReader
from valija.protocol.smtp_transaction import Envelope, RecipientOutcome, SendOutcome, Verdict
from valija.services.dispatcher import AccountLimits, Dispatcher
from valija.services.events import EventBus
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


@pytest.fixture(name="office", params=["from the store", "from hand to hand"])
async def office_fixture(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Office]:
    """A dispatcher that was started; mail comes to it out of the store, or straight from who accepts it."""
    made = Office(tmp_path)
    made.hands_over = request.param == "from hand to hand"
    await made.start()
    made.dispatcher.wake(ACCOUNT)
    await settle()
    yield made
    await made.stop()
