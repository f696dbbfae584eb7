"""A printer: where it is, how it is, what it lacks. Pure.

Words are those of IPP (RFC 8011 section 5.4.12; supplies: PWG 5100.9 as CUPS and printers say them).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import quote, urlsplit

from valija.domain.text import N_

TARGET_LIMIT: Final = 255
IPP_PORT: Final = 631
_QUEUE: Final = re.compile(r"[^\x00-\x20\x7f/#?\"'\\@:]{1,127}")


class TargetKind(StrEnum):
    """What prints are handed to."""

    NONE = "none"
    QUEUE = "queue"  # of this machine's CUPS
    IPP = "ipp"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class PrinterTarget:
    """Where prints go: ``where`` is a queue's name, an ``ipp://`` or ``ipps://`` URI, or a folder's path."""

    kind: TargetKind = TargetKind.NONE
    where: str = ""

    @property
    def uri(self) -> str:
        """Return what IPP calls it; empty for a folder."""
        if self.kind is TargetKind.QUEUE:
            return f"ipp://localhost/printers/{quote(self.where, safe='')}"
        return self.where if self.kind is TargetKind.IPP else ""


def parse_target(text: str) -> PrinterTarget | None:
    """Read what a person wrote: a queue's name, an IPP URI, an absolute path; nothing is none. None for anything else."""
    text = text.strip()
    if not text:
        return PrinterTarget()
    if len(text) > TARGET_LIMIT or not text.isprintable():
        return None
    if text.startswith("/"):
        return PrinterTarget(TargetKind.FOLDER, text) if ".." not in text.split("/") else None
    if "://" not in text:
        return PrinterTarget(TargetKind.QUEUE, text) if _QUEUE.fullmatch(text) else None
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("ipp", "ipps") and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return None
    return PrinterTarget(TargetKind.IPP, text) if is_good and text.isascii() and " " not in text else None


class PrinterStateName(StrEnum):
    """How a printer is."""

    IDLE = "idle"
    PROCESSING = "processing"
    STOPPED = "stopped"
    UNREACHABLE = "unreachable"  # off, or not to be reached
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """How much a reason matters; an error stops the printer."""

    REPORT = "report"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class PrinterReason:
    """One thing that a printer says of itself: a keyword of IPP without its ending, such as ``media-empty``."""

    keyword: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Supply:
    """Toner, ink, a drum, a waste box; ``level`` in per cent, None if the printer does not know. ``low`` is its own limit."""

    name: str
    kind: str
    colour: str
    level: int | None
    low: int | None = None


@dataclass(frozen=True, slots=True)
class PrinterState:
    """How a printer was at a moment: ``trouble`` (a key of the explanations) is why nobody knows, ``words`` are its own."""

    state: PrinterStateName
    accepting: bool = True
    reasons: tuple[PrinterReason, ...] = ()
    supplies: tuple[Supply, ...] = ()
    model: str = ""
    trouble: str = ""
    words: str = ""

    @property
    def can_print(self) -> bool:
        """Tell whether a print that is handed over now can be expected to come out."""
        stopped = self.state in (PrinterStateName.STOPPED, PrinterStateName.UNREACHABLE)
        return self.accepting and not stopped and not any(r.severity is Severity.ERROR for r in self.reasons)


# what CUPS says while all is well, without an ending (which would make an error of it, RFC 8011 section 5.4.12)
_PASSING: Final = frozenset(
    {
        "connecting-to-device",
        "cups-waiting-for-job-completed",
        "moving-to-paused",
        "stopping",
        "spool-area-full",
        "cups-insecure-filter-warning",
        "cups-missing-filter-warning",
    }
)


def parse_reason(keyword: str) -> PrinterReason | None:
    """Read a value of ``printer-state-reasons``; None for ``none``."""
    keyword = keyword.strip().lower()[:127]
    if keyword in ("", "none"):
        return None
    if keyword in _PASSING:
        return PrinterReason(keyword, Severity.REPORT)
    for severity in Severity:
        if keyword.endswith(f"-{severity}"):
            return PrinterReason(keyword.removesuffix(f"-{severity}"), severity)
    return PrinterReason(keyword, Severity.ERROR)


# what is common, in words; anything else is shown by its keyword
REASON_TEXTS: Final[Mapping[str, str]] = {
    "media-empty": N_("The printer has no paper."),
    "media-needed": N_("The printer has no paper of the size that is needed."),
    "media-low": N_("The printer's paper is running out."),
    "media-jam": N_("Paper is jammed in the printer."),
    "toner-empty": N_("The printer's toner is empty."),
    "toner-low": N_("The printer's toner is running out."),
    "marker-supply-empty": N_("The printer's ink is empty."),
    "marker-supply-low": N_("The printer's ink is running out."),
    "marker-waste-full": N_("The printer's waste box is full."),
    "marker-waste-almost-full": N_("The printer's waste box is almost full."),
    "opc-life-over": N_("The printer's drum is worn out."),
    "opc-near-eol": N_("The printer's drum is nearly worn out."),
    "cover-open": N_("The printer's cover is open."),
    "door-open": N_("The printer's door is open."),
    "input-tray-missing": N_("The printer's tray is missing."),
    "output-area-full": N_("The printer's output tray is full."),
    "offline": N_("The printer is offline."),
    "shutdown": N_("The printer is off."),
    "paused": N_("The printer is paused."),
    "timed-out": N_("The printer does not answer its server."),
    "connecting-to-device": N_("The printer's server is connecting to it."),
    "spool-area-full": N_("The printer's memory is full."),
}
