"""Octets to lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import MANY, cut, cuts

from valija.protocol.errors import RemoteProtocolError
from valija.protocol.lines import LineReader


def lines_of(data: bytes, lengths: list[int], max_line: int = 100) -> tuple[list[bytes], bool, bytes]:
    """Return the whole lines, whether one was too long, and what is left."""
    reader, found = LineReader(max_line), []
    for piece in cut(data, lengths):
        reader.feed(piece)
        try:
            while (line := reader.next_line()) is not None:
                found.append(line)
        except RemoteProtocolError:
            return found, True, b""
    return found, False, reader.take_rest()


@pytest.mark.parametrize(
    ("data", "lines", "rest"),
    [
        (b"one\r\ntwo\r\n", [b"one", b"two"], b""),
        (b"one\ntwo\n", [b"one", b"two"], b""),
        (b"bare\rinside\r\n", [b"bare\rinside"], b""),
        (b"two\r\r\n", [b"two\r"], b""),
        (b"\r\n\n", [b"", b""], b""),
        (b"whole\r\nunfinished", [b"whole"], b"unfinished"),
        (b"only a CR\r", [], b"only a CR\r"),
    ],
)
def test_a_line_ends_with_lf_and_one_cr_before_it_belongs_to_the_end(
    data: bytes, lines: list[bytes], rest: bytes
) -> None:
    assert lines_of(data, []) == (lines, False, rest)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_the_limit_counts_the_octets_before_the_end_exactly(end: bytes) -> None:
    assert lines_of(b"x" * 100 + end, []) == ([b"x" * 100], False, b"")
    assert lines_of(b"x" * 101 + end, []) == ([], True, b"")


def test_a_line_of_10000_octets_is_given_where_the_limit_allows_it_and_refused_where_not() -> None:
    line = b"x" * 10_000
    assert lines_of(line + b"\r\n", [], 10_000) == ([line], False, b"")
    assert lines_of(line + b"\r\n", [], 9_999)[1]


def test_an_overlong_line_is_noticed_before_its_end_comes() -> None:
    reader = LineReader(100)
    reader.feed(b"x" * 102)
    with pytest.raises(RemoteProtocolError, match="more than 100 octets"):
        reader.next_line()


def test_what_is_buffered_can_be_counted_taken_and_forgotten() -> None:
    reader = LineReader(100)
    reader.feed(b"a\r\nsent ahead")
    assert reader.next_line() == b"a"
    assert len(reader) == 10
    assert reader.take_rest() == b"sent ahead"
    assert len(reader) == 0
    assert reader.take_rest() == b""


@MANY
@given(st.lists(st.sampled_from([b"ab", b"\r", b"\n", b"\r\n", b"x" * 99, b"x" * 101])), cuts)
def test_lines_do_not_depend_on_how_the_octets_arrive(words: list[bytes], lengths: list[int]) -> None:
    data = b"".join(words)
    whole, pieces = lines_of(data, []), lines_of(data, lengths)
    assert pieces[:2] == whole[:2]
    assert pieces[2] == whole[2]
