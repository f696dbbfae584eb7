"""Fax pages for tests: drawn with Pillow, coded by libtiff."""

from __future__ import annotations

import io
import random
from datetime import UTC, datetime
from functools import cache

from PIL import Image, ImageDraw

from valija.message.tiff_fax import (
    FaxDescription,
    FaxGeometry,
    FaxPaper,
    FaxProfile,
    FaxResolution,
    TiffFaxWriter,
)
from valija.message.tiff_reading import read_pages


def drawn(geometry: FaxGeometry, number: int) -> Image.Image:
    """Return a page with its number, lines and some dirt: black is 0."""
    page = Image.new("L", (geometry.width, geometry.height), 255)
    pen = ImageDraw.Draw(page)
    pen.text((200, 150), f"Página {number}", fill=0, font_size=90)
    pen.rectangle((50, 50, geometry.width - 50, geometry.height - 50), outline=0, width=3)
    dice = random.Random(number)
    for _ in range(500):
        pen.point((dice.randrange(geometry.width), dice.randrange(geometry.height)), 0)
    return page.point(lambda v: 255 if v > 127 else 0, "1")


def coded(page: Image.Image, profile: FaxProfile) -> bytes:
    """Return a page's strip, least significant bit first, black as 1."""
    black_is_one = Image.frombytes("1", page.size, page.tobytes("raw", "1;I"))
    out = io.BytesIO()
    one_dimensional = profile is FaxProfile.S
    fields = {266: 2, 278: page.height} | ({292: 4} if one_dimensional else {})
    black_is_one.save(out, "TIFF", compression="group3" if one_dimensional else "group4", tiffinfo=fields)
    data = out.getvalue()
    ((offset, size),) = next(read_pages(lambda at, count: data[at : at + count], len(data))).strips
    return data[offset : offset + size]


@cache
def fax_file(pages: int, profile: FaxProfile = FaxProfile.S) -> bytes:
    """Return a whole file of so many pages, A4, standard resolution."""
    geometry = FaxGeometry(profile, FaxResolution.STANDARD, FaxPaper.A4)
    writer = TiffFaxWriter(geometry, pages, FaxDescription("test", datetime(2026, 11, 25, tzinfo=UTC)))
    return b"".join(writer.page(coded(drawn(geometry, n), profile), geometry.height) for n in range(1, pages + 1))
