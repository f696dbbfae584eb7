"""What the API takes and says of scans and of the address book."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from valija.apps.api.fields import CHANGES_LIMIT, SCAN_CHOICES, SCAN_SETTINGS
from valija.apps.api.models import Answer, Body


class ScannerView(Answer):
    """A scanner: SANE's name for it, and what people call it."""

    name: str
    label: str


class NewScan(Body):
    """A scan from the scanner: ``to`` (addresses, and contacts by their names) and choices; the others are the machine's."""

    asked: Annotated[dict[str, Any], WithJsonSchema(SCAN_CHOICES)] = Field(max_length=CHANGES_LIMIT)


class ScanPageView(Answer):
    """A page of a scan that is there: its number as it came; pixels; octets; degrees that it was turned."""

    number: int
    width: int
    height: int
    octets: int
    turned: int


class PageTurn(Body):
    """A page by its number, and how far it is to be turned clockwise."""

    number: int
    degrees: int = Field(json_schema_extra={"enum": [90, 180, 270]})


class ScanPages(Body):
    """Pages by their numbers, in the order in which they are sent; those not named are deleted."""

    order: list[int] = Field(max_length=1000)
    turns: list[PageTurn] = Field(default=[], max_length=1000)


class ScanSettingsView(Answer):
    """The machine's own choices for scans."""

    fields: dict[str, Any]


class ScanSettingsChanges(Body):
    """Fields to change; the others stay as they are."""

    changes: Annotated[dict[str, Any], WithJsonSchema(SCAN_SETTINGS)] = Field(max_length=CHANGES_LIMIT)


class ContactView(Answer):
    """Who is written to: a person with one address, or a group with several."""

    name: str
    addresses: list[str]
    favourite: bool


class ContactChanges(Body):
    """A contact by its name: a new one, or fields to change of the one that is there; ``rename`` gives it another name."""

    name: str = Field(max_length=200)
    addresses: list[str] | None = Field(default=None, max_length=200)
    favourite: bool | None = None
    rename: str | None = Field(default=None, max_length=200)


class ContactNamed(Body):
    """A contact by its name."""

    name: str = Field(max_length=200)


class ContactFile(Body):
    """The text of a CSV or vCard file."""

    text: str = Field(max_length=900_000)


class ContactsTakenIn(Answer):
    """How many contacts a file brought, and how many of its entries could not be used."""

    taken: int
    left_out: int


class ContactsGivenOut(Answer):
    """The address book as a file."""

    form: Literal["csv", "vcard"]
    text: str
