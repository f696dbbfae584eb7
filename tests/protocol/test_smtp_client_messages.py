"""The client's side of SMTP: a message, and what becomes of it for each recipient."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import MANY, Talk, converse, cut, cuts

from valija.protocol import smtp_client as smtp
from valija.protocol.errors import LocalProtocolError
from valija.protocol.smtp_client import Capabilities, Stage
from valija.protocol.smtp_reply import SmtpReply
from valija.protocol.smtp_transaction import Envelope, Recipient, SendOutcome, Verdict, send_message

PLAIN = Capabilities({"SIZE": "1000", "8BITMIME": ""})
PIPELINING = Capabilities({"SIZE": "1000", "8BITMIME": "", "PIPELINING": ""})
FULL = Capabilities({"SIZE": "", "8BITMIME": "", "SMTPUTF8": "", "DSN": ""})
BOTH = pytest.mark.parametrize("capabilities", [PLAIN, PIPELINING], ids=["one by one", "pipelining"])
ENVELOPE = Envelope("ana@x.test", (Recipient("b@x.test"), Recipient("c@x.test")), 100)
OK = b"250 2.0.0 ok\r\n"
GO = b"354 go\r\n"


def send(
    capabilities: Capabilities, *script: bytes, envelope: Envelope = ENVELOPE, body: bytes = b"Hi\r\n"
) -> Talk[SendOutcome]:
    """Send a message at a server that says this."""
    return converse(send_message(capabilities, envelope), script, body)


def verdicts(talk: Talk[SendOutcome]) -> list[tuple[Verdict, Stage]]:
    """Return verdict and stage of each recipient."""
    return [(outcome.verdict, outcome.stage) for outcome in talk.value.outcomes]


# --- what is said ----------------------------------------------------------------------------------------------------------


def test_without_pipelining_each_command_waits_for_its_reply() -> None:
    talk = send(PLAIN, OK, OK, OK, GO, OK)
    assert talk.written == [
        b"MAIL FROM:<ana@x.test> SIZE=100\r\n",
        b"RCPT TO:<b@x.test>\r\n",
        b"RCPT TO:<c@x.test>\r\n",
        b"DATA\r\n",
        b"Hi\r\n.\r\n",
    ]
    assert verdicts(talk) == [(Verdict.ACCEPTED, Stage.BODY)] * 2
    assert talk.value.reusable


def test_with_pipelining_the_whole_envelope_goes_in_one_write() -> None:
    talk = send(PIPELINING, OK, OK, OK, GO, OK)
    assert talk.written == [
        b"MAIL FROM:<ana@x.test> SIZE=100\r\nRCPT TO:<b@x.test>\r\nRCPT TO:<c@x.test>\r\nDATA\r\n",
        b"Hi\r\n.\r\n",
    ]
    assert verdicts(talk) == [(Verdict.ACCEPTED, Stage.BODY)] * 2
    assert talk.value.reusable


def test_a_dot_in_the_body_does_not_end_it() -> None:
    assert send(PLAIN, OK, OK, OK, GO, OK, body=b".\r\nQUIT\r\n").written[-1] == b"..\r\nQUIT\r\n.\r\n"


def test_all_parameters_are_sent_to_a_server_that_offers_them() -> None:
    recipient = Recipient("josé@x.test", "SUCCESS,FAILURE", "old+address@x.test")
    envelope = Envelope("ana@x.test", (recipient,), 5, eight_bit=True, envelope_id="id 1", ret="HDRS")
    talk = send(FULL, OK, OK, GO, OK, envelope=envelope)
    assert talk.written[:2] == [
        b"MAIL FROM:<ana@x.test> SIZE=5 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+201\r\n",
        "RCPT TO:<josé@x.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;old+2Baddress@x.test\r\n".encode(),
    ]


def test_parameters_that_are_not_offered_are_not_sent() -> None:
    recipient = Recipient("b@x.test", "NEVER", "b@x.test")
    envelope = Envelope("ana@x.test", (recipient,), 5, envelope_id="id", ret="FULL")
    talk = send(Capabilities({}), OK, OK, GO, OK, envelope=envelope)
    assert talk.written[:2] == [b"MAIL FROM:<ana@x.test>\r\n", b"RCPT TO:<b@x.test>\r\n"]


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        (replace(ENVELOPE, size=1001), "size_exceeded"),
        (replace(ENVELOPE, reverse_path="josé@x.test"), "smtputf8_missing"),
        (replace(ENVELOPE, recipients=(Recipient("b@españa.test"),)), "smtputf8_missing"),
    ],
)
@BOTH
def test_what_the_server_cannot_take_by_its_own_word_fails_before_anything_is_sent(
    capabilities: Capabilities, envelope: Envelope, reason: str
) -> None:
    talk = send(capabilities, envelope=envelope)
    assert talk.written == []
    assert {o.reason for o in talk.value.outcomes} == {reason}
    assert set(verdicts(talk)) == {(Verdict.FAILED, Stage.MAIL)}
    assert talk.value.reusable


def test_eight_bit_needs_8bitmime() -> None:
    talk = send(Capabilities({}), envelope=replace(ENVELOPE, eight_bit=True))
    assert {o.reason for o in talk.value.outcomes} == {"eight_bit_missing"}
    assert talk.written == []


@pytest.mark.parametrize(
    "envelope",
    [
        replace(ENVELOPE, reverse_path="ana@x.test>\r\nRCPT TO:<eve@x.test"),
        replace(ENVELOPE, reverse_path="ana\0@x.test"),
        replace(ENVELOPE, recipients=(Recipient("b@x.test"), Recipient("c@x.test\r\nDATA"))),
        replace(ENVELOPE, recipients=(Recipient("b@x.test\n"),)),
        replace(ENVELOPE, recipients=(Recipient("b@x.test", "NEVER\r\nQUIT"),)),
        replace(ENVELOPE, ret="FULL\r\nQUIT"),
        replace(ENVELOPE, ret="FULL\0"),
    ],
)
@BOTH
def test_cr_lf_or_nul_in_any_argument_is_refused_before_anything_is_sent(
    capabilities: Capabilities, envelope: Envelope
) -> None:
    dialog = send_message(Capabilities({**capabilities.keywords, "DSN": ""}), envelope)
    with pytest.raises(LocalProtocolError):
        next(dialog)


def test_line_ends_in_dsn_identifiers_are_encoded_away() -> None:
    recipient = Recipient("b@x.test", "", "b\r\nQUIT\0@x.test")
    envelope = Envelope("ana@x.test", (recipient,), 5, envelope_id="a\r\nQUIT")
    said = send(FULL, OK, OK, GO, OK, envelope=envelope).said
    assert said.count(b"\r\n") == 5
    assert b"ENVID=a+0D+0AQUIT\r\n" in said


# --- refused at each step --------------------------------------------------------------------------------------------------

REFUSALS = pytest.mark.parametrize(("code", "verdict"), [(451, Verdict.DEFERRED), (550, Verdict.FAILED)])


@REFUSALS
def test_a_refused_sender_decides_for_all(code: int, verdict: Verdict) -> None:
    refusal = b"%d 5.7.60 not you\r\n" % code
    for talk in (send(PLAIN, refusal, OK), send(PIPELINING, refusal, b"503 a\r\n", b"503 b\r\n", b"554 c\r\n", OK)):
        assert verdicts(talk) == [(verdict, Stage.MAIL)] * 2
        assert all(o.reply is not None and o.reply.code == code for o in talk.value.outcomes)
        assert talk.written[-1] == b"RSET\r\n"
        assert talk.value.reusable


@REFUSALS
@BOTH
def test_a_refused_recipient_does_not_hold_up_the_others(
    capabilities: Capabilities, code: int, verdict: Verdict
) -> None:
    talk = send(capabilities, OK, b"%d no\r\n" % code, OK, GO, OK)
    assert verdicts(talk) == [(verdict, Stage.RCPT), (Verdict.ACCEPTED, Stage.BODY)]
    assert [o.recipient for o in talk.value.outcomes] == ["b@x.test", "c@x.test"]
    assert talk.value.reusable


@REFUSALS
def test_when_all_recipients_are_refused_no_body_is_sent(code: int, verdict: Verdict) -> None:
    refusal = b"%d no\r\n" % code
    one_by_one = send(PLAIN, OK, refusal, refusal, OK)
    pipelined = send(PIPELINING, OK, refusal, refusal, b"554 5.5.1 no valid recipients\r\n", OK)
    for talk in (one_by_one, pipelined):
        assert verdicts(talk) == [(verdict, Stage.RCPT)] * 2
        assert b"Hi" not in talk.said
        assert talk.value.reusable
    assert b"DATA" not in one_by_one.said


def test_data_taken_without_any_recipient_is_ended_at_once_with_nothing_in_it() -> None:
    talk = send(PIPELINING, OK, b"550 no\r\n", b"550 no\r\n", GO, b"554 nothing\r\n")
    assert talk.written[-1] == b".\r\n"
    assert verdicts(talk) == [(Verdict.FAILED, Stage.RCPT)] * 2


def test_even_if_the_empty_message_is_taken_nobody_is_said_to_have_it() -> None:
    talk = send(PIPELINING, OK, b"550 no\r\n", b"450 no\r\n", GO, OK)
    assert verdicts(talk) == [(Verdict.FAILED, Stage.RCPT), (Verdict.DEFERRED, Stage.RCPT)]


@REFUSALS
@BOTH
def test_data_refused_decides_for_those_left_and_the_session_goes_on(
    capabilities: Capabilities, code: int, verdict: Verdict
) -> None:
    talk = send(capabilities, OK, OK, b"550 no\r\n", b"%d no\r\n" % code, OK)
    assert verdicts(talk) == [(verdict, Stage.DATA), (Verdict.FAILED, Stage.RCPT)]
    assert talk.written[-1] == b"RSET\r\n"
    assert talk.value.reusable


@REFUSALS
@BOTH
def test_a_refused_body_decides_for_those_left(capabilities: Capabilities, code: int, verdict: Verdict) -> None:
    talk = send(capabilities, OK, OK, b"450 no\r\n", GO, b"%d no\r\n" % code)
    assert verdicts(talk) == [(verdict, Stage.BODY), (Verdict.DEFERRED, Stage.RCPT)]
    assert talk.value.reusable


# --- sessions that cannot go on ---------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("step", range(5))
def test_421_at_any_step_defers_and_the_connection_is_not_used_again(capabilities: Capabilities, step: int) -> None:
    talk = send(capabilities, *[OK, OK, OK, GO][:step], b"421 4.3.2 shutting down\r\n")
    assert {o.verdict for o in talk.value.outcomes} == {Verdict.DEFERRED}
    assert all(o.reply is not None and o.reply.code == 421 for o in talk.value.outcomes)
    assert not talk.value.reusable
    assert b"RSET" not in talk.said


@BOTH
def test_421_to_a_later_recipient_keeps_what_was_decided(capabilities: Capabilities) -> None:
    talk = send(capabilities, OK, b"550 no\r\n", b"421 bye\r\n")
    assert verdicts(talk) == [(Verdict.FAILED, Stage.RCPT), (Verdict.DEFERRED, Stage.RCPT)]


@BOTH
@pytest.mark.parametrize(("replies", "stage"), [(0, Stage.MAIL), (1, Stage.RCPT), (2, Stage.RCPT), (3, Stage.DATA)])
def test_lost_before_the_final_dot_nothing_was_taken(capabilities: Capabilities, replies: int, stage: Stage) -> None:
    talk = send(capabilities, *[OK, OK, OK][:replies])
    assert verdicts(talk) == [(Verdict.DEFERRED, stage)] * 2
    assert {o.reason for o in talk.value.outcomes} == {"connection_lost"}
    assert not talk.value.reusable


@BOTH
def test_lost_after_the_final_dot_is_in_doubt_for_those_who_were_not_refused(capabilities: Capabilities) -> None:
    talk = send(capabilities, OK, b"550 no\r\n", OK, GO)
    assert verdicts(talk) == [(Verdict.FAILED, Stage.RCPT), (Verdict.IN_DOUBT, Stage.BODY)]
    assert not talk.value.reusable


@BOTH
def test_lost_while_the_body_is_sent_nothing_was_taken(capabilities: Capabilities) -> None:
    dialog = send_message(capabilities, ENVELOPE)
    replies = iter([OK, OK, OK, GO])
    step = next(dialog)
    while not isinstance(step, smtp.SendBody):
        code = int(next(replies)[:3]) if isinstance(step, smtp.Read) else 0
        step = dialog.send(SmtpReply(code, "", ("",)) if code else None)
    with pytest.raises(StopIteration) as ended:
        dialog.throw(smtp.ConnectionGone("timed_out", "nothing for 20 s"))
    outcome: SendOutcome = ended.value.value
    assert {(o.verdict, o.reason) for o in outcome.outcomes} == {(Verdict.DEFERRED, "timed_out")}


def test_a_refused_sender_stays_refused_though_the_server_hangs_up() -> None:
    talk = send(PIPELINING, b"550 5.7.60 SendAsDenied\r\n")
    assert verdicts(talk) == [(Verdict.FAILED, Stage.MAIL)] * 2
    assert not talk.value.reusable


@BOTH
def test_lost_while_forgetting_a_refused_message_changes_no_outcome(capabilities: Capabilities) -> None:
    talk = send(capabilities, OK, OK, OK, b"554 no\r\n")
    assert verdicts(talk) == [(Verdict.FAILED, Stage.DATA)] * 2
    assert not talk.value.reusable


@BOTH
@pytest.mark.parametrize("step", range(5))
def test_garbage_defers_before_the_final_dot_and_leaves_in_doubt_after_it(
    capabilities: Capabilities, step: int
) -> None:
    talk = send(capabilities, *[OK, OK, OK, GO][:step], b"\xffwhat?\r\n")
    expected = (Verdict.IN_DOUBT, "in_doubt") if step == 4 else (Verdict.DEFERRED, "peer_nonsense")
    assert {(o.verdict, o.reason) for o in talk.value.outcomes} == {expected}
    assert not talk.value.reusable


@BOTH
@pytest.mark.parametrize(("code", "verdict"), [(250, Verdict.DEFERRED), (334, Verdict.DEFERRED), (503, Verdict.FAILED)])
def test_data_answered_out_of_order_ends_the_use_of_the_connection(
    capabilities: Capabilities, code: int, verdict: Verdict
) -> None:
    talk = send(capabilities, OK, OK, OK, b"%d eh\r\n" % code, OK)
    assert verdicts(talk) == [(verdict, Stage.DATA)] * 2
    assert not talk.value.reusable
    assert b"Hi" not in talk.said


@BOTH
def test_a_go_on_after_the_final_dot_is_in_doubt(capabilities: Capabilities) -> None:
    talk = send(capabilities, OK, OK, OK, GO, GO)
    assert verdicts(talk) == [(Verdict.IN_DOUBT, Stage.BODY)] * 2
    assert not talk.value.reusable


# --- any octets ----------------------------------------------------------------------------------------------------------

WORDS = st.lists(
    st.one_of(
        st.sampled_from(
            [OK, GO, b"450 l\r\n", b"550 n\r\n", b"421 b\r\n", b"503 o\r\n", b"250-x\r\n", b"220 \n", b"ga\r\n"]
        ),
        st.binary(max_size=10),
    ),
    max_size=10,
)


@MANY
@given(WORDS, cuts, st.sampled_from([PLAIN, PIPELINING]))
def test_whatever_a_server_says_every_recipient_gets_an_outcome(
    words: list[bytes], lengths: list[int], capabilities: Capabilities
) -> None:
    talk = send(capabilities, *cut(b"".join(words), lengths))
    assert [o.recipient for o in talk.value.outcomes] == ["b@x.test", "c@x.test"]
    for outcome in talk.value.outcomes:
        if outcome.verdict is Verdict.ACCEPTED:
            assert outcome.reply is not None
            assert outcome.reply.is_positive
            assert b"Hi\r\n.\r\n" in talk.written
        if outcome.verdict is Verdict.IN_DOUBT:
            assert b"Hi\r\n.\r\n" in talk.written
