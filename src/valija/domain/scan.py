"""Scan to e-mail: what can be chosen, the machine's own choices, templates of names, how much fits into a message. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from valija.domain.settings import BadValue, one_line, switch
from valija.domain.settings import parse_fields as parse_named
from valija.domain.text import N_, message
from valija.protocol.smtp_path import is_address

RESOLUTION_RANGE: Final = (75, 1200)
SIZE_RANGE_MB: Final = (1, 150)
TEMPLATE_LIMIT: Final = 120
SUBJECT: Final = N_("Scan {date} {time}")
TEXT_LIMIT: Final = 4000
ADDRESSES_LIMIT: Final = 100
PATH_LIMIT: Final = 500
BLANK_INK: Final = 0.0005  # a page with less ink is blank: a line of text has four times as much
MEGABYTE: Final = 1_000_000
MESSAGE_OVERHEAD: Final = 8_000  # octets of head, text and the parts' own heads
PAGE_OVERHEAD: Final = 700  # octets that a document adds to a page's own
_DIGITS: Final = re.compile(r"[0-9]{1,9}")
_BASE64: Final = 78 / 57  # octets of a line for those that it holds


class ScanFormat(StrEnum):
    """What is sent."""

    PDF = "pdf"
    PDF_ARCHIVE = "pdfa"
    PDF_SEARCHABLE = "searchable"
    TIFF = "tiff"
    JPEG = "jpeg"


class Colour(StrEnum):
    """How pages are kept."""

    COLOUR = "colour"
    GREY = "grey"
    MONO = "mono"


class PaperSource(StrEnum):
    """Where the scanner takes paper from."""

    AUTO = "auto"  # the feeder if there is paper in it
    FEEDER = "feeder"
    GLASS = "glass"


class SizeChoice(StrEnum):
    """What becomes of a scan that is larger than the limit."""

    SHRINK = "shrink"
    SPLIT = "split"
    REFUSE = "refuse"


MEDIA_TYPES: Final = {
    ScanFormat.PDF: ("application/pdf", ".pdf"),
    ScanFormat.PDF_ARCHIVE: ("application/pdf", ".pdf"),
    ScanFormat.PDF_SEARCHABLE: ("application/pdf", ".pdf"),
    ScanFormat.TIFF: ("image/tiff", ".tif"),
    ScanFormat.JPEG: ("image/jpeg", ".jpg"),
}


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """The machine's own choices; each scan may choose otherwise, but for ``bcc``, ``signature`` and the size limit.

    ``subject``: empty is ``SUBJECT`` in the machine's language. ``scanner``: SANE's name, empty for the first that is found.
    ``folder``: what is put there is sent ``folder_to``. ``ocr_language``: as tesseract names
    it. ``user`` in a template is who began the scan.
    """

    scanner: str = ""
    format: ScanFormat = ScanFormat.PDF
    colour: Colour = Colour.COLOUR
    resolution: int = 200
    source: PaperSource = PaperSource.AUTO
    duplex: bool = False
    drop_blank: bool = False
    review: bool = True
    subject: str = ""
    text: str = ""
    file_name: str = "scan-{date}-{counter}"
    bcc: tuple[str, ...] = ()
    signature: str = ""
    size_limit_mb: int = 20
    size_choice: SizeChoice = SizeChoice.SPLIT
    ocr_language: str = ""
    folder: str = ""
    folder_to: tuple[str, ...] = ()


SCAN_LABELS: Final[Mapping[str, str]] = {
    "to": N_("Recipient"),
    "scanner": N_("Scanner"),
    "format": N_("Format"),
    "colour": N_("Colour"),
    "resolution": N_("Resolution"),
    "source": N_("Paper"),
    "duplex": N_("Both sides"),
    "drop_blank": N_("Leave out blank pages"),
    "review": N_("Look at the pages before sending"),
    "subject": N_("Subject"),
    "text": N_("Text"),
    "file_name": N_("File name"),
    "bcc": N_("Hidden copy to"),
    "signature": N_("Signature"),
    "size_limit_mb": N_("Size limit"),
    "size_choice": N_("Larger scans"),
    "ocr_language": N_("Language of the text"),
    "folder": N_("Folder to watch"),
    "folder_to": N_("Its files go to"),
}
FORMAT_LABELS: Final = {
    ScanFormat.PDF: N_("PDF"),
    ScanFormat.PDF_ARCHIVE: N_("PDF/A, for the archive"),
    ScanFormat.PDF_SEARCHABLE: N_("PDF with searchable text"),
    ScanFormat.TIFF: N_("TIFF"),
    ScanFormat.JPEG: N_("JPEG, a file for each page"),
}
COLOUR_LABELS: Final = {
    Colour.COLOUR: N_("Colour"),
    Colour.GREY: N_("Grey"),
    Colour.MONO: N_("Black and white"),
}
SOURCE_LABELS: Final = {
    PaperSource.AUTO: N_("As found"),
    PaperSource.FEEDER: N_("Feeder"),
    PaperSource.GLASS: N_("Glass"),
}
SIZE_LABELS: Final = {
    SizeChoice.SHRINK: N_("Make smaller"),
    SizeChoice.SPLIT: N_("Divide"),
    SizeChoice.REFUSE: N_("Refuse"),
}
# what a scan may choose by itself
CHOICES: Final = frozenset(
    {
        "scanner",
        "format",
        "colour",
        "resolution",
        "source",
        "duplex",
        "drop_blank",
        "review",
        "subject",
        "text",
        "file_name",
        "size_choice",
    }
)


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """One scan: to whom, and all choices made."""

    to: tuple[str, ...]
    choices: ScanSettings


def parse_scan_settings(current: ScanSettings, changes: Mapping[str, Any]) -> ScanSettings:
    """Return ``current`` with ``changes``. Raises :class:`~valija.domain.errors.InvalidFields`, and applies nothing."""
    return replace(current, **parse_named({field.name for field in fields(current)}, _PARSERS, changes))


def parse_scan_request(settings: ScanSettings, asked: Mapping[str, Any]) -> ScanRequest:
    """Return a scan as somebody asks for it. Raises :class:`~valija.domain.errors.InvalidFields`."""
    found = parse_named(CHOICES | {"to"}, {**_PARSERS, "to": _recipients}, {"to": (), **asked})
    to = found.pop("to")
    return ScanRequest(to, replace(settings, **found))


def _choice(kind: type[StrEnum]) -> Any:
    def parse(value: Any) -> StrEnum:
        names = [member.value for member in kind]
        if value not in names:
            raise BadValue(message(N_("must be one of {names}"), names=", ".join(names)))
        return kind(value)

    return parse


def _number(low: int, high: int) -> Any:
    def parse(value: Any) -> int:
        number = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise BadValue(message(N_("must be a whole number from {low} to {high}"), low=low, high=high))
        return number

    return parse


def _template(value: Any) -> str:
    text = one_line(value, TEMPLATE_LIMIT)
    try:
        fill_template(text, dict.fromkeys(TEMPLATE_WORDS, "x"))
    except ValueError:
        words = ", ".join(f"{{{word}}}" for word in TEMPLATE_WORDS)
        raise BadValue(message(N_("may name only {words} in braces"), words=words)) from None
    return text


def _lines(value: Any) -> str:
    if not isinstance(value, str):
        raise BadValue(message(N_("must be text")))
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    if len(text) > TEXT_LIMIT:
        raise BadValue(message(N_("has {length} characters; at most {limit} fit"), length=len(text), limit=TEXT_LIMIT))
    return text


def _addresses(value: Any) -> tuple[str, ...]:
    found = split_addresses(value) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(address, str) for address in found):
        raise BadValue(message(N_("must be a list of addresses")))
    for address in found:
        if not is_address(address):
            shown = "".join(c if c.isprintable() else "?" for c in address)[:80]
            raise BadValue(message(N_("has {address}, which is not an e-mail address"), address=shown))
    if len(found) > ADDRESSES_LIMIT:
        raise BadValue(
            message(N_("has {length} addresses; at most {limit} fit"), length=len(found), limit=ADDRESSES_LIMIT)
        )
    return tuple(dict.fromkeys(found))


def _recipients(value: Any) -> tuple[str, ...]:
    found = _addresses(value)
    if not found:
        raise BadValue(message(N_("must not be empty")))
    return found


def _path(value: Any) -> str:
    text = one_line(value, PATH_LIMIT).strip()
    if text and not text.startswith("/"):
        raise BadValue(message(N_("must be a whole path, from / on")))
    return text


def _language(value: Any) -> str:
    text = one_line(value, 40)
    if text and not all(part.isascii() and part.replace("_", "").isalnum() for part in text.split("+")):
        raise BadValue(message(N_("must be as tesseract names it, such as spa or spa+eng")))
    return text


def _word(value: Any) -> str:
    return one_line(value, 255)


_PARSERS: Final[Mapping[str, Any]] = {
    "scanner": _word,
    "format": _choice(ScanFormat),
    "colour": _choice(Colour),
    "resolution": _number(*RESOLUTION_RANGE),
    "source": _choice(PaperSource),
    "duplex": switch,
    "drop_blank": switch,
    "review": switch,
    "subject": _template,
    "text": _lines,
    "file_name": _template,
    "bcc": _addresses,
    "signature": _lines,
    "size_limit_mb": _number(*SIZE_RANGE_MB),
    "size_choice": _choice(SizeChoice),
    "ocr_language": _language,
    "folder": _path,
    "folder_to": _addresses,
}


def split_addresses(text: str) -> list[str]:
    """Return the addresses of a line in which commas, semicolons or spaces stand between them."""
    return [address for address in text.replace(";", " ").replace(",", " ").split() if address]


# --- templates ------------------------------------------------------------------------------------------------------------

TEMPLATE_WORDS: Final = ("date", "time", "counter", "machine", "user")


def template_values(at: datetime, counter: int, machine: str, user: str) -> dict[str, str]:
    """Return what a template's words stand for; ``at`` in the machine's time zone."""
    return {
        "date": f"{at:%Y-%m-%d}",
        "time": f"{at:%H.%M}",
        "counter": f"{counter:04}",
        "machine": machine,
        "user": user,
    }


def fill_template(template: str, values: Mapping[str, str]) -> str:
    """Put values in place of ``{word}``; ``{{`` and ``}}`` are braces. Raises ValueError for another word."""
    out, rest = [], template
    while rest:
        before, brace, rest = _first_brace(rest)
        out.append(before)
        if not brace:
            break
        if rest.startswith(brace):
            out.append(brace)
            rest = rest[1:]
            continue
        word, end, rest = rest.partition("}")
        if brace == "}" or not end or word not in values:
            raise ValueError(word)
        out.append(values[word])
    return "".join(out)


def _first_brace(text: str) -> tuple[str, str, str]:
    for place, character in enumerate(text):
        if character in "{}":
            return text[:place], character, text[place + 1 :]
    return text, "", ""


NAME_OCTETS: Final = 220  # file systems take 255, and "-123.pdf" may follow


def safe_file_name(name: str, suffix: str, fallback: str = "scan") -> str:
    """Return a name that every file system takes: no path, no reserved character, at most 120 characters and 240 octets."""
    kept = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "-" for c in name).strip(" .")[:116]
    kept = kept.encode("utf-8", "replace")[:NAME_OCTETS].decode("utf-8", "ignore").rstrip(" .")
    return (kept or fallback) + suffix


# --- size -----------------------------------------------------------------------------------------------------------------


def message_octets(pages: Sequence[int]) -> int:
    """Return about how many octets a message has whose pages have these."""
    return round(sum(size + PAGE_OVERHEAD for size in pages) * _BASE64) + MESSAGE_OVERHEAD


def split_pages(sizes: Sequence[int], limit: int) -> list[range] | None:
    """Return runs of pages, each of which fits a message of ``limit`` octets; None if a single page does not."""
    runs: list[range] = []
    start = 0
    for end in range(1, len(sizes) + 1):
        if message_octets(sizes[start:end]) > limit:
            if end - 1 == start:
                return None
            runs.append(range(start, end - 1))
            start = end - 1
            if message_octets(sizes[start:end]) > limit:
                return None
    return [*runs, range(start, len(sizes))] if sizes else []


# how a scan is made smaller, step by step: part of its pixels on each side, JPEG's quality
SHRINK_STEPS: Final = ((1.0, 55), (0.75, 50), (0.5, 45), (0.5, 25))
