"""What a POP setting has fetched becomes jobs, one for each message, in order; nothing is lost, nothing is taken twice.

Theory of operation
-------------------
1. Retrieval has stored each message as a file, and noted it, before it was deleted upstream. Here all that was noted after the
   cursor (a file beside the messages) is taken, in order; the cursor moves when what its job does here has ended, and that is
   stored.
2. A crash in between finds the job by the message's number, and goes on with it.
3. Where a setting is new, what had come before is not taken. Where the cursor cannot be read, the jobs tell it: the last
   message that has one; without any, what is older than jobs are kept is taken for done.
4. News of mail may be missing, when its note's answer was lost: so it is looked for now and then in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from valija.domain.account import Actor, Presence, Setting
from valija.domain.clock import Clock
from valija.domain.errors import StoreError, ValijaError
from valija.domain.job import JobKind, JobStateName, Preparing
from valija.domain.text import N_, Message, message
from valija.message.addresses import read_addresses
from valija.message.mime_fields import readable
from valija.message.mime_reading import BadMail, MessageHead
from valija.paper.process import Limits, PaperWorker
from valija.services.durable import write_durably
from valija.services.events import EventBus, MailReceived
from valija.services.job_run import JobRun, card_of
from valija.services.jobs import JobDesk
from valija.services.mail_parts import read_head
from valija.store.jobs_port import StoredJob
from valija.store.port import Store, StoredMessage

log: Final = logging.getLogger(__name__)
AT_ONCE: Final = 10_000
KNOWN_JOBS: Final = 500
LOOK_S: Final = 60.0
SENDER_LIMIT: Final = 320
MESSAGE_ID_LIMIT: Final = 990
STRANGERS: Final = Limits(processor_s=120, clock_s=240.0)  # one bad file must not hold up the others for long
_IN_BRACKETS: Final = re.compile(r"<([^<>\s]{1,255}@[^<>\s]{1,255})>\s*$")
Say = Callable[[Message | str, str], str]


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that was fetched: where it is, its head, the address that it says it comes from (or nothing)."""

    path: Path
    head: MessageHead
    sender: str


Receive = Callable[[JobRun, Letter, PaperWorker], Awaitable[None]]
Answered = Callable[[Letter], Awaitable[bool]]


async def _nobody_asked(_letter: Letter) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Taking:
    """What all who take mail work with; ``say`` translates a sentence."""

    store: Store
    jobs: JobDesk
    clock: Clock
    events: EventBus
    say: Say
    state_dir: Path


class MailTaker:
    """Takes what a setting has fetched. Run :meth:`run` as a task.

    ``receive`` is a job's work; ``is_answer`` tells that a message was an answer, and made no job; ``title_of`` is for people.
    """

    def __init__(
        self,
        taking: Taking,
        *,
        setting: Setting,
        kind: JobKind,
        cursor: str,
        receive: Receive,
        is_answer: Answered = _nobody_asked,
        title_of: Callable[[str], str] = str,
    ) -> None:
        self._store = taking.store
        self._jobs = taking.jobs
        self._clock = taking.clock
        self._events = taking.events
        self._say = taking.say
        self._state_dir = taking.state_dir
        self._setting = setting
        self._kind = kind
        self._cursor = taking.state_dir / cursor
        self._receive = receive
        self._is_answer = is_answer
        self._title_of = title_of
        self._lock = asyncio.Lock()
        self._taken_again = 0
        taking.jobs.interrupted[kind] = self.leave_to_run

    async def start(self) -> None:
        """Begin after what there is, where nothing was ever taken before."""
        if await asyncio.to_thread(self._cursor.exists):
            await self._place()
            return
        latest = await self._store.list_received(self._setting.value, 1)
        await self._move(latest[0].id if latest else 0)

    async def run(self) -> None:
        """Take what comes, for ever."""
        async with self._events.subscribe() as queue:
            while True:
                await self._take_all()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        while not self._is_ours(await queue.get()):
                            pass

    async def take(self) -> int:
        """Take all that was fetched and not taken yet; return how many messages. Raises store errors, OSError."""
        async with self._lock:
            new = await self._store.received_after(self._setting.value, await self._place(), AT_ONCE)
            if not new:
                return 0
            known = await self._known()
            async with PaperWorker(STRANGERS) as worker:
                for stored in new:
                    await self._take_or_say_why(stored, known.get(str(stored.id)), worker)
                    await self._move(stored.id)
            return len(new)

    async def _take_all(self) -> None:
        try:
            await self.take()
        except (ValijaError, OSError) as error:
            log.warning("mail_waits", extra={"fields": {"setting": self._setting.value, "why": str(error)}})

    async def leave_to_run(self, job: StoredJob) -> bool:
        """Tell whether a job that was interrupted is found again by its message, before the next one is taken."""
        number = job.card.detail("received")
        return number.isdigit() and int(number) > await self._place()

    async def _known(self) -> dict[str, StoredJob]:
        """Return jobs by the number of their message: the latest, and all that have only begun."""
        latest = await self._store.jobs.list_jobs(kind=self._kind, state=None, limit=KNOWN_JOBS)
        begun = await self._store.jobs.list_jobs(kind=self._kind, state=JobStateName.PREPARING, limit=KNOWN_JOBS)
        return {job.card.detail("received"): job for job in (*latest, *begun)}

    async def _take_or_say_why(self, stored: StoredMessage, known: StoredJob | None, worker: PaperWorker) -> None:
        """Take a message; what nobody foresaw about it must not hold up all that come after it. It stays where it is."""
        try:
            await self._take_one(stored, known, worker)
        except (ValijaError, OSError):
            raise
        except Exception as error:
            log.exception("mail_not_taken", extra={"fields": {"setting": self._setting.value, "message": stored.id}})
            await self._say_why_not(stored, type(error).__name__)

    async def _say_why_not(self, stored: StoredMessage, words: str) -> None:
        known = (await self._known()).get(str(stored.id))
        if known is None:
            details = {"received": str(stored.id)}
            who = Actor("", self._setting.value, Presence.REMOTE)
            card = card_of(self._kind, stored.message.file, who, self._clock.now(), (), details)
            known = await self._store.jobs.add(card, Preparing(card.created_at), await self._jobs.node())
        await self._jobs.fail(known.id, "job_error", words)

    async def _take_one(self, stored: StoredMessage, known: StoredJob | None, worker: PaperWorker) -> None:
        path = self._state_dir / stored.message.file
        if not await asyncio.to_thread(path.is_file):  # fetched by another node, which takes it itself
            return
        try:
            head = await asyncio.to_thread(read_head, path)
        except BadMail:
            head = MessageHead((), "", {})
        letter = Letter(path, head, sender_of(head))
        if known is None and await self._is_answer(letter):
            return

        async def work(run: JobRun) -> None:
            await self._receive(run, letter, worker)

        if known is None:
            job = await self._jobs.begin(card_of(self._kind, *await self._card(stored, letter)), work)
        elif known.state.name is not JobStateName.PREPARING:
            return
        else:
            job = known
            await self._jobs.go_on(job, work)
        ended = await self._jobs.stay_with(job.id)
        if ended is not None and ended.state.name is JobStateName.PREPARING:
            await self._take_again(stored, ended)

    async def _take_again(self, stored: StoredMessage, job: StoredJob) -> None:
        """Let a message whose job's end could not be stored be taken again; the second time that end is another one."""
        if self._taken_again != stored.id:
            self._taken_again = stored.id
            raise StoreError(message(N_("How job {number} ended could not be stored."), number=job.id))
        await self._jobs.fail(job.id, "job_error")

    async def _card(
        self, stored: StoredMessage, letter: Letter
    ) -> tuple[str, Actor, datetime, tuple[str, ...], dict[str, str]]:
        title = self._title_of(readable(letter.head.first("subject")))
        if not title:
            title = self._say(N_("(no subject)"), (await self._store.load_preferences()).language or "en")
        who = Actor("", letter.sender or self._setting.value, Presence.REMOTE)
        message_id = letter.head.text("message-id")[:MESSAGE_ID_LIMIT]
        details = {"received": str(stored.id), "sender": letter.sender, "message_id": message_id}
        return title, who, self._clock.now(), (), details

    def _is_ours(self, event: object) -> bool:
        return isinstance(event, MailReceived) and event.account == self._setting.value

    # --- the cursor -------------------------------------------------------------------------------------------------------

    async def _place(self) -> int:
        """Return the number of the last message that was taken."""
        try:
            return int(await asyncio.to_thread(self._cursor.read_text, "ascii"))
        except (FileNotFoundError, ValueError):
            place = await self._last_taken()
            log.warning("mail_place_lost", extra={"fields": {"setting": self._setting.value, "place": place}})
            await self._move(place)
            return place

    async def _move(self, place: int) -> None:
        await asyncio.to_thread(write_durably, self._cursor, str(place))

    async def _last_taken(self) -> int:
        """Return the place that the jobs tell: up to the last message that has one, which is not past if it only began."""
        before: int | None = None
        while jobs := await self._store.jobs.list_jobs(kind=self._kind, state=None, limit=KNOWN_JOBS, before_id=before):
            for job in jobs:
                if await self._is_here(number := job.card.detail("received")):
                    return int(number) - (job.state.name is JobStateName.PREPARING)
            before = jobs[-1].id
        forgotten = self._clock.now() - self._jobs.keep
        latest = await self._store.list_received(self._setting.value, AT_ONCE)
        return next((stored.id for stored in latest if stored.message.received_at < forgotten), 0)

    async def _is_here(self, number: str) -> bool:
        """Tell whether this node has fetched a message."""
        stored = await self._store.load_received(int(number)) if number.isdigit() else None
        return stored is not None and await asyncio.to_thread((self._state_dir / stored.message.file).is_file)


def sender_of(head: MessageHead) -> str:
    """Return the address that a message says it comes from; empty if it says none.

    What stands encoded in the field is a name, whatever it looks like (RFC 2047 section 5), unless there is nothing else.
    Of several addresses it is the one in angle brackets at the end; where there is a doubt it is none.
    """
    said = head.first("from")
    found = [address for _name, address in read_addresses([said]) if "@" in address]
    if not found:
        found = [address for _name, address in read_addresses([readable(said)]) if "@" in address]
    if len(found) > 1:
        found = _IN_BRACKETS.findall(said) if said.count("<") == 1 else []
    address = found[0] if len(found) == 1 else ""
    return readable(address)[:SENDER_LIMIT] if "@" in address else ""
