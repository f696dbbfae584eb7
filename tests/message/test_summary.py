"""What a received message says about itself."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valija.message.summary import HEADER_LIMIT, VALUE_LIMIT, Summary, summarise

STEADY: Final = settings(deadline=None, derandomize=True, max_examples=500)


def subject_of(field: bytes) -> str:
    return summarise(b"Subject: " + field + b"\r\n\r\nbody").subject


def test_sender_and_subject_are_read() -> None:
    message = b"Received: x\r\nFrom: Ana <ana@x.test>\r\nSubject: Fax\r\n\r\nSubject: not this\r\n"
    assert summarise(message) == Summary("Ana <ana@x.test>", "Fax")


@pytest.mark.parametrize(
    "message", [b"", b"\r\n", b"\r\n\r\nSubject: body", b"garbage", b"\xff\x00", b": x\r\n", b"Subject"]
)
def test_a_message_without_them_has_empty_ones(message: bytes) -> None:
    assert summarise(message) == Summary("", "")


@pytest.mark.parametrize(
    "message",
    [
        b"subject: a b\nfrom: x",
        b"SUBJECT : a\r\n b\r\nFROM\t:x\r\n",
        b"Subject:a\r\n\tb\r\nFrom:\r\n x\r\n\r\n",
        b"X-Y: z\r\nbroken line\r\nSubject: a b\r\nSubject: second\r\nFrom: x\r\nFrom: y\r\n",
        b"Subject: a b\r\nX-From: no\r\nFrom: x\r\n",
    ],
)
def test_odd_headers_are_read_leniently_and_the_first_field_counts(message: bytes) -> None:
    assert summarise(message) == Summary("x", "a b")


@pytest.mark.parametrize(
    ("field", "subject"),
    [
        (b"=?utf-8?q?Contrase=C3=B1a?=", "Contraseña"),
        (b"=?UTF-8?B?8J+Tjg==?= scan", "📎 scan"),
        (b"=?iso-8859-1?q?a=F1o?=\r\n =?iso-8859-1?q?_nuevo?=", "año nuevo"),
        ("raw ñ".encode(), "raw ñ"),
        (b"raw \xf1", "raw \ufffd"),
        (b"=?no-such-charset?q?x?=", "=?no-such-charset?q?x?="),
        (b"=?utf-8?b?abc?=", "=?utf-8?b?abc?="),
        (b"=?utf-8?q?unfinished", "=?utf-8?q?unfinished"),
    ],
)
def test_encoded_words_are_decoded_and_what_cannot_be_is_shown_as_it_came(field: bytes, subject: str) -> None:
    assert subject_of(field) == subject


def test_control_characters_and_direction_marks_are_not_shown() -> None:
    assert subject_of(b"a\x1b[31mb\x00c\x07\xe2\x80\xaed\xe2\x80\xa8e") == "a [31mb c d e"
    assert subject_of(b"=?utf-8?q?a=0D=0ABcc:_x?=") == "a Bcc: x"


@pytest.mark.parametrize("field", [b"=?utf-7?q?a+2AA-b?=", b"=?raw_unicode_escape?q?a=5Cud800b?="])
def test_a_lone_surrogate_out_of_an_encoded_word_is_not_shown(field: bytes) -> None:
    assert subject_of(field) == "a b"


def test_a_value_is_cut_and_the_header_is_read_up_to_its_limit_only() -> None:
    assert subject_of(b"x" * 5000) == "x" * VALUE_LIMIT
    assert summarise(b"X: " + b"y" * HEADER_LIMIT + b"\r\nSubject: late\r\n\r\n").subject == ""


@pytest.mark.parametrize(
    "hostile",
    [
        b"a" * 65_000,
        b" " * 65_000,
        b"\r\n " * 20_000,
        b"=?" * 30_000,
        b"=?utf-8?q?x?= " * 4_000,
        b"(" * 60_000,
        b":\r\n" * 20_000,
    ],
)
def test_a_hostile_header_costs_little_and_is_cut(hostile: bytes) -> None:
    found = summarise(b"From: " + hostile + b"\r\nSubject: " + hostile)
    assert max(len(found.sender), len(found.subject)) <= VALUE_LIMIT


@STEADY
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    b"Subject:",
                    b"From: ",
                    b"\r\n",
                    b"\n ",
                    b"=?utf-8?q?",
                    b"=?utf-16?b?",
                    b"=?utf-7?q?",
                    b"?=",
                    b"=C3=B1",
                    b"2AA=",
                    b" ",
                    b"+2AA-",
                    b"=?a\x00?q?",
                    b"=?idna?b?",
                    b"=?punycode?q?",
                    b"<a@x.test>",
                    b"\xff",
                    b"\xc3\xb1",
                ]
            ),
            st.binary(max_size=10),
        ),
        max_size=20,
    )
)
def test_any_octets_give_one_line_of_text_each_and_never_an_error(words: list[bytes]) -> None:
    found = summarise(b"Subject: " + b"".join(words))
    for text in (found.sender, found.subject):
        text.encode()
        assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in text)
