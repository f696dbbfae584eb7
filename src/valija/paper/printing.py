"""What a printer is sent: one PDF of everything that is to be printed, checked page by page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pypdfium2 as pdfium
from PIL import Image

from valija.message.tiff_reading import BadTiff
from valija.paper.fax import FAX_PAGES_LIMIT, fax_images, text_of, write_pages
from valija.paper.refusal import Progress, Refused
from valija.paper.sources import dpi_of, open_pdf, open_source
from valija.paper.text_pages import text_pages

LOOK_DPI: Final = 40  # enough to see that a page can be drawn
IMAGE_DPI: Final = 300
TEXT_DPI: Final = 200
_DPI_LIMIT: Final = 2400
_SIZES_MM: Final = {
    "a3": (297.0, 420.0),
    "a4": (210.0, 297.0),
    "a5": (148.0, 210.0),
    "letter": (215.9, 279.4),
    "legal": (215.9, 355.6),
}


def for_printer(
    progress: Progress, /, path: str, out: str, folder: str, *, title: str, at: str, paper: str
) -> dict[str, Any]:
    """Make a PDF of pictures (TIFF for fax, too) or of a text, none of its pages larger than the paper; return ``pages``."""
    size = _SIZES_MM[paper]
    source, moment = Path(path), datetime.fromisoformat(at).isoformat()
    if path.endswith(".txt"):
        text = text_of(path)
        total = sum(1 for _page in text_pages(text, TEXT_DPI, paper_mm=size, measure=True))
        pages = text_pages(text, TEXT_DPI, paper_mm=size)
        return {"pages": write_pages(pages, Path(out), Path(folder), title, moment, total, progress)}
    if path.endswith(".tif"):
        found = _fax(progress, source, out, folder, title, moment)
        if found:
            return {"pages": found}
    with open_source(source) as opened:
        _check(opened.count)
        images = (_on_paper(opened.page(number, IMAGE_DPI), size) for number in range(opened.count))
        return {"pages": write_pages(images, Path(out), Path(folder), title, moment, opened.count, progress)}


def _fax(progress: Progress, source: Path, out: str, folder: str, title: str, at: str) -> int:
    """Make a PDF of a fax, whose lines only a strict reader understands; 0 if it is another TIFF."""
    try:
        with source.open("rb") as file:
            images, count = fax_images(file, source.stat().st_size)
            return write_pages(images, Path(out), Path(folder), title, at, count, progress) if count else 0
    except BadTiff:
        return 0


def _check(count: int) -> None:
    if count > FAX_PAGES_LIMIT:
        raise Refused("paper_too_large", f"{count} pages")


def _on_paper(image: Image.Image, size_mm: tuple[float, float]) -> Image.Image:
    """Let a picture be no larger than the paper, which may lie on its side for it."""
    across, down = dpi_of(image)
    width, height = image.width / across * 25.4, image.height / down * 25.4
    short, long = sorted(size_mm)
    room = (long, short) if width > height else (short, long)
    scale = max(width / room[0], height / room[1], 1.0)
    image.info["dpi"] = min(_DPI_LIMIT, round(across * scale)), min(_DPI_LIMIT, round(down * scale))
    return image


def join_pages(
    progress: Progress, /, files: Sequence[str], out: str, *, ranges: Sequence[Sequence[int | None]], limit: int
) -> dict[str, Any]:
    """Make one PDF of PDFs, of those ``ranges`` (first, last; none: all) of all their pages; return ``pages``.

    Every page is drawn once, small: what a printer would choke on is refused here. More pages than ``limit`` are refused.
    """
    target = pdfium.PdfDocument.new()
    wanted: dict[int, list[int]] = {}
    try:
        before = total = 0
        for place, file in enumerate(files):
            with open_pdf(Path(file)) as document:
                count = len(document)
                wanted[place] = [n for n in range(count) if _is_wanted(before + n + 1, ranges)]
                before, total = before + count, total + len(wanted[place])
        if total > limit:
            raise Refused("print_too_many_pages", f"{total} > {limit}")
        if not total:
            raise Refused("print_no_such_pages", str(before))
        done = 0
        for place, file in enumerate(files):
            with open_pdf(Path(file)) as document:
                for number in wanted[place]:
                    _look(document, number)
                    done += 1
                    progress(done, total)
                if wanted[place]:
                    target.import_pages(document, wanted[place])
        target.save(out)
    finally:
        target.close()
    return {"pages": total}


def _is_wanted(number: int, ranges: Sequence[Sequence[int | None]]) -> bool:
    return not ranges or any((low or 1) <= number <= (high or number) for low, high in ranges)


def _look(document: Any, number: int) -> None:
    page = document[number]
    try:
        width, height = page.get_size()
        scale = min(LOOK_DPI / 72, 4_000 / max(width, height, 1))
        page.render(scale=scale, grayscale=True).close()
    finally:
        page.close()
