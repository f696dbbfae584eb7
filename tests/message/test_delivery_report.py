"""Delivery reports as another program reads them."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from typing import Any

import pytest

from valija.message.delivery_report import Action, DeliveryReport, ReportedRecipient, format_report

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HEAD = b"From: Scanner <scanner@office.local>\r\nSubject: caf\xc3\xa9\r\nMessage-ID: <1@x>\r\n"


def _report(**changes: object) -> DeliveryReport:
    fields: dict[str, object] = {
        "reporting_host": "valija.office",
        "sender_name": 'Ricoh "planta" 2',
        "sender_address": "ana@example.com",
        "recipient": "luis@example.com",
        "subject": "No entregado: Factura ñ\r\nBcc: evil@example.com",
        "text": "El mensaje no llegó.\nFrom the beginning\n.\n",
        "date": NOW,
        "message_id": "2@example.com",
        "boundary": "=_b",
        "arrived": NOW,
        "recipients": (
            ReportedRecipient(
                "nobody@example.org", Action.FAILED, "5.1.1", "rfc822;nobody", "550 5.1.1 No\r\nAction: x"
            ),
            ReportedRecipient("ñandú@example.org", Action.RELAYED, "2.0.0"),
        ),
        "returned": HEAD,
        "envelope_id": "e-1",
        "about": "1@x",
    }
    return DeliveryReport(**(fields | changes))  # type: ignore[arg-type]


def test_a_report_is_read_by_programs() -> None:
    """Three parts, a block for each recipient, nothing injected."""
    octets = format_report(_report())
    assert b"\n" not in octets.replace(b"\r\n", b"")
    read: Any = email.message_from_bytes(octets, policy=email.policy.default)
    assert read.get_content_type() == "multipart/report"
    assert read["Content-Type"].params["report-type"] == "delivery-status"
    assert read["Auto-Submitted"] == "auto-replied"
    assert read["Bcc"] is None
    assert str(read["Subject"]) == "No entregado: Factura ñ Bcc: evil@example.com"
    assert read["From"].addresses[0].addr_spec == "ana@example.com"
    text, status, head = read.get_payload()
    assert "no llegó" in text.get_content()
    blocks = status.get_payload()
    assert [block["Action"] for block in blocks] == [None, "failed", "relayed"]
    assert (blocks[0]["Reporting-MTA"], blocks[0]["Original-Envelope-Id"]) == ("dns; valija.office", "e-1")
    assert (blocks[1]["Final-Recipient"], blocks[1]["Original-Recipient"]) == (
        "rfc822; nobody@example.org",
        "rfc822;nobody",
    )
    assert blocks[1]["Diagnostic-Code"] == "smtp; 550 5.1.1 No Action: x"
    assert blocks[2]["Final-Recipient"] == "utf-8; \\x{F1}and\\x{FA}@example.org"
    assert head.get_content_type() == "text/rfc822-headers"
    assert head.get_payload(decode=True).strip() == HEAD.strip()


def test_a_whole_message_comes_back_where_that_was_asked_for() -> None:
    """As a message of its own."""
    octets = format_report(_report(returned=HEAD + b"\r\nbody\r\n", whole=True))
    read: Any = email.message_from_bytes(octets, policy=email.policy.default)
    inner = read.get_payload()[2]
    assert inner.get_content_type() == "message/rfc822"
    assert inner.get_payload()[0]["Message-ID"] == "<1@x>"


@pytest.mark.parametrize("address", ["ñ@example.com", "ana@exámple.com"])
def test_addresses_that_are_not_ascii_are_kept(address: str) -> None:
    """In UTF-8 (RFC 6532)."""
    assert f"To: {address}".encode() in format_report(_report(recipient=address))
