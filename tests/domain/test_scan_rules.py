"""Rules of scans and of the address book: what may be asked for, names, sizes, files of contacts."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valija.domain.address_book import Contact, format_csv, format_vcards, in_order, parse_contact, parse_file
from valija.domain.errors import InvalidFields
from valija.domain.scan import (
    ScanFormat,
    ScanSettings,
    fill_template,
    message_octets,
    parse_scan_request,
    parse_scan_settings,
    safe_file_name,
    split_pages,
)

VALUES = {"date": "2026-11-25", "time": "09.30", "counter": "0007", "machine": "Planta 2", "user": "ana"}
ADDRESS = st.sampled_from(("a@b.es", "luis.ruiz@example.com", "x+y@sub.example.org", "o'neil@example.ie"))
LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
NAME = st.text(LETTERS, min_size=1, max_size=30).map(lambda name: " ".join(name.split())).filter(bool)
ADDRESSES = st.lists(ADDRESS, min_size=1, max_size=4, unique=True).map(tuple)
CONTACTS = st.lists(st.builds(Contact, NAME, ADDRESSES, st.booleans()), min_size=1, max_size=5)


def test_a_template_names_only_what_there_is() -> None:
    assert fill_template("De {machine}: {date} {{x}} {counter}", VALUES) == "De Planta 2: 2026-11-25 {x} 0007"
    for wrong in ("{nobody}", "{date", "date}", "{}", "{date!r}", "{user.x}"):
        with pytest.raises(ValueError):
            fill_template(wrong, VALUES)
        with pytest.raises(InvalidFields):
            parse_scan_settings(ScanSettings(), {"subject": wrong})


@given(st.text(max_size=200))
def test_a_file_name_is_no_path_and_never_empty(name: str) -> None:
    made = safe_file_name(name, ".pdf")
    assert len(made.encode()) <= 255
    assert re.fullmatch(r'[^/\\:*?"<>|\0\n\r]+\.pdf', made)
    assert not made.startswith(".")
    assert len(made) <= 120


def test_a_vcard_of_an_old_office_program_is_read_with_its_accents() -> None:
    """vCard 2.1: quoted-printable, folded at a soft break, in the character set that it names."""
    text = (
        "BEGIN:VCARD\r\nVERSION:2.1\r\nFN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Jos=C3=A9 N=C3=BA=\r\n=C3=B1ez\r\n"
        "EMAIL;PREF;INTERNET:jose@example.com\r\nEND:VCARD\r\n"
        "BEGIN:VCARD\r\nVERSION:2.1\r\nFN;QUOTED-PRINTABLE;CHARSET=Windows-1252:Bego=F1a\r\n"
        "EMAIL;INTERNET:b@example.com\r\nEND:VCARD\r\n"
        "BEGIN:VCARD\r\nVERSION:2.1\r\nFN;ENCODING=QUOTED-PRINTABLE;CHARSET=nobodys:Ana=20B\r\n"
        "EMAIL:a@example.com\r\nEND:VCARD\r\n"
    )
    found = parse_file(text)
    assert [(c.name, c.addresses) for c in found.contacts] == [
        ("José Núñez", ("jose@example.com",)),
        ("Begoña", ("b@example.com",)),
        ("Ana B", ("a@example.com",)),
    ]


@given(st.lists(st.integers(1, 900_000), max_size=60))
def test_pages_are_divided_in_order_each_run_fits_and_no_two_would_fit_as_one(sizes: list[int]) -> None:
    limit = 2_000_000
    runs = split_pages(sizes, limit)
    assert runs is not None
    assert [page for run in runs for page in run] == list(range(len(sizes)))
    octets = [message_octets(sizes[run.start : run.stop]) for run in runs]
    assert all(size <= limit for size in octets)
    for one, other in pairwise(runs):
        assert message_octets(sizes[one.start : other.start + 1]) > limit


def test_a_page_that_fits_no_message_cannot_be_divided() -> None:
    assert split_pages([100, 5_000_000, 100], 2_000_000) is None
    assert split_pages([5_000_000], 2_000_000) is None


def test_a_request_takes_the_machines_choices_and_says_all_that_is_wrong() -> None:
    settings = parse_scan_settings(ScanSettings(), {"format": "tiff", "resolution": "300", "bcc": "a@b.es; c@d.es"})
    asked = parse_scan_request(settings, {"to": ["x@y.es"], "colour": "mono"})
    assert (asked.choices.format, asked.choices.resolution, asked.to) == (ScanFormat.TIFF, 300, ("x@y.es",))
    assert settings.bcc == ("a@b.es", "c@d.es")
    with pytest.raises(InvalidFields) as wrong:
        parse_scan_request(settings, {"to": [], "resolution": 9, "format": "doc", "duplex": "si", "bcc": [], "x": 1})
    assert {p.field for p in wrong.value.problems} == {"to", "resolution", "format", "duplex", "bcc", "x"}


# --- the address book -----------------------------------------------------------------------------------------------------


@given(CONTACTS)
def test_contacts_come_back_from_both_kinds_of_file(contacts: list[Contact]) -> None:
    unique = list({contact.key: contact for contact in contacts}.values())
    for written in (format_csv(unique), format_vcards(unique)):
        found = parse_file(written)
        assert found.left_out == 0
        assert in_order(found.contacts) == in_order(unique)


def test_files_of_other_programs_are_read() -> None:
    """Outlook's CSV, a Spanish one with semicolons, vCard 2.1 and 3.0 with folded lines."""
    outlook = "First Name,Display Name,E-mail Address\r\nAna,Ana Ruiz,ana@b.es\r\nLuis,,luis@b.es\r\n,,\r\n,Nadie,\r\n"
    assert parse_file(outlook).contacts == (Contact("Ana Ruiz", ("ana@b.es",)), Contact("luis@b.es", ("luis@b.es",)))
    assert parse_file(outlook).left_out == 1
    spanish = "\ufeffNombre;Correo;Favorito\nObra;a@b.es, c@d.es;sí\n"
    assert parse_file(spanish).contacts == (Contact("Obra", ("a@b.es", "c@d.es"), True),)
    old = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ana\r\n  Ruiz\\, SL\r\nitem1.EMAIL;TYPE=work:ana@b.es\r\nEND:VCARD\r\n"
    assert parse_file(old).contacts == (Contact("Ana Ruiz, SL", ("ana@b.es",)),)
    for wrong in ("", "hola", "a,b\n1,2\n"):
        with pytest.raises(InvalidFields):
            parse_file(wrong)


@given(st.text(max_size=500))
def test_any_text_is_contacts_or_a_refusal(text: str) -> None:
    for beginning in ("", "name,email\n", "BEGIN:VCARD\n"):
        try:
            found = parse_file(beginning + text)
        except InvalidFields:
            continue
        assert all(contact.addresses for contact in found.contacts)


def test_a_cell_that_a_spreadsheet_would_run_does_not_begin_with_its_sign() -> None:
    written = format_csv([Contact("=HYPERLINK(1)", ("a@b.es",))])
    assert "\n=" not in written
    with pytest.raises(InvalidFields):
        parse_contact(None, {"name": " ", "addresses": ["a@b.es"]})
