"""SMTP connections: runs the dialogs of :mod:`valija.protocol.smtp_client` over a :class:`~valija.net.wire.Wire`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, Generator
from typing import Any, Final, TypeVar

from valija.net.errors import NetError
from valija.net.tls import ClientContext
from valija.net.wire import Endpoint, Observer, Slow, TlsMode, Wire, connect, ignore
from valija.protocol import smtp_client as smtp
from valija.protocol.dot_stuffing import DotStuffer
from valija.protocol.errors import RemoteProtocolError
from valija.protocol.sasl import BearerCredentials, Credentials
from valija.protocol.smtp_reply import ReplyReader, SmtpReply
from valija.protocol.smtp_transaction import Envelope, SendOutcome, nothing_sent, send_message, verify_sender

T = TypeVar("T")
FINAL_REPLY_TIMEOUT_S: Final = 300.0  # servers scan what they were given; RFC 5321 section 4.5.3.2.6 says 600


class SmtpRefused(Exception):
    """The server refused before a message could be offered."""

    def __init__(self, refused: smtp.Refused) -> None:
        super().__init__(refused.reply.server_words)
        self.refused = refused


class SmtpConnection:
    """An open, greeted, secured connection. Use :meth:`open`; it can send any number of messages."""

    def __init__(self, wire: Wire, local_name: str) -> None:
        self._wire = wire
        self._local_name = local_name
        self._replies = ReplyReader()
        self._body: AsyncIterable[bytes] | None = None
        self._early: SmtpReply | None = None  # to a message that is not whole: the last of the connection
        self.capabilities = smtp.Capabilities({})

    @classmethod
    async def open(
        cls, endpoint: Endpoint, tls: ClientContext, *, local_name: str = "localhost", observe: Observer = ignore
    ) -> SmtpConnection:
        """Connect, greet and secure. Raises :class:`NetError` or :class:`SmtpRefused`; nothing stays open then."""
        wire = await connect(endpoint, tls, observe)
        connection = cls(wire, local_name)
        try:
            await connection._greet(endpoint, observe)
        except BaseException:
            await wire.close()
            raise
        return connection

    async def _greet(self, endpoint: Endpoint, observe: Observer) -> None:
        self.capabilities = self._or_refused(await self._run(smtp.greet(self._local_name)))
        observe("greeting", {})
        if endpoint.tls is not TlsMode.NONE and not self._wire.secure:
            if not self.capabilities.has("STARTTLS"):
                raise NetError("starttls_not_offered", "starttls", "EHLO does not offer STARTTLS")
            self._observe = observe
            self.capabilities = self._or_refused(await self._run(smtp.start_tls(self._local_name)))

    _observe: Observer = staticmethod(ignore)

    @staticmethod
    def _or_refused(found: smtp.Capabilities | smtp.Refused) -> smtp.Capabilities:
        if isinstance(found, smtp.Refused):
            raise SmtpRefused(found)
        return found

    async def authenticate(self, credentials: Credentials, preference: tuple[str, ...] = ()) -> smtp.AuthOutcome:
        """Log in. Raises :class:`NetError`, also where a token would go over a connection without TLS."""
        if isinstance(credentials, BearerCredentials):
            forbid_plaintext(self._wire)
        return await self._run(smtp.authenticate(self.capabilities, credentials, preference))

    async def send(self, envelope: Envelope, body: AsyncIterable[bytes]) -> SendOutcome:
        """Send a message whose ``body`` comes in pieces; returns an outcome per recipient whatever happens."""
        if self._has_said_something:
            return await self._out_of_step(envelope)
        self._body = body
        try:
            outcome = await self._run(send_message(self.capabilities, envelope))
            reusable = outcome.reusable and self._early is None
            return SendOutcome(outcome.outcomes, reusable, self.capabilities.has("DSN"))
        finally:
            self._body = None

    async def _out_of_step(self, envelope: Envelope) -> SendOutcome:
        """Nothing is sent where something was said that nobody asked for: a farewell, or one answer too many."""
        words, farewell = "an answer that nobody asked for", None
        with contextlib.suppress(NetError, RemoteProtocolError):
            if self._wire.has_octets():
                self._replies.feed(await self._wire.receive("mail"))
            said = self._replies.next_reply()
            farewell = said if said is not None and said.code == 421 else None
        return nothing_sent(envelope, farewell, "connection_lost", words)

    async def verify_sender(self, reverse_path: str) -> SmtpReply:
        """Ask whether a sender is taken; sends nothing. Raises :class:`NetError`."""
        return await self._run(verify_sender(reverse_path))

    async def close(self, *, politely: bool = True) -> None:
        """End the session and let the connection go."""
        if politely:
            try:
                await self._run(smtp.say_goodbye())
            except NetError:
                politely = False  # it is gone anyway
        await self._wire.close()

    async def _run(self, dialog: Generator[smtp.Step, Any, T]) -> T:
        """Run a dialog to its end; what breaks the connection is thrown into it."""
        result: SmtpReply | None = None
        failure: smtp.ConnectionGone | None = None
        while True:
            try:
                step = dialog.throw(failure) if failure is not None else dialog.send(result)
            except StopIteration as end:
                value: T = end.value
                return value
            except smtp.ConnectionGone as gone:
                raise NetError(gone.reason, str(self._stage), gone.words) from None
            except RemoteProtocolError as error:
                raise NetError("peer_nonsense", str(self._stage), str(error)) from None
            result, failure = None, None
            try:
                if isinstance(step, smtp.Write):
                    self._wire.write(step.data)
                elif isinstance(step, smtp.Read):
                    self._stage = step.stage.value
                    result = self._early or self._replies.next_reply() or await self._reply(step.stage)
                else:
                    await self._perform(step)
            except RemoteProtocolError as error:
                failure = smtp.ConnectionGone("peer_nonsense", str(error))
            except NetError as error:
                if error.reason.startswith(("tls", "plaintext")):
                    dialog.close()
                    raise
                failure = smtp.ConnectionGone(error.reason, error.words)

    _stage: str = "greeting"

    async def _perform(self, step: smtp.SendBody | smtp.StartTls) -> None:
        if isinstance(step, smtp.SendBody):
            await self._send_body(empty=step.empty)
            return
        if self._has_said_something:
            raise RemoteProtocolError("octets in clear after the reply to STARTTLS")
        await self._wire.start_tls(self._observe)

    @property
    def _has_said_something(self) -> bool:
        """Tell whether the server has said what nobody has read."""
        return self._wire.has_octets() or not self._replies.is_clean()

    async def _reply(self, stage: smtp.Stage) -> SmtpReply:
        patience = max(self._wire.endpoint.timeout_s, FINAL_REPLY_TIMEOUT_S) if stage is smtp.Stage.BODY else None
        self._replies.feed(await self._wire.receive(stage.value, patience))
        if (reply := self._replies.next_reply()) is not None:
            return reply
        rest = Slow(self._wire, stage.value)
        while (reply := self._replies.next_reply()) is None:
            self._replies.feed(await rest.receive())
        return reply

    async def _send_body(self, *, empty: bool) -> None:
        """Send the body and its end; a server that refuses before the end is told no more, one that accepts is not believed."""
        stuffer, last = DotStuffer(), b""
        if not empty and self._body is not None:
            async for piece in self._body:
                if last:
                    self._wire.write(last)
                if self._has_said_something and await self._is_refused_early():
                    return
                if self._wire.is_full and not await self._is_drained():
                    return
                last = stuffer.feed(piece)
            if self._has_said_something and await self._is_refused_early():
                return
        self._wire.write(last + stuffer.finish())  # one write for a small message: with TLS, each is a record

    async def _is_drained(self) -> bool:
        """Wait until the server has read; False if it has refused instead. Raises :class:`NetError`."""
        try:
            await self._wire.drain("body")
        except NetError:
            if await self._is_refused_early():
                return False
            raise
        return True

    async def _is_refused_early(self) -> bool:
        if self._wire.has_octets():
            self._replies.feed(await self._wire.receive("body"))
        self._early = self._replies.next_reply()
        if self._early is not None and self._early.code < 400:
            raise RemoteProtocolError("an answer to a message that is not whole")
        return self._early is not None


def forbid_plaintext(wire: Wire) -> None:
    """Refuse to send a token without TLS; the sandbox's loopback aside."""
    if not wire.secure and not (wire.endpoint.plaintext_bearer and wire.is_loopback()):
        raise NetError("plaintext_token", "auth", "the connection is not secured by TLS")
