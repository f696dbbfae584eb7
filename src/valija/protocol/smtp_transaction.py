"""The client's mail transactions (RFC 5321 section 3.3, RFC 2920), without I/O: messages with an outcome per recipient.

Theory of operation
-------------------
The generators yield the steps of :mod:`valija.protocol.smtp_client`. One that sends a message turns :class:`ConnectionGone`
into outcomes, so every recipient always gets one:

1. A recipient is ACCEPTED only if its RCPT and the reply after the final dot were positive.
2. Lost before the final dot was sent: nothing was taken (DEFERRED). Lost after it: IN_DOUBT.
3. What the server cannot take by its own word (SIZE, 8BITMIME, SMTPUTF8) is refused before anything is sent.
4. With PIPELINING, MAIL, all RCPT and DATA go in one write. If then DATA is taken although every recipient was refused,
   the message is ended at once with nothing in it (RFC 2920 section 3.1).
5. After 421, 503 or a desynchronised session the connection must not be used again (``reusable`` is false).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from valija.protocol.smtp_client import Capabilities, ConnectionGone, Read, SendBody, Stage, Step, Write
from valija.protocol.smtp_path import encode_xtext, format_path
from valija.protocol.smtp_reply import SmtpReply


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient; ``notify`` and ``original`` are DSN parameters (RFC 3461), empty for none."""

    address: str
    notify: str = ""
    original: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a message travels in. ``size`` in octets; ``envelope_id`` and ``ret`` (FULL, HDRS) are DSN parameters."""

    reverse_path: str
    recipients: tuple[Recipient, ...]
    size: int
    eight_bit: bool = False
    envelope_id: str = ""
    ret: str = ""

    @property
    def needs_utf8(self) -> bool:
        """Tell whether an address is not ASCII (RFC 6531)."""
        return not all(a.isascii() for a in (self.reverse_path, *(r.address for r in self.recipients)))


class Verdict(StrEnum):
    """What became of a message for one recipient."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class RecipientOutcome:
    """What became of a message for one recipient: where it was decided, by which reply or for which reason of our own."""

    recipient: str
    verdict: Verdict
    stage: Stage
    reply: SmtpReply | None
    reason: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of a message.

    ``reusable``: the connection may send another one. ``reports``: the server offered DSN, so it tells the sender itself.
    """

    outcomes: tuple[RecipientOutcome, ...]
    reusable: bool
    reports: bool = False


class _Progress:
    """Where a message is, for the case that the connection goes."""

    def __init__(self, envelope: Envelope) -> None:
        self.recipients = [r.address for r in envelope.recipients]
        self.decided: dict[int, RecipientOutcome] = {}
        self.stage = Stage.MAIL
        self.body_sent = False

    def decide(self, number: int, verdict: Verdict, stage: Stage, reply: SmtpReply) -> None:
        self.decided[number] = RecipientOutcome(self.recipients[number], verdict, stage, reply)

    def decide_rest(
        self, verdict: Verdict, stage: Stage, reply: SmtpReply | None, reason: str = "", words: str = ""
    ) -> None:
        for number, address in enumerate(self.recipients):
            if number not in self.decided:
                self.decided[number] = RecipientOutcome(address, verdict, stage, reply, reason, words)

    def outcome(self, *, reusable: bool) -> SendOutcome:
        return SendOutcome(tuple(self.decided[n] for n in range(len(self.recipients))), reusable)


def send_message(capabilities: Capabilities, envelope: Envelope) -> Generator[Step, Any, SendOutcome]:
    """Send one message; returns an outcome for each recipient, whatever happens.

    Raises :class:`LocalProtocolError` before anything is sent if an address cannot stand in a command.
    """
    progress = _Progress(envelope)
    impossible = _cannot_take(capabilities, envelope)
    if impossible:
        progress.decide_rest(Verdict.FAILED, Stage.MAIL, None, impossible)
        return progress.outcome(reusable=True)
    commands = _commands(capabilities, envelope)
    try:
        if capabilities.has("PIPELINING"):
            return (yield from _pipelined(commands, progress))
        return (yield from _one_by_one(commands, progress))
    except ConnectionGone as gone:
        if progress.body_sent:
            progress.decide_rest(Verdict.IN_DOUBT, Stage.BODY, None, "in_doubt", gone.words)
        else:
            progress.decide_rest(Verdict.DEFERRED, progress.stage, None, gone.reason, gone.words)
        return progress.outcome(reusable=False)


def nothing_sent(envelope: Envelope, reply: SmtpReply | None, reason: str, words: str) -> SendOutcome:
    """Return the outcome of a message that was not begun, because the connection is of no use any more."""
    progress = _Progress(envelope)
    progress.decide_rest(Verdict.DEFERRED, Stage.MAIL, reply, reason, words)
    return progress.outcome(reusable=False)


def _cannot_take(capabilities: Capabilities, envelope: Envelope) -> str:
    limit = capabilities.size_limit
    if limit is not None and envelope.size > limit:
        return "size_exceeded"
    if envelope.needs_utf8 and not capabilities.has("SMTPUTF8"):
        return "smtputf8_missing"
    if envelope.eight_bit and not capabilities.has("8BITMIME"):
        return "eight_bit_missing"
    return ""


def _commands(capabilities: Capabilities, envelope: Envelope) -> list[bytes]:
    dsn = capabilities.has("DSN")
    mail: dict[str, str | None] = {}
    if capabilities.has("SIZE"):
        mail["SIZE"] = str(envelope.size)
    if envelope.eight_bit:
        mail["BODY"] = "8BITMIME"
    if envelope.needs_utf8:
        mail["SMTPUTF8"] = None
    if dsn and envelope.ret:
        mail["RET"] = envelope.ret
    if dsn and envelope.envelope_id:
        mail["ENVID"] = encode_xtext(envelope.envelope_id)
    commands = [b"MAIL FROM:" + format_path(envelope.reverse_path, mail) + b"\r\n"]
    for recipient in envelope.recipients:
        rcpt: dict[str, str | None] = {}
        if dsn and recipient.notify:
            rcpt["NOTIFY"] = recipient.notify
        if dsn and recipient.original:
            rcpt["ORCPT"] = f"rfc822;{encode_xtext(recipient.original)}"
        commands.append(b"RCPT TO:" + format_path(recipient.address, rcpt) + b"\r\n")
    return commands


def _pipelined(commands: list[bytes], progress: _Progress) -> Generator[Step, Any, SendOutcome]:
    yield Write(b"".join(commands) + b"DATA\r\n")
    mail: SmtpReply = yield Read(Stage.MAIL)
    if not mail.is_positive:
        progress.decide_rest(_refusal(mail), Stage.MAIL, mail)
        if mail.code == 421:
            return progress.outcome(reusable=False)
    progress.stage = Stage.RCPT
    for number in range(len(progress.recipients)):
        reply: SmtpReply = yield Read(Stage.RCPT)
        if mail.is_positive and not reply.is_positive:
            progress.decide(number, _refusal(reply), Stage.RCPT, reply)
        if reply.code == 421:
            progress.decide_rest(Verdict.DEFERRED, Stage.RCPT, reply)
            return progress.outcome(reusable=False)
    progress.stage = Stage.DATA
    data: SmtpReply = yield Read(Stage.DATA)
    return (yield from _body(data, progress))


def _one_by_one(commands: list[bytes], progress: _Progress) -> Generator[Step, Any, SendOutcome]:
    yield Write(commands[0])
    mail: SmtpReply = yield Read(Stage.MAIL)
    if not mail.is_positive:
        progress.decide_rest(_refusal(mail), Stage.MAIL, mail)
        return (yield from _leave(progress, mail))
    progress.stage = Stage.RCPT
    for number, command in enumerate(commands[1:]):
        yield Write(command)
        reply: SmtpReply = yield Read(Stage.RCPT)
        if not reply.is_positive:
            progress.decide(number, _refusal(reply), Stage.RCPT, reply)
        if reply.code == 421:
            progress.decide_rest(Verdict.DEFERRED, Stage.RCPT, reply)
            return progress.outcome(reusable=False)
    if len(progress.decided) == len(progress.recipients):
        return (yield from _leave(progress, mail))
    progress.stage = Stage.DATA
    yield Write(b"DATA\r\n")
    data: SmtpReply = yield Read(Stage.DATA)
    return (yield from _body(data, progress))


def _body(data: SmtpReply, progress: _Progress) -> Generator[Step, Any, SendOutcome]:
    wanted = len(progress.decided) < len(progress.recipients)
    if data.code != 354:
        progress.decide_rest(_refusal(data), Stage.DATA, data)
        if data.code < 400:  # out of order: nothing was taken, and the session cannot be trusted
            return progress.outcome(reusable=False)
        return (yield from _leave(progress, data))
    progress.stage = Stage.BODY
    yield SendBody(empty=not wanted)
    progress.body_sent = True
    reply: SmtpReply = yield Read(Stage.BODY)
    if 300 <= reply.code < 400:  # out of order: neither taken nor refused
        progress.decide_rest(Verdict.IN_DOUBT, Stage.BODY, reply)
        return progress.outcome(reusable=False)
    verdict = Verdict.ACCEPTED if reply.is_positive else _refusal(reply)
    progress.decide_rest(verdict, Stage.BODY, reply)
    return progress.outcome(reusable=reply.code not in (421, 503))


def _leave(progress: _Progress, reply: SmtpReply) -> Generator[Step, Any, SendOutcome]:
    """Forget the transaction, so that the connection can be used for another one."""
    if reply.code in (421, 503) or 300 <= reply.code < 400:
        return progress.outcome(reusable=False)
    yield Write(b"RSET\r\n")
    answer: SmtpReply = yield Read(Stage.RSET)
    return progress.outcome(reusable=answer.is_positive)


def _refusal(reply: SmtpReply) -> Verdict:
    return Verdict.FAILED if reply.code >= 500 else Verdict.DEFERRED


def verify_sender(reverse_path: str) -> Generator[Step, Any, SmtpReply]:
    """Ask whether a sender is taken, and send nothing: MAIL, then RSET."""
    yield Write(b"MAIL FROM:" + format_path(reverse_path) + b"\r\n")
    reply: SmtpReply = yield Read(Stage.MAIL)
    if reply.code != 421:
        yield Write(b"RSET\r\n")
        yield Read(Stage.RSET)
    return reply
