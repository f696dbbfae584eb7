"""New messages, built in pieces."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.headerregistry import AddressHeader
from email.message import EmailMessage
from email.policy import default
from typing import Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valija.message.compose import (
    Attachment,
    Base64Lines,
    Draft,
    encoded_size,
    format_attachment_head,
    format_head,
    format_tail,
    header_is_ascii,
    message_size,
)

STEADY: Final = settings(deadline=None, derandomize=True, max_examples=150)
DATE: Final = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
DRAFT: Final = Draft(
    "Office machine", "scan@x.test", ("luis@x.test",), "Contract", "See the file.", DATE, "1@x.test", "=_boundary"
)
PDF: Final = Attachment("contract.pdf", "application/pdf", 0)
# what the settings let through: printable text
PRINTABLE = st.text(
    st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"], include_characters=" "),
    max_size=120,
)
FILES = st.lists(st.tuples(PRINTABLE.filter(str.strip), st.binary(max_size=300)), max_size=3)


def compose(draft: Draft, files: list[tuple[str, bytes]] = [], piece: int = 1 << 20) -> bytes:  # noqa: B006 - not changed
    """Build a whole message, its files read in pieces of this length."""
    out = format_head(draft)
    for name, data in files:
        out += format_attachment_head(draft, Attachment(name, "application/pdf", len(data)))
        lines = Base64Lines()
        out += b"".join(lines.feed(data[n : n + piece]) for n in range(0, len(data), piece)) + lines.finish()
    return out + format_tail(draft)


def read(message: bytes) -> EmailMessage:
    """Read a message with Python's parser, which must find nothing wrong."""
    found = message_from_bytes(message, policy=default)
    assert [defect for part in found.walk() for defect in part.defects] == []
    return found


def text_of(message: EmailMessage) -> str:
    body = message.get_body()
    assert body is not None
    return str(cast(EmailMessage, body).get_content()).replace("\r\n", "\n")


def test_an_ordinary_message_reads_back_as_it_was_written() -> None:
    found = read(compose(DRAFT, [("contract.pdf", b"%PDF-1.7\n\xff")]))
    assert found["From"] == "Office machine <scan@x.test>"
    assert found["To"] == "luis@x.test"
    assert found["Subject"] == "Contract"
    assert found["Date"].datetime == DATE
    assert found["Message-ID"] == "<1@x.test>"
    assert found.get_content_type() == "multipart/mixed"
    assert text_of(found) == "See the file.\n"
    (attachment,) = found.iter_attachments()
    assert attachment.get_filename() == "contract.pdf"
    assert attachment.get_content_type() == "application/pdf"
    assert attachment.get_content() == b"%PDF-1.7\n\xff"


def test_every_line_ends_with_crlf_and_none_is_too_long() -> None:
    files = [("año " * 30 + ".pdf", b"\n" * 500)]
    message = compose(replace(DRAFT, subject="ñ " * 120, text="word " * 300 + "\nñ\r\rx"), files)
    assert message.count(b"\r") == message.count(b"\n") == message.count(b"\r\n")
    assert max(len(line) for line in message.split(b"\r\n")) <= 78
    assert message.endswith(b"--=_boundary--\r\n")
    assert message.isascii()


@pytest.mark.parametrize("text", ["", "a", "a\n", "a\r\nb\r\n", "ñ\n.\nFrom x\n", "x" * 500, "tab\t \nspace ", "=3D="])
def test_any_text_reads_back_with_a_line_end(text: str) -> None:
    expected = text.replace("\r\n", "\n")
    assert text_of(read(compose(replace(DRAFT, text=text)))) == (
        expected if expected.endswith("\n") else expected + "\n"
    )


def test_names_and_subjects_in_any_language_read_back() -> None:
    draft = replace(DRAFT, sender_name='Peña, "José" <jefe>', subject="¿Qué tal? 用户 " + "ñandú " * 30)
    found = read(compose(draft))
    sender = cast(AddressHeader, found["From"]).addresses[0]
    assert (sender.display_name, sender.addr_spec) == (draft.sender_name, "scan@x.test")
    assert found["Subject"] == draft.subject.strip() or found["Subject"] == draft.subject


def test_many_recipients_are_folded_and_all_read_back() -> None:
    recipients = tuple(f"recipient.number.{n}@sub.example.test" for n in range(200))
    found = read(compose(replace(DRAFT, recipients=recipients)))
    assert tuple(a.addr_spec for a in found["To"].addresses) == recipients


@pytest.mark.parametrize("address", ["josé@x.test", "ana@españa.test"])
def test_an_address_that_is_not_ascii_goes_as_utf8_and_is_told(address: str) -> None:
    assert header_is_ascii(DRAFT)
    for draft in (replace(DRAFT, sender_address=address), replace(DRAFT, recipients=("b@x.test", address))):
        assert not header_is_ascii(draft)
        assert address.encode() in format_head(draft)


@pytest.mark.parametrize(
    "name",
    [
        "a.pdf",
        "año.pdf",
        'q"uote.pdf',
        "semi;colon=.pdf",
        "back\\slash.pdf",
        "日本語" * 30 + ".pdf",
        "it's 100%.pdf",
        "-rf *",
    ],
)
def test_any_file_name_reads_back(name: str) -> None:
    (attachment,) = read(compose(DRAFT, [(name, b"x")])).iter_attachments()
    assert attachment.get_filename() == name


def test_a_file_name_that_is_not_utf8_can_still_be_sent() -> None:
    (attachment,) = read(compose(DRAFT, [("a\udcf1o.pdf", b"x")])).iter_attachments()
    assert attachment.get_filename() == "a?o.pdf"


EVIL = [
    "a\r\nBcc: eve@x.test",
    "a\nBcc: eve@x.test",
    "a\rBcc: eve@x.test",
    "a\r\n\r\nbody",
    "a\0",
    "a\n",
    "a\r\n",
    "a\r",
    "\n",
]


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("field", ["sender_name", "sender_address", "subject", "message_id", "boundary", "recipients"])
def test_a_line_end_or_nul_in_any_header_field_is_refused(field: str, evil: str) -> None:
    value = ("b@x.test", evil) if field == "recipients" else evil
    draft = replace(DRAFT, **{field: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="line end or NUL"):
        format_head(draft)
    with pytest.raises(ValueError, match="line end or NUL"):
        message_size(draft, ())


@pytest.mark.parametrize("evil", EVIL)
def test_a_line_end_or_nul_in_an_attachments_name_or_type_is_refused(evil: str) -> None:
    for attachment in (replace(PDF, file_name=evil), replace(PDF, media_type=evil)):
        with pytest.raises(ValueError, match="line end or NUL"):
            format_attachment_head(DRAFT, attachment)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 56, 57, 58, 113, 114, 115, 5700, 5701])
def test_the_encoded_size_is_exact(size: int) -> None:
    lines = Base64Lines()
    encoded = lines.feed(b"x" * size) + lines.finish()
    assert len(encoded) == encoded_size(size)
    assert base64.b64decode(encoded) == b"x" * size


def test_the_size_of_a_huge_attachment_is_known_without_reading_it() -> None:
    size = message_size(DRAFT, (replace(PDF, size=157_286_400),))
    assert size == message_size(DRAFT, (PDF,)) + encoded_size(157_286_400)


@STEADY
@given(st.binary(max_size=400), st.lists(st.integers(1, 120), max_size=20))
def test_base64_lines_do_not_depend_on_the_pieces(data: bytes, lengths: list[int]) -> None:
    lines, out, start = Base64Lines(), b"", 0
    for length in [*lengths, len(data)]:
        out += lines.feed(data[start : start + length])
        start += length
    assert out + lines.finish() == base64.encodebytes(data).replace(b"\n", b"\r\n").replace(b"\r\n\r\n", b"\r\n")
    assert lines.finish() == b""


@STEADY
@given(
    PRINTABLE, PRINTABLE, st.text(st.characters(exclude_categories=["Cs"]), max_size=200), FILES, st.integers(1, 100)
)
def test_the_size_known_first_is_the_size_of_what_is_sent(
    sender_name: str, subject: str, text: str, files: list[tuple[str, bytes]], piece: int
) -> None:
    draft = replace(DRAFT, sender_name=sender_name, subject=subject, text=text)
    attachments = tuple(Attachment(name, "application/pdf", len(data)) for name, data in files)
    assert message_size(draft, attachments) == len(compose(draft, files, piece))


@STEADY
@given(PRINTABLE, PRINTABLE, FILES)
def test_whatever_people_write_reads_back(sender_name: str, subject: str, files: list[tuple[str, bytes]]) -> None:
    found = read(compose(replace(DRAFT, sender_name=sender_name, subject=subject), files))
    assert sorted(found.keys()) == ["Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To"]
    assert squeezed(found["Subject"]) == squeezed(subject)
    assert squeezed(found["From"].addresses[0].display_name) == squeezed(sender_name)
    assert found["From"].addresses[0].addr_spec == "scan@x.test"
    read_back = [(squeezed(str(a.get_filename())), a.get_content()) for a in found.iter_attachments()]
    assert read_back == [(squeezed(name), data) for name, data in files]


def squeezed(text: str) -> str:
    """Return a text without its spaces: folding may change how many there are."""
    return re.sub(r"\s+", "", text)
