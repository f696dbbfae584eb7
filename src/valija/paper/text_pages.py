"""Text as pages: what a mail says, and a fax's cover page, drawn in grey on A4 or what is asked for."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont

from valija.paper.refusal import Refused

TEXT_PAGES_LIMIT: Final = 200
_PAPER_MM: Final = (210.0, 297.0)
_MARGIN_MM: Final = 18.0
_POINT: Final = 10.5
_LINE: Final = 1.35  # heights of a letter between two lines
_TAB: Final = 4
# what Debian has; Pillow's own has the letters of ASCII only
_FONTS: Final = (
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def font_file() -> str:
    """Return the file of a font with many letters; empty if this machine has none."""
    return next((path for path in _FONTS if Path(path).is_file()), "")


@cache
def font(size: int) -> Font:
    """Return a font of so many pixels."""
    return ImageFont.truetype(font_file(), size) if font_file() else ImageFont.load_default(size)


def _drawable(text: str) -> str:
    """Return a text in letters that the font has: without accents where it has none."""
    seen = "".join(c if c.isprintable() else " " for c in text)
    if font_file():
        return seen
    return unicodedata.normalize("NFKD", seen).encode("ascii", "ignore").decode()


def text_pages(
    text: str, dpi: int, *, measure: bool = False, paper_mm: tuple[float, float] = _PAPER_MM
) -> Iterator[Image.Image]:
    """Yield a text's pages, at least one; ``measure``: they are only to be counted. Raises :class:`Refused` for too many."""
    width, height, margin = _sizes(dpi, paper_mm)
    letters = font(round(_POINT * dpi / 72))
    step = round(_POINT * _LINE * dpi / 72)
    on_a_page = (height - 2 * margin) // step
    lines = list(_lines(text, letters, width - 2 * margin, on_a_page * TEXT_PAGES_LIMIT)) or [""]
    for at in range(0, len(lines), on_a_page):
        page = Image.new("L", (1, 1) if measure else (width, height), 255)
        if not measure:
            pen = ImageDraw.Draw(page)
            for place, line in enumerate(lines[at : at + on_a_page]):
                pen.text((margin, margin + place * step), line, fill=0, font=letters)
        page.info["dpi"] = (dpi, dpi)
        yield page


def cover_page(cover: dict[str, Any], pages: int, dpi: int) -> Image.Image:
    """Draw a cover page: a title, lines of label and value, a text."""
    width, height, margin = _sizes(dpi)
    page = Image.new("L", (width, height), 255)
    page.info["dpi"] = (dpi, dpi)
    pen = ImageDraw.Draw(page)
    large, letters = font(round(30 * dpi / 72)), font(round(12 * dpi / 72))
    step = round(12 * 1.7 * dpi / 72)
    pen.text((margin, margin), _drawable(str(cover["title"]))[:40], fill=0, font=large)
    y = margin + round(46 * dpi / 72)
    pen.line((margin, y, width - margin, y), fill=0, width=max(2, dpi // 70))
    y += step
    column = margin + round(110 * dpi / 72)
    for label, value in cover["lines"]:
        pen.text((margin, y), _drawable(str(label))[:40], fill=0, font=letters)
        for line in list(_lines(str(value).replace("{pages}", str(pages)), letters, width - margin - column, 4)):
            pen.text((column, y), line, fill=0, font=letters)
            y += step
    y += step // 2
    pen.line((margin, y, width - margin, y), fill=0, width=max(2, dpi // 70))
    y += step
    room = max(0, (height - margin - y) // step)
    for line in list(_lines(str(cover.get("text", "")), letters, width - 2 * margin, room, cut=True)):
        pen.text((margin, y), line, fill=0, font=letters)
        y += step
    return page


def _sizes(dpi: int, paper_mm: tuple[float, float] = _PAPER_MM) -> tuple[int, int, int]:
    return round(paper_mm[0] / 25.4 * dpi), round(paper_mm[1] / 25.4 * dpi), round(_MARGIN_MM / 25.4 * dpi)


def _lines(text: str, letters: Font, width: int, limit: int, *, cut: bool = False) -> Iterator[str]:
    """Yield lines that fit ``width`` pixels, broken at spaces where there are some; at most ``limit``."""
    count = 0
    for paragraph in text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").split("\n"):
        rest = _drawable(paragraph.expandtabs(_TAB)).rstrip()
        while True:
            if count == limit:
                if cut:
                    return
                raise Refused("paper_too_large", f"more than {TEXT_PAGES_LIMIT} pages of text")
            fits = _fitting(rest, letters, width)
            yield rest[:fits].rstrip()
            count += 1
            rest = rest[fits:].lstrip() if fits < len(rest) else ""
            if not rest:
                break


def _fitting(text: str, letters: Font, width: int) -> int:
    """Return how many characters fit, up to a space if there is one; at least one."""
    low, high = 0, min(len(text), 400)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if letters.getlength(text[:middle]) <= width else (low, middle - 1)
    if low == len(text):
        return low
    space = text.rfind(" ", 1, low + 1)
    return space if space > 0 else max(low, 1)
