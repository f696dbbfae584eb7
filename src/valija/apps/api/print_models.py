"""What the API says and takes of e-mail print."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, WithJsonSchema

from valija.apps.api.fax_models import list_of, number_of, words_of
from valija.apps.api.fields import CHANGES_LIMIT
from valija.apps.api.models import Answer, Body
from valija.domain import print_job as limits
from valija.domain.printer import TARGET_LIMIT
from valija.domain.senders import SENDERS_LIMIT

PRINT_FIELDS: Final[dict[str, Any]] = {
    "type": "object",
    "description": "size_limit is in MB, wait in hours; senders are addresses or @domain; an empty password is none",
    "properties": {
        "target": {"type": "string", "maxLength": TARGET_LIMIT},
        "senders": list_of(SENDERS_LIMIT),
        "password": {"type": ["string", "null"], "maxLength": limits.PASSWORD_RANGE[1]},
        "page_limit": number_of(limits.PAGES_RANGE),
        "size_limit": number_of(limits.SIZE_RANGE_MB),
        "copies": number_of(limits.COPIES_RANGE),
        "copies_limit": number_of(limits.COPIES_RANGE),
        "duplex": words_of(limits.Duplex),
        "colour": words_of(limits.PrintColour),
        "paper": words_of(limits.PrintPaper),
        "tray": {"type": "string", "maxLength": limits.TRAY_LIMIT},
        "bodies": {"type": "boolean"},
        "confirmation": words_of(limits.PrintConfirmation),
        "wait": number_of(limits.WAIT_RANGE_H),
        "faxes": list_of(SENDERS_LIMIT),
    },
    "additionalProperties": False,
}


class PrintSettingsChanges(Body):
    """Fields to change; the others stay as they are."""

    changes: Annotated[dict[str, Any], WithJsonSchema(PRINT_FIELDS)] = Field(max_length=CHANGES_LIMIT)


class PrintSettingsView(Answer):
    """Where mail is printed and whose; ``size_limit`` in MB, ``wait`` in hours. The password itself is never told."""

    target: str
    senders: list[str]
    has_password: bool
    page_limit: int
    size_limit: int
    copies: int
    copies_limit: int
    duplex: str
    colour: str
    paper: str
    tray: str
    bodies: bool
    confirmation: str
    wait: int
    faxes: list[str]


class PrinterReasonView(Answer):
    """What a printer says of itself: a keyword of IPP, and how much it matters; ``text`` is it in words."""

    keyword: str
    severity: str
    text: str


class SupplyView(Answer):
    """A supply of a printer; ``level`` in per cent, null if it does not know."""

    name: str
    kind: str
    colour: str
    level: int | None
    low: int | None


class PrinterView(Answer):
    """How the printer is now; ``state`` is none where no printer is set, or a folder."""

    target: str
    state: str
    state_label: str
    can_print: bool
    model: str
    words: str
    reasons: list[PrinterReasonView]
    supplies: list[SupplyView]
