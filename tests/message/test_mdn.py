"""Notifications: who gets one, what it says, what others' say."""

from __future__ import annotations

import email
import email.policy
import time
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valija.message.mdn import Answer, Disposition, answer_to, format_answer, is_automatic, parse_notification
from valija.message.mime_reading import MessageHead, MimeReader
from valija.message.report_reading import message_id_of, parse_status

STEADY: Final = settings(deadline=None, derandomize=True, max_examples=300)
ASKED: Final = {"Return-Path": "<ana@Example.com>", "Disposition-Notification-To": "Ana <ana@example.com>"}


def head(**fields: str) -> MessageHead:
    text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    first = MimeReader().feed(f"{text}\r\n".encode())[0]
    assert isinstance(first, MessageHead)
    return first


def head_with(changes: dict[str, str]) -> MessageHead:
    return head(**{name.replace("-", "_"): value for name, value in (ASKED | changes).items() if value})


def test_a_notification_goes_to_the_one_who_asked_for_it() -> None:
    """Who is the one that the mail came from."""
    assert answer_to(head_with({})) == "ana@example.com"


@pytest.mark.parametrize(
    "changes",
    [
        {"Disposition-Notification-To": ""},
        {"Disposition-Notification-To": "ana@example.com, eva@example.com"},
        {"Disposition-Notification-To": "eva@example.com"},
        {"Disposition-Notification-To": "nobody"},
        {"Return-Path": ""},
        {"Return-Path": "<>"},
        {"Return-Path": "<eva@example.com>"},
        {"Auto-Submitted": "auto-replied"},
        {"Auto-Submitted": "auto-generated; x=y"},
        {"Precedence": "bulk"},
        {"List-Id": "<list.example.com>"},
        {"Content-Type": 'multipart/report; report-type=disposition-notification; boundary="a"'},
        {"Content-Type": 'multipart/report; report-type=delivery-status; boundary="a"'},
        {"Disposition-Notification-Options": "signed-receipt=required,pkcs7"},
    ],
)
def test_none_is_sent_by_itself_where_that_would_be_wrong(changes: dict[str, str]) -> None:
    """RFC 8098 sections 2.1 and 2.2, RFC 3834."""
    assert answer_to(head_with(changes)) == ""


def test_auto_submitted_no_is_a_persons_mail() -> None:
    """RFC 3834 section 5.1."""
    assert answer_to(head_with({"Auto-Submitted": "no"})) == "ana@example.com"


ANSWER: Final = Answer(
    machine="Valija 1",
    host_name="fax.office",
    sender_name='Fax "2"\r\nBcc: x@y',
    sender_address="fax@example.com",
    recipient="ana@example.com",
    subject="Procesado: ñ",
    text="Se imprimió.\n",
    date=datetime(2026, 11, 25, tzinfo=UTC),
    message_id="2@example.com",
    boundary="=_b",
    about="1@example.com",
)


@pytest.mark.parametrize("error", ["", "no puede leerse\r\nDisposition: x"])
def test_what_is_written_is_read_again_and_asks_for_nothing(error: str) -> None:
    """By the standard library and by the other machine; no answer goes to it."""
    from dataclasses import replace

    octets = format_answer(replace(ANSWER, error=error))
    assert b"\n" not in octets.replace(b"\r\n", b"")
    read: Any = email.message_from_bytes(octets, policy=email.policy.default)
    assert read.get_content_type() == "multipart/report"
    assert read["Content-Type"].params["report-type"] == "disposition-notification"
    assert (read["Auto-Submitted"], read["Bcc"], read["In-Reply-To"]) == ("auto-replied", None, "<1@example.com>")
    assert "disposition-notification-to" not in {name.lower() for name in read}
    text, fields = read.iter_parts()
    assert "Se imprimió." in text.get_content()
    assert fields.get_content_type() == "message/disposition-notification"
    found = parse_notification(octets.decode().partition("message/disposition-notification")[2])
    assert found is not None
    assert (found.about, found.recipient, found.disposition) == (
        "1@example.com",
        "fax@example.com",
        Disposition.PROCESSED,
    )
    assert found.is_error is bool(error)
    assert ("no puede" in found.error) is bool(error)
    first = MimeReader().feed(octets)[0]
    assert isinstance(first, MessageHead)
    assert is_automatic(first)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # Outlook, Thunderbird, an office machine
        (
            "Reporting-UA: x; Outlook\r\nFinal-Recipient: rfc822;luis@x.y\r\nOriginal-Message-ID: <1@x>\r\n"
            "Disposition: manual-action/MDN-sent-manually; displayed\r\n",
            ("1@x", "luis@x.y", "displayed", False),
        ),
        (
            "reporting-ua: fax\nfinal-recipient: RFC822; <fax@x.y>\noriginal-message-id:\n <1@x>\n"
            "disposition: automatic-action/MDN-sent-automatically;processed/error\nerror: no paper\n",
            ("1@x", "fax@x.y", "processed", True),
        ),
        (
            "Original-Recipient: rfc822;luis@x.y\nDisposition: automatic-action/MDN-sent-automatically; dispatched/printed\n",
            ("", "luis@x.y", "dispatched", False),
        ),
        (
            "Final-Recipient: rfc822;l@x\nDisposition: automatic-action/MDN-sent-automatically; deleted\n",
            ("", "l@x", "deleted", False),
        ),
    ],
)
def test_others_notifications_are_read(fields: str, expected: tuple[str, str, str, bool]) -> None:
    """Cases, folds and types as they come."""
    found = parse_notification(fields)
    assert found is not None
    assert (found.about, found.recipient, found.disposition.value, found.is_error) == expected


POSTFIX: Final = """Reporting-MTA: dns; mail.example.com
X-Postfix-Queue-ID: 4C1
X-Postfix-Sender: rfc822; ana@example.com
Arrival-Date: Wed, 25 Nov 2026 10:00:00 +0000 (UTC)
Original-Envelope-Id: valija-7

Final-Recipient: rfc822; nobody@example.org
Original-Recipient: rfc822;nobody@example.org
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.org
Diagnostic-Code: smtp; 550 5.1.1 <nobody@example.org>: Recipient address
    rejected: User unknown

Final-Recipient: rfc822; luis@example.org
Original-Recipient: rfc822;luis@example.org
Action: delivered
Status: 2.0.0
"""
EXCHANGE: Final = """Reporting-MTA: dns;PAXPR01MB1.eurprd01.prod.exchangelabs.com
Received-From-MTA: dns;PA4PR01MB2.eurprd01.prod.exchangelabs.com
Arrival-Date: Wed, 25 Nov 2026 10:00:00 +0000

Original-Recipient: rfc822;Nobody@example.org
Final-Recipient: rfc822;nobody@example.org
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup
X-Display-Name: nobody@example.org

"""


def test_postfix_reports_are_read() -> None:
    """Every recipient, the envelope's name, folded words."""
    found = parse_status(POSTFIX.replace("\n", "\r\n"))
    assert found is not None
    assert (found.envelope_id, found.reporting) == ("valija-7", "mail.example.com")
    assert [(r.address, r.action, r.status) for r in found.recipients] == [
        ("nobody@example.org", "failed", "5.1.1"),
        ("luis@example.org", "delivered", "2.0.0"),
    ]
    assert found.recipients[0].words.endswith("Recipient address rejected: User unknown")


def test_exchange_reports_are_read() -> None:
    """It keeps no ENVID: the returned head says what it is about."""
    found = parse_status(EXCHANGE)
    assert found is not None
    (only,) = found.recipients
    assert (found.envelope_id, only.address, only.original) == ("", "nobody@example.org", "Nobody@example.org")
    assert (only.action, only.status) == ("failed", "5.1.10")
    assert "RecipientNotFound" in only.words
    assert message_id_of("Received: x\r\nmessage-id: <a.b@c>\r\nSubject: x\r\n") == "a.b@c"
    assert message_id_of("Message-ID:\r\n <folded@c>\r\n") == "folded@c"
    assert message_id_of("X-Message-ID: <no@c>\r\n") == ""


@given(st.text(max_size=400))
@STEADY
def test_any_text_is_a_report_or_none(text: str) -> None:
    """Nothing fails."""
    for before in ("", "Action: failed\n", "Disposition: a/b; processed\n"):
        parse_status(before + text)
        parse_notification(before + text)
        message_id_of(before + text)


@pytest.mark.parametrize("value", ["a" * 60_000, "a/" * 30_000, "a" + " " * 60_000])
def test_a_disposition_that_is_none_is_read_in_no_time(value: str) -> None:
    """Whatever somebody sends."""
    begun = time.perf_counter()
    assert parse_notification(f"Disposition: {value}\r\n") is None
    assert time.perf_counter() - begun < 1
