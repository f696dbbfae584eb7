"""One POP3 session of a server: runs :class:`valija.protocol.pop3_server.Pop3Server` for a visit."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from valija.net.sessions import Session
from valija.net.visits import LoginRefused, MaildropLost, MessageRefused, OpenMaildrop, PopHandler, PopVisit
from valija.protocol import pop3_server_events as pop
from valija.protocol.pop3_server import Pop3Server

if TYPE_CHECKING:
    from valija.net.listeners import Listener

WITHOUT_MAIL: Final = 3  # idle times in which any command keeps a session that asks for no message
KEEPALIVE: Final = (  # gone for two minutes
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


class PopSession(Session):
    """A client that fetches mail."""

    __slots__ = ("_asked_at", "_handler", "_maildrop", "_visit")

    def __init__(self, listener: Listener, handler: PopHandler) -> None:
        super().__init__(listener)
        self._handler = handler
        self._visit: PopVisit
        self._maildrop: OpenMaildrop | None = None
        self._asked_at = 0.0

    def _open(self, *, secure: bool) -> Pop3Server:
        self._visit = self._handler.open(self.peer)
        return Pop3Server(self._visit.policy, secure=secure)

    def _secured(self, version: str) -> None:
        self._visit.secured(version)

    def _not_secured(self, why: str) -> None:
        self._visit.not_secured(why)

    def _may_stay(self) -> bool:
        """Tell whether NOOP and its like keep the session: with a maildrop that others wait for, not for ever."""
        return self.listener.time() - self._asked_at < WITHOUT_MAIL * self.listener.idle_s

    def _handle(self, event: Any) -> Awaitable[None] | None:
        if not isinstance(event, pop.OutputWaits):
            self._asked_at = self.listener.time()
        match event:
            case pop.LoginShown(shown, utf8):
                return self._answer_with(self._visit.login(shown, utf8=utf8), self._answer_login)
            case pop.MessageWanted():
                return self._send_message(event)
            case pop.DeletionsDue(indexes):
                return self._delete(indexes)
            case pop.OutputWaits():
                return asyncio.sleep(0)
            case pop.TlsWanted():
                self._pause()
                return self.start_tls()
        raise TypeError(f"not an event: {event!r}")

    def _answer_login(self, found: OpenMaildrop | LoginRefused | None) -> None:
        if found is None:
            self._core.refuse_login(code="IN-USE")
        elif isinstance(found, LoginRefused):
            code = "SYS/TEMP" if found.temporary else "AUTH"
            self._core.refuse_login(code=code, status=found.status, scope=found.scope)
        else:
            self.known = True
            self._maildrop = found
            self._notice_when_gone()
            self._core.open_maildrop(found.entries)

    def _notice_when_gone(self) -> None:
        """Let the system ask a silent client whether it is there: one that was switched off must not keep a maildrop."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is not None:
            for level, option, value in KEEPALIVE:
                sock.setsockopt(level, option, value)

    async def _delete(self, indexes: tuple[int, ...]) -> None:
        done = self._maildrop is not None and await self._maildrop.delete(indexes)
        self._core.deleted(all_of_them=done)

    async def _send_message(self, wanted: pop.MessageWanted) -> None:
        core, maildrop = self._core, self._maildrop
        if maildrop is None:
            return
        async with aclosing(maildrop.read(wanted.index, wanted.lines)) as pieces:
            try:
                first = await anext(pieces)
            except MessageRefused as refused:
                core.refuse_message(str(refused))
                return
            except MaildropLost as lost:
                core.lose_maildrop(str(lost))
                return
            core.message_follows()
            self.write(core.output() + first)
            await self.drain()
            try:
                async for piece in pieces:
                    self.write(piece)
                    await self.drain()
            except MaildropLost as lost:  # too late for a word: what was sent must not look whole
                raise ConnectionAbortedError(str(lost)) from None
        core.message_sent()

    def _over(self) -> Coroutine[Any, Any, None] | None:
        self._visit.ended()
        maildrop, self._maildrop = self._maildrop, None
        return maildrop.close() if maildrop is not None else None
