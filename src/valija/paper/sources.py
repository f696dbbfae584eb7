"""A file from outside as pages: how many, and each one as an image. PDF, TIFF, JPEG, PNG, PNM."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import pypdfium2 as pdfium
from PIL import Image, ImageOps, ImageSequence
from pypdfium2 import raw

from valija.paper.refusal import Refused

PIXELS_LIMIT: Final = 150_000_000  # of one page: A3 at 600 dpi is 70
PAGES_LIMIT: Final = 5000
FORMATS: Final = ("PNG", "JPEG", "TIFF", "PPM")
USUAL_DPI: Final = 200
_DPI_RANGE: Final = (30, 2400)
_EXIF_ORIENTATION: Final = 0x0112

Image.MAX_IMAGE_PIXELS = PIXELS_LIMIT // 2  # Pillow refuses twice as much, and warns from here on
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


class Source(Protocol):
    """An open file."""

    kind: str  # pdf, tiff, jpeg, png, pnm
    count: int

    def page(self, number: int, dpi: int, *, upright: tuple[int, int] | None = None, grey: bool = False) -> Image.Image:
        """Return a page (from 0) as an image whose ``info["dpi"]`` is what it is in; ``dpi`` is for what has no pixels.

        ``upright``: across and down, instead of ``dpi``, if such a page is not wider than high. ``grey``: nobody will look
        at its colours.
        """
        ...


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a file. Raises :class:`Refused`."""
    with path.open("rb") as file:
        beginning = file.read(1024)
    if b"%PDF-" in beginning:
        with open_pdf(path) as document:
            yield _PdfSource(document)
        return
    try:
        image = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Refused("paper_too_large", str(error)) from None
    with image:
        yield _ImageSource(image)


class _ImageSource:
    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self.kind = {"MPO": "jpeg", "PPM": "pnm"}.get(image.format or "", (image.format or "").lower())
        self.count = _frames(image) if self.kind == "tiff" else 1

    def page(self, number: int, dpi: int, *, upright: tuple[int, int] | None = None, grey: bool = False) -> Image.Image:
        if self.count > 1:
            self._image.seek(number)
        image = self._image
        if image.width * image.height > PIXELS_LIMIT:
            raise Refused("paper_too_large", f"{image.width} x {image.height}")
        found = dpi_of(image)
        turned = ImageOps.exif_transpose(image) if image.getexif().get(_EXIF_ORIENTATION, 1) != 1 else image
        page = _flat(turned)
        page.info["dpi"] = found
        return page

    @property
    def is_plain_jpeg(self) -> bool:
        """Tell whether the file can stand for its page as it is."""
        upright = self._image.getexif().get(_EXIF_ORIENTATION, 1) == 1
        return self.kind == "jpeg" and self._image.mode in ("L", "RGB") and upright


class _PdfSource:
    kind = "pdf"

    def __init__(self, document: Any) -> None:
        self._document = document
        self.count = len(document)

    def page(self, number: int, dpi: int, *, upright: tuple[int, int] | None = None, grey: bool = False) -> Image.Image:
        page = self._document[number]
        try:
            width, height = page.get_size()
            across, down = upright if upright and width <= height else (dpi, dpi)
            if width * height * across * down / 72**2 > PIXELS_LIMIT:
                raise Refused("paper_too_large", f"{width:.0f} x {height:.0f} pt")
            size = max(1, math.ceil(width * across / 72)), max(1, math.ceil(height * down / 72))
            image = _drawn(page, size, grey=grey)
        finally:
            page.close()
        image.info["dpi"] = (across, down)
        return image


def _drawn(page: Any, size: tuple[int, int], *, grey: bool) -> Image.Image:
    """Draw a page of a PDF; pypdfium2's own way knows one scale for both directions only."""
    kind, order = (
        (raw.FPDFBitmap_Gray, raw.FPDF_GRAYSCALE) if grey else (raw.FPDFBitmap_BGR, raw.FPDF_REVERSE_BYTE_ORDER)
    )
    bitmap = pdfium.PdfBitmap.new_native(*size, kind, rev_byteorder=not grey)
    try:
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, *size)
        raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, *size, 0, raw.FPDF_ANNOT | order)
        image: Image.Image = bitmap.to_pil()  # which keeps the pixels
    finally:
        bitmap.close()
    return image


@contextmanager
def open_pdf(path: Path) -> Iterator[Any]:
    """Open a PDF as PDFium's document. Raises :class:`Refused`."""
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        protected = getattr(error, "err_code", None) == raw.FPDF_ERR_PASSWORD
        raise Refused("paper_encrypted" if protected else "paper_unreadable", str(error)) from None
    try:
        if not len(document):
            raise Refused("paper_unreadable", "no pages")
        _check_count(len(document))
        yield document
    finally:
        document.close()


def _frames(image: Image.Image) -> int:
    """Count the pages of a TIFF; one whose pages follow each other in a circle has too many."""
    count = 0
    for _frame in ImageSequence.Iterator(image):
        count += 1
        _check_count(count)
    image.seek(0)
    return count


def _check_count(count: int) -> None:
    if count > PAGES_LIMIT:
        raise Refused("paper_too_large", f"{count} pages")


def _flat(image: Image.Image) -> Image.Image:
    """Return an image in one of the modes 1, L, RGB: transparent is white, 16 bits are eight."""
    if image.mode in ("1", "L", "RGB"):
        return image.copy()
    if image.mode.startswith("I;16") or image.mode == "I":
        return image.point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(white, clear).convert("RGB")
    return image.convert("RGB")


def dpi_of(image: Image.Image) -> tuple[int, int]:
    """Return an image's resolution, the usual one if it says none that can be true."""
    found = image.info.get("dpi") or (USUAL_DPI, USUAL_DPI)
    low, high = _DPI_RANGE
    across, down = (round(float(value)) for value in found[:2])
    return (across, down) if low <= across <= high and low <= down <= high else (USUAL_DPI, USUAL_DPI)
