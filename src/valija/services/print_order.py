"""What is to be printed, and how far it has got: a file in the job's folder, so that a crash forgets nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from valija.domain.print_job import COLOUR_MODES, MEDIA, SIDES, Duplex, PrintColour, PrintOptions, PrintPaper
from valija.message.fax_mail import PartKind
from valija.net.ipp import PrintTicket
from valija.services.durable import write_durably
from valija.services.mail_parts import PartFile
from valija.store.master_key import sync_directory

ORDER: Final = "order.json"
PARTS: Final = "parts.json"
DOCUMENT: Final = "print.pdf"  # in the job's kept/
NAME_LIMIT: Final = 120
NAME_OCTETS: Final = (
    255  # of a job's name (RFC 8011 section 5.1.3): a printer may cut off what is more, and the token with it
)


@dataclass(frozen=True, slots=True)
class PrintOrder:
    """One job for the printer.

    ``name`` is what it is called there, alone in the world by its token. ``begun``: it may have been handed over to ``target``,
    and so it was ``doubts`` times;
    ``at_printer`` is its number there, 0 as long as nobody knows it; ``seen``: it was seen at work. ``answer_to``: who is told
    of its end, ``message_id`` what about; ``left`` could not be printed.
    """

    title: str
    name: str
    copies: int = 1
    duplex: str = Duplex.OFF.value
    colour: str = PrintColour.AUTO.value
    paper: str = PrintPaper.A4.value
    tray: str = ""
    answer_to: str = ""
    message_id: str = ""
    left: str = ""
    target: str = ""
    begun: bool = False
    doubts: int = 0
    at_printer: int = 0
    seen: bool = False

    @property
    def ticket(self) -> PrintTicket:
        """Return what the printer is told."""
        return PrintTicket(
            name=self.name,
            copies=self.copies,
            sides=SIDES[Duplex(self.duplex)],
            color_mode=COLOUR_MODES[PrintColour(self.colour)],
            media=MEDIA[PrintPaper(self.paper)],
            tray=self.tray,
        )


def order_of(number: int, title: str, token: str, options: PrintOptions) -> PrintOrder:
    """Return the order of a job."""
    which = f" (valija {number}-{token})"
    shown = title[:NAME_LIMIT].encode("utf-8", "replace")[: NAME_OCTETS - len(which)].decode("utf-8", "ignore")
    return PrintOrder(
        title=title,
        name=shown + which,
        copies=options.copies,
        duplex=options.duplex.value,
        colour=options.colour.value,
        paper=options.paper.value,
        tray=options.tray,
    )


def write_order(folder: Path, order: PrintOrder) -> None:
    """Write it durably. Blocking; raises OSError."""
    write_durably(folder / ORDER, json.dumps(asdict(order), ensure_ascii=False))


def read_order(folder: Path) -> PrintOrder | None:
    """Read it; None if there is none that can be read. Blocking."""
    try:
        return replace(PrintOrder("", ""), **json.loads((folder / ORDER).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_parts(folder: Path, parts: Sequence[PartFile]) -> None:
    """Write down durably which files are to be printed; all of them lie in the folder. Blocking; raises OSError."""
    sync_directory(folder)
    told = [[part.path.name, part.kind.value, part.name] for part in parts]
    write_durably(folder / PARTS, json.dumps(told, ensure_ascii=False))


def read_parts(folder: Path) -> list[PartFile]:
    """Read what is to be printed; nothing if it was not all there. Blocking."""
    try:
        return [
            PartFile(folder / file, PartKind(kind), name)
            for file, kind, name in json.loads((folder / PARTS).read_text("utf-8"))
        ]
    except (OSError, ValueError, TypeError):
        return []
