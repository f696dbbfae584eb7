"""What servers answer, judged: for each recipient, for the account."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fakes import START, FakeClock

from valija.domain.queue import Accepted, GivenBack, InDoubt, InFlight, Queued, RecipientEvent, Refused, TryFailed
from valija.domain.queued_message import QueuedRecipient, RecipientEntry
from valija.net.data_files import read_explainer
from valija.protocol.smtp_client import Stage
from valija.protocol.smtp_reply import ReplyReader
from valija.protocol.smtp_transaction import RecipientOutcome, SendOutcome, Verdict
from valija.services.login import Troubles
from valija.services.outcomes import Judgement, judge

LEASE = 7
MINUTE = timedelta(minutes=1)
ENTRY = RecipientEntry(1, 1, QueuedRecipient("b@example.org"), InFlight(LEASE, Queued(START)))


def judged(verdict: Verdict, stage: Stage, reply: str = "", reason: str = "") -> tuple[RecipientEvent, Judgement]:
    """Judge one recipient's outcome; ``reply`` as on the wire."""
    reader = ReplyReader()
    reader.feed(f"{reply}\r\n".encode() if reply else b"")
    found = reader.next_reply()
    outcome = SendOutcome((RecipientOutcome("b@example.org", verdict, stage, found, reason),), reusable=True)
    troubles = Troubles(read_explainer(), FakeClock())
    judgement = judge(outcome, (ENTRY,), LEASE, troubles, START, lambda tries: tries * MINUTE)
    [(number, event)] = judgement.events
    assert number == ENTRY.id
    return event, judgement


def test_what_was_taken_is_delivered() -> None:
    """With the server's words."""
    event, judgement = judged(Verdict.ACCEPTED, Stage.BODY, "250 2.0.0 OK abc")
    assert isinstance(event, Accepted)
    assert judgement.accepted == 1
    assert not judgement.connection_lost


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        (Stage.RCPT, "550 5.1.1 No such user"),
        (Stage.BODY, "552 5.3.4 Message size exceeds fixed limit"),
        (Stage.BODY, "554 5.7.1 Message refused as spam"),
    ],
)
def test_a_recipients_or_a_messages_own_fault_fails(stage: Stage, reply: str) -> None:
    """And is told to the sender."""
    event, judgement = judged(Verdict.FAILED, stage, reply)
    assert isinstance(event, Refused)
    assert [entry for entry, _state in judgement.ended] == [ENTRY]
    assert judgement.account_trouble is None


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        (Stage.MAIL, "530 5.7.57 Client was not authenticated to send mail"),
        (Stage.MAIL, "550 5.7.30 Basic authentication is not supported for Client Submission"),
        (Stage.BODY, "430 4.2.0 STOREDRV; mailbox logon failure; MapiExceptionLogonFailed"),
        (Stage.BODY, "550 5.1.8 Bad outbound sender"),
        (Stage.BODY, "550 5.7.501 Access denied, spam abuse detected"),
        (Stage.BODY, "550 5.7.705 Access denied, tenant has exceeded threshold"),
        (Stage.BODY, "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP"),
    ],
)
def test_an_accounts_fault_burns_no_try_and_closes_the_gate(stage: Stage, reply: str) -> None:
    """Whatever the reply's first digit says."""
    event, judgement = judged(Verdict.FAILED if reply[0] == "5" else Verdict.DEFERRED, stage, reply)
    assert isinstance(event, GivenBack)
    assert judgement.account_trouble is not None
    assert not judgement.ended


@pytest.mark.parametrize(
    ("stage", "reply", "at_least_s", "at_most_s"),
    [
        (Stage.MAIL, "432 4.3.2 STOREDRV.ClientSubmit; concurrent connection(s) limit exceeded", 5, 60),
        (Stage.BODY, "421 4.4.2 Message submission rate for this client has exceeded the configured limit", 60, 120),
        (Stage.BODY, "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", 600, 86400),
        (Stage.BODY, "550 5.4.5 Daily user sending limit exceeded", 600, 86400),
        *(
            (Stage.BODY, f"550 5.2.{n} Sender throttled due to continuous errors, try again later", 600, 86400)
            for n in (251, 253, 254, 255)
        ),
        (Stage.BODY, "550 5.4.5 Daily quota exceeded [corporate.example; generated 12:00]", 600, 86400),
    ],
)
def test_too_fast_slows_the_account_down_and_burns_no_try(
    stage: Stage, reply: str, at_least_s: int, at_most_s: int
) -> None:
    """Also where it is said with 5yz."""
    event, judgement = judged(Verdict.FAILED if reply[0] == "5" else Verdict.DEFERRED, stage, reply)
    assert isinstance(event, GivenBack), event
    assert at_least_s <= judgement.pause.total_seconds() <= at_most_s
    assert judgement.account_trouble is None


def test_a_sender_that_the_mailbox_may_not_use_waits_alone() -> None:
    """Tries in vain would get the whole mailbox throttled."""
    text = "554 5.2.252 SendAsDenied; ana@example.com not allowed to send as scanner@office.local"
    event, judgement = judged(Verdict.FAILED, Stage.BODY, text)
    assert isinstance(event, TryFailed)
    assert event.due_at - START >= timedelta(minutes=30)
    assert judgement.wrong_sender
    assert judgement.account_trouble is None


def test_what_passes_is_tried_again_and_a_doubt_is_a_doubt() -> None:
    """4yz, a lost connection, a connection lost after the final dot."""
    event, _judgement = judged(Verdict.DEFERRED, Stage.RCPT, "451 4.7.1 Greylisted")
    assert isinstance(event, TryFailed)
    assert event.due_at == START + MINUTE
    event, judgement = judged(Verdict.DEFERRED, Stage.MAIL, reason="connection_lost")
    assert isinstance(event, TryFailed)
    assert judgement.connection_lost
    event, judgement = judged(Verdict.IN_DOUBT, Stage.BODY, reason="connection_lost")
    assert isinstance(event, InDoubt)
    assert not judgement.connection_lost


@pytest.mark.parametrize("stage", [Stage.RCPT, Stage.DATA, Stage.BODY])
def test_a_session_out_of_step_is_nobodys_fault(stage: Stage) -> None:
    """503: what was said before is not known any more. It is tried again over another connection."""
    event, judgement = judged(Verdict.FAILED, stage, "503 5.5.1 Bad sequence of commands")
    assert isinstance(event, TryFailed)
    assert not judgement.ended
