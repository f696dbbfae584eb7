"""The server's side of POP3 (RFC 1939, 2449, 2595, 3206, 5034, 6856), without I/O; the pull model of :mod:`smtp_server`.

A maildrop is a fixed list of messages for the session; deletions are marks that take effect at QUIT only. Nothing positive
is said of a message before somebody has it to give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from valija.protocol.errors import LocalProtocolError, RemoteProtocolError
from valija.protocol.lines import LineReader
from valija.protocol.pop3_server_events import (
    DeletionsDue,
    Entry,
    Event,
    LoginShown,
    MessageWanted,
    OutputWaits,
    PopPolicy,
    SessionEnds,
    TlsWanted,
)
from valija.protocol.sasl import encode_line
from valija.protocol.sasl_server import (
    Challenge,
    Malformed,
    ServerMechanism,
    Shown,
    decode_response,
    error_challenge,
)
from valija.secret import Secret

LINE_LIMIT: Final = 12288
REFUSALS: Final = {  # by response code (RFC 2449 section 8.1.1, RFC 3206)
    "AUTH": "Log-in refused",
    "IN-USE": "The mailbox is in use",
    "SYS/TEMP": "The mailbox cannot be opened now: try again later",
}
OUTPUT_LIMIT: Final = 65536  # octets; with more of them waiting, commands wait
LOOKED_LIMIT: Final = 50_000  # entries gone through; then others have their turn


class Pop3Server:
    """One session."""

    in_data = False  # nothing but commands comes

    def __init__(self, policy: PopPolicy, *, secure: bool) -> None:
        self._policy = policy
        self.secure = secure
        self._lines = LineReader(LINE_LIMIT)
        self._out = bytearray()
        self._question: Event | None = None
        self.has_ended = False
        self._last_words = ""
        self._user = ""
        self._utf8 = False
        self._mechanism: ServerMechanism | None = None
        self._refused_token = False
        self._entries: list[Entry] | None = None
        self._octets = 0  # of those that are not marked, and in all
        self._all_octets = 0
        self._looked = 0  # at entries, since the output was taken
        self._deleted: set[int] = set()
        self._last = 0
        self._errors = 0
        self._commands = 0  # before the log-in
        self._auth_failures = 0
        self._before: dict[str, Callable[[str], Event | None]] = {
            "CAPA": self._capa,
            "STLS": self._stls,
            "AUTH": self._auth,
            "USER": self._user_command,
            "PASS": self._pass,
            "UTF8": self._utf8_command,
            "QUIT": self._quit,
            "NOOP": lambda _a: self._ok(""),
        }
        self._after: dict[str, Callable[[str], Event | None]] = {
            "CAPA": self._capa,
            "STAT": self._stat,
            "LIST": lambda a: self._listing(a, lambda e: str(e.size)),
            "UIDL": lambda a: self._listing(a, lambda e: e.unique_id),
            "RETR": self._retr,
            "TOP": self._top,
            "DELE": self._dele,
            "RSET": self._rset,
            "NOOP": lambda _a: self._ok(""),
            "LAST": lambda _a: self._ok(str(self._last)),
            "QUIT": self._quit,
        }
        self._ok(f"{policy.host_name} POP3 Valija")

    def feed(self, data: bytes) -> None:
        """Add octets from the client."""
        self._lines.feed(data)

    def output(self) -> bytes:
        """Take what must be sent."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def next_event(self) -> Event | None:
        """Return the next event; None while octets or an answer are missing."""
        while self._question is None and not self.has_ended:
            if self._last_words:
                return self._end(self._last_words)
            if len(self._out) > OUTPUT_LIMIT or self._looked > LOOKED_LIMIT:
                self._looked = 0
                return OutputWaits()
            try:
                line = self._lines.next_line()
            except RemoteProtocolError:
                return self._end("-ERR Line too long")
            if line is None:
                return None
            event = self._mechanism_line(line) if self._mechanism is not None else self._command(line)
            if event is not None:
                return event
        return None

    # --- answers -----------------------------------------------------------------------------------------------------------

    def open_maildrop(self, entries: Sequence[Entry]) -> None:
        """The credentials are good, and this is the maildrop."""
        self._question, self._mechanism = None, None
        self._entries = list(entries)
        self._octets = self._all_octets = sum(entry.size for entry in entries)
        self._ok(f"{len(entries)} messages")

    def refuse_login(self, *, code: str = "AUTH", status: str = "401", scope: str = "") -> None:
        """The credentials are not good, cannot be checked now (SYS/TEMP), or the maildrop is locked (IN-USE)."""
        question, self._question = self._question, None
        if code == "AUTH":
            self._auth_failures += 1
            if isinstance(question, LoginShown) and question.shown.token is not None:
                self._refused_token = True
                self._out += b"+ " + encode_line(error_challenge(status, scope))
                return
        self._mechanism = None
        self._no(f"[{code}] {REFUSALS[code]}")

    def deleted(self, *, all_of_them: bool) -> None:
        """The deletions were done, or not all; the session ends."""
        self._question = None
        self._last_words = "+OK Bye" if all_of_them else "-ERR [SYS/TEMP] Some messages were not deleted"

    def message_follows(self) -> None:
        """The message is there, and is sent after the output."""
        wanted = self._question
        if not isinstance(wanted, MessageWanted) or self._entries is None:
            raise LocalProtocolError("no message was asked for")
        if wanted.lines is None:
            self._last = max(self._last, wanted.index + 1)
        exact = wanted.lines is None and self._policy.sizes_exact
        self._ok(f"{self._entries[wanted.index].size} octets" if exact else "")

    def message_sent(self) -> None:
        """The message was sent; go on."""
        self._question = None

    def refuse_message(self, text: str) -> None:
        """The message cannot be had; this is not the client's fault."""
        self._question = None
        self._out += f"-ERR {text}\r\n".encode()

    def lose_maildrop(self, text: str) -> None:
        """The maildrop is out of reach, and nothing was deleted; the session ends."""
        self._question = None
        self._last_words = f"-ERR {text}"

    def tls_started(self) -> None:
        """The handshake is done: begin anew."""
        self._question = None
        self._lines = LineReader(LINE_LIMIT)
        self.secure = True
        self._user, self._utf8 = "", False

    # --- commands ----------------------------------------------------------------------------------------------------------

    def _command(self, line: bytes) -> Event | None:
        p = self._policy
        if self._errors >= p.errors_limit or self._auth_failures >= p.auth_failures_limit:
            return self._end("-ERR Too many errors")
        self._commands += self._entries is None
        if self._commands > p.commands_before_login:
            return self._end("-ERR Too many commands")
        text = _text(line.rstrip(b"\r")).lstrip(" \t")  # some devices end their lines with CR CR LF
        verb, _space, argument = text.partition(" ")
        verb = verb.rstrip("\t").upper()
        table = self._before if self._entries is None else self._after
        command = table.get(verb)
        if command is None:
            return self._no("Command not possible here")
        return command(argument if verb == "PASS" else argument.strip(" \t"))  # spaces belong to a password

    def _capa(self, argument: str) -> None:
        offers = ["USER"] if self._allowed() and "PLAIN" in self._policy.mechanisms else []
        if self._policy.mechanisms and self._allowed():
            offers.append("SASL " + " ".join(self._policy.mechanisms))
        if self._policy.tls_offered and not self.secure:
            offers.append("STLS")
        offers += ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8"]
        self._ok("Capabilities")
        self._out += "".join(f"{offer}\r\n" for offer in offers).encode() + b".\r\n"

    def _allowed(self) -> bool:
        return self.secure or not self._policy.auth_needs_tls

    def _stls(self, argument: str) -> Event | None:
        if not self._policy.tls_offered or self.secure:
            return self._no("STLS is not available")
        self._lines.take_rest()
        self._ok("Begin TLS")
        self._question = TlsWanted()
        return self._question

    def _auth(self, argument: str) -> Event | None:
        if not argument:
            self._ok("")
            self._out += "".join(f"{name}\r\n" for name in self._policy.mechanisms).encode() + b".\r\n"
            return None
        name, _space, initial = argument.partition(" ")
        if not self._allowed():
            return self._no("Encryption is required: STLS first")
        if name.upper() not in self._policy.mechanisms:
            return self._no("Unrecognised authentication type")
        decoded = decode_response(initial.encode("ascii", "replace")) if initial.strip() else None
        if initial.strip() and decoded is None:
            return self._no("Not base64")
        self._mechanism = ServerMechanism(name.upper())
        self._refused_token = False
        return self._login_step(self._mechanism.start(decoded))

    def _mechanism_line(self, line: bytes) -> Event | None:
        mechanism = self._mechanism
        if mechanism is None or self._refused_token:
            self._mechanism = None
            return self._no("[AUTH] Log-in refused")
        if line.strip() == b"*":
            self._mechanism = None
            return self._no("Authentication cancelled")
        response = decode_response(line)
        return self._login_step(Malformed() if response is None else mechanism.respond(response))

    def _login_step(self, step: Challenge | Shown | Malformed) -> Event | None:
        match step:
            case Challenge(data):
                self._out += b"+ " + encode_line(data)
                return None
            case Shown():
                self._question = LoginShown(step, self._utf8)
                return self._question
            case Malformed():
                self._mechanism = None
                self._auth_failures += 1
                return self._no("Cannot understand the response")

    def _utf8_command(self, argument: str) -> None:
        self._utf8 = True
        self._ok("")

    def _user_command(self, argument: str) -> Event | None:
        if not self._allowed():
            return self._no("Encryption is required: STLS first")
        self._user = argument
        return self._ok("") if argument else self._no("USER needs a name")

    def _pass(self, argument: str) -> Event | None:
        if not self._user:
            return self._no("USER first")
        self._question = LoginShown(Shown("USER", self._user, password=Secret(argument)), self._utf8)
        return self._question

    def _present(self) -> list[tuple[int, Entry]]:
        entries = self._entries or []
        self._looked += len(entries)
        return [(n, e) for n, e in enumerate(entries, 1) if n not in self._deleted]

    def _stat(self, argument: str) -> None:
        self._ok(f"{len(self._entries or ()) - len(self._deleted)} {self._octets}")

    def _listing(self, argument: str, show: Callable[[Entry], str]) -> None:
        if argument:
            entry = self._entry(argument)
            if entry is not None:
                self._ok(f"{int(argument)} {show(entry)}")
            return
        present = self._present()
        self._ok(f"{len(present)} messages")
        self._out += "".join(f"{n} {show(e)}\r\n" for n, e in present).encode() + b".\r\n"

    def _entry(self, argument: str) -> Entry | None:
        entries = self._entries or []
        if argument.isascii() and argument.isdigit() and len(argument) < 10:
            number = int(argument)
            if 1 <= number <= len(entries) and number not in self._deleted:
                return entries[number - 1]
        self._no("No such message")
        return None

    def _retr(self, argument: str) -> Event | None:
        if self._entry(argument) is None:
            return None
        self._question = MessageWanted(int(argument) - 1, None)
        return self._question

    def _top(self, argument: str) -> Event | None:
        number, _space, lines = argument.partition(" ")
        lines = lines.strip(" \t")
        if not (lines.isascii() and lines.isdigit() and len(lines) < 10):
            return self._no("TOP needs two numbers")
        if self._entry(number) is None:
            return None
        self._question = MessageWanted(int(number) - 1, int(lines))
        return self._question

    def _dele(self, argument: str) -> None:
        entry = self._entry(argument)
        if entry is not None:
            self._deleted.add(int(argument))
            self._octets -= entry.size
            self._ok("Marked")

    def _rset(self, argument: str) -> None:
        self._deleted = set()
        self._octets = self._all_octets
        self._last = 0
        self._ok("")

    def _quit(self, argument: str) -> Event | None:
        if self._entries is None or not self._deleted:
            return self._end("+OK Bye")
        self._question = DeletionsDue(tuple(sorted(n - 1 for n in self._deleted)))
        return self._question

    # --- replies -----------------------------------------------------------------------------------------------------------

    def _ok(self, text: str) -> Event | None:
        self._out += f"+OK {text}".rstrip().encode() + b"\r\n"
        return None

    def _no(self, text: str) -> Event | None:
        self._errors += 1
        self._out += f"-ERR {text}\r\n".encode()
        return None

    def _end(self, line: str) -> SessionEnds:
        self.has_ended = True
        self._out += f"{line}\r\n".encode()
        return SessionEnds()


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
