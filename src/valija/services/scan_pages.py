"""The pages of a scan job while it is there: a list in the job's folder, and a file and a small picture for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from valija.services.durable import write_durably

LIST: Final = "pages.json"
FOLDER: Final = "pages"


@dataclass(frozen=True, slots=True)
class ScanPage:
    """A page: its number as it came, its file's name, what it measures (pixels, octets), how far it was turned."""

    number: int
    file: str
    width: int
    height: int
    octets: int
    turned: int = 0


@dataclass(frozen=True, slots=True)
class PageList:
    """The pages in their order; ``original``: a file of ``kind`` that may be sent as it is, if nothing was changed."""

    pages: tuple[ScanPage, ...] = ()
    original: str = ""
    kind: str = ""
    asked: dict[str, Any] | None = None  # the scan as it was asked for, to go on with

    def with_pages(self, pages: Sequence[ScanPage]) -> PageList:
        """Return the list with other pages: what was there is no longer the original."""
        return replace(self, pages=tuple(pages), original="")


def read_list(folder: Path) -> PageList:
    """Read a job's list; empty if there is none."""
    try:
        raw = json.loads((folder / LIST).read_text("utf-8"))
    except FileNotFoundError:
        return PageList()
    pages = tuple(ScanPage(**page) for page in raw.pop("pages"))
    return PageList(pages=pages, **raw)


def write_list(folder: Path, found: PageList) -> None:
    """Write a job's list, whole or not at all. Blocking; raises OSError."""
    write_durably(folder / LIST, json.dumps(asdict(found)))


def page_path(folder: Path, page: ScanPage) -> Path:
    """Return a page's file."""
    return folder / FOLDER / page.file


def picture_path(folder: Path, page: ScanPage) -> Path:
    """Return a page's small picture."""
    return folder / FOLDER / f"small-{page.number:05}.png"
