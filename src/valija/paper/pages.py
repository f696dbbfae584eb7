"""A page of a job as a file: colour and grey as JPEG, black and white as TIFF with one strip in Group 4."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image, TiffImagePlugin

from valija.paper.sources import dpi_of

QUALITY: Final = 80
_MODES: Final = {"colour": "RGB", "grey": "L", "mono": "1"}
_REDUCED_DPI: Final = 75
_MARGIN: Final = 0.03  # of each side: the shadow at the edge of the glass is no ink
_CONTRAST: Final = 48  # darker than the paper by so much (of 255) is ink
_THRESHOLD: Final = 144
_FILL_ORDER, _PHOTOMETRIC, _ROWS_PER_STRIP = 266, 262, 278


@dataclass(frozen=True, slots=True)
class PageFile:
    """A page: its ``file``, size in pixels and octets, and which part of it is inked (0 to 1)."""

    file: str
    width: int
    height: int
    dpi: int
    octets: int
    ink: float


def save_page(image: Image.Image, stem: Path, colour: str, quality: int = QUALITY) -> dict[str, Any]:
    """Write a page's file, named by ``stem`` and its kind; return its :class:`PageFile` as a dictionary."""
    dpi = dpi_of(image)
    page = in_colour(image, colour)
    if page.mode == "1":
        path = stem.with_suffix(".tif")
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[_FILL_ORDER], tags[_ROWS_PER_STRIP] = 1, page.height
        page.save(path, "TIFF", compression="group4", tiffinfo=tags, dpi=dpi)
    else:
        path = stem.with_suffix(".jpg")
        page.save(path, "JPEG", quality=quality, dpi=dpi)
    return described(page, path, dpi)


def copy_page(image: Image.Image, source: Path, stem: Path) -> dict[str, Any]:
    """Make a page of a JPEG file as it is."""
    path = stem.with_suffix(".jpg")
    shutil.copyfile(source, path)
    return described(image, path, dpi_of(image))


def described(image: Image.Image, path: Path, dpi: tuple[int, int]) -> dict[str, Any]:
    """Describe the page that ``path`` holds."""
    found = PageFile(str(path), image.width, image.height, dpi[0], path.stat().st_size, ink(image, dpi[0]))
    return asdict(found)


def in_colour(image: Image.Image, colour: str) -> Image.Image:
    """Return an image as colour, grey or mono; never with more colours than it has."""
    mode = _MODES[colour]
    if image.mode == "1" or image.mode == mode or (image.mode == "L" and mode == "RGB"):
        return image
    if mode == "1":
        return image.convert("L").point(lambda value: 255 if value >= _THRESHOLD else 0, "1")
    return image.convert(mode)


def ink(image: Image.Image, dpi: int) -> float:
    """Return which part of a page is darker than its paper, its margins aside."""
    factor = max(1, round(dpi / _REDUCED_DPI))
    grey = image.convert("L").reduce(factor)
    across, down = round(grey.width * _MARGIN), round(grey.height * _MARGIN)
    inside = grey.crop((across, down, max(grey.width - across, across + 1), max(grey.height - down, down + 1)))
    counts = inside.histogram()
    total = sum(counts)
    paper, seen = 255, 0
    for value in range(255, -1, -1):
        seen += counts[value]
        if seen * 2 >= total:
            paper = value
            break
    return sum(counts[: max(paper - _CONTRAST, 0)]) / total
