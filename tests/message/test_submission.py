"""What is mended in a device's message, and that nothing else is touched."""

from __future__ import annotations

import email
import email.policy
import email.utils
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valija.message.submission import (
    HEAD_LIMIT,
    HeadReader,
    HeadTooLarge,
    LineEnds,
    Mending,
    mend_head,
    name_mailbox,
    rename_author,
)

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
MENDING = Mending(
    "from ricoh by valija with ESMTPA; Tue, 24 Nov 2026 12:00:00 +0000",
    AT,
    lambda: "1@example.com",
    "ricoh@example.com",
)
AS_MAILBOX = Mending(MENDING.received, AT, lambda: "1@example.com", "ricoh@example.com", mailbox="scanner@example.com")


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"x", b"\r").replace(b"y", b"\n")), max_size=8))
def test_line_ends_are_crlf_however_the_octets_come(pieces: list[bytes]) -> None:
    """The same as all at once; nothing else changes, but that NUL goes."""
    ends = LineEnds()
    out = b"".join(ends.feed(piece) for piece in pieces) + ends.end()
    whole = LineEnds()
    assert out == whole.feed(b"".join(pieces)) + whole.end()
    assert out.count(b"\n") == out.count(b"\r") == out.count(b"\r\n")
    assert out.replace(b"\r\n", b"") == b"".join(pieces).translate(None, b"\r\n\0")


def test_lone_line_ends_become_whole_ones() -> None:
    """Also a CR at the end of a piece, and at the end of all."""
    ends = LineEnds()
    assert (
        ends.feed(b"a\nb\r") + ends.feed(b"\nc\r") + ends.feed(b"d\r\n\r") + ends.end() == b"a\r\nb\r\nc\r\nd\r\n\r\n"
    )


def _read(data: bytes, size: int) -> tuple[bytes, bytes]:
    reader = HeadReader()
    for at in range(0, len(data), size):
        found = reader.feed(data[at : at + size])
        if found is not None:
            return found[0], found[1] + data[at + size :]
    return reader.end()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("data", "head", "body"),
    [
        (b"A: 1\r\nB: 2\r\n 3\r\n\r\nbody\r\n\r\n", b"A: 1\r\nB: 2\r\n 3\r\n", b"body\r\n\r\n"),
        (b"\r\nbody", b"", b"body"),
        (b"no head\r\nat all\r\n", b"", b"no head\r\nat all\r\n"),
        (b"A: 1\r\nthis is body\r\n\r\nmore", b"A: 1\r\n", b"this is body\r\n\r\nmore"),
        (b"A: 1\r\n", b"A: 1\r\n", b""),
        (b"A: 1", b"A: 1\r\n", b""),
        (b"", b"", b""),
        (b"From ana Thu Nov 26 12:00:00 2026\r\nA: 1\r\n 2\r\n\r\nbody", b"A: 1\r\n 2\r\n", b"body"),
        (b">From ana\r\nA: 1\r\nbody", b"A: 1\r\n", b"body\r\n"),
        (b"From the office\r\nwith love\r\n", b"", b"From the office\r\nwith love\r\n"),
        (b"From the office\r\n\r\nA: 1\r\n", b"", b"From the office\r\n\r\nA: 1\r\n"),
        (b"From x\r\nFrom y\r\nA: 1\r\n\r\n", b"", b"From x\r\nFrom y\r\nA: 1\r\n\r\n"),
    ],
)
def test_a_head_ends_where_it_ends(data: bytes, head: bytes, body: bytes, size: int) -> None:
    """Whatever pieces it comes in; a message without a head is all body."""
    assert _read(data, size) == (head, body)


def test_a_head_without_end_is_refused() -> None:
    """Memory is bounded."""
    reader = HeadReader()
    with pytest.raises(HeadTooLarge):
        for _piece in range(HEAD_LIMIT // 1000 + 2):
            reader.feed(b"X: " + b"a" * 995 + b"\r\n")


def test_a_good_head_is_kept_octet_for_octet() -> None:
    """One trace field more."""
    head = b"From: Ana <ana@example.com>\r\nDate: x\r\nMESSAGE-ID: <9@ricoh>\r\n"
    head += b"Subject: =?utf-8?q?Esc=C3=A1ner?=\r\nX:\xff\x00\r\n"
    mended = mend_head(head, MENDING)
    assert mended.octets == b"Received: " + MENDING.received.encode() + b"\r\n" + head + b"\r\n"
    assert (mended.message_id, mended.subject, mended.hops) == ("9@ricoh", "Escáner", 0)


def test_what_is_missing_is_added_and_what_is_nobodys_business_goes() -> None:
    """Date, Message-ID; Bcc in all its folds, Return-Path; hops are counted."""
    head = b"Received: a\r\nReceived: b\r\nBcc: secret@example.com,\r\n other@example.com\r\n"
    head += b"Return-Path: <x>\r\nTo: b@x\r\nMessage-ID:\r\n"
    mended = mend_head(head, MENDING)
    read = email.message_from_bytes(mended.octets, policy=email.policy.default)
    assert read["Date"] == "Tue, 24 Nov 2026 12:00:00 +0000"
    assert read["Message-ID"] == "<1@example.com>"
    assert b"secret" not in mended.octets
    assert b"other@" not in mended.octets
    assert read["Return-Path"] is None
    assert (read["To"], mended.hops, mended.message_id) == ("b@x", 2, "1@example.com")
    assert read["From"] == "ricoh@example.com"
    assert mend_head(b"", MENDING).octets.endswith(b"Message-ID: <1@example.com>\r\n\r\n")


@pytest.mark.parametrize(
    ("sender", "wanted", "reply_to"),
    [
        (b"From: Ricoh <printer@local>\r\n", "Ricoh <scanner@example.com>", "Ricoh <printer@local>"),
        (b"From: printer\r\n", "scanner@example.com", None),
        (b"From: =?utf-8?q?Esc=C3=A1ner?= <p@x>\r\n", "Escáner <scanner@example.com>", "Escáner <p@x>"),
        (b"From: Scanner@Example.com\r\nSender: evil@x\r\n", "scanner@example.com", None),
        (b"From: a@x, b@y\r\nReply-To: c@z\r\n", "scanner@example.com", "c@z"),
        (b"", "scanner@example.com", None),
        (b"From: \r\n", "scanner@example.com", None),
    ],
)
def test_a_message_that_goes_out_as_the_mailbox_says_who_it_was(
    sender: bytes, wanted: str, reply_to: str | None
) -> None:
    """One From, no Sender; answers find the one that the device named."""
    read = email.message_from_bytes(mend_head(sender + b"To: b@x\r\n", AS_MAILBOX).octets, policy=email.policy.default)
    assert [str(value) for value in read.get_all("From", [])] == [wanted]
    assert read["Reply-To"] == reply_to
    assert read["Sender"] is None


@pytest.mark.parametrize(
    "sender",
    [
        b"From: Ana <scanner@example.com>\r\n",
        b"FROM:   SCANNER@example.com\r\n",
        b'From: "scanner@example.com"\r\n <scanner@example.com>\r\n',
        b"From: =?utf-8?q?Esc=C3=A1ner?= <Scanner@Example.com>\r\nSender: scanner@example.com\r\n",
    ],
)
def test_a_message_that_names_the_mailbox_already_keeps_its_sender_octet_for_octet(sender: bytes) -> None:
    """Nothing is written that need not be."""
    octets = mend_head(sender + b"Date: x\r\nMessage-ID: <9@ricoh>\r\n", AS_MAILBOX).octets
    assert octets.partition(b"\r\n")[2].startswith(sender)
    assert b"Reply-To" not in octets


@pytest.mark.parametrize(
    "sender",
    [
        b"From: Ana <scanner@example.com>\r\nFrom: evil@x\r\n",
        b"From: scanner@example.com, evil@x\r\n",
        b"From: evil@x <scanner@example.com>, <evil@x>\r\n",
        b"From: scanner@example.com <evil@x>\r\n",
        b"From: scanner@example.com\r\nSender: evil@x\r\n",
    ],
)
def test_who_names_somebody_else_beside_the_mailbox_goes_out_as_the_mailbox_alone(sender: bytes) -> None:
    """Two senders are one too many."""
    read = email.message_from_bytes(mend_head(sender, AS_MAILBOX).octets)
    (found,) = read.get_all("From", [])
    assert [address for _name, address in email.utils.getaddresses([found])] == ["scanner@example.com"]
    assert read["Sender"] is None


@pytest.mark.parametrize(
    "sender",
    [b"From: Ana <ana@x.org>\r\n", b"From: scanner@example.com\r\n", b"From: a@b, c@d\r\nReply-To: e@f\r\n"],
)
def test_a_mailbox_that_is_known_later_makes_the_same_head(sender: bytes) -> None:
    """As if it had been known from the beginning."""
    head = b"Date: x\r\nMessage-ID: <1@x>\r\n" + sender + b"Subject: a\r\n b\r\n"
    late = name_mailbox(mend_head(head, MENDING).octets.removesuffix(b"\r\n"), AS_MAILBOX.mailbox)
    assert late + b"\r\n" == mend_head(head, AS_MAILBOX).octets


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (
            b"From: Ana <OLD@x>\r\nSubject: =?utf-8?q?a?=\r\n b\r\n",
            b"From: Ana <new@x>\r\nSubject: =?utf-8?q?a?=\r\n b\r\n",
        ),
        (b"To: a@b\r\nFrom: old@x\r\nSender: old@x\r\n", b"To: a@b\r\nFrom: new@x\r\n"),
        (b"From: other@x\r\nReply-To: old@x\r\n", b"From: other@x\r\nReply-To: old@x\r\n"),
        (b"From: old@x, other@x\r\n", b"From: old@x, other@x\r\n"),
        (b"Subject: no sender\r\n", b"Subject: no sender\r\n"),
    ],
)
def test_an_author_is_renamed_where_it_is_the_only_one(head: bytes, wanted: bytes) -> None:
    """All else stays octet for octet."""
    assert rename_author(head, "old@x", "new@x") == wanted


@given(st.binary(max_size=300))
def test_any_head_gives_one_head_that_is_read_back(data: bytes) -> None:
    """No octets make a second empty line, a lone line end in what was added, or an error."""
    ends = LineEnds()
    head, _body = _read(ends.feed(data) + ends.end(), 1000)
    for mending in (MENDING, AS_MAILBOX):
        octets = mend_head(head, mending).octets
        assert octets.endswith(b"\r\n\r\n") or octets.count(b"\r\n\r\n") == 1
        assert octets.index(b"\r\n\r\n") == len(octets) - 4
        assert octets.count(b"\n") == octets.count(b"\r\n")
