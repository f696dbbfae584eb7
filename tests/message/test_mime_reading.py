"""Mail taken apart: as the standard library does it where mail is well-formed, within bounds where it is not."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valija.message.fax_mail import PartKind, kind_of, text_of_html
from valija.message.mime_fields import decode_text, parse_parameters, readable
from valija.message.mime_reading import (
    BadMail,
    Event,
    Limits,
    MessageHead,
    MimeReader,
    PartBegan,
    PartData,
    PartEnded,
    PartHead,
)

STEADY: Final = settings(deadline=None, derandomize=True, max_examples=300)
TIFF: Final = b"II*\0\x08\0\0\0" + bytes(range(256)) * 20


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def events(data: bytes, size: int = 65_536, limits: Limits = Limits()) -> list[Event]:  # noqa: B008
    reader = MimeReader(limits)
    found = [event for piece in pieces(data, size) for event in reader.feed(piece)]
    return found + reader.end()


def leaves(data: bytes, size: int = 65_536, limits: Limits = Limits()) -> list[tuple[PartHead, bytes]]:  # noqa: B008
    found: list[tuple[PartHead, bytearray]] = []
    for event in events(data, size, limits):
        if isinstance(event, PartBegan):
            found.append((event.head, bytearray()))
        elif isinstance(event, PartData):
            found[-1][1].extend(event.octets)
    return [(head, bytes(octets)) for head, octets in found]


def built(**header: str) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "Fax ñ"
    for name, value in header.items():
        mail[name.replace("_", "-")] = value
    mail.set_content("Página uno = dos\n" * 40)
    mail.add_alternative("<p>Página</p>", subtype="html")
    mail.add_attachment(TIFF, maintype="image", subtype="tiff", filename="fax ñ.tif", params={"application": "faxbw"})
    mail.add_attachment(b"", maintype="application", subtype="pdf", filename="leer.pdf")
    return mail.as_bytes()


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65_536])
def test_parts_are_those_of_the_standard_library(end: bytes, size: int) -> None:
    """Whatever the line ends, and however the octets come."""
    data = built().replace(b"\r\n", b"\n").replace(b"\n", end)
    found = leaves(data, size)
    assert [head.media_type for head, _ in found] == ["text/plain", "text/html", "image/tiff", "application/pdf"]
    text, html, tiff, empty = (octets for _head, octets in found)
    assert text.decode().replace("\r\n", "\n").rstrip("\n") == ("Página uno = dos\n" * 40).rstrip("\n")
    assert html.decode().strip() == "<p>Página</p>"
    assert tiff == TIFF
    assert empty == b""
    head = found[2][0]
    assert (head.file_name, head.parameters["application"], head.disposition) == ("fax ñ.tif", "faxbw", "attachment")
    assert (head.inside, found[0][0].inside) == ("multipart/mixed", "multipart/alternative")


def cisco(encoded: bytes) -> bytes:
    return (
        b"From: FAX=273@gw.example\r\nContent-Type: text/plain\r\nContent-Type: multipart/fax-message;\r\n"
        b" boundary=yradnuoB=_0002\r\nMIME-Version: 1.0\r\n\r\n--yradnuoB=_0002\r\n"
        b'Content-Type: image/tiff; name="FAX.tif" ; application=faxbw\r\nContent-Transfer-Encoding: BASE64 \r\n\r\n'
        + encoded
        + b"\r\n--yradnuoB=_0002--\r\n"
    )


@pytest.mark.parametrize(
    "encoded",
    [
        base64.encodebytes(TIFF),
        base64.b64encode(TIFF),
        base64.encodebytes(TIFF).replace(b"\n", b" \r\n\r\n "),
        base64.b64encode(TIFF).rstrip(b"="),
        base64.b64encode(TIFF[:100]) + b"\r\n" + base64.b64encode(TIFF[100:]),
        b"!" + base64.encodebytes(TIFF) + b"\0\xff",
    ],
    ids=["lines", "one line", "gaps", "no padding", "two pieces", "rubbish"],
)
def test_a_fax_gateways_forms_are_read(encoded: bytes) -> None:
    """multipart/fax-message, Content-Type twice, base64 in all its forms."""
    ((head, octets),) = leaves(cisco(encoded), 50)
    assert (head.media_type, head.inside, head.file_name) == ("image/tiff", "multipart/fax-message", "FAX.tif")
    assert octets == TIFF


def test_base64_that_is_not_announced_is_seen_in_a_picture() -> None:
    """By how a TIFF begins; a text that begins so stays a text."""
    body = base64.encodebytes(TIFF)
    for kind, expected in (("image/tiff", TIFF), ("application/octet-stream", TIFF), ("text/plain", body)):
        ((_head, octets),) = leaves(b"Content-Type: %s\n\n%s" % (kind.encode(), body))
        assert octets == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", [("text/plain", b"")]),
        (b"\r\n", [("text/plain", b"")]),
        (b"body only", [("text/plain", b"body only\r\n")]),
        (b"From ana Mon\nSubject: x\n\nbody", [("text/plain", b"body")]),
        (b"Content-Type: multipart/mixed\n\n--a\n\nx\n--a--", [("multipart/mixed", b"--a\n\nx\n--a--")]),
        (b'Content-Type: multipart/mixed; boundary="a"\n\npreamble\n--a\n\nx\n', [("text/plain", b"x\n")]),
        (
            b'Content-Type: multipart/mixed; boundary="a"\n\n--a\n--a\n\nx\n--a--\nafter',
            [("text/plain", b""), ("text/plain", b"x")],
        ),
        (
            b'Content-Type: multipart/mixed; boundary="a"\n\n--a\n\n--ab\n--\n--a  \n\n-\n--a--',
            [("text/plain", b"--ab\n--"), ("text/plain", b"-")],
        ),
        (
            b'Content-Type: multipart/mixed; boundary="a"\n\n--a\nContent-Type: multipart/x;'
            b' boundary="b"\n\n--b\n\n1\n--a\n\n2\n--a--',
            [("text/plain", b"1"), ("text/plain", b"2")],
        ),
        (b"Content-Type: text/plain\nno field\n\nx", [("text/plain", b"no field\r\n\nx")]),
    ],
)
def test_odd_mail_is_read_as_far_as_it_goes(data: bytes, expected: list[tuple[str, bytes]]) -> None:
    """Without a head, without an end, with parts that another one's delimiter ends."""
    for size in (1, 1000):
        found = [(head.media_type, octets) for head, octets in leaves(data, size)]
        if expected[0][1] and expected[0][1].endswith(b"x\n"):  # a cut end: the last line end may be the delimiter's
            found = [(kind, octets.rstrip(b"\n") + b"\n") for kind, octets in found]
        assert found == expected, size


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"Content-Type: multipart/mixed; boundary=a\n\n" + b"--a\n\nx\n" * 10_000, "more than 200 parts"),
        (b"X: y\n" * 50_000, "a head"),
        (b"X: " + b"y" * 500_000, "a head"),
        (b"X: y\n" + b" z\n" * 500_000, "a head"),
        (
            b"".join(b"Content-Type: multipart/mixed; boundary=a%d\n\n--a%d\n" % (n, n) for n in range(100)),
            "without end",
        ),
        (b"Content-Type: image/tiff\nContent-Transfer-Encoding: base64\n\n" + b"A" * 2_000_000, "octets"),
        (b"Content-Type: multipart/mixed; boundary=a\n\n--a\n\n" + b"\n--" * 100_001, "look like the end"),
        (b"Content-Type: multipart/mixed; boundary=a\n\n" + b"--a\nX: " + b"y" * 200_000, "a head"),
    ],
    ids=[
        "10,000 parts",
        "50,000 fields",
        "a field of 500 kB",
        "500,000 folds",
        "100 levels",
        "size",
        "near delimiters",
        "a part's head",
    ],
)
def test_a_bomb_is_refused_at_once(data: bytes, why: str) -> None:
    """With the reason, in little time."""
    began = time.process_time()
    with pytest.raises(BadMail, match=why):
        leaves(data, limits=Limits(decoded=1_000_000))
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize(
    "data",
    [
        b"Content-Type: text/plain" + b";" * 100_000 + b"\n\nx",
        b"Content-Type: text/plain; " + b"name*" * 10_000 + b"\n\nx",
        b'Content-Type: text/plain; name="' + b"\\" * 100_000 + b"\n\nx",
        b"Content-Type: multipart/mixed; boundary=a\n\n--a\n\n" + b"\n--" * 90_000,
        b"Content-Type: image/tiff\n\n" + b" " * 3_000_000,
        b"Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n" + b"=" * 3_000_000,
        b"Content-Type: image/tiff\nContent-Transfer-Encoding: base64\n\n" + b"A=" * 500_000,
    ],
    ids=["semicolons", "stars", "backslashes", "near delimiters", "spaces", "equals signs", "padding"],
)
def test_what_slows_other_parsers_takes_little_time(data: bytes) -> None:
    """All work is linear in the octets."""
    began = time.process_time()
    leaves(data)
    assert time.process_time() - began < 3


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"Content-Type: multipart/mixed; boundary=a\n\n--a\n"]),
    st.integers(1, 40),
)
@STEADY
def test_any_octets_are_parts_however_they_come(octets: bytes, before: bytes, size: int) -> None:
    """Every part that begins ends; how the octets are cut makes no difference."""
    octets = octets.replace(b"\x01", b"\n--a").replace(b"\x02", b"\n").replace(b"\x03", b"=")
    found = events(before + octets, 10_000)
    assert isinstance(found[0], MessageHead)
    assert sum(isinstance(e, PartBegan) for e in found) == sum(isinstance(e, PartEnded) for e in found)
    assert leaves(before + octets, size) == leaves(before + octets, 10_000)


def test_random_mail_keeps_every_octet() -> None:
    """Attachments of any octets, in pieces of any length."""
    dice = random.Random(5)
    for size in (1, 13, 4096):
        octets = dice.randbytes(5_000)
        mail = EmailMessage()
        mail.add_attachment(octets, maintype="application", subtype="octet-stream", filename="x")
        assert leaves(mail.as_bytes(), size)[-1][1] == octets


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("image/tiff; application=faxbw", ("image/tiff", {"application": "faxbw"})),
        ('IMAGE/TIFF ;NAME = "a;b\\"c";x', ("image/tiff", {"name": 'a;b"c'})),
        ("x/y; filename*=UTF-8''p%C3%A1g.tif", ("x/y", {"filename": "pág.tif"})),
        ("x/y; name*0*=utf-8''a%20; name*1=b; name*2*=%C3%B1", ("x/y", {"name": "a bñ"})),
        ("x/y; name=a; name=b", ("x/y", {"name": "a"})),
        ("x/y; name*=nonsense", ("x/y", {"name": "nonsense"})),
        ("x/y; name*=no-such-charset''%FF", ("x/y", {"name": "�"})),
        ("", ("", {})),
        (";;;=;=x;a=", ("", {"a": ""})),
    ],
)
def test_parameters_are_read_leniently(value: str, expected: tuple[str, dict[str, str]]) -> None:
    """Quotes, RFC 2231, and what is neither."""
    assert parse_parameters(value) == expected


@pytest.mark.parametrize(
    "charset", ["unicode-escape", "raw_unicode_escape", "utf-7", "punycode", "IDNA", "undefined", "a\0b", "\udcff"]
)
def test_a_text_is_one_that_can_be_stored_and_takes_little_time_whatever_its_charset_is_called(charset: str) -> None:
    began = time.monotonic()
    decode_text(b"-" + b"9a" * 100_000, charset)
    assert "hola" in decode_text(b"hola +2AA- \\ud800", charset).encode().decode()
    assert time.monotonic() - began < 1


def test_encoded_words_are_read_and_never_fail() -> None:
    """Odd charsets and broken words are shown as they came."""
    assert readable("=?iso-8859-1?q?P=E1gina?= <a@x>") == "Página <a@x>"
    assert readable("=?no-such?q?x?= ok") == "=?no-such?q?x?= ok"
    assert readable("a\r\nb\u202ec\udcff") == "a b c�"


@pytest.mark.parametrize(
    ("media_type", "beginning", "kind"),
    [
        ("image/tiff", b"II*\0", PartKind.TIFF),
        ("application/octet-stream", b"MM\0*", PartKind.TIFF),
        ("text/plain", b"II*\0", PartKind.TIFF),
        ("image/tiff", b"%PDF-1.7", PartKind.PDF),
        ("application/pdf", b"\xff\xd8\xff\xe0", PartKind.JPEG),
        ("image/jpeg", b"\x89PNG\r\n\x1a\n", PartKind.PNG),
        ("image/tiff", b"MZ\x90", PartKind.OTHER),
        ("text/plain", b"hello", PartKind.TEXT),
        ("text/plain", b"\0\0", PartKind.OTHER),
        ("text/html", b"<p>", PartKind.HTML),
        ("message/rfc822", b"%PDF-", PartKind.RETURNED),
        ("message/delivery-status", b"", PartKind.STATUS),
        ("message/disposition-notification", b"", PartKind.NOTIFICATION),
    ],
)
def test_what_a_part_is_its_octets_say(media_type: str, beginning: bytes, kind: PartKind) -> None:
    """Not its type, nor its name."""
    head = PartHead(1, 0, media_type, {}, "", "evil.tif", "", "", ())
    assert kind_of(head, beginning) is kind


def test_html_becomes_what_it_says_and_nothing_is_fetched() -> None:
    """Without scripts and styles."""
    html = "<html><head><title>t</title><style>p{}</style></head><p>Hola&nbsp;<b>Ana</b><br>2&lt;3<script>x()</script><img src=http://x/y>"
    assert text_of_html(html).split() == ["Hola", "Ana", "2<3"]
    assert text_of_html("<![[") is not None
    assert text_of_html(
        "a <b title='>'>b</B><!-- > --> <c\nd>e</c><SCRIPT a='<'>1<2</Script >f<?g?><!h>i <i j=it's>k</i> <3 &amp; &#60;"
    ) == ("a b efi k <3 & <")
    assert text_of_html("one<p>two<p> <p>\n three<br>four") == "one\ntwo\n\nthree\nfour"


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<a ",
        "<!--",
        "</",
        '<a b="',
        "<a b='",
        "<?",
        "<![CDATA[",
        "<!a ",
        "<b> ",
        "<br> ",
        "<script>",
        "<style><",
        "&",
        "&#1",
    ],
)
def test_a_hostile_page_takes_no_longer_than_another(piece: str) -> None:
    """Nothing in it has an end."""
    begun = time.perf_counter()
    text_of_html(piece * (400_000 // len(piece)) + ">")
    assert time.perf_counter() - begun < 4
