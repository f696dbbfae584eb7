"""The address book: people and groups, the favourites first; CSV and vCard in and out. Pure."""

from __future__ import annotations

import csv
import io
import quopri
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from valija.domain.errors import FieldProblem, InvalidFields
from valija.domain.settings import BadValue, one_line, parse_fields, switch
from valija.domain.text import N_, message
from valija.protocol.smtp_path import is_address

NAME_LIMIT: Final = 80
MEMBERS_LIMIT: Final = 100
ENTRIES_LIMIT: Final = 5000
IMPORT_LIMIT: Final = 2_000_000  # characters of a file


@dataclass(frozen=True, slots=True)
class Contact:
    """Who is written to: a person has one address, a group several. Names are not told apart by large and small letters."""

    name: str
    addresses: tuple[str, ...]
    favourite: bool = False

    @property
    def key(self) -> str:
        """Return what tells contacts apart."""
        return " ".join(self.name.casefold().split())

    @property
    def is_group(self) -> bool:
        """Tell whether there are several addresses."""
        return len(self.addresses) > 1


CONTACT_LABELS: Final[Mapping[str, str]] = {
    "name": N_("Name"),
    "addresses": N_("Addresses"),
    "favourite": N_("Favourite"),
}


def parse_contact(current: Contact | None, changes: Mapping[str, Any]) -> Contact:
    """Return a contact with ``changes``. Raises :class:`~valija.domain.errors.InvalidFields`."""
    parsers = {"name": _name, "addresses": _addresses, "favourite": switch}
    asked = dict(changes) if current else {"name": "", "addresses": (), **changes}
    return replace(current or Contact("", ()), **parse_fields(parsers.keys(), parsers, asked))


def _name(value: Any) -> str:
    text = " ".join(one_line(value, NAME_LIMIT).split())
    if not text:
        raise BadValue(message(N_("must not be empty")))
    return text


def _addresses(value: Any) -> tuple[str, ...]:
    found = re.split(r"[\s,;]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(address, str) for address in found):
        raise BadValue(message(N_("must be a list of addresses")))
    if not 1 <= len(found) <= MEMBERS_LIMIT or found == [""]:
        raise BadValue(message(N_("needs 1 to {limit} addresses"), limit=MEMBERS_LIMIT))
    for address in found:
        if not is_address(address):
            shown = "".join(c if c.isprintable() else "?" for c in address)[:80]
            raise BadValue(message(N_("has {address}, which is not an e-mail address"), address=shown))
    return tuple(dict.fromkeys(found))


def in_order(contacts: Iterable[Contact]) -> list[Contact]:
    """Return contacts with the favourites first, then by name."""
    return sorted(contacts, key=lambda contact: (not contact.favourite, contact.key))


# --- files ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file holds: contacts, and how many entries were left out since they have no name or address that can be used."""

    contacts: tuple[Contact, ...]
    left_out: int


def parse_file(text: str) -> Imported:
    """Read CSV or vCard, whichever it is. Raises :class:`InvalidFields` for what is too large or neither."""
    if len(text) > IMPORT_LIMIT:
        raise InvalidFields((FieldProblem("file", message(N_("is too large"))),))
    text = text.removeprefix("\ufeff")
    found = list(_vcards(text) if re.match(r"\s*BEGIN:VCARD", text, re.IGNORECASE) else _csv_rows(text))
    contacts: dict[str, Contact] = {}
    left_out = 0
    for name, addresses, favourite in found[:ENTRIES_LIMIT]:
        try:
            contact = parse_contact(
                None, {"name": name or (addresses or [""])[0], "addresses": addresses, "favourite": favourite}
            )
        except InvalidFields:
            left_out += 1
        else:
            contacts[contact.key] = contact
    return Imported(tuple(contacts.values()), left_out + max(0, len(found) - ENTRIES_LIMIT))


Row = tuple[str, list[str], bool]
_NAMES: Final = ("name", "nombre", "display name", "full name", "nombre para mostrar")
_MAILS: Final = ("email", "e-mail", "e-mail address", "correo", "dirección", "addresses", "mail", "email address")
_FAVOURITES: Final = ("favourite", "favorite", "favorito")
_YES: Final = ("yes", "true", "1", "sí", "si", "x")


def _csv_rows(text: str) -> Iterator[Row]:
    first = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        heads = [head.strip().casefold() for head in next(rows, [])]
        name, mail = _column(heads, _NAMES), _column(heads, _MAILS)
        if mail is None:
            raise InvalidFields((FieldProblem("file", message(N_("needs a first line with name and email"))),))
        favourite = _column(heads, _FAVOURITES)
        for row in rows:
            if any(cell.strip() for cell in row):
                addresses = [a for a in re.split(r"[\s,;]+", _cell(row, mail)) if a]
                yield _cell(row, name), addresses, _cell(row, favourite).casefold() in _YES
    except csv.Error:
        raise InvalidFields((FieldProblem("file", message(N_("is no CSV that can be read"))),)) from None


def _column(heads: list[str], names: tuple[str, ...]) -> int | None:
    return next((place for place, head in enumerate(heads) if head in names), None)


def _cell(row: list[str], place: int | None) -> str:
    return row[place].strip() if place is not None and place < len(row) else ""


def _vcards(text: str) -> Iterator[Row]:
    """Read vCards (RFC 6350; 2.1 and 3.0 as far as FN and EMAIL go)."""
    name, addresses, favourite = "", list[str](), False
    for line in _unbroken(re.sub(r"\r?\n[ \t]", "", text).splitlines()):
        head, _, value = line.partition(":")
        if _QUOTED.search(head):
            value = _plain_text(head, value)
        word = head.partition(";")[0].rpartition(".")[2].strip().upper()
        if word == "BEGIN":
            name, addresses, favourite = "", [], False
        elif word == "FN":
            name = _unescape(value)
        elif word == "EMAIL":
            addresses.append(value.strip())
        elif word == "CATEGORIES":
            favourite = "favourite" in value.casefold().split(",")
        elif word == "END":
            yield name, addresses, favourite


_QUOTED: Final = re.compile(r"(?i);(?:ENCODING=)?QUOTED-PRINTABLE(?:;|$)")
_CHARSET: Final = re.compile(r"(?i);CHARSET=([A-Za-z0-9._-]{1,40})(?:;|$)")


def _unbroken(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines, those that are quoted-printable without their soft breaks."""
    parts: list[str] = []
    quoted = False
    for line in lines:
        quoted = quoted if parts else _QUOTED.search(line.partition(":")[0]) is not None
        if quoted and line.endswith("="):
            parts.append(line[:-1])
            continue
        yield "".join([*parts, line])
        parts.clear()
    yield "".join(parts)


def _plain_text(head: str, value: str) -> str:
    """Return a value of vCard 2.1 that is quoted-printable (RFC 2045 section 6.7)."""
    octets = quopri.decodestring(value.encode("ascii", "replace"))
    charset = _CHARSET.search(head)
    try:
        return octets.decode(charset[1] if charset else "utf-8", "replace")
    except (LookupError, ValueError):  # nobody's character set
        return octets.decode("utf-8", "replace")


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: " " if found[1] in "nN" else found[1], text).strip()


def format_csv(contacts: Iterable[Contact]) -> str:
    """Return CSV (RFC 4180) that :func:`parse_file` reads back; a cell that a spreadsheet would run begins with a blank."""
    out = io.StringIO(newline="")
    rows = csv.writer(out)
    rows.writerow(["name", "email", "favourite"])
    for contact in contacts:
        name = f" {contact.name}" if contact.name[0] in "=+-@" else contact.name
        rows.writerow([name, " ".join(contact.addresses), "yes" if contact.favourite else "no"])
    return out.getvalue()


def format_vcards(contacts: Iterable[Contact]) -> str:
    """Return vCards 4.0 (RFC 6350)."""
    out = []
    for contact in contacts:
        name = re.sub(r"([\\,;])", r"\\\1", contact.name)
        kind = "group" if contact.is_group else "individual"
        lines = ["BEGIN:VCARD", "VERSION:4.0", f"KIND:{kind}", f"FN:{name}"]
        lines += [f"EMAIL:{address}" for address in contact.addresses]
        lines += ["CATEGORIES:favourite"] if contact.favourite else []
        out += [_fold(line) for line in [*lines, "END:VCARD"]]
    return "".join(f"{line}\r\n" for line in out)


def _fold(line: str) -> str:
    """Fold a line at 75 octets (RFC 6350 section 3.2), never inside a character."""
    out, size = [], 0
    for character in line:
        octets = len(character.encode())
        if size + octets > 75:
            out.append("\r\n ")
            size = 1
        out.append(character)
        size += octets
    return "".join(out)
