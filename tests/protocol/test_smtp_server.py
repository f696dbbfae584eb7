"""The server's side of SMTP: what must not get through, and what has a limit."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hosts import SMTP_POLICY, SmtpHost
from hypothesis import given
from hypothesis import strategies as st
from talk import MANY, cut, cuts

from valija.protocol.smtp_server import COMMAND_LIMIT, LINE_LIMIT, SmtpServer
from valija.protocol.smtp_server_events import SmtpPolicy, TlsWanted

OPEN = replace(SMTP_POLICY, auth_required=False, auth_needs_tls=False)
EVIL = b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<victim@x.test>\r\nDATA\r\nsmuggled\r\n.\r\n"
FALSE_ENDS = [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r", b"\r.\n", b"\r\n\0.\r\n"]


def greeted(policy: SmtpPolicy = OPEN, *, secure: bool = True) -> SmtpHost:
    """Return a server that has been greeted and has said so."""
    host = SmtpHost(policy, secure=secure)
    host.receive(b"EHLO x\r\n")
    return host


def codes(said: bytes) -> list[int]:
    """Return the codes of the replies."""
    return [int(line[:3]) for line in said.splitlines() if line[3:4] == b" "]


# --- smuggling -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octet_by_octet", [False, True])
@pytest.mark.parametrize("false_end", FALSE_ENDS)
def test_no_false_end_of_data_smuggles_a_second_message(false_end: bytes, octet_by_octet: bool) -> None:
    host = greeted()
    host.receive(b"MAIL FROM:<ana@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n")
    data = b"text" + false_end + EVIL
    for piece in cut(data, [1] * len(data) if octet_by_octet else []):
        host.receive(piece)
    ((sender, recipients, body),) = host.messages
    assert (sender, recipients) == ("ana@x.test", ("b@x.test",))
    assert b"MAIL FROM:<evil@x.test>" in body


@pytest.mark.parametrize("line_end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n"])
def test_a_device_that_ends_data_with_a_false_end_is_not_answered_and_nothing_is_taken(line_end: bytes) -> None:
    host = greeted()
    host.receive(b"MAIL FROM:<ana@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n")
    assert host.receive(b"text" + line_end) == b""
    assert host.messages == []


def test_what_follows_the_end_of_data_in_the_same_packet_is_the_next_command() -> None:
    host = greeted()
    said = host.receive(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n.\r\n" + EVIL + b"QUIT\r\n")
    assert codes(said) == [250, 250, 354, 250, 250, 250, 354, 250, 221]
    assert [sender for sender, _recipients, _body in host.messages] == ["a@x.test", "evil@x.test"]


def test_a_command_sent_ahead_waits_until_the_question_before_it_is_answered() -> None:
    core = SmtpServer(OPEN, secure=True)
    core.feed(b"EHLO x\r\nMAIL FROM:<a@x.test>\r\nRSET\r\n")
    assert core.next_event() is not None
    core.output()
    assert core.next_event() is None
    assert core.output() == b""
    core.answer(250, "2.1.0", "OK")
    assert core.next_event() is None
    assert codes(core.output()) == [250, 250]


# --- STARTTLS ----------------------------------------------------------------------------------------------------------------


def test_what_was_sent_ahead_of_the_handshake_is_never_taken_as_a_command() -> None:
    host = greeted(replace(OPEN, auth_required=True), secure=False)
    assert codes(host.receive(b"STARTTLS\r\nRSET\r\n" + EVIL)) == [220]
    assert host.receive(b"more in clear\r\n") == b""
    assert host.handshake() == b""
    assert host.messages == []


def test_the_handshake_forgets_who_logged_in_and_what_was_under_way() -> None:
    host = greeted(secure=False)
    host.receive(b"AUTH PLAIN AGFuYQBvcGVuIHNlc2FtZQ==\r\nMAIL FROM:<ana@x.test>\r\n")
    before: str | None = host.core.user
    assert before == "ana"
    host.receive(b"STARTTLS\r\n")
    host.handshake()
    forgotten: str | None = host.core.user
    assert forgotten is None
    assert host.core.secure
    assert codes(host.receive(b"RCPT TO:<b@x.test>\r\n")) == [503]


def test_tls_is_asked_for_once_and_blocks_the_dialog() -> None:
    core = SmtpServer(SMTP_POLICY, secure=False)
    core.feed(b"STARTTLS\r\n")
    assert core.next_event() == TlsWanted()
    core.feed(b"NOOP\r\n")
    assert core.next_event() is None


# --- log-in ------------------------------------------------------------------------------------------------------------------


def test_a_temporary_failure_of_the_log_in_is_4yz_and_costs_nothing() -> None:
    core = SmtpServer(SMTP_POLICY, secure=True)
    for _attempt in range(10):
        core.feed(b"EHLO x\r\nAUTH PLAIN AGFuYQBwdw==\r\n")
        assert core.next_event() is not None
        core.refuse_login(temporary=True)
        assert core.next_event() is None
    assert set(codes(core.output())) == {220, 250, 454}


def test_a_token_of_8000_octets_can_be_shown_in_two_steps() -> None:
    host = SmtpHost()
    response = b"user=ana\x01auth=Bearer " + b"t" * 8000 + b"\x01\x01"
    host.receive(b"EHLO x\r\nAUTH XOAUTH2\r\n" + base64.b64encode(response) + b"\r\n")
    (shown,) = host.logins
    assert shown.token is not None
    assert len(shown.token) == 8000


def test_too_many_failed_log_ins_end_the_session() -> None:
    host = SmtpHost(replace(SMTP_POLICY, auth_failures_limit=3))
    said = host.receive(b"EHLO x\r\n" + b"AUTH PLAIN AGFuYQB3cm9uZw==\r\n" * 5)
    assert codes(said)[2:] == [535, 535, 535, 421]
    assert host.closed
    assert len(host.logins) == 3


# --- limits ------------------------------------------------------------------------------------------------------------------


def test_an_overlong_command_is_refused_and_the_session_goes_on() -> None:
    host = greeted()
    assert codes(host.receive(b"NOOP " + b"x" * (COMMAND_LIMIT - 5) + b"\r\n")) == [250]
    assert codes(host.receive(b"NOOP " + b"x" * 10_000 + b"\r\nNOOP\r\n")) == [500, 250]


def test_a_line_over_every_limit_ends_the_session_before_its_end_comes() -> None:
    host = greeted()
    assert codes(host.receive(b"x" * (LINE_LIMIT + 2))) == [500]
    assert host.closed
    assert host.receive(b"\r\nNOOP\r\n") == b""


def test_a_line_of_data_may_have_any_length() -> None:
    host = greeted()
    host.receive(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n")
    assert codes(host.receive(b"x" * 50_000 + b"\r\n.\r\n")) == [250]
    assert len(host.messages[0][2]) == 50_002


def test_nul_in_a_command_is_refused() -> None:
    assert codes(greeted().receive(b"MAIL FROM:<a\0@x.test>\r\nNO\0OP\r\n")) == [500, 500]


@pytest.mark.parametrize("size", ["²", "١٢", "-1", "1" * 21, "0x10"])
def test_a_size_that_is_no_number_is_refused(size: str) -> None:
    assert codes(greeted().receive(f"MAIL FROM:<a@x.test> SIZE={size}\r\n".encode())) == [501]


def test_an_address_that_is_not_utf8_is_refused() -> None:
    assert codes(greeted().receive(b"MAIL FROM:<a\xff@x.test>\r\nMAIL FROM:<jos\xc3\xa9@x.test>\r\n")) == [501, 250]


def test_a_body_over_the_limit_is_read_to_its_end_refused_and_not_given_out() -> None:
    host = greeted(replace(OPEN, size_limit=10))
    host.receive(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n")
    assert host.receive(b"x" * 50) == b""
    assert codes(host.receive(b"x\r\n.\r\nRCPT TO:<b@x.test>\r\nNOOP\r\n")) == [552, 503, 250]
    assert host.messages == []


def test_a_body_without_an_end_ends_the_session() -> None:
    host = greeted(replace(OPEN, size_limit=10, endless_after=100))
    host.receive(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n")
    assert host.receive(b"x" * 100) == b""
    assert codes(host.receive(b"x")) == [552]
    assert host.closed
    assert host.receive(b"\r\n.\r\nNOOP\r\n") == b""
    assert host.messages == []


def test_a_body_of_exactly_the_limit_is_taken() -> None:
    host = greeted(replace(OPEN, size_limit=10))
    said = host.receive(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n12345678\r\n.\r\n")
    assert codes(said) == [250, 250, 354, 250]


def test_recipients_over_the_limit_are_put_off_and_those_before_get_the_message() -> None:
    host = greeted(replace(OPEN, recipients_limit=2))
    said = host.receive(b"MAIL FROM:<a@x.test>\r\n" + b"RCPT TO:<b@x.test>\r\n" * 3 + b"DATA\r\n.\r\n")
    assert codes(said) == [250, 250, 250, 452, 354, 250]
    assert host.messages[0][1] == ("b@x.test", "b@x.test")


def test_who_names_more_recipients_than_fit_hands_in_the_rest_afterwards() -> None:
    """As RFC 5321 section 4.5.3.1.10 has it; but not for ever."""
    host = greeted(replace(OPEN, recipients_limit=30, errors_limit=5, idle_commands_limit=10))
    for _message in range(3):
        said = host.receive(b"MAIL FROM:<a@x.test>\r\n" + b"RCPT TO:<b@x.test>\r\n" * 60 + b"DATA\r\n.\r\n")
        assert codes(said) == [250] + [250] * 30 + [452] * 30 + [354, 250]
    said = host.receive(b"MAIL FROM:<a@x.test>\r\n" + b"RCPT TO:<b@x.test>\r\n" * 100)
    assert codes(said)[-1] == 421
    assert host.closed


@pytest.mark.parametrize(
    "request_line", [b"POST / HTTP/1.1", b"GET /x HTTP/1.1", b"CONNECT mail:25 HTTP/1.0", b"options * http/1.1"]
)
def test_a_web_browser_hands_nothing_in(request_line: bytes) -> None:
    """A page may make it post a body here that reads like a session; it is in the office, and so may be trusted."""
    host = SmtpHost(OPEN)
    host.receive(b"")
    head = request_line + b"\r\nHost: gate:2525\r\nContent-Type: text/plain\r\n\r\n"
    said = host.receive(head + b"EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n.\r\n")
    assert codes(said) == [421]
    assert host.closed
    assert host.messages == []


def test_too_many_wrong_commands_end_the_session() -> None:
    host = greeted(replace(OPEN, errors_limit=5))
    assert codes(host.receive(b"WHAT\r\n" * 20)) == [500] * 5 + [421]
    assert host.closed


def test_too_many_commands_without_a_message_end_the_session_but_messages_never_do() -> None:
    host = greeted(replace(OPEN, idle_commands_limit=10))
    for _message in range(20):
        assert not host.closed
        host.receive(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n.\r\n")
    assert len(host.messages) == 20
    assert codes(host.receive(b"NOOP\r\n" * 20))[-1] == 421
    assert host.closed


# --- any octets --------------------------------------------------------------------------------------------------------------

WORDS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"EHLO x\r\n",
                b"HELO\n",
                b"AUTH PLAIN\r\n",
                b"AUTH LOGIN =\r\n",
                b"AUTH XOAUTH2\r\n",
                b"STARTTLS\r\n",
                b"*\r\n",
            ]
            + [
                b"AGFuYQBvcGVuIHNlc2FtZQ==\r\n",
                b"MAIL FROM:<a@x.test>\r\n",
                b"MAIL FROM:<> SIZE=1\n",
                b"RCPT TO:<b@x.test>\r\n",
            ]
            + [b"RCPT TO:", b"DATA\r\n", b"\r\n.\r\n", b"RSET\r\n", b"QUIT\r\n", b"\r\n", b" ", b"\0", b"y" * 13_000]
        ),
        st.binary(max_size=20),
    ),
    max_size=20,
)


@MANY
@given(WORDS, cuts, st.booleans(), st.booleans())
def test_any_octets_get_replies_or_a_clean_close(
    words: list[bytes], lengths: list[int], secure: bool, relaxed: bool
) -> None:
    host = SmtpHost(OPEN if relaxed else SMTP_POLICY, secure=secure)
    said = host.receive(b"")
    for piece in cut(b"".join(words), lengths):
        said += host.receive(piece)
    assert said.endswith(b"\r\n")
    for line in said.splitlines():
        assert line[:3].isdigit()
        assert line[3:4] in (b" ", b"-")
    assert codes(said)[-1] in (221, 421, 500) if host.closed else codes(said)[-1] not in (221, 421)


@MANY
@given(WORDS.filter(lambda words: b"STARTTLS\r\n" not in words), cuts)
def test_what_is_said_does_not_depend_on_how_the_octets_arrive(words: list[bytes], lengths: list[int]) -> None:
    data, whole, pieces = b"".join(words), SmtpHost(OPEN), SmtpHost(OPEN)
    expected = whole.receive(data)
    assert b"".join(pieces.receive(piece) for piece in (b"", *cut(data, lengths))) == expected
    assert pieces.messages == whole.messages
