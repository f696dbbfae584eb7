"""Our own servers with somebody behind them who answers at once, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import chain, repeat
from typing import Any, Final, TypeVar

from talk import Conversation, Talk, cut

from valija.protocol import pop3_server_events as pop
from valija.protocol import smtp_server_events as smtp
from valija.protocol.dot_stuffing import DotStuffer
from valija.protocol.pop3_server import Pop3Server
from valija.protocol.sasl_server import MECHANISMS, Shown
from valija.protocol.smtp_server import SmtpServer

T = TypeVar("T")
SMTP_POLICY: Final = smtp.SmtpPolicy("mx.test", MECHANISMS, tls_offered=True, size_limit=100_000)
POP_POLICY: Final = pop.PopPolicy("pop.test", MECHANISMS, tls_offered=True)


def is_good(shown: Shown) -> bool:
    """Tell whether these are the credentials that the tests use."""
    proof = shown.token or shown.password
    return proof is not None and proof.reveal() in ("good-token", "open sesame")


class SmtpHost:
    """Takes every message, except for recipients whose name begins with ``no``, and keeps what came."""

    def __init__(self, policy: smtp.SmtpPolicy = SMTP_POLICY, *, secure: bool = True) -> None:
        self.core = SmtpServer(policy, secure=secure)
        self.logins: list[Shown] = []
        self.messages: list[tuple[str, tuple[str, ...], bytes]] = []
        self.parameters: list[dict[str, str]] = []
        self.closed = False
        self._under_way: tuple[str, tuple[str, ...]] = ("", ())
        self._body = bytearray()

    def receive(self, data: bytes) -> bytes:
        """Take octets, return what is said to them."""
        self.core.feed(data)
        while (event := self.core.next_event()) is not None:
            self._handle(event)
        return self.core.output()

    def handshake(self) -> bytes:
        """Do as if TLS had begun."""
        self.core.tls_started()
        return self.receive(b"")

    def _handle(self, event: smtp.Event) -> None:
        core = self.core
        match event:
            case smtp.CredentialsShown(shown):
                self.logins.append(shown)
                core.accept_login(shown.user) if is_good(shown) else core.refuse_login(scope="smtp")
            case smtp.SenderOffered(path):
                self.parameters.append(dict(path.parameters))
                core.answer(250, "2.1.0", "OK")
            case smtp.RecipientOffered(path):
                self.parameters.append(dict(path.parameters))
                refused = path.address.startswith("no")
                core.answer(*((550, "5.1.1", "No such user") if refused else (250, "2.1.5", "OK")))
            case smtp.MessageStarts(sender, recipients):
                self._under_way = (sender.address, tuple(path.address for path in recipients))
                self._body.clear()
                core.answer(354, "", "Go on")
            case smtp.BodyPiece(piece):
                self._body += piece
            case smtp.MessageEnds(too_large):
                if not too_large:
                    self.messages.append((*self._under_way, bytes(self._body)))
                    core.answer(250, "2.0.0", "Taken")
            case smtp.TlsWanted():
                pass
            case smtp.SessionEnds():
                self.closed = True


class PopHost:
    """A maildrop with these messages; ``deleted`` are the indexes whose deletion was asked for at QUIT."""

    def __init__(
        self, messages: Iterable[bytes] = (), policy: pop.PopPolicy = POP_POLICY, *, secure: bool = True
    ) -> None:
        self.core = Pop3Server(policy, secure=secure)
        self.messages = list(messages)
        self.logins: list[Shown] = []
        self.deleted: tuple[int, ...] | None = None
        self.closed = False
        self.deletes_all = True
        self.utf8 = False

    def receive(self, data: bytes) -> bytes:
        """Take octets, return what is said to them."""
        self.core.feed(data)
        said = bytearray()
        while (event := self.core.next_event()) is not None:
            said += self._handle(event)
        return bytes(said) + self.core.output()

    def handshake(self) -> bytes:
        """Do as if TLS had begun."""
        self.core.tls_started()
        return self.receive(b"")

    def _handle(self, event: pop.Event) -> bytes:
        core = self.core
        match event:
            case pop.LoginShown(shown, utf8):
                self.logins.append(shown)
                self.utf8 = utf8
                entries = [pop.Entry(f"uid-{n}", len(m)) for n, m in enumerate(self.messages)]
                core.open_maildrop(entries) if is_good(shown) else core.refuse_login(scope="pop")
            case pop.MessageWanted(index, lines):
                stuffer = DotStuffer()
                core.message_follows()
                said = core.output() + stuffer.feed(top(self.messages[index], lines)) + stuffer.finish()
                core.message_sent()
                return said
            case pop.OutputWaits():
                return core.output()
            case pop.DeletionsDue(indexes):
                self.deleted = indexes
                core.deleted(all_of_them=self.deletes_all)
            case pop.TlsWanted():
                pass
            case pop.SessionEnds():
                self.closed = True
        return b""


def top(message: bytes, lines: int | None) -> bytes:
    """Return the header and the first lines of the body; all of it for None."""
    head, blank, body = message.partition(b"\r\n\r\n")
    return message if lines is None else head + blank + b"".join(body.splitlines(keepends=True)[:lines])


class Session:
    """A client's dialogs, one after another, with one of the hosts; both directions are cut into pieces."""

    def __init__(
        self, host: SmtpHost | PopHost, to_server: Iterable[int] = (), to_client: Iterable[int] = (), body: bytes = b""
    ) -> None:
        self._host = host
        self._waiting = bytearray(host.receive(b""))
        self._to_server = list(to_server)
        self._lengths = chain(to_client, repeat(1 << 20))
        self._conversation = Conversation(self._give, self._take, body)

    def _take(self, data: bytes) -> None:
        if data == b"<tls>":
            self._waiting += self._host.handshake()
            return
        for piece in cut(data, self._to_server):
            self._waiting += self._host.receive(piece)

    def _give(self) -> bytes:
        length = next(self._lengths)
        piece = bytes(self._waiting[:length])
        del self._waiting[:length]
        return piece

    def run(self, dialog: Generator[Any, Any, T]) -> Talk[T]:
        """Run one dialog."""
        return self._conversation.run(dialog)
