"""The client's side of POP3."""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import BEARER, MANY, PASSWORD, Talk, converse, cut, cuts

from valija.protocol import pop3_client as pop
from valija.protocol.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from valija.protocol.pop3_client import (
    Listed,
    Maildrop,
    PopAuthAccepted,
    PopAuthRefused,
    PopCapabilities,
    PopRefused,
    PopStage,
    PopStatus,
)
from valija.protocol.sasl import Credentials, ErrorChallenge, PasswordCredentials
from valija.protocol.smtp_client import ConnectionGone, NoCommonMechanism
from valija.secret import Secret

CAPA = b"+OK\r\nSASL XOAUTH2 plain\r\nSTLS\r\nUSER\r\nUIDL\r\n.\r\n"
OK = b"+OK\r\n"
JSON_CHALLENGE = b'{"status":"401","schemes":"bearer","scope":"pop"}'
NO = b"-ERR [SYS/TEMP] come back later\r\n"


def offering(*mechanisms: str, user: bool = False, known: bool = True) -> PopCapabilities:
    return PopCapabilities(known, mechanisms, False, user)


def log_in(credentials: Credentials, offered: PopCapabilities, *script: bytes) -> Talk[pop.PopAuthOutcome]:
    return converse(pop.authenticate(offered, credentials), script)


# --- status lines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"+OK", PopStatus(True, False, "", "")),
        (b"+ok ready", PopStatus(True, False, "", "ready")),
        (b"-ERR [AUTH] wrong", PopStatus(False, False, "AUTH", "wrong")),
        (b"-err [sys/temp]", PopStatus(False, False, "SYS/TEMP", "")),
        (b"-ERR [not a code] x", PopStatus(False, False, "", "[not a code] x")),
        (b"+", PopStatus(False, True, "", "")),
        (b"+ eyJ9", PopStatus(False, True, "", "eyJ9")),
    ],
)
def test_a_status_line_is_a_success_an_error_or_a_challenge(line: bytes, status: PopStatus) -> None:
    assert pop.parse_status(line) == status


@pytest.mark.parametrize(
    "line", [b"", b"220 mx ESMTP", b"OK", b"+OKAY", b"-ERROR", b"+\tx", b"* OK IMAP", b"\xff\x1b[2J"]
)
def test_garbage_is_refused_with_a_text_that_is_safe_to_show(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        pop.parse_status(line)
    assert "\x1b" not in str(caught.value)


def test_the_servers_words_are_one_short_safe_line() -> None:
    status = pop.parse_status(b"-ERR [AUTH] \x1b[31mno\x00" + b"x" * 2000)
    assert status.server_words.startswith("-ERR [AUTH]  [31mno x")
    assert len(status.server_words) == pop.WORDS_LIMIT


# --- opening -------------------------------------------------------------------------------------------------------------


def test_capabilities_are_asked_for_after_the_greeting() -> None:
    talk = converse(pop.greet(), [b"+OK hello\r\n", CAPA])
    assert talk.written == [b"CAPA\r\n"]
    assert talk.value == PopCapabilities(True, ("XOAUTH2", "PLAIN"), True, True)


def test_a_server_without_capa_has_user_at_least() -> None:
    assert converse(pop.greet(), [OK, b"-ERR what\r\n"]).value == PopCapabilities(False, (), False, True)


def test_a_server_that_does_not_want_us_is_not_spoken_to() -> None:
    talk = converse(pop.greet(), [NO])
    assert talk.value == PopRefused(PopStage.GREETING, PopStatus(False, False, "SYS/TEMP", "come back later"))
    assert talk.written == []


def test_after_stls_the_capabilities_are_asked_for_again() -> None:
    talk = converse(pop.start_tls(), [OK, b"+OK\r\nSASL XOAUTH2\r\n.\r\n"])
    assert talk.written == [b"STLS\r\n", b"<tls>", b"CAPA\r\n"]
    assert talk.value == PopCapabilities(True, ("XOAUTH2",), False, False)


def test_stls_refused_is_a_refusal_and_nothing_more_is_said_in_clear() -> None:
    talk = converse(pop.start_tls(), [NO])
    assert isinstance(talk.value, PopRefused)
    assert talk.value.stage is PopStage.STARTTLS
    assert talk.written == [b"STLS\r\n"]


@pytest.mark.parametrize("injected", [b"+OK\r\nSASL PLAIN\r\n.\r\n", b"+", b"\n"])
def test_octets_in_clear_after_the_answer_to_stls_end_the_session(injected: bytes) -> None:
    with pytest.raises(ConnectionGone, match="octets in clear"):
        converse(pop.start_tls(), [OK + injected])


# --- log-in --------------------------------------------------------------------------------------------------------------


def test_a_log_in_always_has_two_steps_so_that_no_token_is_in_a_command_line() -> None:
    talk = log_in(BEARER, offering("XOAUTH2"), b"+ \r\n", b"+OK welcome\r\n")
    answer = base64.b64encode(b"user=ana@example.test\x01auth=Bearer good-token\x01\x01") + b"\r\n"
    assert talk.written == [b"AUTH XOAUTH2\r\n", answer]
    assert talk.secrets == [answer]
    assert talk.value == PopAuthAccepted("XOAUTH2")


@pytest.mark.parametrize("challenge", [JSON_CHALLENGE, b"token expired"])
@pytest.mark.parametrize(("mechanism", "formality"), [("XOAUTH2", b"\r\n"), ("OAUTHBEARER", b"AQ==\r\n")])
def test_a_plus_with_an_error_challenge_is_no_log_in_and_the_challenge_is_kept(
    mechanism: str, formality: bytes, challenge: bytes
) -> None:
    script = [b"+\r\n", b"+ " + base64.b64encode(challenge) + b"\r\n", b"-ERR [AUTH] no\r\n"]
    talk = log_in(BEARER, offering(mechanism), *script)
    assert isinstance(talk.value, PopAuthRefused)
    assert talk.value.status.code == "AUTH"
    status, scope = ("401", "pop") if challenge is JSON_CHALLENGE else ("", "")
    assert talk.value.challenge == ErrorChallenge(status, scope, "", challenge.decode())
    assert talk.written[-1] == formality


@pytest.mark.parametrize("before", [[], [b"+ \r\n"], [b"+ \r\n", b"+ e30=\r\n"]])
def test_an_error_at_each_step_of_the_log_in_is_a_refusal(before: list[bytes]) -> None:
    talk = log_in(BEARER, offering("XOAUTH2"), *before, NO)
    assert isinstance(talk.value, PopAuthRefused)
    assert talk.value.status.code == "SYS/TEMP"
    assert (talk.value.challenge is not None) == (len(before) == 2)


def test_a_log_in_that_never_ends_is_the_servers_fault() -> None:
    with pytest.raises(RemoteProtocolError, match="does not come to an end"):
        log_in(BEARER, offering("XOAUTH2"), *[b"+ \r\n"] * 10)


def test_user_and_pass_are_used_where_no_password_mechanism_is_offered() -> None:
    talk = log_in(PASSWORD, offering("XOAUTH2", user=True), OK, OK)
    assert talk.written == [b"USER ana@example.test\r\n", b"PASS open sesame\r\n"]
    assert talk.secrets == [b"PASS open sesame\r\n"]
    assert talk.value == PopAuthAccepted("USER")


@pytest.mark.parametrize("script", [[NO], [OK, NO]])
def test_user_or_pass_refused_is_a_refusal(script: list[bytes]) -> None:
    talk = log_in(PASSWORD, offering(user=True), *script)
    assert isinstance(talk.value, PopAuthRefused)
    assert len(talk.written) == len(script)


@pytest.mark.parametrize("bad", ["a\r\nDELE 1", "a\n", "a\r", "a\0", "a\udc80"])
def test_cr_lf_or_nul_in_user_or_password_is_refused(bad: str) -> None:
    for credentials in (PasswordCredentials(bad, Secret("p")), PasswordCredentials("u", Secret(bad))):
        with pytest.raises(LocalProtocolError):
            log_in(credentials, offering(user=True), OK, OK)


@pytest.mark.parametrize(
    ("credentials", "offered"),
    [
        (BEARER, offering("PLAIN", user=True)),
        (PASSWORD, offering("XOAUTH2")),
        (BEARER, offering(known=False, user=True)),
    ],
)
def test_without_a_common_mechanism_nothing_is_said(credentials: Credentials, offered: PopCapabilities) -> None:
    talk = log_in(credentials, offered)
    assert isinstance(talk.value, NoCommonMechanism)
    assert talk.written == []


def test_a_server_without_capa_is_trusted_to_know_what_its_provider_prefers() -> None:
    dialog = pop.authenticate(offering(known=False, user=True), BEARER, ("XOAUTH2",))
    assert converse(dialog, [b"+ \r\n", OK]).value == PopAuthAccepted("XOAUTH2")


def chain_of(*dialogs: Generator[Any, Any, Any]) -> Generator[Any, Any, list[Any]]:
    """Run dialogs one after another; return all their values."""
    found = []
    for dialog in dialogs:
        found.append((yield from dialog))
    return found


# --- maildrop ------------------------------------------------------------------------------------------------------------


def test_stat_gives_two_numbers() -> None:
    assert converse(pop.ask_stat(), [b"+OK 2 320 and more\r\n"]).value == Maildrop(2, 320)


@pytest.mark.parametrize("text", ["", "2", "two 320", "-1 5", "² 5", "1 " + "9" * 19])
def test_stat_without_two_numbers_is_the_servers_fault(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        converse(pop.ask_stat(), [f"+OK {text}\r\n".encode()])


def test_unique_ids_come_in_the_order_of_the_message_numbers() -> None:
    talk = converse(pop.ask_unique_ids(), [b"+OK\r\n2 b~!\r\n1   a \r\n10 ", b"x" * 70 + b"\r\n.\r\n"])
    assert talk.value == [(1, "a"), (2, "b~!"), (10, "x" * 70)]


@pytest.mark.parametrize("line", [b"1", b"1 ", b"1 a b", b"x a", b"1 " + b"x" * 71, b"1 \xc3\xb1", b"1 a\x07", b""])
def test_a_listing_that_is_none_is_the_servers_fault(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        converse(pop.ask_unique_ids(), [b"+OK\r\n" + line + b"\r\n.\r\n"])


UIDL, LIST = b"+OK\r\n1 a\r\n2 b\r\n.\r\n", b"+OK\r\n2 20\r\n1 10 octets\r\n.\r\n"
PIPELINING = PopCapabilities(True, (), False, True, pipelining=True)
ONE_BY_ONE = PopCapabilities(True, (), False, True)


@pytest.mark.parametrize(
    ("capabilities", "written"), [(PIPELINING, [b"UIDL\r\nLIST\r\n"]), (ONE_BY_ONE, [b"UIDL\r\n", b"LIST\r\n"])]
)
def test_a_listing_joins_unique_ids_and_sizes_and_commands_go_together_only_where_offered(
    capabilities: PopCapabilities, written: list[bytes]
) -> None:
    talk = converse(pop.ask_listing(capabilities), [UIDL, LIST])
    assert talk.value == [Listed(1, "a", 10), Listed(2, "b", 20)]
    assert talk.written == written


def test_a_refused_half_of_a_listing_is_a_refusal_and_leaves_the_dialog_in_step() -> None:
    for script in ([NO, LIST], [UIDL, NO]):
        talk = converse(chain_of(pop.ask_listing(PIPELINING), pop.ask_stat()), [*script, b"+OK 2 30\r\n"])
        assert isinstance(talk.value[0], PopRefused)
        assert talk.value[1] == Maildrop(2, 30)
    assert converse(pop.ask_listing(ONE_BY_ONE), [NO]).written == [b"UIDL\r\n"]


@pytest.mark.parametrize(
    "listing", [b"1 10\r\n", b"1 10\r\n3 20\r\n", b"1 10\r\n2\r\n", b"1 10\r\n\r\n", b"1 10\r\n2 x\r\n"]
)
def test_unique_ids_and_sizes_of_different_messages_are_the_servers_fault(listing: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        converse(pop.ask_listing(PIPELINING), [UIDL, b"+OK\r\n" + listing + b".\r\n"])


def test_deletions_go_on_after_a_refused_one_and_tell_of_it() -> None:
    talk = converse(pop.ask_deletions([1, 2, 3], PIPELINING), [OK, NO, OK])
    assert [status.server_words for status in talk.value] == ["-ERR [SYS/TEMP] come back later"]
    assert talk.written == [b"DELE 1\r\nDELE 2\r\nDELE 3\r\n"]
    assert converse(pop.ask_deletions([1, 2], ONE_BY_ONE), [OK, OK]).written == [b"DELE 1\r\n", b"DELE 2\r\n"]
    many = list(range(1, 1201))
    assert len(converse(pop.ask_deletions(many, PIPELINING), [OK] * 1200).written) == 3, "no more than 500 at once"


def test_what_else_a_server_offers_is_known_from_its_capabilities() -> None:
    found = converse(pop.ask_capabilities(), [b"+OK\r\nTOP\r\nutf8 USER\r\nPIPELINING\r\n.\r\n"]).value
    assert (found.top, found.utf8, found.pipelining, found.user) == (True, True, True, False)
    assert converse(pop.ask_utf8(), [OK]).written == [b"UTF8\r\n"]


def test_a_status_line_of_10000_octets_is_read_and_one_without_end_is_not() -> None:
    assert converse(pop.ask_retrieve(1), [b"+OK " + b"x" * 10_000 + b"\r\n"]).value.ok
    with pytest.raises(ConnectionGone) as caught:
        converse(pop.ask_retrieve(1), [b"+OK " + b"x" * 20_000])
    assert caught.value.reason == "peer_nonsense"


DIALOGS: list[tuple[Callable[[], Generator[Any, Any, Any]], bytes]] = [
    (pop.ask_stat, b"STAT\r\n"),
    (pop.ask_unique_ids, b"UIDL\r\n"),
    (lambda: pop.ask_retrieve(7), b"RETR 7\r\n"),
    (lambda: pop.ask_top(7, 0), b"TOP 7 0\r\n"),
    (lambda: pop.ask_listing(ONE_BY_ONE), b"UIDL\r\n"),
    (pop.say_goodbye, b"QUIT\r\n"),
]


@pytest.mark.parametrize(("dialog", "command"), DIALOGS, ids=[command.decode().strip() for _dialog, command in DIALOGS])
def test_an_error_at_each_command_is_told_with_the_servers_words(
    dialog: Callable[[], Generator[Any, Any, Any]], command: bytes
) -> None:
    talk = converse(dialog(), [NO])
    status = talk.value.status if isinstance(talk.value, PopRefused) else talk.value
    assert status.server_words == "-ERR [SYS/TEMP] come back later"
    assert talk.written == [command]


@pytest.mark.parametrize(("dialog", "command"), DIALOGS, ids=[command.decode().strip() for _dialog, command in DIALOGS])
def test_a_connection_lost_at_each_command_is_told_to_the_caller(
    dialog: Callable[[], Generator[Any, Any, Any]], command: bytes
) -> None:
    with pytest.raises(ConnectionGone):
        converse(dialog(), [b"+O"])


# --- any octets ----------------------------------------------------------------------------------------------------------

WORDS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                OK,
                NO,
                b"+ \r\n",
                b"+ e30=\r\n",
                b".\r\n",
                b"+OK 1 2\r\n",
                b"1 a\r\n",
                b"SASL X\r\n",
                b"ga\r\n",
                b"y" * 17_000,
            ]
        ),
        st.binary(max_size=20),
    ),
    max_size=12,
)


@MANY
@given(WORDS, cuts, st.sampled_from(range(12)))
def test_whatever_a_server_says_every_dialog_ends_in_the_documented_ways(
    words: list[bytes], lengths: list[int], which: int
) -> None:
    dialogs: list[Generator[Any, Any, Any]] = [
        pop.greet(),
        pop.start_tls(),
        pop.authenticate(offering("XOAUTH2"), BEARER),
        pop.authenticate(offering("LOGIN"), PASSWORD),
        pop.authenticate(offering(user=True), PASSWORD),
        *(dialog() for dialog, _command in DIALOGS),
        pop.ask_listing(PIPELINING),
    ]
    try:
        found = converse(dialogs[which], cut(b"".join(words), lengths)).value
    except (ProtocolError, ConnectionGone):
        return
    kinds = PopCapabilities | PopRefused | PopAuthAccepted | PopAuthRefused | Maildrop | list | PopStatus  # type: ignore[type-arg]
    assert isinstance(found, kinds)
