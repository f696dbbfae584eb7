"""Sends what is queued: a lane for each account that has mail, its gate, its pace, its kept connections.

Theory of operation
-------------------
1. A lane leases mail of its account, a batch at a time, and hands it to workers; a worker is a connection. There are never
   more than the provider allows, less one, and none where nothing waits. While nothing waits, a message comes straight from
   who accepts it, stored under its lease at once (:meth:`Dispatcher.offer`).
2. An account's trouble closes its gate: what was leased goes back as it was, and nothing is leased but a probe. The gate opens
   when the token is back, when the setting is changed, or when a probe gets through (:mod:`valija.domain.account_gate`).
3. Trouble that passes (no network, a provider that is down, "too fast") pauses the lane; no message pays for it.
4. One account never waits for another: lanes share nothing but the store.
5. A message for more recipients than the provider takes goes in parts.
6. What became of a try is stored whatever happens (:meth:`Dispatcher.keep_at`): what was delivered is not sent again because
   a disk was full or a database away.
7. Where several nodes share the store, a lane runs on one of them (:mod:`valija.services.lane_hold`).
8. What an operator stops goes back, whichever node is asked, unless its MAIL FROM was sent (:meth:`Dispatcher.recall`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Protocol

from valija.domain import account_gate as gates
from valija.domain.account_gate import Gate
from valija.domain.clock import Clock, SteadyClock
from valija.domain.clock_watch import ClockWatch
from valija.domain.errors import ValijaError
from valija.domain.pace import PaceLimits
from valija.domain.queue import Delivered, Failed, RecipientEvent, RecipientState
from valija.domain.queue_history import gate_line
from valija.domain.queued_message import QueuedMessage, RecipientEntry
from valija.domain.retry_schedule import RetrySchedule
from valija.domain.token import Retrieved, tokens_in_use
from valija.net.smtp import SmtpConnection
from valija.services.events import PROVIDER_SUBJECT, EventBus, QueueChanged, SettingsChanged, Stopping, TokenChanged
from valija.services.keeping_up import kept_up
from valija.services.lane import Lane
from valija.services.lane_leasing import LEASE, Pause
from valija.services.lane_line import Offer
from valija.services.login import Troubles
from valija.store.queue_port import Body, QueueStore
from valija.store.spool_port import BodySpool

log: Final = logging.getLogger(__name__)
CHECK_S: Final = 60.0
TELL_S: Final = 0.25
KEEP_AT_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
KEEP_AT_STOP_S: Final = 10.0
RECALL_S: Final = 2.0
RECALL_LOOK_S: Final = 0.05
LEASE_MARGIN: Final = timedelta(minutes=5)
HISTORY: Final = timedelta(days=7)
FORGET_AT_ONCE: Final = 500
FAR: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """What an account's provider allows."""

    pace: PaceLimits
    recipients_per_message: int | None = None


class Route(Protocol):
    """How an account's mail leaves."""

    async def open(self, account: str) -> SmtpConnection:
        """Return a connection that is logged in; raises as :meth:`valija.services.delivery.Delivery.open`."""
        ...

    async def limits(self, account: str) -> AccountLimits:
        """Return what the provider allows."""
        ...

    async def mailbox(self, account: str) -> str:
        """Return the address that the account may send as; empty if none is known."""
        ...

    async def token_works(self, account: str) -> bool:
        """Tell whether the account has what it needs to log in."""
        ...


Applied = Callable[[Sequence[tuple[int, RecipientEvent]], Sequence[RecipientState | None]], None]
Report = Callable[[QueuedMessage, int, list[tuple[RecipientEntry, Failed | Delivered]]], Awaitable[None]]


def concerns(event: SettingsChanged, account: str) -> bool:
    """Tell whether a change may have mended an account: of its own setting, or of a provider."""
    return event.subject == account or event.subject.startswith(PROVIDER_SUBJECT)


class Dispatcher:
    """All lanes."""

    def __init__(
        self,
        queue: QueueStore,
        spool: BodySpool,
        route: Route,
        troubles: Troubles,
        clock: Clock,
        events: EventBus,
        *,
        schedule: RetrySchedule | None = None,
        spread: random.Random | None = None,
    ) -> None:
        self.queue = queue
        self.spool = spool
        self.route = route
        self.troubles = troubles
        self.clock: Clock = SteadyClock(clock)
        self.schedule = schedule or RetrySchedule()
        self.report: Report | None = None
        self.applied: Applied | None = None
        self.goes_as_mailbox: Callable[[QueuedMessage], bool] = lambda _message: False  # whatever that is when it goes
        self._spread = spread or random.Random()  # noqa: S311 - spreads times, no secret
        self._events = events
        self._lanes: dict[str, Lane] = {}
        self._gates: dict[str, Gate] = {}
        self._told: dict[str, bool] = {}  # told a moment ago: whether there was more since
        self._stopping = False
        self._kept: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Clean up after a former process, then go on with what waits."""
        if not self.queue.shared:
            while await self.queue.end_leases(self.clock.now(), FAR):
                pass
            await self._clean_spool()  # nobody is writing
        await self.read_all()

    async def _clean_spool(self) -> None:
        if left := await self.spool.clean(self.queue.files):
            log.info("spool_cleaned", extra={"fields": {"files": left}})

    async def read_all(self) -> None:
        """Read all gates anew, and look at all mail."""
        self._gates = dict(await self.queue.gates())
        for account in {account for account, _state in await self.queue.counts()} | set(self._gates):
            self.wake(account)

    async def news_missed(self) -> None:
        """Take nothing for unchanged: other nodes may have said what was not heard."""
        await self.read_all()
        for account, lane in list(self._lanes.items()):
            lane.settings_changed()
            lane.hold.ask_now()
            await self.hear_stopped(account)

    async def read_gate(self, account: str) -> None:
        """Read a gate that another node changed."""
        gate = self._gates[account] = await self.queue.load_gate(account)
        self.wake(account)
        if gate.held_at is not None:
            await self.hear_stopped(account)

    def lane_left(self, account: str) -> None:
        """Tell that another node has let go of an account's lane."""
        if account in self._lanes:
            self._lanes[account].hold.ask_now()

    async def run(self) -> None:
        """Follow what happens to accounts, and tidy up now and then, for ever."""
        async with self._events.subscribe() as told:
            tidy = asyncio.create_task(kept_up(self._tidy, "queue", self.clock))
            try:
                while not isinstance(event := await told.get(), Stopping):
                    if isinstance(event, TokenChanged) and isinstance(event.after, Retrieved):
                        before = tokens_in_use(event.before)
                        new = before is None or before.grant_id != event.after.tokens.grant_id
                        works = partial(gates.token_works, now=self.clock.now(), new=new)
                        await self._follow(event.account, works)
                    elif isinstance(event, TokenChanged) and event.account in self._lanes:
                        if tokens_in_use(event.after) is None:  # what it had opened is not used any more
                            self._lanes[event.account].settings_changed()
                    elif isinstance(event, SettingsChanged):
                        for account in [name for name in self._lanes if concerns(event, name)]:
                            self._lanes[account].settings_changed()
                            await self._follow(account, lambda gate: gates.account_works(gate, self.clock.now()))
            finally:
                tidy.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await tidy

    async def stop(self) -> None:
        """End the tries that are under way, give back what was not begun."""
        self._stopping = True
        await asyncio.gather(*(lane.stop() for lane in self._lanes.values()))
        if self._kept:
            _done, late = await asyncio.wait(self._kept, timeout=KEEP_AT_STOP_S)
            for task in late:
                task.cancel()

    def wake(self, account: str) -> None:
        """Tell that an account may have mail to send."""
        if self._stopping:
            return
        lane = self._lanes.get(account)
        if lane is None:
            lane = self._lanes[account] = Lane(self, account)
            lane.start()
        lane.wake()
        self.changed(account)

    def offer(self, account: str) -> Offer | None:
        """Offer to take a message straight from who accepts it, if nothing waits that comes before it."""
        lane = self._lanes.get(account)
        return None if lane is None or self._stopping else lane.offer()

    async def recall(self, account: str, recipients: Collection[int] | None = None) -> None:
        """Have given back what was stopped and not begun, by the node that has it in hand; soon, if not now.

        ``recipients``: those that are waited for while another node has the lane; None: all of the account.
        """
        lane = self._lanes.get(account)
        try:
            async with asyncio.timeout(RECALL_S):
                if lane is not None and lane.hold.held:
                    await lane.recall()
                while self.queue.shared and not (lane is not None and lane.hold.held):
                    leased = {number for number, _state in await self.queue.under_lease(account)}
                    if not (leased if recipients is None else leased.intersection(recipients)):
                        return
                    await asyncio.sleep(RECALL_LOOK_S)
        except TimeoutError:
            pass  # it is being sent
        except ValijaError as error:
            log.warning("mail_not_recalled", extra={"fields": {"account": account, "why": str(error)}})

    async def hear_stopped(self, account: str) -> None:
        """Give back what somebody at another node has stopped."""
        if account in self._lanes:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECALL_S):
                    await self._lanes[account].recall()

    def forgive(self, account: str) -> None:
        """Try at once what was refused for its sender, and what waits for a server to be there again."""
        if account in self._lanes:
            self._lanes[account].forgive()

    def changed(self, account: str) -> None:
        """Tell the faces that an account's mail has changed: at once, then at most every ``TELL_S``."""
        if account in self._told:
            self._told[account] = True
            return
        self._told[account] = False
        self._events.publish(QueueChanged(account, self.clock.now()))
        asyncio.get_running_loop().call_later(TELL_S, self._tell_again, account)

    def _tell_again(self, account: str) -> None:
        if self._told.pop(account) and not self._stopping:
            self.changed(account)

    async def apply(self, events: Sequence[tuple[int, RecipientEvent]]) -> None:
        """Apply events to recipients, all or none."""
        states = await self.queue.apply(events)
        if self.applied is not None:
            self.applied(events, states)

    # --- gates ------------------------------------------------------------------------------------------------------------

    def gate(self, account: str) -> Gate:
        """Return an account's gate as it was last seen."""
        return self._gates.get(account, Gate())

    def stopped(self, account: str) -> timedelta:
        """Return for how long an account's mail has been stopped altogether."""
        return self.gate(account).stopped_until(self.clock.now())

    def pause_of(self, account: str) -> Pause | None:
        """Return until when an account's lane waits for something that passes, and why."""
        lane = self._lanes.get(account)
        return None if lane is None else lane.pause

    async def change_gate(self, account: str, change: Callable[[Gate], Gate], who: str = "") -> Gate:
        """Change an account's gate in the store; whoever else changed it meanwhile is heard first."""
        while True:
            before = await self.queue.load_gate(account)
            after = change(before)
            line = gate_line(before, after, self.clock.now(), who)
            if after is before or await self.queue.save_gate(account, before.version, after, line):
                self._gates[account] = after
                if after is not before:
                    self.wake(account)
                return after

    async def _follow(self, account: str, change: Callable[[Gate], Gate]) -> None:
        try:
            await self.change_gate(account, change)
        except ValijaError as error:
            log.warning("gate_not_changed", extra={"fields": {"account": account, "why": str(error)}})
        self.wake(account)

    # --- for the lanes ----------------------------------------------------------------------------------------------------

    def jitter(self) -> float:
        """Return a number from 0 to 1."""
        return self._spread.random()

    def delay(self, tries: int) -> timedelta:
        """Return how long to wait after the n-th failure."""
        return self.schedule.delay(tries, jitter=self.jitter())

    async def keep_at(self, what: str, store: Callable[[], Awaitable[object]]) -> None:
        """Store what must not get lost, again and again while the store cannot; who waits for it may go.

        What is no trouble of the store's (no memory for a moment, a fault in this program) is tried again some times.
        """
        task = asyncio.create_task(self._until_stored(what, store))
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)
        await asyncio.shield(task)

    async def _until_stored(self, what: str, store: Callable[[], Awaitable[object]]) -> None:
        for tries in itertools.count():
            try:
                await store()
            except Exception as error:
                if not isinstance(error, ValijaError) and tries >= len(KEEP_AT_PAUSES_S):
                    raise
                why = str(error) or type(error).__name__
                log.warning("not_stored_yet", extra={"fields": {"what": what, "why": why}})
                await self.clock.sleep(KEEP_AT_PAUSES_S[min(tries, len(KEEP_AT_PAUSES_S) - 1)])
            else:
                return

    async def body(self, message_id: int) -> AsyncIterator[bytes]:
        """Yield a message's octets."""
        body = await self.queue.load_body(message_id)
        if body is not None:
            async for piece in self.octets(body):
                yield piece

    async def octets(self, body: Body) -> AsyncIterator[bytes]:
        """Yield a body's octets."""
        if not body.file:
            yield body.octets
            return
        async for piece in self.spool.read(body.file):
            yield piece

    async def _tidy(self) -> None:
        """Take back leases that ended, forget what is long over.

        None is taken back while a message takes longer than its lease: it would be sent once more beside itself. Where there
        are more nodes, whoever takes a lane ends its leases; a node whose clock is wrong must not.
        """
        watch = ClockWatch(self.clock.now(), self.clock.monotonic(), LEASE)
        while True:
            await self.clock.sleep(CHECK_S)
            try:
                now = self.clock.now()
                trusted = watch.trusts(now, self.clock.monotonic()) and not self.queue.shared
                slow = any(lane.tries_since_before(now - LEASE + LEASE_MARGIN) for lane in self._lanes.values())
                if trusted and not slow and await self.queue.end_leases(now):
                    for lane in self._lanes.values():
                        lane.wake()
                await self.spool.delete(await self.queue.forget_ended(now - HISTORY, FORGET_AT_ONCE))
                if self.queue.shared:
                    await self._clean_spool()
            except ValijaError as error:
                log.warning("queue_not_tidied", extra={"fields": {"why": str(error)}})
