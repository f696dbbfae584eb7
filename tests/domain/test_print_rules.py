"""E-mail print: settings within their limits, and what a subject asks for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valija.domain.errors import InvalidFields
from valija.domain.print_job import (
    Duplex,
    PrintColour,
    PrintOptions,
    PrintPaper,
    PrintSettings,
    may_print,
    parse_print_settings,
    prints_fax,
    usual_options,
)
from valija.domain.subject_options import SubjectOptions, parse_subject, title_of, without_password
from valija.secret import Secret

USUAL = PrintOptions()


def asked(subject: str) -> SubjectOptions:
    return parse_subject(subject, USUAL, copies_limit=10)


@pytest.mark.parametrize(
    ("subject", "title", "options"),
    [
        ("Minutes", "Minutes", USUAL),
        ("[EXT] [List] Minutes", "[EXT] [List] Minutes", USUAL),
        ("Minutes [copies=2]", "Minutes", PrintOptions(copies=2)),
        ("[duplex=long color=no] Minutes [pages=1-3,5,8-]", "Minutes",
         PrintOptions(duplex=Duplex.LONG, colour=PrintColour.MONO, pages=((1, 3), (5, 5), (8, None)))),
        ("Acta [COPIAS = 2; Dúplex=corto, papel=carta bandeja=2 color=sí]", "Acta",
         PrintOptions(2, Duplex.SHORT, PrintColour.COLOUR, PrintPaper.LETTER, "tray-2")),
        ("x [tray=manual paper=A3]", "x", PrintOptions(tray="manual", paper=PrintPaper.A3)),
        ("[copies=2 copies=3]", "", PrintOptions(copies=3)),
    ],
)  # fmt: skip
def test_a_subject_asks_in_brackets_in_either_language(subject: str, title: str, options: PrintOptions) -> None:
    found = asked(subject)
    assert (found.title, found.options, found.problems, found.refused) == (title, options, (), "")


@pytest.mark.parametrize(
    "wrong", ["copies=0", "copies=11", "copies=two", "duplex=maybe", "x=y", "tray=../a", "paper=b7"]
)
def test_what_is_wrong_is_left_out_and_told(wrong: str) -> None:
    found = asked(f"Minutes [{wrong} color=no]")
    assert found.options == PrintOptions(colour=PrintColour.MONO)
    assert (found.problems, found.refused) == ((wrong,), "")


@pytest.mark.parametrize("wrong", ["0", "3-1", "a", "1-2-3", "1,,2", "99999", ",".join("1" * 21)])
def test_pages_that_are_wrong_are_not_printed_as_all(wrong: str) -> None:
    assert asked(f"[pages={wrong}]").refused == f"pages={wrong}"


@pytest.mark.parametrize("name", ["pin", "PIN ", "password", "clave", "contraseña", "Contrasena"])
def test_a_password_is_found_and_cut_out_of_whatever_is_shown(name: str) -> None:
    subject = f"Minutes [{name}=s3cret-x copies=2]"
    found = asked(subject)
    assert found.password == Secret("s3cret-x")
    assert (found.title, found.options.copies, found.problems) == ("Minutes", 2, ())
    for shown in (title_of(subject), without_password(subject), title_of(f"Minutes [{name}=s3cret-x")):
        assert "s3cret-x" not in shown


@given(st.text(max_size=200))
def test_any_subject_is_read(subject: str) -> None:
    found = asked(subject)
    assert 1 <= found.options.copies <= 10
    assert len(found.problems) <= 10
    title_of(subject)


def test_without_a_list_nobody_may_print() -> None:
    assert not may_print(PrintSettings(), "ana@example.com")
    settings = parse_print_settings(PrintSettings(), {"senders": "Ana@Example.com\n@office.example", "faxes": "*"})
    assert may_print(settings, "ana@example.COM")
    assert may_print(settings, "x@office.example")
    assert not may_print(settings, "x@notoffice.example")
    assert not may_print(settings, "")
    assert prints_fax(settings, "")
    assert not prints_fax(PrintSettings(), "")


def test_the_usual_copies_are_never_more_than_the_most() -> None:
    assert usual_options(PrintSettings(copies=9, copies_limit=3)).copies == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", "http://printer/"),
        ("target", 1),
        ("senders", ["no address"]),
        ("senders", ["*"]),
        ("senders", [f"{n}@x.y" for n in range(51)]),
        ("password", "abc"),
        ("password", "has a space"),
        ("password", "a]b[c=d"),
        ("page_limit", 0),
        ("size_limit", 201),
        ("copies", 100),
        ("copies_limit", True),
        ("duplex", "both"),
        ("tray", "a b"),
        ("bodies", "perhaps"),
        ("wait", 121),
        ("nothing", 1),
    ],
)
def test_a_wrong_value_is_named_and_nothing_is_changed(field: str, value: Any) -> None:
    with pytest.raises(InvalidFields) as wrong:
        parse_print_settings(PrintSettings(), {field: value, "copies": 2} if field != "copies" else {field: value})
    assert [problem.field for problem in wrong.value.problems] == [field]
