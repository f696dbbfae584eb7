"""IPP messages: what is written, what is read, and that nothing which comes breaks the reader."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valija.protocol.errors import LocalProtocolError, RemoteProtocolError
from valija.protocol.ipp import IppAnswer, IppRequest, Operation, Tag, number_of, parse_answer, text_of

# RFC 8010 appendix A.2: the answer to a Print-Job that was done
DONE = bytes.fromhex(
    "0101" "0000" "00000001" "01"
    "47" "0012" + b"attributes-charset".hex() + "0005" + b"utf-8".hex() +
    "48" "001b" + b"attributes-natural-language".hex() + "0005" + b"en-us".hex() +
    "41" "000e" + b"status-message".hex() + "000d" + b"successful-ok".hex() +
    "02"
    "21" "0006" + b"job-id".hex() + "0004" "00000093"
    "45" "0007" + b"job-uri".hex() + "0029" + b"ipp://printer.example.com/ipp/print/pp/147".hex()[:82] +
    "23" "0009" + b"job-state".hex() + "0004" "00000003"
    "03"
)  # fmt: skip


def test_the_example_of_the_rfc_is_read() -> None:
    answer = parse_answer(DONE)
    assert answer.ok
    assert answer.words == "successful-ok"
    job = answer.first(Tag.JOB)
    assert (number_of(job, "job-id"), number_of(job, "job-state")) == (147, 3)
    assert text_of(job, "job-uri").startswith("ipp://printer.example.com")


def test_values_of_each_kind_are_read_and_collections_stepped_over() -> None:
    request = IppRequest(Operation.GET_JOBS, "ipp://printer/")
    request.add(Tag.KEYWORD, "sides", "one-sided", "two-sided-long-edge")
    request.add_collection(
        "media-col",
        [
            (Tag.COLLECTION, "media-size", [(Tag.INTEGER, "x-dimension", 21000)]),
            (Tag.KEYWORD, "media-source", "tray-1"),
        ],
    )
    request.add(Tag.BOOLEAN, "yes", 1)
    request.add(Tag.INTEGER, "less", -7)
    said = parse_answer(request.octets()).first(Tag.OPERATION)
    assert said["sides"] == ("one-sided", "two-sided-long-edge")
    assert said["yes"] == (True,)
    assert said["less"] == (-7,)
    assert "media-source" not in said
    assert "" not in said


def test_a_value_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError):
        IppRequest(Operation.PRINT_JOB, "ipp://" + "x" * 2000)


def test_values_without_end_are_refused() -> None:
    begin = DONE[:8] + b"\x04\x44\0\x01x\0\x01y"
    with pytest.raises(RemoteProtocolError):
        parse_answer(begin + b"\x44\0\0\0\x01y" * 30_000 + b"\x03")


@given(st.binary(max_size=300))
def test_whatever_comes_is_an_answer_or_an_error(octets: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert isinstance(parse_answer(octets), IppAnswer)


@given(st.integers(0, len(DONE) - 1), st.integers(0, 255))
def test_a_damaged_answer_is_an_answer_or_an_error(place: int, octet: int) -> None:
    damaged = DONE[:place] + bytes([octet]) + DONE[place + 1 :]
    with suppress(RemoteProtocolError):
        assert isinstance(parse_answer(damaged), IppAnswer)
    with pytest.raises(RemoteProtocolError):
        parse_answer(DONE[:place])
