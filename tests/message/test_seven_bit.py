"""Mail for a server of 7 bits and short lines: what a reader sees is the same, whatever came and however it was cut."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Sequence
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valija.message.seven_bit import SevenBit, Survey
from valija.message.transfer_encoding import LINE_LIMIT, LineLengths

HEAD = b"From: Esc\xc3\xa1ner <scan@example.com>\r\nTo: ana@example.com\r\nSubject: Pedido n\xba 5\r\n"


def rewrite(message: bytes, cuts: Sequence[int] = ()) -> bytes:
    """Write a message anew, given in pieces."""
    places = [0, *sorted(cut % (len(message) + 1) for cut in cuts), len(message)]
    pieces = [message[a:b] for a, b in pairwise(places)]
    survey = Survey()
    for piece in pieces:
        survey.feed(piece)
    written = SevenBit(survey.end())
    return b"".join([*map(written.feed, pieces), written.end()])


def takes(message: bytes) -> bool:
    """Tell whether any server takes it."""
    return message.isascii() and all(len(line) <= LINE_LIMIT for line in message.split(b"\r\n"))


def leaves(message: bytes) -> list[tuple[str, bytes]]:
    """Return what a reader that is not ours finds: media types and decoded octets."""
    read = email.message_from_bytes(message, policy=email.policy.compat32)
    return [(part.get_content_type(), _octets(part)) for part in read.walk() if not part.is_multipart()]


def _octets(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.replace(b"\r\n", b"\n").removesuffix(b"\n")


def part(kind: str, encoding: str, body: bytes) -> bytes:
    """Return a part."""
    said = f"Content-Transfer-Encoding: {encoding}\r\n" if encoding else ""
    return f"Content-Type: {kind}\r\n{said}\r\n".encode() + body


def multipart(*parts: bytes, boundary: str = "b", kind: str = "mixed", head: bytes = HEAD) -> bytes:
    """Return a message of parts."""
    said = f'MIME-Version: 1.0\r\nContent-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode()
    inside = b"".join(f"--{boundary}\r\n".encode() + one + b"\r\n" for one in parts)
    return head + said + inside + f"--{boundary}--\r\n".encode()


@pytest.mark.parametrize(
    ("kind", "encoding", "body", "becomes"),
    [
        ("text/plain; charset=utf-8", "8bit", "Sí, mañana.\r\nAdiós".encode(), "quoted-printable"),
        ("text/plain; charset=iso-8859-1", "", b"Ma\xf1ana", "quoted-printable"),
        ("text/html", "7bit", b"<p>" + b"x y " * 400 + b"</p>", "quoted-printable"),
        ("text/plain", "binary", b"x" * 100_000 + b"\r\n.\r\nend ", "quoted-printable"),
        ("application/pdf", "8bit", bytes(range(1, 10)) + bytes(range(14, 256)) * 50, "base64"),
        ("image/tiff", "", b"\xff" * 58 + b"\r\n\r\n", "base64"),
        (
            "text/plain; charset=utf-8",
            "quoted-printable",
            b"Ma=C3=B1ana \xc3\xb1 =\r\n" + b"=41" * 500,
            "quoted-printable",
        ),
        ("application/pdf", "base64", b"QUJD" * 300, "base64"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_what_a_reader_finds_is_the_same(kind: str, encoding: str, body: bytes, becomes: str, *, alone: bool) -> None:
    """A single part, and one of several: octet for octet once it is decoded."""
    other = part("text/plain", "7bit", b"as it is")
    whole = (
        HEAD + part(kind, encoding, body + b"\r\n") if alone else multipart(other, part(kind, encoding, body), other)
    )
    written = rewrite(whole)
    assert takes(written) and not takes(whole)
    assert leaves(written) == leaves(whole)
    read = email.message_from_bytes(written)
    changed = read if alone else read.get_payload(1)
    assert isinstance(changed, Message) and changed["Content-Transfer-Encoding"] == becomes
    assert alone or written.count(other) == 2


def test_a_message_that_any_server_takes_stays_as_it_is() -> None:
    """Octet for octet: what is signed stays signed."""
    signed = multipart(
        part("text/plain", "7bit", b"Hello."), part("image/png", "base64", b"QUJD\r\nREVG"), head=b"To: a@b.example\r\n"
    )
    outside = multipart(signed.partition(b"\r\n")[2], part("text/plain", "8bit", "ñ".encode()), boundary="outside")
    assert rewrite(signed) == signed
    assert signed.partition(b"\r\n")[2] in rewrite(outside) and takes(rewrite(outside))


def test_heads_are_written_by_the_rules_of_each_field() -> None:
    """Encoded words, addresses as addresses, parameters as RFC 2231 has them; a second reader finds the same."""
    head = (
        "From: Escáner Ñu <scan@example.com>\r\n"
        f"To: {', '.join(f'Señor {n} <s{n}@example.com>' for n in range(80))}\r\n"
        "Subject: Pedido nº 5,\r\n\t¡muy urgente!\r\n"
        f"X-Long: {'word ' * 400}\r\n"
        f"References: {'<1234567890@example.com> ' * 100}\r\n"
        "Message-ID: <1@example.com>\r\n"
        'Content-Type: application/pdf; name="año.pdf"\r\n'
        'Content-Disposition: attachment; filename="año (1).pdf"\r\n'
        "Content-Transfer-Encoding: base64\r\n\r\nQUJD\r\n"
    ).encode()
    written = rewrite(head)
    assert takes(written) and b"\r\nMessage-ID: <1@example.com>\r\n" in written
    read: Any = email.message_from_bytes(written, policy=email.policy.default)
    assert isinstance(read, EmailMessage)
    assert str(read["Subject"]) == "Pedido nº 5, ¡muy urgente!"
    assert read["From"].addresses[0].display_name == "Escáner Ñu"
    assert [a.addr_spec for a in read["To"].addresses] == [f"s{n}@example.com" for n in range(80)]
    assert read["To"].addresses[79].display_name == "Señor 79"
    assert read.get_filename() == "año (1).pdf" and read["Content-Type"].params["name"] == "año.pdf"
    assert str(read["X-Long"]).split() == ["word"] * 400
    assert read["References"].split() == ["<1234567890@example.com>"] * 100


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Informe =?utf-8?Q?a=C3=B1o?= ñ", "Informe año ñ"),
        (" ".join(["=?utf-8?B?w7HDsQ==?="] * 60), "ññ" * 60),
        ("ñ =?x-none?Q?a=C3?= =?utf-8?B?w7E?= =?utf-8?Q?a?=", "ñ =?x-none?Q?a=C3?==?utf-8?B?w7E?=a"),
        ("ñ =?utf-8?Q?a=0D=0ABcc:_eva@example.com?=", "ñ a Bcc: eva@example.com"),
        ("x" * 2000, "x" * 2000),
    ],
)
def test_words_that_are_encoded_already_are_not_encoded_twice(value: str, shown: str) -> None:
    """A reader sees the same; no line end comes out of one."""
    written = rewrite(f"Subject: {value}\r\n\r\nHi\r\n".encode())
    assert takes(written)
    assert b"\r\nBcc" not in written
    read = email.message_from_bytes(written)
    assert str(make_header(decode_header(read["Subject"].replace("\r\n", "")))).replace("  ", " ") == shown


def test_names_that_are_encoded_already_stay_names() -> None:
    """A dot in one makes no quotes about it."""
    many = ", ".join(f"=?utf-8?Q?J._Do=C3=A9?= <a{n}@example.com>" for n in range(40))
    read: Any = email.message_from_bytes(rewrite(f"To: {many}\r\n\r\nHi\r\n".encode()), policy=email.policy.default)
    assert {address.display_name for address in read["To"].addresses} == {"J. Doé"}
    assert len(read["To"].addresses) == 40


def test_old_letters_are_read_as_windows_writes_them() -> None:
    """What is not UTF-8 is what devices of that age send."""
    written = rewrite(b"Subject: Ma\xf1ana \x80 5\r\n\r\nHi\r\n")
    subject = written.partition(b"\r\n")[0].removeprefix(b"Subject: ").decode()
    assert str(make_header(decode_header(subject))) == "Mañana € 5"


def test_a_forwarded_message_is_gone_into() -> None:
    """RFC 2046 section 5.2.1 lets nobody encode it as a whole."""
    inner = HEAD + part("text/plain; charset=utf-8", "8bit", "Sí".encode())
    written = rewrite(multipart(part("message/rfc822", "8bit", inner)))
    read = email.message_from_bytes(written)
    holder = read.get_payload(0)
    assert isinstance(holder, Message) and holder["Content-Transfer-Encoding"] == "7bit"
    assert takes(written) and leaves(written)[-1] == ("text/plain", "Sí".encode())


OCTETS = st.lists(
    st.sampled_from(
        [
            b"--b",
            b"--b--",
            b"\r\n",
            b"\r\n\r\n",
            b"Content-Type: multipart/mixed; boundary=b\r\n",
            b"Content-Type: ",
            b"x" * 999,
        ]
        + [
            b"Content-Transfer-Encoding: base64\r\n",
            b"Content-Transfer-Encoding: quoted-printable\r\n",
            b"=",
            b"=4",
            b"\xf1",
            b" ",
        ]
        + [b"message/rfc822\r\n", b"-", b"\r", b".", b"Subject: \xc3\xb1", b"To: a@b.example, "]
    )
    | st.binary(max_size=30).map(lambda octets: octets.replace(b"\n", b"").replace(b"\r", b"").replace(b"\0", b"")),
    max_size=30,
).map(lambda pieces: b"".join(pieces).replace(b"\r\n", b"\n").replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n")


@given(OCTETS, st.lists(st.integers(0, 40_000), max_size=8))
def test_whatever_comes_any_server_takes_it(message: bytes, cuts: list[int]) -> None:
    """However it is cut: a reader finds the same, in ASCII, in short lines; and written again it stays as it is."""
    written = rewrite(message, cuts)
    assert takes(written)
    assert leaves(written) == leaves(rewrite(message))
    assert rewrite(written) == written


@given(
    st.lists(st.sampled_from([b"x" * 997, b"x" * 998, b"x" * 999, b"", b"x"]), max_size=6),
    st.lists(st.integers(0, 4_000)),
)
def test_a_line_that_is_too_long_is_found_however_it_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    """998 octets and its end."""
    message = b"".join(line + b"\r\n" for line in lines)
    places = [0, *sorted(cut % (len(message) + 1) for cut in cuts), len(message)]
    lengths = LineLengths()
    for a, b in pairwise(places):
        lengths.feed(message[a:b])
    assert lengths.any_long is any(len(line) > LINE_LIMIT for line in lines)
