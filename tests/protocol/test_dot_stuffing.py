"""Transparency of message data, both ways."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import MANY, cut, cuts

from valija.protocol.dot_stuffing import DotStuffer, DotUnstuffer, MessageTop, TerminatorWatch

WORDS = st.lists(
    st.sampled_from([b".", b"..", b"\r", b"\n", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"a", b"From x"]), max_size=30
)
BODIES = st.one_of(WORDS.map(b"".join), st.binary(max_size=200))


def stuff(body: bytes, lengths: list[int]) -> bytes:
    """Prepare a body that comes in pieces."""
    stuffer = DotStuffer()
    return b"".join(stuffer.feed(piece) for piece in cut(body, lengths)) + stuffer.finish()


def unstuff(data: bytes, lengths: list[int]) -> tuple[bytes, bytes, bool]:
    """Return body, what follows the terminator, and whether it came."""
    unstuffer, body, rest = DotUnstuffer(), b"", b""
    for piece in cut(data, lengths):
        if unstuffer.done:
            rest += piece
            continue
        given_out, rest = unstuffer.feed(piece)
        body += given_out
    return body, rest, unstuffer.done


@pytest.mark.parametrize(
    ("body", "wire"),
    [
        (b"", b".\r\n"),
        (b"Hello\r\n", b"Hello\r\n.\r\n"),
        (b"no end", b"no end\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n..\r\nQUIT\r\n.\r\n"),
        (b"..two", b"...two\r\n.\r\n"),
        (b"a.b\r\nc.", b"a.b\r\nc.\r\n.\r\n"),
    ],
)
def test_a_line_that_begins_with_a_dot_gets_one_more_and_the_last_line_an_end(body: bytes, wire: bytes) -> None:
    assert stuff(body, []) == wire


@pytest.mark.parametrize(
    ("body", "wire"),
    [
        (b"a\nb\n", b"a\r\nb\r\n.\r\n"),
        (b"a\rb\r", b"a\r\nb\r\n.\r\n"),
        (b"a\n.\nMAIL", b"a\r\n..\r\nMAIL\r\n.\r\n"),
        (b"a\n.\r\nMAIL", b"a\r\n..\r\nMAIL\r\n.\r\n"),
        (b"a\r\n.\nMAIL", b"a\r\n..\r\nMAIL\r\n.\r\n"),
        (b"a\r.\rMAIL", b"a\r\n..\r\nMAIL\r\n.\r\n"),
        (b"a\r\r\nb", b"a\r\n\r\nb\r\n.\r\n"),
    ],
)
def test_a_bare_cr_or_lf_never_reaches_the_wire_so_nothing_can_be_smuggled_outwards(body: bytes, wire: bytes) -> None:
    assert stuff(body, []) == wire


def test_a_stuffer_can_be_used_again_after_its_end() -> None:
    stuffer = DotStuffer()
    assert stuffer.feed(b"one\r") + stuffer.finish() == b"one\r\n.\r\n"
    assert stuffer.feed(b".two") + stuffer.finish() == b"..two\r\n.\r\n"


@pytest.mark.parametrize(
    ("wire", "body", "rest"),
    [
        (b".\r\n", b"", b""),
        (b"Hello\r\n.\r\nQUIT\r\n", b"Hello\r\n", b"QUIT\r\n"),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b".hidden\r\n.\r\n", b"hidden\r\n", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
    ],
)
def test_the_line_with_one_dot_ends_a_body_and_extra_dots_go(wire: bytes, body: bytes, rest: bytes) -> None:
    assert unstuff(wire, []) == (body, rest, True)


@pytest.mark.parametrize(
    "false_end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r\n\0.\r\n"]
)
def test_only_crlf_dot_crlf_ends_a_body(false_end: bytes) -> None:
    body, rest, done = unstuff(b"text" + false_end + b"MAIL FROM:<e@vil>\r\n.\r\n", [])
    assert b"MAIL FROM:<e@vil>\r\n" in body
    assert (rest, done) == (b"", True)


def test_without_the_terminator_a_body_is_not_done() -> None:
    assert unstuff(b"Hello\r\n.\r", []) == (b"Hello", b"", False)


@MANY
@given(BODIES, cuts)
def test_stuffing_does_not_depend_on_the_pieces(body: bytes, lengths: list[int]) -> None:
    assert stuff(body, lengths) == stuff(body, [])


@MANY
@given(BODIES, cuts)
def test_unstuffing_any_octets_does_not_depend_on_the_pieces(data: bytes, lengths: list[int]) -> None:
    in_pieces, whole = unstuff(data, lengths), unstuff(data, [])
    assert in_pieces == whole


@MANY
@given(BODIES, cuts, cuts)
def test_what_was_stuffed_comes_back_with_crlf_line_ends(body: bytes, there: list[int], back: list[int]) -> None:
    expected = re.sub(rb"\r\n|\r|\n", b"\r\n", body)
    if expected and not expected.endswith(b"\r\n"):
        expected += b"\r\n"
    assert unstuff(stuff(body, there) + b"QUIT\r\n", back) == (expected, b"QUIT\r\n", True)


@MANY
@given(BODIES, cuts)
def test_a_stuffed_body_has_one_terminator_and_no_bare_line_ends(body: bytes, lengths: list[int]) -> None:
    wire = b"\r\n" + stuff(body, lengths)
    assert wire.count(b"\r\n.\r\n") == 1
    assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n")


@MANY
@given(BODIES, cuts)
def test_who_watches_a_body_pass_by_sees_its_end_where_who_unstuffs_it_does(data: bytes, lengths: list[int]) -> None:
    watch, passed, rest = TerminatorWatch(), b"", b""
    for piece in cut(data, lengths):
        if watch.done:
            rest += piece
            continue
        through, rest = watch.feed(piece)
        passed += through
    assert passed + rest == data
    assert (rest, watch.done) == unstuff(data, [])[1:]


@MANY
@given(BODIES, cuts, st.integers(0, 4))
def test_the_top_is_the_header_and_so_many_lines_whatever_the_pieces(
    body: bytes, lengths: list[int], count: int
) -> None:
    top = MessageTop(count)
    said = b"".join(top.feed(piece) for piece in cut(body, lengths))
    lines = re.findall(rb"[^\n]*\n|[^\n]+", body)
    blank = next((n for n, line in enumerate(lines) if line.strip(b"\r") == b"\n"), len(lines))
    assert said == b"".join(lines[: blank + 1 + count])
    assert top.full is (blank < len(lines) and sum(line.endswith(b"\n") for line in lines[blank + 1 :]) >= count)
