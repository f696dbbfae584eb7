"""Addresses in commands, and their parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import MANY

from valija.protocol.errors import LocalProtocolError
from valija.protocol.smtp_path import PATH_LIMIT, Path, encode_xtext, format_path, is_address, parse_path

GOOD = [
    "ana@example.test",
    "a.b+c_d=e@sub.example.test",
    '"Ana López"@example.test',
    '"a\\"b"@example.test',
    '"@"@example.test',
    "ana@[192.0.2.1]",
    "ana@[IPv6:2001:db8::1]",
    "josé@example.test",
    "ana@españa.test",
    "用户@例子.测试",
    "ana@localhost",
]
BAD = [
    "ana",
    "@example.test",
    "ana@",
    "ana@@example.test",
    "ana @example.test",
    "ana@exam ple.test",
    "<ana@example.test>",
    "ana@example.test>",
    "ana@example..test",
    "ana@.example.test",
    "ana@-example.test",
    "ana@example.test\r\nRCPT TO:<eve@example.test>",
    "ana\r\n@example.test",
    "ana\n@example.test",
    "ana\r@example.test",
    "ana\0@example.test",
    '"ana\r\n"@example.test',
    '"ana\0"@example.test',
    "ana@example.test\n",
    "ana\udc80@example.test",
    "a" * 250 + "@example.test",
]


@pytest.mark.parametrize("address", GOOD)
def test_an_ordinary_address_is_one_and_comes_back_from_the_wire(address: str) -> None:
    assert is_address(address)
    assert parse_path(format_path(address).decode()) == Path(address, {})


@pytest.mark.parametrize("address", BAD)
def test_what_cannot_stand_in_a_command_is_no_address_and_never_formatted(address: str) -> None:
    assert not is_address(address)
    with pytest.raises(LocalProtocolError):
        format_path(address)


def test_an_address_may_have_254_octets_and_no_more() -> None:
    longest = "a" + "ñ" * 123 + "@x.test"
    assert len(longest.encode()) == PATH_LIMIT
    assert is_address(longest)
    assert not is_address("a" + longest)


def test_the_empty_address_is_the_null_reverse_path() -> None:
    assert format_path("") == b"<>"
    assert parse_path("<>") == Path("", {})


def test_parameters_follow_the_path_in_order() -> None:
    assert format_path("a@b.test", {"SIZE": "12", "SMTPUTF8": None}) == b"<a@b.test> SIZE=12 SMTPUTF8"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIZE", "1\r\nQUIT"),
        ("RET", "FULL HDRS"),
        ("RET", ""),
        ("ENVID", "a=b"),
        ("X\r\nY", None),
        ("", "1"),
        ("ENVID", "\0"),
    ],
)
def test_a_parameter_that_would_break_the_command_is_refused(name: str, value: str | None) -> None:
    with pytest.raises(LocalProtocolError):
        format_path("a@b.test", {name: value})


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        ("<ana@x.test> size=10 BODY=8BITMIME", Path("ana@x.test", {"SIZE": "10", "BODY": "8BITMIME"})),
        ("  <ana@x.test>", Path("ana@x.test", {})),
        ("ana@x.test", Path("ana@x.test", {})),
        ("ana@x.test SIZE=10", Path("ana@x.test", {"SIZE": "10"})),
        ('"Ana" <ana@x.test>', Path("ana@x.test", {})),
        ("<@relay.test,@other.test:ana@x.test>", Path("ana@x.test", {})),
        ("< ana@x.test >", Path("ana@x.test", {})),
        ("<postmaster>", Path("postmaster", {})),
        ("<> RET=HDRS", Path("", {"RET": "HDRS"})),
    ],
)
def test_the_odd_forms_of_old_devices_are_understood(argument: str, path: Path) -> None:
    assert parse_path(argument) == path


@pytest.mark.parametrize(
    "argument",
    [
        "<ana@x.test",
        "<ana@x test>",
        "<ana@x.test> SIZE=1=2",
        "<ana@x.test> " + " ".join(f"X{n}" for n in range(21)),
        "<a\rb@x.test>",
        "<\udcff@x.test>",
        "<" + "a" * 300 + ">",
    ],
)
def test_what_is_no_path_is_told_apart(argument: str) -> None:
    assert parse_path(argument) is None


@pytest.mark.parametrize(
    ("text", "xtext"),
    [("plain-1", "plain-1"), ("a+b=c d", "a+2Bb+3Dc+20d"), ("a\r\nb", "a+0D+0Ab"), ("ñ", "+C3+B1"), ("ł", "+C5+82")],
)
def test_xtext_has_two_digits_for_every_octet_that_cannot_stand(text: str, xtext: str) -> None:
    assert encode_xtext(text) == xtext


@MANY
@given(st.text(max_size=40))
def test_a_formatted_path_is_always_one_line_that_reads_back_the_same(address: str) -> None:
    try:
        wire = format_path(address)
    except LocalProtocolError:
        return
    assert not any(c in wire for c in b"\r\n\0")
    assert parse_path(wire.decode()) == Path(address, {})


@MANY
@given(st.text(alphabet=st.sampled_from('<>@:" \\.=abñ\r\n\0\udc80,[]'), max_size=30))
def test_any_argument_gives_a_path_that_utf8_can_carry_or_none(argument: str) -> None:
    path = parse_path(argument)
    if path is not None:
        assert not any(c in path.address for c in "\r\n\0")
        path.address.encode()
