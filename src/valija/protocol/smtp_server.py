"""The server's side of SMTP submission (RFC 5321, RFC 6409, RFC 4954, RFC 3207, RFC 2920), without I/O.

Theory of operation
-------------------
Pull model: ``feed`` octets, then ask ``next_event`` until it gives None; ``output`` is what must be sent. An event that asks
something blocks the dialog until it is answered (``answer``), so commands that a client sent ahead wait in the buffer, and
an answer may take its time.

1. Only CRLF "." CRLF ends data. Bare LF ends a command line (old devices), never a message, except of a client for which
   ``lf_ends_message`` was set: what follows such an end is dropped, and the session is over (nothing can be smuggled).
2. STARTTLS discards whatever was sent ahead of the handshake, and forgets the session (injection is impossible).
3. Everything has a limit: line length, commands without a transaction, refused commands, recipients, size, failed log-ins.
   Over a limit the session ends with 421. Recipients over theirs are put off one by one, as many again.
4. A body over the size limit is read to its end and refused with 552, for a device that loses its connection comes again;
   no piece after the limit is given out. One that has no end in sight (``endless_after``) ends the session.
5. Who asks for a web page is sent away: what a browser posts may read like a session, and it stands in the office.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from valija.protocol.dot_stuffing import DotUnstuffer, LooseDotUnstuffer
from valija.protocol.errors import RemoteProtocolError
from valija.protocol.lines import LineReader
from valija.protocol.sasl import encode_line
from valija.protocol.sasl_server import (
    Challenge,
    Malformed,
    ServerMechanism,
    Shown,
    decode_response,
    error_challenge,
)
from valija.protocol.smtp_path import Path, parse_path
from valija.protocol.smtp_server_events import (
    BodyPiece,
    CredentialsShown,
    Event,
    MessageEnds,
    MessageStarts,
    RecipientOffered,
    SenderOffered,
    SessionEnds,
    SmtpPolicy,
    TlsWanted,
    auth_allowed,
    ehlo_reply,
)

LINE_LIMIT: Final = 12288  # AUTH responses (RFC 4954 section 4.1); commands are checked against COMMAND_LIMIT
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HTTP: Final = re.compile(r"[A-Z]+ .*HTTP/[0-9.]+", re.I)  # a request line (RFC 9112 section 3)
MECHANISM_LIMIT: Final = 20  # letters of a name (RFC 4422 section 3.1)
COMMAND_LIMIT: Final = 2048  # RFC 5321 says 512; extensions add, and old devices do not count


class SmtpServer:
    """One session."""

    def __init__(self, policy: SmtpPolicy, *, secure: bool) -> None:
        self._policy = policy
        self.secure = secure
        self.user: str | None = None
        self._lines = LineReader(LINE_LIMIT)
        self._out = bytearray()
        self._greeted = False
        self.helo = ""
        self.extended = False
        self.mechanism_tried = ""  # of the last AUTH, refused or not
        self.lf_ends_message = False
        self.has_ended = False
        self.said_goodbye = False  # the client: by QUIT
        self._question: Event | None = None
        self._mechanism: ServerMechanism | None = None
        self._refused_token = False
        self._sender: Path | None = None
        self._recipients: list[Path] = []
        self._unstuffer: DotUnstuffer | LooseDotUnstuffer | None = None
        self._ends_after_answer = False
        self._size = 0
        self._body_ended = False
        self._too_large = False
        self._idle_commands = 0
        self._errors = 0
        self._put_off = 0  # recipients over the limit
        self._auth_failures = 0
        self._reply(220, "", f"{policy.host_name} ESMTP Valija")

    # --- octets in and out -----------------------------------------------------------------------------------------------

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
            if self._unstuffer is not None:
                return self._body()
            if self._body_ended:
                return self._end_of_body()
            if self._ends_after_answer:
                self.has_ended = True
                return SessionEnds()
            try:
                line = self._lines.next_line()
            except RemoteProtocolError:
                return self._end(500, "5.5.2", "Line too long")
            if line is None:
                return None
            event = self._mechanism_line(line) if self._mechanism is not None else self._command(line)
            if event is not None:
                return event
        return None

    @property
    def in_data(self) -> bool:
        """Tell whether a message's octets are coming."""
        return self._unstuffer is not None

    # --- answers -----------------------------------------------------------------------------------------------------------

    def answer(self, code: int, enhanced: str, text: str) -> None:
        """Answer the open question about sender, recipient or message."""
        question, self._question = self._question, None
        self._reply(code, enhanced, text)
        match question:
            case SenderOffered(path) if code == 250:
                self._sender, self._recipients = path, []
            case RecipientOffered(path) if code == 250:
                self._recipients.append(path)
                self._idle_commands -= 1  # recipients have a limit of their own
            case MessageStarts() if code == 354:
                self._idle_commands = self._put_off = 0
                self._unstuffer, self._size = LooseDotUnstuffer() if self.lf_ends_message else DotUnstuffer(), 0
            case MessageStarts() | MessageEnds():
                self._sender, self._recipients = None, []
            case _:
                self._errors += 1

    def accept_login(self, user: str) -> None:
        """The credentials are good."""
        self._question, self._mechanism = None, None
        self.user = user
        self._reply(235, "2.7.0", "Authentication successful")

    def refuse_login(self, *, status: str = "401", scope: str = "", temporary: bool = False) -> None:
        """The credentials are not good, or cannot be checked now."""
        question, self._question = self._question, None
        if temporary:
            self._mechanism = None
            self._reply(454, "4.7.0", "Temporary authentication failure")
            return
        self._auth_failures += 1
        if isinstance(question, CredentialsShown) and question.shown.token is not None:
            self._refused_token = True
            self._out += b"334 " + encode_line(error_challenge(status, scope))
            return
        self._mechanism = None
        self._reply(535, "5.7.8", "Authentication credentials invalid")

    def tls_started(self) -> None:
        """The handshake is done: begin anew."""
        self._question = None
        self._lines = LineReader(LINE_LIMIT)
        self.secure, self._greeted, self.user = True, False, None
        self._sender, self._recipients = None, []

    # --- commands ----------------------------------------------------------------------------------------------------------

    def _command(self, line: bytes) -> Event | None:
        self._idle_commands += 1
        if self._idle_commands > self._policy.idle_commands_limit or self._errors >= self._policy.errors_limit:
            return self._end(421, "4.7.0", "Too many commands without a message")
        if self._auth_failures >= self._policy.auth_failures_limit:
            return self._end(421, "4.7.0", "Too many failed log-ins")
        if len(line) > COMMAND_LIMIT and line[:5].upper() != b"AUTH ":
            return self._wrong(500, "5.5.2", "Line too long")
        text = line.decode("utf-8", "surrogateescape")
        text = text.strip(" \t\r")  # some devices end their lines with CR CR LF
        verb, _space, argument = text.partition(" ")
        command = _COMMANDS.get(verb.upper())
        if command is None and _HTTP.fullmatch(text):
            return self._end(421, "4.7.0", "This is no web server")
        if command is None or _CONTROL.search(text):
            return self._wrong(500, "5.5.2", "Command not recognised")
        return command(self, argument.strip(" \t"))

    def _ehlo(self, argument: str) -> Event | None:
        self._rset_silently()
        self._greeted, self.helo, self.extended = True, argument, True
        self._out += ehlo_reply(self._policy, secure=self.secure)
        return None

    def _helo(self, argument: str) -> Event | None:
        self._rset_silently()
        self._greeted, self.helo, self.extended = True, argument, False
        return self._say(250, "", self._policy.host_name)

    def _starttls(self, argument: str) -> Event | None:
        if not self._policy.tls_offered or self.secure:
            return self._wrong(502, "5.5.1", "STARTTLS is not available")
        if argument:
            return self._wrong(501, "5.5.4", "STARTTLS takes no argument")
        self._lines.take_rest()
        self._reply(220, "2.0.0", "Ready to start TLS")
        return self._ask(TlsWanted())

    def _auth(self, argument: str) -> Event | None:
        name, _space, initial = argument.partition(" ")
        self.mechanism_tried = name.upper()[:MECHANISM_LIMIT]
        if not self._greeted or self.user is not None or self._sender is not None:
            return self._wrong(503, "5.5.1", "Not now")
        if not auth_allowed(self._policy, secure=self.secure):
            return self._wrong(538, "5.7.11", "Encryption is required: STARTTLS first")
        if name.upper() not in self._policy.mechanisms:
            return self._wrong(504, "5.5.4", "Unrecognised authentication type")
        decoded = decode_response(initial.encode("ascii", "replace")) if initial.strip() else None
        if initial.strip() and decoded is None:
            return self._wrong(501, "5.5.2", "Not base64")
        self._mechanism = ServerMechanism(name.upper())
        self._refused_token = False
        return self._login_step(self._mechanism.start(decoded))

    def _mechanism_line(self, line: bytes) -> Event | None:
        mechanism = self._mechanism
        if mechanism is None or self._refused_token:
            self._mechanism = None
            return self._wrong(535, "5.7.8", "Authentication credentials invalid")
        if line.strip() == b"*":
            self._mechanism = None
            return self._wrong(501, "5.0.0", "Authentication cancelled")
        response = decode_response(line)
        return self._login_step(Malformed() if response is None else mechanism.respond(response))

    def _login_step(self, step: Challenge | Shown | Malformed) -> Event | None:
        match step:
            case Challenge(data):
                self._out += b"334 " + encode_line(data)
                return None
            case Shown():
                return self._ask(CredentialsShown(step))
            case Malformed():
                self._mechanism = None
                self._auth_failures += 1
                return self._wrong(501, "5.5.2", "Cannot understand the response")

    def _mail(self, argument: str) -> Event | None:
        if not self._greeted:
            return self._wrong(503, "5.5.1", "Say EHLO first")
        if self._policy.auth_required and self.user is None:
            return self._wrong(530, "5.7.0", "Authentication required")
        if self._sender is not None:
            return self._wrong(503, "5.5.1", "A message is under way")
        path = _path_after("FROM", argument)
        if path is None:
            return self._wrong(501, "5.1.7", "Bad sender address")
        size = path.parameters.get("SIZE", "0")
        if not (size.isascii() and size.isdigit() and len(size) <= 20):
            return self._wrong(501, "5.5.4", "Bad SIZE")
        if int(size) > self._policy.size_limit:
            return self._wrong(552, "5.3.4", "Message size exceeds limit")
        return self._ask(SenderOffered(path))

    def _rcpt(self, argument: str) -> Event | None:
        if self._sender is None:
            return self._wrong(503, "5.5.1", "MAIL first")
        path = _path_after("TO", argument)
        if path is None or not path.address:
            return self._wrong(501, "5.1.3", "Bad recipient address")
        if len(self._recipients) >= self._policy.recipients_limit:
            return self._one_too_many()
        return self._ask(RecipientOffered(path))

    def _one_too_many(self) -> Event | None:
        self._put_off += 1
        if self._put_off > self._policy.recipients_limit:
            return self._wrong(452, "4.5.3", "Too many recipients")
        self._idle_commands -= 1  # a client goes on with all that it has (RFC 5321 section 4.5.3.1.10)
        return self._say(452, "4.5.3", "Too many recipients")

    def _data(self, argument: str) -> Event | None:
        if self._sender is None:
            return self._wrong(503, "5.5.1", "MAIL first")
        if not self._recipients:
            return self._wrong(554, "5.5.1", "No valid recipients")
        return self._ask(MessageStarts(self._sender, tuple(self._recipients)))

    def _body(self) -> Event | None:
        unstuffer = self._unstuffer
        data = self._lines.take_rest()
        if unstuffer is None or not data:
            return None
        body, rest = unstuffer.feed(data)
        self._ends_after_answer = unstuffer.done and unstuffer.ended_bare
        self._lines.feed(b"" if self._ends_after_answer else rest)
        self._size += len(body)
        too_large = self._size > self._policy.size_limit
        if not unstuffer.done:
            if self._size > self._policy.endless_after:
                self._unstuffer = None
                return self._end(552, "5.3.4", "Message has no end")
            return BodyPiece(b"" if too_large else body)
        self._unstuffer = None
        self._body_ended = True
        self._too_large = too_large
        return BodyPiece(b"" if too_large else body)

    def _end_of_body(self) -> Event:
        self._body_ended = False
        if self._too_large:
            self._reply(552, "5.3.4", "Message size exceeds limit")
            self._sender, self._recipients = None, []
            return MessageEnds(too_large=True)
        return self._ask(MessageEnds(too_large=False))

    def _rset(self, argument: str) -> Event | None:
        self._rset_silently()
        return self._say(250, "2.0.0", "OK")

    def _noop(self, argument: str) -> Event | None:
        return self._say(250, "2.0.0", "OK")

    def _vrfy(self, argument: str) -> Event | None:
        return self._say(252, "2.5.2", "Send some mail, I will try my best")

    def _help(self, argument: str) -> Event | None:
        return self._say(214, "2.0.0", "See RFC 5321")

    def _rset_silently(self) -> None:
        self._sender, self._recipients = None, []

    def _quit(self, argument: str) -> Event | None:
        self.said_goodbye = True
        return self._end(221, "2.0.0", "Bye")

    # --- replies -----------------------------------------------------------------------------------------------------------

    def _ask(self, question: Event) -> Event:
        self._question = question
        return question

    def _say(self, code: int, enhanced: str, text: str) -> Event | None:
        self._reply(code, enhanced, text)
        return None

    def _wrong(self, code: int, enhanced: str, text: str) -> Event | None:
        self._errors += 1
        self._reply(code, enhanced, text)
        return None

    def _end(self, code: int, enhanced: str, text: str) -> Event:
        self.has_ended = True
        self._reply(code, enhanced, text)
        return SessionEnds()

    def _reply(self, code: int, enhanced: str, text: str) -> None:
        status = f"{enhanced} " if enhanced else ""
        self._out += f"{code} {status}{text}\r\n".encode("utf-8", "replace")


_COMMANDS: Final[dict[str, Callable[[SmtpServer, str], Event | None]]] = {
    "EHLO": SmtpServer._ehlo,
    "HELO": SmtpServer._helo,
    "STARTTLS": SmtpServer._starttls,
    "AUTH": SmtpServer._auth,
    "MAIL": SmtpServer._mail,
    "RCPT": SmtpServer._rcpt,
    "DATA": SmtpServer._data,
    "RSET": SmtpServer._rset,
    "NOOP": SmtpServer._noop,
    "VRFY": SmtpServer._vrfy,
    "HELP": SmtpServer._help,
    "QUIT": SmtpServer._quit,
}


def _path_after(word: str, argument: str) -> Path | None:
    """Return the path after FROM: or TO:; some devices put a space before the colon."""
    said, colon, rest = argument.partition(":")
    return parse_path(rest) if colon and said.rstrip(" \t").upper() == word else None
