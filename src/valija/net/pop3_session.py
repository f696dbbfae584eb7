"""One POP3 session of a server: runs :class:`valija.protocol.pop3_server.Pop3Server` for a visit."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any

from valija.net.sessions import Session
from valija.net.visits import LoginRefused, OpenMaildrop, PopHandler, PopVisit
from valija.protocol import pop3_server as pop
from valija.protocol.dot_stuffing import DotStuffer

if TYPE_CHECKING:
    from valija.net.listeners import Listener


class PopSession(Session):
    """A client that fetches mail."""

    __slots__ = ("_handler", "_maildrop", "_visit")

    def __init__(self, listener: Listener, handler: PopHandler) -> None:
        super().__init__(listener)
        self._handler = handler
        self._visit: PopVisit
        self._maildrop: OpenMaildrop | None = None

    def _open(self, *, secure: bool) -> pop.Pop3Server:
        self._visit = self._handler.open(self.peer)
        return pop.Pop3Server(self._visit.policy, secure=secure)

    def _secured(self, version: str) -> None:
        self._visit.secured(version)

    def _not_secured(self, why: str) -> None:
        self._visit.not_secured(why)

    def _handle(self, event: Any) -> Awaitable[None] | None:
        match event:
            case pop.LoginShown(shown):
                return self._answer_with(self._visit.login(shown), self._answer_login)
            case pop.MessageWanted():
                return self._send_message(event)
            case pop.DeletionsDue(indexes):
                return self._delete(indexes)
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
            self._core.open_maildrop(found.entries)

    async def _delete(self, indexes: tuple[int, ...]) -> None:
        done = self._maildrop is not None and await self._maildrop.delete(indexes)
        self._core.deleted(all_of_them=done)

    async def _send_message(self, wanted: pop.MessageWanted) -> None:
        if self._maildrop is None:
            return
        stuffer, top = DotStuffer(), None if wanted.lines is None else TopLines(wanted.lines)
        async for piece in self._maildrop.read(wanted.index):
            data = piece if top is None else top.feed(piece)
            self.write(stuffer.feed(data))
            await self.drain()
            if top is not None and top.done:
                break
        self.write((stuffer.feed(top.finish()) if top is not None else b"") + stuffer.finish())
        await self.drain()
        self._core.message_sent()

    def _over(self) -> Coroutine[Any, Any, None] | None:
        self._visit.ended()
        maildrop, self._maildrop = self._maildrop, None
        return maildrop.close() if maildrop is not None else None


class TopLines:
    """The head of a message, the empty line, and so many lines of its body (RFC 1939 section 7, TOP), from pieces."""

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._carried = b""
        self._in_head = True
        self._in_line = False  # its beginning was given out
        self.done = False

    def feed(self, piece: bytes) -> bytes:
        """Return what of ``piece`` belongs to it."""
        data, self._carried = self._carried + piece, b""
        out = bytearray()
        while data and not self.done:
            end = data.find(b"\n") + 1
            if not end and not self._in_line and len(data) < 2:
                self._carried = data  # it may be the empty line
                break
            line, data = (data[:end], data[end:]) if end else (data, b"")
            out += line
            if self._in_head:
                self._in_head = self._in_line or line.strip(b"\r\n") != b""
            elif end:
                self._left -= 1
            self._in_line = not end
            self.done = not self._in_head and self._left <= 0 and not self._in_line
        return bytes(out)

    def finish(self) -> bytes:
        """Return what was kept back."""
        return b"" if self.done else self._carried
