"""One SMTP session of a server: runs :class:`valija.protocol.smtp_server.SmtpServer` for a visit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Coroutine
from typing import TYPE_CHECKING, Any, Final

from valija.net.sessions import Session
from valija.net.visits import LoginAccepted, LoginRefused, MessageSink, SmtpHandler, SmtpVisit, Transaction, Verdict
from valija.protocol import smtp_server_events as smtp
from valija.protocol.smtp_server import SmtpServer

if TYPE_CHECKING:
    from valija.net.listeners import Listener

LEAVING_S: Final = 30.0  # how long a message waits for one of a client that has gone


class SmtpSession(Session):
    """A client that hands in mail; ``leaving`` are all those that have gone while a message of theirs is being stored."""

    __slots__ = ("_handler", "_leaving", "_sink", "_storing", "_untold", "_visit")

    def __init__(self, listener: Listener, handler: SmtpHandler, leaving: set[SmtpSession]) -> None:
        super().__init__(listener)
        self._leaving = leaving
        self._handler = handler
        self._visit: SmtpVisit
        self._sink: MessageSink | None = None
        self._storing = False
        self._untold: list[MessageSink] = []  # whose verdicts came when the client had said its last

    def eof_received(self) -> bool:
        """The client has said its last."""
        self._leave()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go; an answer under way comes to its end first."""
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        if self._storing:
            self._leaving.add(self)

    def _open(self, *, secure: bool) -> SmtpServer:
        self._visit = self._handler.open(self.peer)
        self.known = not self._visit.policy.auth_required and not self._visit.is_stranger
        return SmtpServer(self._visit.policy, secure=secure)

    def _secured(self, version: str) -> None:
        self._visit.secured(version)

    def _not_secured(self, why: str) -> None:
        self._visit.not_secured(why)

    def _hear(self) -> None:
        core = self._core
        self._visit.heard(core.helo, core.mechanism_tried)

    def _handle(self, event: Any) -> Awaitable[None] | None:
        match event:
            case smtp.BodyPiece(data):
                return self._sink.write(data) if data and self._sink is not None else None
            case smtp.SenderOffered(path):
                self._hear()
                return self._answer_with(self._visit.sender(path), self._answer)
            case smtp.RecipientOffered(path):
                return self._answer_with(self._visit.recipient(path), self._answer)
            case smtp.MessageStarts(sender, recipients):
                core = self._core
                offered = Transaction(sender, recipients, core.helo, core.extended, core.secure)
                return self._answer_with(self._visit.message(offered), self._begin_message)
            case smtp.MessageEnds(too_large):
                return self._end_message(too_large=too_large)
            case smtp.CredentialsShown(shown):
                self._hear()
                return self._answer_with(self._visit.login(shown), self._answer_login)
            case smtp.TlsWanted():
                self._pause()
                return self.start_tls()
        raise TypeError(f"not an event: {event!r}")

    def _answer(self, verdict: Verdict) -> None:
        self._core.answer(verdict.code, verdict.enhanced, verdict.text)

    def _answer_login(self, found: LoginAccepted | LoginRefused) -> None:
        if isinstance(found, LoginAccepted):
            self.known = True
            self._core.accept_login(found.user)
        else:
            self._core.refuse_login(status=found.status, scope=found.scope, temporary=found.temporary)

    def _begin_message(self, taken: MessageSink | Verdict) -> None:
        if isinstance(taken, Verdict):
            self._answer(taken)
            return
        self._sink = taken
        self._core.lf_ends_message = self._visit.lf_ends_message
        self._core.answer(354, "", "End data with <CR><LF>.<CR><LF>")

    def _end_message(self, *, too_large: bool) -> Awaitable[None] | None:
        sink, self._sink = self._sink, None
        if sink is None:
            return None
        if too_large:
            return sink.abandon()

        def say(verdict: Verdict) -> None:
            self._storing = False
            if (self._lost or self._eof) and verdict.code == 250:
                self._untold.append(sink)
            self._answer(verdict)

        self._storing = True
        if self._eof:
            self._leave()
        before = self._of_those_who_left() if self._leaving else []
        return self._answer_with(_commit_after(before, sink) if before else sink.commit(), say)

    def _of_those_who_left(self) -> list[asyncio.Task[None]]:
        """Return what is stored now for clients of this address that have gone."""
        tasks = [one.task for one in self._leaving if one is not self and one.peer.address == self.peer.address]
        return [task for task in tasks if task is not None]

    def _over(self) -> Coroutine[Any, Any, None] | None:
        self._leaving.discard(self)
        self._hear()
        if not self._core.said_goodbye:  # who says all at once and QUIT has not hung up: it hears the answers
            for taken in self._untold:
                taken.unheard()
        self._visit.ended()
        sink, self._sink = self._sink, None
        return sink.abandon() if sink is not None else None


async def _commit_after(before: Collection[asyncio.Task[None]], sink: MessageSink) -> Verdict:
    """Commit when messages are stored whose clients have gone: what is handed in again may be one of them."""
    await asyncio.wait(before, timeout=LEAVING_S)
    verdict = sink.commit()
    return await verdict if isinstance(verdict, Awaitable) else verdict
