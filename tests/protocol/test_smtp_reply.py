"""Replies of an SMTP server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import MANY, cut, cuts

from valija.protocol.errors import RemoteProtocolError
from valija.protocol.smtp_reply import LINE_LIMIT, LINES_LIMIT, WORDS_LIMIT, ReplyReader, SmtpReply


def replies(data: bytes, lengths: list[int] | None = None) -> list[SmtpReply]:
    """Read replies that come in pieces."""
    reader, found = ReplyReader(), []
    for piece in cut(data, lengths or []):
        reader.feed(piece)
        while (reply := reader.next_reply()) is not None:
            found.append(reply)
    return found


def test_a_reply_of_one_line_is_read() -> None:
    (reply,) = replies(b"250 OK\r\n")
    assert reply == SmtpReply(250, "", ("OK",))
    assert reply.is_positive
    assert not reply.is_transient


def test_a_reply_of_several_lines_is_one_reply() -> None:
    (reply,) = replies(b"250-mx.test\r\n250-SIZE 100\r\n250 AUTH XOAUTH2\r\n")
    assert reply.lines == ("mx.test", "SIZE 100", "AUTH XOAUTH2")


@pytest.mark.parametrize("data", [b"250\r\n", b"250 \r\n", b"250\n"])
def test_a_reply_may_have_no_text(data: bytes) -> None:
    assert replies(data) == [SmtpReply(250, "", ("",))]


def test_a_bare_cr_does_not_begin_a_new_reply() -> None:
    (reply,) = replies(b"250 OK\r550 no\r\n")
    assert reply.code == 250
    assert "\r" not in reply.server_words


def test_enhanced_codes_are_read_once_and_left_out_of_the_text() -> None:
    (reply,) = replies(b"535-5.7.8 Username and Password\r\n535 5.7.8 not accepted\r\n")
    assert (reply.enhanced, reply.text) == ("5.7.8", "Username and Password not accepted")
    assert reply.server_words == "535 5.7.8 Username and Password not accepted"


@pytest.mark.parametrize("text", ["7.1.1 text", "5.7 text", "5.7.1234 text", "15.7.1 text", "5.7.8text"])
def test_what_only_looks_like_an_enhanced_code_is_text(text: str) -> None:
    (reply,) = replies(f"550 {text}\r\n".encode())
    assert (reply.enhanced, reply.text) == ("", text)


@pytest.mark.parametrize("code", [421, 450, 451])
def test_4yz_is_transient(code: int) -> None:
    assert replies(b"%d later\r\n" % code)[0].is_transient


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"\r\n",
        b"25 OK\r\n",
        b"2500 OK\r\n",
        b"150 early\r\n",
        b"650 late\r\n",
        b"250_OK\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"+OK POP3\r\n",
        b"250-one\r\n550 two\r\n",
        b"250-one\r\ntwo\r\n",
        b"\xff\xfe\x00\r\n",
    ],
)
def test_garbage_is_refused_with_a_text_that_is_safe_to_show(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        replies(data)
    assert str(caught.value).isprintable()


def test_a_line_may_have_10000_octets_and_16384_but_no_more() -> None:
    assert len(replies(b"250 " + b"x" * 10_000 + b"\r\n")[0].text) == 10_000
    assert len(replies(b"250 " + b"x" * (LINE_LIMIT - 4) + b"\r\n")[0].lines[0]) == LINE_LIMIT - 4
    with pytest.raises(RemoteProtocolError):
        replies(b"250 " + b"x" * LINE_LIMIT + b"\r\n")


def test_a_reply_without_end_is_refused() -> None:
    assert len(replies(b"250-x\r\n" * (LINES_LIMIT - 1) + b"250 x\r\n")[0].lines) == LINES_LIMIT
    with pytest.raises(RemoteProtocolError, match="more than 200 lines"):
        replies(b"250-x\r\n" * (LINES_LIMIT + 1))


def test_the_servers_words_are_one_short_line_without_control_characters() -> None:
    text = "\x1b[31mred\u202egnp.exe\u2028next\x07" + "x" * 2000
    (reply,) = replies(f"550 {text}\r\n".encode())
    assert reply.server_words.isprintable()
    assert len(reply.server_words) == WORDS_LIMIT


def test_anything_buffered_makes_the_reader_unclean() -> None:
    reader = ReplyReader()
    reader.feed(b"220 go ahead\r\n")
    assert not reader.is_clean()
    assert reader.next_reply() is not None
    assert reader.is_clean()
    reader.feed(b"250-in")
    assert not reader.is_clean()
    reader.feed(b"jected\r\n")
    assert reader.next_reply() is None
    assert not reader.is_clean()


@MANY
@given(st.lists(st.sampled_from([b"250-a\r\n", b"250 b\r\n", b"450 4.7.1 c\n", b"550\r\n", b"x\r\n", b"\xff\r"])), cuts)
def test_replies_do_not_depend_on_how_the_octets_arrive(words: list[bytes], lengths: list[int]) -> None:
    def read(how: list[int]) -> list[SmtpReply] | str:
        try:
            return replies(b"".join(words), how)
        except RemoteProtocolError as error:
            return str(error)

    assert read(lengths) == read([])


@MANY
@given(st.binary(max_size=200))
def test_any_octets_give_replies_or_the_documented_error(data: bytes) -> None:
    try:
        found = replies(data)
    except RemoteProtocolError:
        return
    assert all(200 <= reply.code < 600 and reply.server_words.isprintable() for reply in found)
