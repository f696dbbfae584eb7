"""The SMTP server beside a model of it, over any course of a session; the same octets in other pieces say the same."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hosts import SMTP_POLICY, SmtpHost
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from talk import cut, cuts

from valija.protocol.smtp_server_events import SmtpPolicy

POLICY = replace(SMTP_POLICY, recipients_limit=3, errors_limit=5, auth_failures_limit=3, idle_commands_limit=12)
GOOD = b"AGFuYQBvcGVuIHNlc2FtZQ=="  # ana, open sesame
BAD = b"AGFuYQB3cm9uZw=="


@dataclass
class Model:
    """What RFC 5321, 3207 and 4954 say the state of a session is, and how it ends."""

    policy: SmtpPolicy
    secure: bool
    greeted: bool = False
    user: bool = False
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)
    errors: int = 0
    idle: int = 0
    failures: int = 0
    put_off: int = 0
    ended: bool = False
    taken: list[tuple[str, tuple[str, ...], bytes]] = field(default_factory=list)

    def command(self) -> int | None:
        """Count a command; return the code if it is one too many."""
        self.idle += 1
        over = self.idle > self.policy.idle_commands_limit or self.errors >= self.policy.errors_limit
        if over or self.failures >= self.policy.auth_failures_limit:
            self.ended = True
            return 421
        return None

    def wrong(self, code: int) -> int:
        """Count an error."""
        self.errors += 1
        return code

    def one_too_many(self) -> int:
        """Put a recipient off; as many as are taken cost nothing."""
        self.put_off += 1
        if self.put_off > self.policy.recipients_limit:
            return self.wrong(452)
        self.idle -= 1
        return 452

    def forget_message(self) -> None:
        """Be as after RSET."""
        self.sender, self.recipients = None, []

    def may_not_send(self) -> int | None:
        """Return what MAIL gets that comes too early or too late."""
        if not self.greeted or (self.user and self.sender is not None):
            return 503
        return None if self.user else 530


class SmtpSessions(RuleBasedStateMachine):
    """One session, said twice: whole commands to one server, in odd pieces to the other."""

    @initialize(secure=st.booleans(), in_clear=st.booleans())
    def begin(self, secure: bool, in_clear: bool) -> None:
        policy = replace(POLICY, auth_needs_tls=not in_clear)
        self.model = Model(policy, secure)
        self.whole, self.cut = SmtpHost(policy, secure=secure), SmtpHost(policy, secure=secure)
        assert self.whole.receive(b"") == self.cut.receive(b"")

    def say(self, octets: bytes, lengths: list[int]) -> list[int]:
        """Say it to both; return the codes of the answers."""
        said = self.whole.receive(octets)
        assert b"".join(self.cut.receive(piece) for piece in cut(octets, lengths)) == said
        return [int(line[:3]) for line in said.splitlines() if line[3:4] == b" "]

    def expect(self, octets: bytes, lengths: list[int], code: int) -> None:
        """Say one command; the answer is as the model has it, or the end if it was one too many."""
        assert self.say(octets, lengths) == [code]

    @precondition(lambda self: not self.model.ended)
    @rule(word=st.sampled_from([b"EHLO", b"helo"]), lengths=cuts)
    def greet(self, word: bytes, lengths: list[int]) -> None:
        code = self.model.command()
        if code is None:
            self.model.greeted = True
            self.model.forget_message()
        self.expect(word + b" printer\r\n", lengths, code or 250)

    @precondition(lambda self: not self.model.ended)
    @rule(lengths=cuts)
    def start_tls(self, lengths: list[int]) -> None:
        model = self.model
        if (code := model.command()) is not None or model.secure:
            self.expect(b"STARTTLS\r\n", lengths, code or model.wrong(502))
            return
        self.expect(b"STARTTLS\r\n", lengths, 220)
        assert self.say(b"MAIL FROM:<evil@x.test>\r\n", lengths) == []  # in clear, ahead of the handshake
        assert self.whole.handshake() == self.cut.handshake() == b""
        model.secure, model.greeted, model.user = True, False, False
        model.forget_message()

    @precondition(lambda self: not self.model.ended)
    @rule(good=st.booleans(), lengths=cuts)
    def log_in(self, good: bool, lengths: list[int]) -> None:
        model = self.model
        code = model.command()
        if code is None and (not model.greeted or model.user or model.sender is not None):
            code = model.wrong(503)
        elif code is None and model.policy.auth_needs_tls and not model.secure:
            code = model.wrong(538)
        elif code is None:
            model.user = good
            model.failures += not good
            code = 235 if good else 535
        self.expect(b"AUTH PLAIN " + (GOOD if good else BAD) + b"\r\n", lengths, code)

    @precondition(lambda self: not self.model.ended)
    @rule(address=st.sampled_from(["", "ana@x.test"]), lengths=cuts)
    def mail(self, address: str, lengths: list[int]) -> None:
        model = self.model
        if (code := model.command()) is None and (wrong := model.may_not_send()) is not None:
            code = model.wrong(wrong)
        elif code is None:
            model.sender, model.recipients = address, []
        self.expect(b"MAIL FROM:<%s>\r\n" % address.encode(), lengths, code or 250)

    @precondition(lambda self: not self.model.ended)
    @rule(name=st.sampled_from(["b", "c", "nobody"]), lengths=cuts)
    def recipient(self, name: str, lengths: list[int]) -> None:
        model = self.model
        if (code := model.command()) is not None:
            pass
        elif model.sender is None:
            code = model.wrong(503)
        elif len(model.recipients) >= model.policy.recipients_limit:
            code = model.one_too_many()
        elif name == "nobody":
            code = model.wrong(550)
        else:
            model.recipients.append(f"{name}@x.test")
            model.idle -= 1
        self.expect(b"RCPT TO:<%s@x.test>\r\n" % name.encode(), lengths, code or 250)

    @precondition(lambda self: not self.model.ended)
    @rule(lines=st.lists(st.sampled_from([b"text", b".", b"..", b"", b".\n", b"QUIT"]), max_size=5), lengths=cuts)
    def data(self, lines: list[bytes], lengths: list[int]) -> None:
        model = self.model
        if (code := model.command()) is None and model.sender is None:
            code = model.wrong(503)
        elif code is None and not model.recipients:
            code = model.wrong(554)
        self.expect(b"DATA\r\n", lengths, code or 354)
        if code is None:
            stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
            self.expect(stuffed + b".\r\n", lengths, 250)
            body = b"".join(line + b"\r\n" for line in lines)
            model.taken.append((model.sender or "", tuple(model.recipients), body))
            model.forget_message()
            model.idle = model.put_off = 0

    @precondition(lambda self: not self.model.ended)
    @rule(command=st.sampled_from([b"NOOP", b"RSET", b"VRFY x", b"XYZZY", b"MAIL TO:<a@x.test>"]), lengths=cuts)
    def other(self, command: bytes, lengths: list[int]) -> None:
        model = self.model
        if (code := model.command()) is None:
            code = {b"NOOP": 250, b"RSET": 250, b"VRFY x": 252}.get(command)
            if command == b"RSET":
                model.forget_message()
            elif command.startswith(b"MAIL"):
                code = model.wrong(model.may_not_send() or 501)
            code = code or model.wrong(500)
        self.expect(command + b"\r\n", lengths, code)

    @precondition(lambda self: not self.model.ended)
    @rule(lengths=cuts)
    def quit(self, lengths: list[int]) -> None:
        code = self.model.command()
        self.model.ended = True
        self.expect(b"QUIT\r\n", lengths, code or 221)

    @precondition(lambda self: self.model.ended)
    @rule(lengths=cuts)
    def say_more(self, lengths: list[int]) -> None:
        assert self.say(b"EHLO x\r\nMAIL FROM:<a@x.test>\r\n", lengths) == []

    @invariant()
    def same_messages_and_the_same_end(self) -> None:
        if hasattr(self, "model"):
            assert self.whole.messages == self.cut.messages == self.model.taken
            assert self.whole.closed == self.cut.closed == self.model.ended
            assert (self.whole.core.user is not None) == self.model.user


SmtpSessions.TestCase.settings = settings(deadline=None, derandomize=True, max_examples=100, stateful_step_count=40)
test_any_course_of_a_session_goes_as_the_model_has_it = SmtpSessions.TestCase
