"""The server's side of POP3: when messages go, what must not get through, and what has a limit."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hosts import POP_POLICY, PopHost
from hypothesis import given
from hypothesis import strategies as st
from talk import MANY, cut, cuts

from valija.protocol.pop3_server import LINE_LIMIT, OUTPUT_LIMIT, Pop3Server
from valija.protocol.pop3_server_events import DeletionsDue, Entry, OutputWaits, PopPolicy, SessionEnds, TlsWanted

MESSAGES = [b"Subject: one\r\n\r\n.\r\n", b"Subject: two\r\n\r\nx\r\n", b""]
LOG_IN = b"USER ana\r\nPASS open sesame\r\n"


def opened(messages: list[bytes] = MESSAGES) -> PopHost:
    """Return a server with an open maildrop."""
    host = PopHost(messages)
    host.receive(LOG_IN)
    return host


def test_messages_are_deleted_at_quit_only() -> None:
    host = opened()
    host.receive(b"DELE 1\r\nDELE 3\r\n")
    assert not host.deleted
    assert host.receive(b"QUIT\r\n") == b"+OK Bye\r\n"
    assert host.deleted == (0, 2)
    assert host.closed


def test_a_session_that_breaks_off_deletes_nothing() -> None:
    host = opened()
    host.receive(b"DELE 1\r\nQUI")
    assert host.deleted is None
    assert not host.closed


def test_quit_before_the_log_in_deletes_nothing() -> None:
    host = PopHost(MESSAGES)
    assert host.receive(b"QUIT\r\n").endswith(b"+OK Bye\r\n")
    assert host.deleted is None


def test_deletions_that_did_not_happen_are_said_so() -> None:
    host = opened()
    host.deletes_all = False
    assert host.receive(b"DELE 1\r\nQUIT\r\n").endswith(b"-ERR [SYS/TEMP] Some messages were not deleted\r\n")
    assert host.closed


def test_the_answer_to_quit_waits_until_the_deletions_are_done() -> None:
    core = Pop3Server(POP_POLICY, secure=True)
    core.feed(LOG_IN)
    assert core.next_event() is not None
    core.open_maildrop([])
    core.output()
    core.feed(b"DELE 1\r\nQUIT\r\n")
    assert core.next_event() is not None
    assert core.output() == b"-ERR No such message\r\n+OK Bye\r\n"


@pytest.mark.parametrize("code", ["IN-USE", "SYS/TEMP"])
def test_a_maildrop_that_cannot_be_opened_now_says_why_and_costs_nothing(code: str) -> None:
    core = Pop3Server(POP_POLICY, secure=True)
    for _attempt in range(10):
        core.feed(LOG_IN)
        assert core.next_event() is not None
        core.refuse_login(code=code)
        assert core.next_event() is None
    assert core.output().count(f"-ERR [{code}]".encode()) == 10


def test_what_was_sent_ahead_of_the_handshake_is_never_taken_as_a_command() -> None:
    host = PopHost(MESSAGES, secure=False)
    assert host.receive(b"STLS\r\n" + LOG_IN + b"DELE 1\r\nQUIT\r\n").endswith(b"+OK Begin TLS\r\n")
    assert host.receive(LOG_IN) == b""
    assert host.handshake() == b""
    assert host.logins == []


def test_tls_blocks_the_dialog_until_the_handshake_is_done() -> None:
    core = Pop3Server(POP_POLICY, secure=False)
    core.feed(b"STLS\r\n")
    assert core.next_event() == TlsWanted()
    core.feed(b"CAPA\r\n")
    assert core.next_event() is None


def test_pipelined_commands_are_answered_in_order_around_a_message() -> None:
    said = opened().receive(b"NOOP\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")
    assert said == b"+OK\r\n+OK 19 octets\r\nSubject: one\r\n\r\n..\r\n.\r\n+OK Marked\r\n+OK Bye\r\n"


def test_a_line_over_the_limit_ends_the_session() -> None:
    host = opened()
    assert host.receive(b"x" * (LINE_LIMIT + 2)) == b"-ERR Line too long\r\n"
    assert host.closed
    assert host.deleted is None


def test_a_line_of_10000_octets_is_an_ordinary_wrong_command() -> None:
    host = opened()
    assert host.receive(b"x" * 10_000 + b"\r\nNOOP\r\n") == b"-ERR Command not possible here\r\n+OK\r\n"


def test_too_many_errors_or_failed_log_ins_end_the_session() -> None:
    wrong = PopHost(policy=replace(POP_POLICY, errors_limit=4))
    assert wrong.receive(b"WHAT\r\n" * 10).count(b"-ERR") == 5
    assert wrong.closed
    guessing = PopHost(policy=replace(POP_POLICY, auth_failures_limit=3))
    guessing.receive(b"USER ana\r\n" + b"PASS guess\r\n" * 10)
    assert len(guessing.logins) == 3
    assert guessing.closed


def test_who_says_much_without_a_log_in_is_let_go_and_who_is_known_is_not() -> None:
    stranger = PopHost(policy=replace(POP_POLICY, commands_before_login=10))
    assert stranger.receive(b"NOOP\r\n" * 20).endswith(b"-ERR Too many commands\r\n")
    assert stranger.closed
    known = PopHost(policy=replace(POP_POLICY, commands_before_login=10))
    known.receive(LOG_IN)
    assert known.receive(b"NOOP\r\n" * 500) == b"+OK\r\n" * 500


def waiting_for_a_message(policy: PopPolicy = POP_POLICY, command: bytes = b"RETR 1\r\n") -> Pop3Server:
    """Return a server that has asked whether a message is there."""
    core = Pop3Server(policy, secure=True)
    core.feed(LOG_IN + command)
    assert core.next_event() is not None
    core.open_maildrop([Entry("a", 10), Entry("b", 20)])
    assert core.next_event() is not None
    core.output()
    return core


def test_nothing_positive_is_said_before_the_message_is_there() -> None:
    core = waiting_for_a_message()
    assert core.output() == b""
    core.message_follows()
    assert core.output() == b"+OK 10 octets\r\n"


def test_a_message_that_cannot_be_had_is_refused_and_the_session_goes_on() -> None:
    core = waiting_for_a_message()
    core.refuse_message("gone")
    core.feed(b"LAST\r\n")
    assert core.next_event() is None
    assert core.output() == b"-ERR gone\r\n+OK 0\r\n"


def test_a_lost_maildrop_ends_the_session_with_nothing_deleted() -> None:
    core = waiting_for_a_message(command=b"DELE 2\r\nRETR 1\r\nQUIT\r\n")
    core.lose_maildrop("[SYS/TEMP] gone")
    assert core.next_event() == SessionEnds()
    assert core.output() == b"-ERR [SYS/TEMP] gone\r\n"
    assert core.next_event() is None


def test_a_size_that_may_be_wrong_is_not_named_at_the_message() -> None:
    core = waiting_for_a_message(replace(POP_POLICY, sizes_exact=False))
    core.message_follows()
    core.message_sent()
    core.feed(b"LIST 1\r\n")
    assert core.next_event() is None
    assert core.output() == b"+OK\r\n+OK 1 10\r\n"


def test_output_is_bounded_however_much_is_asked_for_at_once() -> None:
    core = Pop3Server(POP_POLICY, secure=True)
    core.feed(LOG_IN)
    assert core.next_event() is not None
    core.open_maildrop([Entry("x" * 70, 10)] * 1000)
    core.feed(b"UIDL\r\n" * 1000)
    said = largest = 0
    while core.next_event() == OutputWaits():
        octets = len(core.output())
        said, largest = said + octets, max(largest, octets)
    said += len(core.output())
    assert said > 1000 * 1000 * 70
    assert largest < OUTPUT_LIMIT + 1000 * 80


@pytest.mark.parametrize("command", [b"STAT\r\n", b"LIST\r\n", b"RSET\r\nDELE 1\r\n"])
def test_a_large_maildrop_gives_others_their_turn(command: bytes) -> None:
    """What is said in one packet would otherwise take half a minute, with nobody else served."""
    messages = 10_000
    core = Pop3Server(POP_POLICY, secure=True)
    core.feed(LOG_IN)
    assert core.next_event() is not None
    core.open_maildrop([Entry("x", 10)] * messages)
    core.feed(b"".join(b"DELE %d\r\n" % number for number in range(1, messages)))
    while core.next_event() is not None:
        core.output()
    core.feed(command * 1000 + b"QUIT\r\n")
    longest = turns = 0.0
    while True:
        began = time.perf_counter()
        event = core.next_event()
        longest, turns = max(longest, time.perf_counter() - began), turns + 1
        core.output()
        if not isinstance(event, OutputWaits):
            break
    assert isinstance(event, DeletionsDue)
    assert longest < 0.3
    assert turns < 1000


def test_stat_counts_what_is_not_marked() -> None:
    host = opened([b"one", b"three", b"fifteen"])
    assert host.receive(b"STAT\r\nDELE 2\r\nDELE 2\r\nSTAT\r\n").splitlines()[::3] == [b"+OK 3 15", b"+OK 2 10"]
    assert host.receive(b"RSET\r\nSTAT\r\n").splitlines()[1] == b"+OK 3 15"


@pytest.mark.parametrize(
    ("line", "password"),
    [
        (b"PASS a b", "a b"),
        (b"pass  two  spaces ", " two  spaces "),
        (b" PASS x\t", "x\t"),
        (b"PASS \xc3\xb1", "\N{LATIN SMALL LETTER N WITH TILDE}"),
        (b"PASS \xf1", "\N{LATIN SMALL LETTER N WITH TILDE}"),
        (b"PASS", ""),
    ],
)
def test_a_password_is_all_that_follows_the_space(line: bytes, password: str) -> None:
    host = PopHost()
    host.receive(b"USER ana\r\n" + line + b"\r\n")
    [shown] = host.logins
    assert shown.password is not None
    assert shown.password.reveal() == password


def test_utf8_is_told_with_the_log_in_and_forgotten_at_the_handshake() -> None:
    host = PopHost()
    host.receive(b"UTF8\r\n" + LOG_IN)
    assert host.utf8
    injected = PopHost(secure=False)
    injected.receive(b"UTF8\r\nSTLS\r\n")
    injected.handshake()
    injected.receive(LOG_IN)
    assert (len(injected.logins), injected.utf8) == (1, False)


# --- any octets --------------------------------------------------------------------------------------------------------------

WORDS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                LOG_IN,
                b"AUTH LOGIN\r\n",
                b"AUTH\r\n",
                b"AUTH OAUTHBEARER =\n",
                b"*\r\n",
                b"=\r\n",
                b"CAPA\r\n",
                b"STLS\r\n",
                b"UIDL\r\n",
            ]
            + [
                b"LIST 1\n",
                b"RETR 1\r\n",
                b"TOP 2 1\r\n",
                b"TOP 2",
                b"DELE 1\r\n",
                b"DELE ",
                b"2\r\n",
                b"RSET\r\n",
                b"STAT\r\n",
            ]
            + [b"QUIT\r\n", b"PASS \xff\r\n", b"\r\n", b"y" * 13_000]
        ),
        st.binary(max_size=20),
    ),
    max_size=20,
)


@MANY
@given(WORDS, cuts, st.booleans())
def test_any_octets_get_answers_or_a_clean_close(words: list[bytes], lengths: list[int], secure: bool) -> None:
    host = PopHost(MESSAGES, secure=secure)
    said = host.receive(b"")
    for piece in cut(b"".join(words), lengths):
        answer = host.receive(piece)
        assert answer == b"" or answer.endswith(b"\r\n")
        assert answer[:1] in (b"", b"+", b"-")
        said += answer
    if host.deleted is not None:
        assert b"QUIT" in b"".join(words).upper()
        assert host.closed
    assert not host.closed or said.splitlines()[-1].startswith((b"+OK Bye", b"-ERR"))


@MANY
@given(WORDS.filter(lambda words: b"STLS\r\n" not in words), cuts)
def test_what_is_said_does_not_depend_on_how_the_octets_arrive(words: list[bytes], lengths: list[int]) -> None:
    data, whole, pieces = b"".join(words), PopHost(MESSAGES), PopHost(MESSAGES)
    expected = whole.receive(data)
    assert b"".join(pieces.receive(piece) for piece in (b"", *cut(data, lengths))) == expected
    assert pieces.deleted == whole.deleted
