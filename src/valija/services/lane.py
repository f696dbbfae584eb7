"""One account's mail on its way out: leases, workers, connections, pace. See :mod:`valija.services.dispatcher`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from valija.domain.errors import BodyMissing, ValijaError
from valija.domain.pace import PaceLimits
from valija.domain.queue import Accepted, GivenBack, InFlight, RecipientEvent, TryFailed
from valija.domain.queued_message import RecipientEntry
from valija.domain.trouble import Trouble
from valija.net.errors import NetError
from valija.net.smtp import SmtpConnection
from valija.protocol.smtp_transaction import Envelope, Recipient
from valija.services.fitting import fit
from valija.services.keeping_up import kept_up
from valija.services.lane_connection import KeptConnection, LaneConnections
from valija.services.lane_hold import LaneHold
from valija.services.lane_leasing import Leasing, Pause
from valija.services.lane_line import InHand, LaneLine, Offer
from valija.services.lane_pace import LanePace
from valija.services.lane_senders import LaneSenders
from valija.services.lane_trouble import LaneTrouble
from valija.services.lane_work import LaneWork
from valija.services.outcomes import Judgement, give_up, judge, tries_of
from valija.store.queue_port import Leased

if TYPE_CHECKING:
    from valija.services.dispatcher import Dispatcher

log: Final = logging.getLogger(__name__)
STALE: Final = timedelta(minutes=30)  # what was in hand for so long is leased anew before it is tried
KEEP_S: Final = 20.0  # an idle connection
LONG_WAIT: Final = timedelta(seconds=90)  # a pace that needs more: nothing is kept leased for it
STORE_PAUSE_S: Final = 5.0
STOP_WITHIN_S: Final = 20.0
NO_LIMITS: Final = PaceLimits()


class Lane:
    """The mail of one account."""

    def __init__(self, dispatcher: Dispatcher, account: str) -> None:
        self._d = dispatcher
        self.account = account
        self._line = LaneLine()
        self._workers: set[asyncio.Task[None]] = set()
        self._connections = LaneConnections(dispatcher.clock, self._fill)
        self._in_work = LaneWork()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._settings_age = 0
        self.senders = LaneSenders(dispatcher, account)
        self._pace = LanePace(dispatcher.clock, self._pace_limits)
        self.hold = LaneHold(
            dispatcher.queue, dispatcher.clock, account, taken=self._taken, lost=self._lost, changed=self.wake
        )
        self._leasing = Leasing(
            dispatcher,
            account,
            self._line,
            self.hold,
            put=self._put,
            give_back=self._give_back,
            busy=lambda: len(self._in_work),
        )
        self._trouble = LaneTrouble(dispatcher, account, self._leasing, self._connections, empty=self._empty)

    @property
    def pause(self) -> Pause | None:
        """Return until when the lane waits for something that passes, and why."""
        return self._leasing.pause

    def start(self) -> None:
        """Begin to lease, once this node has the lane."""
        name = f"lane {self.account}"
        self.hold.start()
        self._task = asyncio.create_task(kept_up(self._leasing.run, name, self._d.clock), name=name)

    def wake(self) -> None:
        """Look again whether something is due."""
        self._leasing.wake()

    def offer(self) -> Offer | None:
        """Offer to take a message straight from who accepts it; None if it must wait its turn in the store."""
        return self._leasing.offer()

    def settings_changed(self) -> None:
        """Use no connection any more that was opened before, and wait no longer."""
        self._settings_age += 1
        self._leasing.read_limits_anew()
        self._connections.forget()
        self.senders.forget()
        self._trouble.over()
        self.wake()

    def forgive(self) -> None:
        """Wait no longer for what passes, and try refused senders again; the provider's own pace is kept all the same."""
        self.senders.forget()
        wait = self._pace.wait(1)
        if wait is None or wait <= LONG_WAIT:  # else it would only begin anew, without its reason
            self._trouble.over()

    async def stop(self) -> None:
        """Finish what is under way, give the rest back."""
        self._stopping = True
        self._leasing.stop()
        self._pace.wake()
        self._line.close()
        self._connections.stop()
        tasks = {task for task in (self._task, *self._workers) if task is not None}
        if tasks:
            _done, late = await asyncio.wait(tasks, timeout=STOP_WITHIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self.hold.stop()

    def tries_since_before(self, then: datetime) -> bool:
        """Tell whether something is under way that has been in hand since before then."""
        return self._in_work.has_since_before(then)

    async def recall(self) -> None:
        """Give back what an operator has stopped, as far as its MAIL FROM was not sent: it is stopped now."""
        if not self.hold.held:
            return
        leased = await self._d.queue.under_lease(self.account)
        all_of_it = self._d.gate(self.account).held_at is not None
        wanted = [(number, state.lease) for number, state in leased if all_of_it or state.wish is not None]
        found = self._in_work.take_back(wanted)
        for job in self._line.take_out({lease for _number, lease in found}):
            self._in_work.end(job.lease)
        self._pace.wake()
        await self._store_given_back([(number, GivenBack(lease)) for number, lease in found])

    async def _taken(self) -> None:
        """Go on at the pace at which the account has sent, whoever did."""
        self._pace.resume(await self._d.queue.pace(self.account, self._d.clock.now()))

    async def _lost(self) -> None:
        """Break off what is under way, before another node begins with it."""
        self._line.clear()
        for task in self._workers:
            task.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._line.clear()
        self._in_work.clear()

    # --- what was leased ----------------------------------------------------------------------------------------------------

    def _put(self, batch: Sequence[Leased]) -> None:
        now = self._d.clock.now()
        for leased in batch:
            if self._in_work.is_taken_back(leased.lease):  # while it was on its way from the store
                self._in_work.end(leased.lease)
            else:
                self._line.put(leased, now)
        self._fill()

    def _fill(self) -> None:
        """Begin as many workers as there is work for."""
        waiting = 0 if self._stopping else len(self._line) - self._line.idle
        wanted = min(waiting, self._places() - len(self._workers)) if waiting > 0 else 0
        for _number in range(wanted):
            task = asyncio.create_task(self._work(), name=f"worker {self.account}")
            self._workers.add(task)
            task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        """Do without a worker: mail may have come to the line while it ended, and counted on it."""
        self._workers.discard(task)
        if not self._stopping:
            self._fill()

    def _places(self) -> int:
        return self._connections.places(self._pace_limits())

    def _pace_limits(self) -> PaceLimits:
        return NO_LIMITS if self._leasing.limits is None else self._leasing.limits.pace

    async def _apply(self, events: Sequence[tuple[int, RecipientEvent]]) -> None:
        await self._d.apply(events)
        if not all(isinstance(event, Accepted) for _number, event in events):
            self._leasing.fall_behind()  # something is due, now or later

    async def _empty(self) -> None:
        await self._give_back(self._line.clear())

    async def _give_back(self, jobs: list[Leased]) -> None:
        await self._store_given_back(
            [(entry.id, GivenBack(leased.lease)) for leased in jobs for entry in leased.entries]
        )

    async def _store_given_back(self, events: Sequence[tuple[int, RecipientEvent]]) -> None:
        if events:
            await self._d.keep_at("lease", lambda: self._apply(events))
            self._d.changed(self.account)

    # --- a worker ---------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Send job after job over one connection, until none comes for a while, or the server takes no more connections."""
        kept = KeptConnection()
        self._connections.join(kept)
        try:
            while (taken := await self._line.take(self._places, KEEP_S)) is not None:
                await self._one_job(taken, kept)
                self._leasing.line_is_short()
                places = self._places()
                if len(self._workers) > places and self._connections.can_spare(kept, places):
                    return
                self._fill()  # the server may take one more by now
        finally:
            await self._connections.leave(kept)
            self.wake()

    async def _one_job(self, taken: InHand, kept: KeptConnection) -> None:
        leased = taken.leased
        self._in_work.add(taken)
        try:
            if self._d.clock.now() - taken.since > STALE:
                await self._give_back([leased])
            else:
                await self._do(leased, kept)
        except BodyMissing as error:
            log.warning("body_missing", extra={"fields": {"id": leased.id, "why": str(error)}})
            await self._break_off(leased, self._d.troubles.of_reason("body_missing"))
        except ValijaError as error:  # the store
            log.warning("outcome_not_stored", extra={"fields": {"id": leased.id, "why": str(error)}})
            await self._trouble.pause_for(STORE_PAUSE_S, words=str(error))
            await self._break_off(leased)
        except Exception:  # one message must never stop all others
            log.exception("try_broken_off", extra={"fields": {"id": leased.id}})
            await self._break_off(leased, self._d.troubles.of_reason("peer_nonsense"))
        finally:
            self._in_work.end(leased.lease)
            if taken.large:
                self._line.done()

    async def _break_off(self, leased: Leased, trouble: Trouble | None = None) -> None:
        """Give back what has no outcome: as it was, or with a failed try."""

        async def give_back() -> None:
            stored = await self._d.queue.load(leased.id)
            found = [] if stored is None else stored.entries
            left = tuple(e for e in found if isinstance(e.state, InFlight) and e.state.lease == leased.lease)
            events: list[tuple[int, RecipientEvent]] = [(entry.id, GivenBack(leased.lease)) for entry in left]
            if trouble is None:
                await self._apply(events)
                return
            due = self._d.clock.now() + self._d.delay(max(map(tries_of, left), default=0) + 1)
            await self._end_tries(
                Judgement([(e.id, TryFailed(leased.lease, due, trouble)) for e in left]), leased, left
            )

        await self._d.keep_at("lease", give_back)

    async def _do(self, leased: Leased, kept: KeptConnection) -> None:
        """Try one message, in parts if it has many recipients."""
        if await self._sender_waits(leased, self._d.clock.now()):
            return
        limit = self._leasing.limits.recipients_per_message if self._leasing.limits else None
        size = limit or len(leased.entries)
        parts = [leased.entries[at : at + size] for at in range(0, len(leased.entries), size)]
        for number, part in enumerate(parts):
            if not await self._try(leased, part, kept):
                rest = [entry for later in parts[number + 1 :] for entry in later]
                await self._apply([(entry.id, GivenBack(leased.lease)) for entry in rest])
                return

    async def _try(self, leased: Leased, entries: tuple[RecipientEntry, ...], kept: KeptConnection) -> bool:
        """Try some recipients; tell whether the account can go on."""
        back: list[tuple[int, RecipientEvent]] = [(entry.id, GivenBack(leased.lease)) for entry in entries]
        if not await self._may_begin(leased, len(entries)):
            await self._apply(back)
            return self._in_work.is_taken_back(leased.lease)  # that one alone
        counted, path = False, leased.message.reverse_path
        try:
            path = await self.senders.path(leased.message)
            judgement = await self._send(leased, entries, kept, path)
            counted = judgement is not None
        finally:
            self._pace.end(counted=counted)
        if judgement is None:
            taken_back = self._in_work.is_taken_back(leased.lease)
            stopped = taken_back or not self._d.gate(self.account).is_open or not self.hold.is_sure()
            if not stopped:  # the account is not at fault
                await self._end_tries(Judgement(back), leased, entries)
            else:
                await self._apply(back)
            return taken_back
        if judgement.wrong_sender and await self.senders.refused(leased, path, judgement):
            await self._apply(back)
            return True
        goes_on = judgement.account_trouble is None and not judgement.pause
        if goes_on:
            await self._end_tries(judgement, leased, entries)
        else:
            await self._store(judgement, leased)
        await self._learn(judgement)
        self._d.changed(self.account)
        return goes_on

    async def _end_tries(self, judgement: Judgement, leased: Leased, entries: tuple[RecipientEntry, ...]) -> None:
        """Store what became of a try; it was the last one if the message has waited as long as the schedule allows.

        Not before a try: a clock that was set forward makes any mail look old.
        """
        message, now = leased.message, self._d.clock.now()
        stopped = self._d.gate(self.account).stopped_until(now) - message.stopped
        if self._d.schedule.is_over(accepted_at=message.accepted_at, stopped=stopped, now=now):
            give_up(judgement, entries, now, await self._wished_for(leased))
        await self._store(judgement, leased)

    async def _wished_for(self, leased: Leased) -> set[int]:
        """Return the recipients that an operator has held or cancelled during the try: they end as was asked for."""
        stored = await self._d.queue.load(leased.id)
        states = [(entry.id, entry.state) for entry in stored.entries] if stored is not None else []
        return {number for number, state in states if isinstance(state, InFlight) and state.wish is not None}

    async def _store(self, judgement: Judgement, leased: Leased) -> None:
        """Store the report and then the outcome, in one: a worker that is cancelled in between leaves both to be stored.

        A report that cannot be made takes no outcome with it: what was delivered would be sent again.
        """
        told = self._d.report is None or not judgement.ended

        async def store() -> None:
            nonlocal told
            if not told and self._d.report is not None:
                try:
                    await self._d.report(leased.message, leased.id, judgement.ended)
                except ValijaError:
                    raise
                except Exception:
                    log.exception("report_not_made", extra={"fields": {"id": leased.id}})
                told = True
            await self._apply(judgement.events)

        await self._d.keep_at("outcome", store)

    async def _send(
        self, leased: Leased, entries: tuple[RecipientEntry, ...], kept: KeptConnection, path: str
    ) -> Judgement | None:
        """Send with a reverse-path; None if nothing was sent: no connection, or stopped."""
        message = leased.message
        recipients = tuple(Recipient(e.recipient.address, e.recipient.notify, e.recipient.original) for e in entries)
        size, read = await self.senders.octets(leased, path)
        envelope = Envelope(path, recipients, size, message.eight_bit, message.envelope_id, message.ret)
        for fresh in (False, True):
            reused = kept.usable(self._settings_age)
            connection = await self._connection(kept)
            if connection is None:
                return None
            try:
                fitting, octets = await fit(message, envelope, connection.capabilities, read)
                held = self._d.gate(self.account).held_at is not None
                if held or not self.hold.is_sure() or not self._in_work.begin(leased.lease, entries):
                    return None
                found = await connection.send(fitting, octets)
            except NetError as error:  # TLS went wrong under way: as if it could not be opened
                await kept.close()
                await self._trouble.connection_failed(self._d.troubles.of_net(error))
                return None
            except BaseException:
                await kept.close(politely=False)
                raise
            now = self._d.clock.now()
            judgement = judge(found, entries, leased.lease, self._d.troubles, now, self._d.delay)
            kept.sent += 1
            if not found.reusable:
                await kept.close(politely=False)
            if not (judgement.connection_lost and reused and not fresh):
                return judgement
        return None

    async def _connection(self, kept: KeptConnection) -> SmtpConnection | None:
        if kept.connection is not None and kept.usable(self._settings_age):
            return kept.connection
        await kept.close()
        age = self._settings_age
        kept.connection, kept.age, kept.sent = await self._trouble.open(), age, 0
        if kept.connection is not None:
            self._trouble.over()
            self._connections.opened()
        return kept.connection

    # --- what a try tells about the account -------------------------------------------------------------------------------

    async def _learn(self, judgement: Judgement) -> None:
        if judgement.account_trouble is not None:
            await self._trouble.block(judgement.account_trouble)
        elif judgement.pause:
            self._pace.slow_down(self._d.clock.now() + judgement.pause)
            await self._trouble.pause_for(judgement.pause.total_seconds(), judgement.pause_trouble)
        elif judgement.accepted:
            await self._trouble.unblock()

    # --- before a try -----------------------------------------------------------------------------------------------------

    async def _may_begin(self, leased: Leased, recipients: int) -> bool:
        """Wait for the pace; false if the mail has been stopped meanwhile, or all of the account, or would be for long."""
        while not self._stopping and not self._in_work.is_taken_back(leased.lease):
            now, gate = self._d.clock.now(), self._d.gate(self.account)
            if self._leasing.is_paused(now) or not (gate.is_open or gate.may_probe(now)):
                return False
            wait = self._pace.wait(recipients)
            if wait is not None and wait <= timedelta():
                self._pace.begin(recipients)
                return True
            if wait is not None and wait > LONG_WAIT:
                await self._trouble.pause_for(wait.total_seconds())
                return False
            await self._pace.sleep(wait)
        return False

    async def _sender_waits(self, leased: Leased, now: datetime) -> bool:
        """Leave a sender alone that the mailbox may not send as."""
        until = await self.senders.until(leased, now)
        if until is None:
            return False
        trouble = self._d.troubles.of_reason("send_as_denied")
        await self._apply([(entry.id, TryFailed(leased.lease, until, trouble)) for entry in leased.entries])
        self._d.changed(self.account)
        return True
