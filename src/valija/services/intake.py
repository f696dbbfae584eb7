"""Taking a message in for good: what comes in pieces is mended, kept in bounded memory, made durable, then queued.

A message that fits ``INLINE`` octets goes into the queue's row; a larger one into a file of the spool. Nothing is answered
before it is on disk. What goes wrong on the way is remembered, the rest of the message is read to its end and dropped, and
the answer says it: a client that is in the middle of a message cannot be told anything.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from valija.domain.clock import Clock
from valija.domain.device import may_name
from valija.domain.errors import StoreError, StoreFull, ValijaError
from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.domain.unheard import Unheard
from valija.message.submission import (
    HOPS_LIMIT,
    HeadReader,
    HeadTooLarge,
    LineEnds,
    MendedHead,
    Mending,
    authors_of,
    date_text,
    mend_head,
)
from valija.message.transfer_encoding import LineLengths
from valija.net.visits import Verdict
from valija.services.lane_line import Offer
from valija.store.queue_port import Body, QueueStore
from valija.store.spool_port import BodyFile, BodySpool

INLINE: Final = 65_536
_NO_ATOM: Final = re.compile(r"[^A-Za-z0-9.:_-]+")
BUFFER: Final = 262_144
TOO_LARGE_HEAD: Final = Verdict(552, "5.3.4", "The message's head is too large")
NO_SENDER: Final = Verdict(553, "5.7.1", "This device may not send as that sender")
ROOM_LEFT: Final = 33_554_432  # octets that no message may take


@dataclass(frozen=True, slots=True)
class Origin:
    """Who hands a message in: a device's login (empty for the machine itself), how it came, for the trace (RFC 5321 4.4)."""

    device: str
    address: str
    helo: str
    protocol: str  # SMTP, ESMTPS, ESMTPSA, ... (RFC 3848)
    tls: str = ""  # its version; empty for none


@dataclass(frozen=True, slots=True)
class IncomingEnvelope:
    """What the client said, and what was decided about it: ``reverse_path`` is what goes on, ``named`` what it had named.

    ``in_head``: From must name the reverse-path as well, or what ``is_own``. ``authors``: addresses or @domains that From may
    name; empty for any.
    """

    account: str
    reverse_path: str
    named: str
    rewritten: bool
    recipients: tuple[QueuedRecipient, ...]
    envelope_id: str = ""
    ret: str = ""
    in_head: bool = False
    authors: tuple[str, ...] = ()
    is_own: Callable[[str], bool] | None = None


class Intake:
    """Makes messages on their way in."""

    def __init__(
        self,
        queue: QueueStore,
        spool: BodySpool,
        clock: Clock,
        *,
        host_name: str,
        accepted: Callable[[str, int], None],
        offer: Callable[[str], Offer | None],
        handed_over: Callable[[str, int], None],
        stopped: Callable[[str], timedelta],
    ) -> None:
        self.queue = queue
        self.spool = spool
        self.clock = clock
        self.host_name = host_name
        self.accepted = accepted
        self.offer = offer
        self.handed_over = handed_over
        self.stopped = stopped
        self.unheard = Unheard()

    def has_room(self, octets: int) -> bool:
        """Tell whether a message of so many octets (0: not known) fits on the disk, with something left for the queue."""
        return self.spool.has_room(octets + ROOM_LEFT)

    def begin(self, origin: Origin, envelope: IncomingEnvelope) -> IncomingMail:
        """Begin a message."""
        return IncomingMail(self, origin, envelope)


class IncomingMail:
    """One message on its way in (:class:`~valija.net.visits.MessageSink`)."""

    def __init__(self, intake: Intake, origin: Origin, envelope: IncomingEnvelope) -> None:
        self._intake = intake
        self._origin = origin
        self._envelope = envelope
        self._began = self._taken_at = intake.clock.now()
        self._line_ends = LineEnds()
        self._head_reader: HeadReader | None = HeadReader()
        self._head: MendedHead | None = None
        self._head_came = b""
        self._digest: Any = None  # of what came, once a part of it is no longer in memory
        self._key = b""
        self._kept = bytearray()
        self._file: BodyFile | None = None
        self._size = 0
        self._ascii = True
        self._lines = LineLengths()
        self._failure: Verdict | None = None
        self._offer: Offer | None = None  # of the lane that sends it
        self.id: int | None = None
        self.forbidden = ""  # a sender in From that the device may not name

    def write(self, data: bytes) -> Awaitable[None] | None:
        """Take the next octets."""
        return self._take(self._line_ends.feed(data))

    def commit(self) -> Awaitable[Verdict]:
        """Queue the message durably; say so."""
        rest = self._take(self._line_ends.end())
        if self._head_reader is not None and self._failure is None:
            rest = self._with_head(*self._head_reader.end())
        return self._commit(rest)

    async def _commit(self, rest: Awaitable[None] | None) -> Verdict:
        if rest is not None:
            await rest
        unheard = self._intake.unheard
        known = unheard.known(self._identity(), self._began) if unheard and self._head is not None else None
        if known is not None:  # it was taken before, and the client never heard of it
            await self.abandon()
            (self.id, self._taken_at), self._failure = known, None
        elif self._failure is None:
            try:
                self.id = await self._queue()
            except ValijaError as error:
                self._failure = _failed(error)
            else:
                told = self._intake.handed_over if self._offer is not None else self._intake.accepted
                told(self._envelope.account, len(self._envelope.recipients))
        if self._failure is not None:
            await self.abandon()
            return self._failure
        return Verdict(250, "2.0.0", f"Queued as {self.id}")

    def unheard(self) -> None:
        """Remember that the client does not know: what it hands in again is the same message."""
        if self.id is not None:
            self._intake.unheard.note(self._identity(), self.id, self._taken_at)

    def _identity(self) -> bytes:
        """Return what the client would send again: its device, envelope and octets, as a digest. Once all has come."""
        if not self._key:
            self._note_octets()
            self._key = self._digest.digest()
        return self._key

    def _note_octets(self) -> None:
        """Take what is kept, and leaves memory now, into the digest."""
        kept = memoryview(self._kept)
        if self._digest is None:
            envelope = repr((self._origin.device, self._envelope)).encode("utf-8", "replace")
            self._digest = hashlib.sha256(envelope + self._head_came)
            kept = kept[len(self._head.octets) if self._head is not None else 0 :]
        self._digest.update(kept)
        kept.release()

    async def abandon(self) -> None:
        """Forget what came."""
        self._kept.clear()
        file, self._file = self._file, None
        if file is not None:
            await file.abandon()

    def _take(self, data: bytes) -> Awaitable[None] | None:
        if self._failure is not None or not data:
            if self._digest is not None:
                self._digest.update(data)
            return None
        if self._head_reader is None:
            return self._add(data)
        try:
            found = self._head_reader.feed(data)
        except HeadTooLarge:
            self._failure = TOO_LARGE_HEAD
            return None
        return self._with_head(*found) if found is not None else None

    def _with_head(self, head: bytes, body: bytes) -> Awaitable[None] | None:
        self._head_reader = None
        try:
            mended = mend_head(head, self._mending())
        except HeadTooLarge:
            self._failure = TOO_LARGE_HEAD
            return None
        if mended.hops >= HOPS_LIMIT:
            self._failure = Verdict(554, "5.4.6", "The message goes in circles")
            return None
        if authors := self._envelope.authors:
            named = (address for address in authors_of(head) if "@" in address)
            self.forbidden = next((address for address in named if not may_name(authors, address)), "")
            if self.forbidden:
                self._failure = NO_SENDER
                return None
        self._head, self._head_came = mended, head
        return self._add(mended.octets + body)

    def _mending(self) -> Mending:
        origin, envelope = self._origin, self._envelope
        domain = envelope.reverse_path.rpartition("@")[2] or self._intake.host_name
        for_whom = f" for <{envelope.recipients[0].address}>" if len(envelope.recipients) == 1 else ""
        address = _atom(origin.address)
        came = f"from {_atom(origin.helo)} ([{'IPv6:' if ':' in address else ''}{address}])"  # RFC 5321 section 4.1.3
        by = f"by {self._intake.host_name} (Valija) with {origin.protocol}{for_whom}"
        return Mending(
            received=f"{came} {by}; {date_text(self._began)}",
            date=self._began,
            message_id=lambda: f"{secrets.token_hex(16)}@{domain if domain.isascii() else 'valija.invalid'}",
            sender=envelope.named or envelope.reverse_path,
            mailbox=envelope.reverse_path if envelope.in_head else "",
            is_own=envelope.is_own,
        )

    def _add(self, data: bytes) -> Awaitable[None] | None:
        self._size += len(data)
        self._ascii = self._ascii and data.isascii()
        self._lines.feed(data)
        self._kept += data
        return self._flush() if len(self._kept) > (INLINE if self._file is None else BUFFER) else None

    async def _flush(self) -> None:
        """Write what is kept to the file; what goes wrong is told at the end."""
        self._note_octets()
        try:
            if self._file is None:
                self._file = await self._intake.spool.create()
            await self._file.write(bytes(self._kept))
        except ValijaError as error:
            self._failure = _failed(error)
            await self.abandon()
        self._kept.clear()

    async def _queue(self) -> int:
        if self._file is None:
            body = Body(bytes(self._kept))
        else:
            await self._file.write(bytes(self._kept))
            body = Body(file=await self._file.commit())
        message, queue = self._message(self._intake.clock.now()), self._intake.queue
        offer = self._offer = self._intake.offer(message.account)
        try:
            if offer is not None:
                return await queue.accept_leased(message, body, offer.until, offer.taken)
            return await queue.accept(message, body)
        except StoreFull:  # after any other trouble the row may be there all the same: a start-up cleans up
            await self._intake.spool.delete([body.file] if body.file else [])
            raise

    def _message(self, now: datetime) -> QueuedMessage:
        envelope, head = self._envelope, self._head
        return QueuedMessage(
            account=envelope.account,
            device=self._origin.device,
            reverse_path=envelope.reverse_path,
            message_id=head.message_id if head else "",
            size=self._size,
            accepted_at=now,
            recipients=envelope.recipients,
            subject=head.subject if head else "",
            eight_bit=not self._ascii,
            long_lines=self._lines.any_long,
            envelope_id=envelope.envelope_id,
            ret=envelope.ret,
            stopped=self._intake.stopped(envelope.account),
            report_to=envelope.named if envelope.rewritten else "",
            address=self._origin.address,
            via=self._origin.protocol,
            tls=self._origin.tls,
        )


def recipients_of(addresses: Sequence[str]) -> tuple[QueuedRecipient, ...]:
    """Return recipients without DSN parameters, each once."""
    return tuple(QueuedRecipient(address) for address in dict.fromkeys(addresses))


def _failed(error: ValijaError) -> Verdict:
    if isinstance(error, StoreFull):
        return Verdict(452, "4.3.1", "Insufficient system storage")
    if isinstance(error, StoreError):
        return Verdict(451, "4.3.0", "The queue cannot be written now")
    return Verdict(451, "4.3.0", "Local error in processing")


def _atom(text: str) -> str:
    """Return a text that can stand in the trace: no comment, no line end, nothing long."""
    return _NO_ATOM.sub("", text[:120]) or "unknown"
