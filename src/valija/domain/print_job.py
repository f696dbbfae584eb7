"""E-mail print: where mail is printed and whose (its settings), and how one mail is to be printed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from valija.domain.printer import PrinterTarget, parse_target
from valija.domain.senders import matches, parse_senders
from valija.domain.settings import BadValue, number, one_line, one_of, parse_fields, switch
from valija.domain.text import N_, message
from valija.secret import Secret

PAGES_RANGE: Final = (1, 1000)
SIZE_RANGE_MB: Final = (1, 200)
COPIES_RANGE: Final = (1, 99)
WAIT_RANGE_H: Final = (1, 120)
PASSWORD_RANGE: Final = (4, 64)
TRAY_LIMIT: Final = 40
EVERYBODY: Final = "*"


class Duplex(StrEnum):
    """Whether both sides are printed, and along which edge pages are turned."""

    OFF = "off"
    LONG = "long"
    SHORT = "short"


class PrintColour(StrEnum):
    """Colours, or not; or as the printer decides."""

    AUTO = "auto"
    COLOUR = "color"
    MONO = "mono"


class PrintPaper(StrEnum):
    """Sizes of paper."""

    A3 = "a3"
    A4 = "a4"
    A5 = "a5"
    LETTER = "letter"
    LEGAL = "legal"


class PrintConfirmation(StrEnum):
    """When the sender gets a mail about it."""

    OFF = "off"
    ERRORS = "errors"
    ALWAYS = "always"


SIDES: Final = {
    Duplex.OFF: "one-sided",
    Duplex.LONG: "two-sided-long-edge",
    Duplex.SHORT: "two-sided-short-edge",
}  # RFC 8011 section 5.2.8
COLOUR_MODES: Final = {PrintColour.AUTO: "", PrintColour.COLOUR: "color", PrintColour.MONO: "monochrome"}
MEDIA: Final = {
    PrintPaper.A3: "iso_a3_297x420mm",
    PrintPaper.A4: "iso_a4_210x297mm",
    PrintPaper.A5: "iso_a5_148x210mm",
    PrintPaper.LETTER: "na_letter_8.5x11in",
    PrintPaper.LEGAL: "na_legal_8.5x14in",
}  # PWG 5101.1


@dataclass(frozen=True, slots=True)
class PrintSettings:
    """Where mail is printed, and whose.

    ``target`` is a printer, a queue or a folder (:func:`~valija.domain.printer.parse_target`); ``senders`` are addresses or
    ``@domain``: nobody else's mail is printed, and with none nobody's. ``size_limit`` in MB, ``wait`` (for a printer that is
    off) in hours. ``bodies``: the text of a mail with attachments is printed, too. ``faxes``: whose Internet faxes are.
    """

    target: str = ""
    senders: tuple[str, ...] = ()
    password: Secret | None = None
    page_limit: int = 50
    size_limit: int = 25
    copies: int = 1
    copies_limit: int = 10
    duplex: Duplex = Duplex.OFF
    colour: PrintColour = PrintColour.AUTO
    paper: PrintPaper = PrintPaper.A4
    tray: str = ""
    bodies: bool = False
    confirmation: PrintConfirmation = PrintConfirmation.ERRORS
    wait: int = 120
    faxes: tuple[str, ...] = ()

    @property
    def printer(self) -> PrinterTarget:
        """Return where prints go."""
        return parse_target(self.target) or PrinterTarget()


PRINT_LABELS: Final[Mapping[str, str]] = {
    "target": N_("Printer"),
    "senders": N_("Allowed senders"),
    "password": N_("Password in the subject"),
    "page_limit": N_("Page limit"),
    "size_limit": N_("Size limit"),
    "copies": N_("Copies"),
    "copies_limit": N_("Most copies"),
    "duplex": N_("Both sides"),
    "colour": N_("Colour"),
    "paper": N_("Paper"),
    "tray": N_("Tray"),
    "bodies": N_("Print the text, too"),
    "confirmation": N_("Mail to the sender"),
    "wait": N_("Wait for the printer"),
    "faxes": N_("Print faxes from"),
}


@dataclass(frozen=True, slots=True)
class PrintOptions:
    """How one mail is printed; ``pages`` are ranges (first, last) of the whole, none for all, last None for the end."""

    copies: int = 1
    duplex: Duplex = Duplex.OFF
    colour: PrintColour = PrintColour.AUTO
    paper: PrintPaper = PrintPaper.A4
    tray: str = ""
    pages: tuple[tuple[int, int | None], ...] = ()


def usual_options(settings: PrintSettings) -> PrintOptions:
    """Return how mail is printed that asks for nothing."""
    copies = min(settings.copies, settings.copies_limit)
    return PrintOptions(copies, settings.duplex, settings.colour, settings.paper, settings.tray)


def may_print(settings: PrintSettings, sender: str) -> bool:
    """Tell whether a sender's mail is printed."""
    return any(matches(entry, sender) for entry in settings.senders)


def prints_fax(settings: PrintSettings, sender: str) -> bool:
    """Tell whether a fax is printed when it comes."""
    return any(entry == EVERYBODY or matches(entry, sender) for entry in settings.faxes)


def parse_print_settings(current: PrintSettings, changes: Mapping[str, Any]) -> PrintSettings:
    """Return ``current`` with ``changes`` applied. Raises :class:`~valija.domain.errors.InvalidFields`, and applies nothing."""
    return replace(current, **parse_fields({field.name for field in fields(current)}, _PARSERS, changes, PRINT_LABELS))


def _target(value: Any) -> str:
    text = one_line(value, 255).strip()
    if parse_target(text) is None:
        raise BadValue(
            message(N_("must be a queue of CUPS, an address such as ipp://printer.local/ipp/print, or a folder's path"))
        )
    return text


def _tray(value: Any) -> str:
    text = one_line(value, TRAY_LIMIT).strip().lower()
    if not is_tray(text):
        raise BadValue(message(N_("must be a name such as tray-1, manual or main")))
    return text


def is_tray(text: str) -> bool:
    """Tell whether a text can be the keyword of a tray, or is none."""
    return len(text) <= TRAY_LIMIT and all(c.isascii() and (c.isalnum() or c in "-_.") for c in text)


def _password(value: Any) -> Secret | None:
    text = one_line(value.reveal() if isinstance(value, Secret) else "" if value is None else value, 255)
    low, high = PASSWORD_RANGE
    if text and (not low <= len(text) <= high or any(c in '[]"=;,' or c.isspace() for c in text)):
        raise BadValue(
            message(N_('must have {low} to {high} characters, without spaces and []"=;,'), low=low, high=high)
        )
    return Secret(text) if text else None


def _faxes(value: Any) -> Collection[str]:
    return parse_senders(value, everybody=EVERYBODY)


_PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "target": _target,
    "senders": parse_senders,
    "password": _password,
    "page_limit": number(*PAGES_RANGE),
    "size_limit": number(*SIZE_RANGE_MB),
    "copies": number(*COPIES_RANGE),
    "copies_limit": number(*COPIES_RANGE),
    "duplex": one_of(Duplex),
    "colour": one_of(PrintColour),
    "paper": one_of(PrintPaper),
    "tray": _tray,
    "bodies": switch,
    "confirmation": one_of(PrintConfirmation),
    "wait": number(*WAIT_RANGE_H),
    "faxes": _faxes,
}
