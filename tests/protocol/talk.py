"""Drives dialogs without sockets; what the tests of this folder share.

``converse`` runs a client's dialog against the octets of a server: from a script, or from one of our own servers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from hypothesis import settings
from hypothesis import strategies as st

from valija.protocol import pop3_client as pop
from valija.protocol import smtp_client as smtp
from valija.protocol.dot_stuffing import DotStuffer
from valija.protocol.errors import RemoteProtocolError
from valija.protocol.lines import LineReader
from valija.protocol.sasl import BearerCredentials, PasswordCredentials
from valija.protocol.smtp_reply import ReplyReader
from valija.secret import Secret

T = TypeVar("T")

STEADY: Final = settings(deadline=None, derandomize=True, max_examples=100)
MANY: Final = settings(deadline=None, derandomize=True, max_examples=300)
BEARER: Final = BearerCredentials("ana@example.test", Secret("good-token"), "mail.example.test", 587)
PASSWORD: Final = PasswordCredentials("ana@example.test", Secret("open sesame"))

cuts: Final = st.lists(st.integers(1, 40), max_size=30)


def cut(data: bytes, lengths: Iterable[int]) -> Iterator[bytes]:
    """Cut octets into pieces of these lengths; what is left is the last piece."""
    start = 0
    for length in lengths:
        if start < len(data):
            yield data[start : start + length]
        start += length
    if start < len(data):
        yield data[start:]


@dataclass
class Talk(Generic[T]):
    """What a conversation came to: the dialog's value, and what the client wrote, write by write."""

    value: T
    written: list[bytes] = field(default_factory=list)
    secrets: list[bytes] = field(default_factory=list)

    @property
    def said(self) -> bytes:
        """Return everything the client wrote."""
        return b"".join(self.written)


class Conversation:
    """The driver's part: writes go to ``send``, octets come from ``receive`` (b"" when the connection is lost)."""

    def __init__(self, receive: Callable[[], bytes], send: Callable[[bytes], None], body: bytes) -> None:
        self._receive = receive
        self._send = send
        self._body = body
        self._replies = ReplyReader()
        self._lines = LineReader(pop.STATUS_LIMIT)
        self.written: list[bytes] = []
        self.secrets: list[bytes] = []

    def perform(self, step: object) -> Any:
        """Do one step."""
        match step:
            case smtp.Write(data, secret):
                self._write(data)
                if secret:
                    self.secrets.append(data)
            case smtp.SendBody(empty):
                stuffer = DotStuffer()
                self._write((b"" if empty else stuffer.feed(self._body)) + stuffer.finish())
            case smtp.StartTls():
                if not self._replies.is_clean() or len(self._lines):
                    raise RemoteProtocolError("octets in clear")
                self._write(b"<tls>")
            case smtp.Read():
                return self._wait(self._replies.next_reply, self._replies.feed)
            case pop.ReadStatus():
                return pop.parse_status(self._line())
            case pop.ReadListing():
                return self._listing()
        return None

    def _write(self, data: bytes) -> None:
        self.written.append(data)
        self._send(data)

    def _wait(self, take: Callable[[], T | None], feed: Callable[[bytes], None]) -> T:
        while (found := take()) is None:
            data = self._receive()
            if not data:
                raise smtp.ConnectionGone("connection_lost", "the server closed the connection")
            feed(data)
        return found

    def _line(self) -> bytes:
        return self._wait(self._lines.next_line, self._lines.feed)

    def _listing(self) -> list[bytes]:
        lines = []
        while (line := self._line()) != b".":
            lines.append(line)
        return lines

    def run(self, dialog: Generator[Any, Any, T]) -> Talk[T]:
        """Run a dialog to its end; a lost connection and nonsense are thrown into it as the real driver does."""
        step_result: Any = None
        gone: smtp.ConnectionGone | None = None
        while True:
            try:
                step = dialog.throw(gone) if gone else dialog.send(step_result)
            except StopIteration as end:
                return Talk(end.value, self.written, self.secrets)
            step_result, gone = None, None
            try:
                step_result = self.perform(step)
            except smtp.ConnectionGone as error:
                gone = error
            except RemoteProtocolError as error:
                gone = smtp.ConnectionGone("peer_nonsense", str(error))


def converse(dialog: Generator[Any, Any, T], script: Iterable[bytes], body: bytes = b"Hello\r\n") -> Talk[T]:
    """Run a dialog against what a server says, piece by piece; after the last piece the connection is lost."""
    pieces = iter(script)
    return Conversation(lambda: next(pieces, b""), lambda _data: None, body).run(dialog)
