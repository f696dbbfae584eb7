"""The client's side of SMTP up to the log-in."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import BEARER, MANY, PASSWORD, Talk, converse, cut, cuts

from valija.protocol import smtp_client as smtp
from valija.protocol.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from valija.protocol.sasl import Credentials, ErrorChallenge
from valija.protocol.smtp_client import AuthAccepted, AuthRefused, Capabilities, NoCommonMechanism, Refused, Stage
from valija.protocol.smtp_reply import SmtpReply
from valija.protocol.smtp_transaction import verify_sender

GREETING = b"220 mx.test ESMTP\r\n"
EHLO = b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 100\r\n250-AUTH XOAUTH2 PLAIN\r\n250 STARTTLS\r\n"
JSON_CHALLENGE = b'{"status":"401","schemes":"bearer","scope":"smtp"}'


def log_in(
    credentials: Credentials, offer: str, *script: bytes, preference: tuple[str, ...] = ()
) -> Talk[smtp.AuthOutcome]:
    """Log in at a server that offers these mechanisms."""
    return converse(smtp.authenticate(Capabilities({"AUTH": offer}), credentials, preference), script)


def b64(data: bytes) -> bytes:
    return base64.b64encode(data)


# --- greeting, EHLO, STARTTLS ------------------------------------------------------------------------------------------


def test_the_greeting_is_awaited_before_ehlo_and_capabilities_are_read() -> None:
    talk = converse(smtp.greet("box.test"), [GREETING, EHLO])
    assert talk.written == [b"EHLO box.test\r\n"]
    assert isinstance(talk.value, Capabilities)
    assert talk.value.mechanisms == ("XOAUTH2", "PLAIN")
    assert talk.value.size_limit == 100
    assert talk.value.has("STARTTLS")
    assert not talk.value.has("MX.TEST")


@pytest.mark.parametrize("greeting", [b"554 5.7.1 go away\r\n", b"421 busy\r\n"])
def test_a_server_that_does_not_want_us_is_not_spoken_to(greeting: bytes) -> None:
    talk = converse(smtp.greet("box.test"), [greeting])
    assert isinstance(talk.value, Refused)
    assert talk.value.stage is Stage.GREETING
    assert talk.written == []


def test_a_server_that_does_not_know_ehlo_gets_helo_and_offers_nothing() -> None:
    talk = converse(smtp.greet("box.test"), [GREETING, b"502 what\r\n", b"250 hello\r\n"])
    assert talk.written == [b"EHLO box.test\r\n", b"HELO box.test\r\n"]
    assert talk.value == Capabilities({})


def test_ehlo_refused_for_now_is_not_followed_by_helo() -> None:
    talk = converse(smtp.greet("box.test"), [GREETING, b"421 4.3.2 shutting down\r\n"])
    assert talk.written == [b"EHLO box.test\r\n"]
    assert isinstance(talk.value, Refused)
    assert (talk.value.stage, talk.value.reply.code) == (Stage.EHLO, 421)


def test_helo_refused_too_is_a_refusal() -> None:
    talk = converse(smtp.greet("box.test"), [GREETING, b"502 what\r\n", b"550 no\r\n"])
    assert talk.value == Refused(Stage.EHLO, SmtpReply(550, "", ("no",)))


@pytest.mark.parametrize(
    ("line", "keyword", "value"),
    [
        ("auth=LOGIN PLAIN", "AUTH", "LOGIN PLAIN"),
        ("AUTH login xoauth2", "AUTH", "login xoauth2"),
        ("size 1000", "SIZE", "1000"),
        ("  8BITMIME ", "8BITMIME", ""),
    ],
)
def test_keywords_are_read_in_any_case_and_form(line: str, keyword: str, value: str) -> None:
    found = smtp.parse_capabilities(SmtpReply(250, "", ("mx.test", line)))
    assert found.keywords == {keyword: value}


def test_both_forms_of_auth_together_offer_all_mechanisms() -> None:
    found = smtp.parse_capabilities(SmtpReply(250, "", ("mx", "AUTH XOAUTH2", "AUTH=LOGIN")))
    assert found.mechanisms == ("XOAUTH2", "LOGIN")


@pytest.mark.parametrize("value", ["", "0", "lots", "-5", "²", "9" * 19])
def test_a_size_without_meaning_is_no_limit(value: str) -> None:
    assert Capabilities({"SIZE": value}).size_limit is None


def test_after_starttls_the_capabilities_are_asked_for_again_and_the_old_ones_forgotten() -> None:
    talk = converse(smtp.start_tls("box.test"), [b"220 go\r\n", b"250-mx.test\r\n250 AUTH XOAUTH2\r\n"])
    assert talk.written == [b"STARTTLS\r\n", b"<tls>", b"EHLO box.test\r\n"]
    assert talk.value == Capabilities({"AUTH": "XOAUTH2"})


@pytest.mark.parametrize("reply", [b"454 4.7.0 not now\r\n", b"502 no\r\n"])
def test_starttls_refused_is_a_refusal_and_nothing_more_is_said_in_clear(reply: bytes) -> None:
    talk = converse(smtp.start_tls("box.test"), [reply])
    assert isinstance(talk.value, Refused)
    assert talk.value.stage is Stage.STARTTLS
    assert talk.written == [b"STARTTLS\r\n"]


@pytest.mark.parametrize("injected", [b"250 AUTH PLAIN\r\n", b"2", b"\n"])
def test_octets_in_clear_after_the_reply_to_starttls_end_the_session(injected: bytes) -> None:
    with pytest.raises(smtp.ConnectionGone, match="octets in clear"):
        converse(smtp.start_tls("box.test"), [b"220 go\r\n" + injected])


@pytest.mark.parametrize("name", ["", "a b", "a\r\nMAIL FROM:<e@x.test>", "a\0", "a\n", "ñ.test", "x" * 254])
def test_a_local_name_that_would_break_ehlo_is_refused_before_anything_is_said(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        next(smtp.say_hello(name))


@pytest.mark.parametrize(
    "script", [[], [b"220 par"], [GREETING], [GREETING, b"250-mx\r\n"], [GREETING, b"502 what\r\n"]]
)
def test_a_connection_lost_while_opening_is_told_to_the_caller(script: list[bytes]) -> None:
    with pytest.raises(smtp.ConnectionGone) as caught:
        converse(smtp.greet("box.test"), script)
    assert caught.value.reason == "connection_lost"


# --- log-in --------------------------------------------------------------------------------------------------------------


def test_a_log_in_always_has_two_steps_so_that_no_token_is_in_a_command_line() -> None:
    talk = log_in(BEARER, "XOAUTH2", b"334 \r\n", b"235 2.7.0 welcome\r\n")
    assert talk.value == AuthAccepted("XOAUTH2")
    answer = b64(b"user=ana@example.test\x01auth=Bearer good-token\x01\x01") + b"\r\n"
    assert talk.written == [b"AUTH XOAUTH2\r\n", answer]
    assert talk.secrets == [answer]


def test_login_answers_two_prompts() -> None:
    script = [b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n", b"235 ok\r\n"]
    talk = log_in(PASSWORD, "LOGIN", *script)
    assert talk.value == AuthAccepted("LOGIN")
    assert talk.secrets == [b64(b"ana@example.test") + b"\r\n", b64(b"open sesame") + b"\r\n"]


@pytest.mark.parametrize(("mechanism", "formality"), [("XOAUTH2", b"\r\n"), ("OAUTHBEARER", b"AQ==\r\n")])
@pytest.mark.parametrize("challenge", [JSON_CHALLENGE, b"token expired"])
def test_a_refused_token_with_a_challenge_is_answered_and_the_challenge_kept(
    mechanism: str, formality: bytes, challenge: bytes
) -> None:
    talk = log_in(BEARER, mechanism, b"334 \r\n", b"334 " + b64(challenge) + b"\r\n", b"535 5.7.8 no\r\n")
    assert isinstance(talk.value, AuthRefused)
    assert talk.value.reply == SmtpReply(535, "5.7.8", ("5.7.8 no",))
    status, scope = ("401", "smtp") if challenge is JSON_CHALLENGE else ("", "")
    assert talk.value.challenge == ErrorChallenge(status, scope, "", challenge.decode())
    assert talk.written[-1] == formality


def test_a_refused_token_without_a_challenge_is_a_refusal() -> None:
    talk = log_in(BEARER, "XOAUTH2", b"334 \r\n", b"535 5.7.3 Authentication unsuccessful\r\n")
    assert isinstance(talk.value, AuthRefused)
    assert talk.value.challenge is None


@pytest.mark.parametrize("code", [421, 454, 500, 504, 530, 535, 538])
@pytest.mark.parametrize("before", [[], [b"334 \r\n"]])
def test_4yz_and_5yz_at_each_step_of_the_log_in_are_refusals_with_the_servers_words(
    code: int, before: list[bytes]
) -> None:
    talk = log_in(BEARER, "XOAUTH2", *before, b"%d because\r\n" % code)
    assert isinstance(talk.value, AuthRefused)
    assert talk.value.reply.server_words == f"{code} because"


@pytest.mark.parametrize("code", [220, 250, 251, 354])
def test_only_235_is_a_log_in(code: int) -> None:
    assert isinstance(log_in(BEARER, "XOAUTH2", b"334 \r\n", b"%d fine\r\n" % code).value, AuthRefused)


def test_a_server_that_never_stops_asking_is_cancelled() -> None:
    talk = log_in(BEARER, "XOAUTH2", *[b"334 \r\n"] * 7, b"501 cancelled\r\n")
    assert isinstance(talk.value, AuthRefused)
    assert talk.written[-1] == b"*\r\n"


def test_a_second_challenge_to_plain_is_the_servers_fault() -> None:
    with pytest.raises(RemoteProtocolError):
        log_in(PASSWORD, "PLAIN", b"334 \r\n", b"334 \r\n")


@pytest.mark.parametrize(
    ("credentials", "offer"), [(BEARER, "PLAIN LOGIN"), (PASSWORD, "XOAUTH2"), (BEARER, ""), (PASSWORD, "CRAM-MD5")]
)
def test_without_a_common_mechanism_nothing_is_said(credentials: Credentials, offer: str) -> None:
    talk = log_in(credentials, offer)
    assert talk.value == NoCommonMechanism(tuple(offer.split()))
    assert talk.written == []


def test_the_providers_preference_decides_between_two_mechanisms_on_offer() -> None:
    talk = log_in(BEARER, "XOAUTH2 OAUTHBEARER", b"334 \r\n", b"235 ok\r\n", preference=("OAUTHBEARER",))
    assert talk.value == AuthAccepted("OAUTHBEARER")


@pytest.mark.parametrize("script", [[], [b"334 \r\n"], [b"334 \r\n", b"334 e30=\r\n"]])
def test_a_connection_lost_during_the_log_in_is_no_refusal(script: list[bytes]) -> None:
    with pytest.raises(smtp.ConnectionGone):
        log_in(BEARER, "XOAUTH2", *script)


# --- asking for a sender -------------------------------------------------------------------------------------------------


def test_a_sender_is_asked_for_and_taken_back() -> None:
    talk = converse(verify_sender("ana@x.test"), [b"550 5.7.60 SendAsDenied\r\n", b"250 ok\r\n"])
    assert talk.written == [b"MAIL FROM:<ana@x.test>\r\n", b"RSET\r\n"]
    assert talk.value.enhanced == "5.7.60"
    assert converse(verify_sender("ana@x.test"), [b"421 bye\r\n"]).value.code == 421
    with pytest.raises(LocalProtocolError):
        converse(verify_sender("ana@x.test\r\nQUIT"), [])


# --- any octets ----------------------------------------------------------------------------------------------------------

SERVER_WORDS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"220 hi\r\n",
                b"250-a\r\n",
                b"250 SIZE 1\r\n",
                b"250 AUTH=X\r\n",
                b"334 \r\n",
                b"334 e30=\r\n",
                b"235 2.7.0\r\n",
            ]
            + [b"354 go\r\n", b"421 4.3.2 bye\r\n", b"535 no\r\n", b"\r\n", b"garbage\n", b"x" * 17_000]
        ),
        st.binary(max_size=20),
    ),
    max_size=12,
)


@MANY
@given(SERVER_WORDS, cuts)
def test_whatever_a_server_says_the_opening_ends_in_the_documented_ways(words: list[bytes], lengths: list[int]) -> None:
    for dialog in (smtp.greet("box.test"), smtp.start_tls("box.test")):
        try:
            found = converse(dialog, cut(b"".join(words), lengths)).value
        except (ProtocolError, smtp.ConnectionGone):
            continue
        assert isinstance(found, Capabilities | Refused)


@MANY
@given(SERVER_WORDS, cuts, st.sampled_from(["XOAUTH2", "OAUTHBEARER", "PLAIN", "LOGIN"]))
def test_whatever_a_server_says_the_log_in_ends_in_the_documented_ways(
    words: list[bytes], lengths: list[int], name: str
) -> None:
    credentials = PASSWORD if name in ("PLAIN", "LOGIN") else BEARER
    try:
        found = log_in(credentials, name, *cut(b"".join(words), lengths)).value
    except (ProtocolError, smtp.ConnectionGone):
        return
    assert isinstance(found, AuthAccepted | AuthRefused)
