"""Fax pages: from files of any kind to black and white in a fax's geometry, and from TIFF-FX back to pages that all can read.

One page at a time is in memory, whatever the number of pages.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from PIL import Image, ImageChops

from valija.message.tiff_fax import FaxDescription, FaxGeometry, FaxPaper, FaxProfile, FaxResolution, TiffFaxWriter
from valija.message.tiff_reading import BadTiff, TiffPage, alone, read_pages
from valija.paper.pages import save_page
from valija.paper.pdf_writer import write_pdf
from valija.paper.refusal import Progress, Refused
from valija.paper.sources import dpi_of, open_source
from valija.paper.text_pages import cover_page, text_pages

FAX_PAGES_LIMIT: Final = 1_000
_CROSS: Final = 204
_THRESHOLD: Final = 150
_ALMOST: Final = 0.998  # a few pixels more than the geometry has are cut off: they are the page's edge


def make_fax(
    progress: Progress,
    /,
    files: Sequence[str],
    out: str,
    *,
    profile: str,
    resolution: str,
    paper: str,
    halftone: str,
    description: str,
    software: str,
    at: str,
    cover: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write ``out`` (TIFF for fax) of files: PDF, TIFF, JPEG, PNG, or text (``.txt``, UTF-8); return ``pages`` and ``octets``.

    ``cover``: ``title``, ``lines`` (label, value) and ``text`` of a page before; ``{pages}`` in a value is how many.
    """
    geometry = FaxGeometry(FaxProfile(profile), FaxResolution(resolution), FaxPaper(paper))
    total = sum(_count(file) for file in files) + (1 if cover else 0)
    if not 1 <= total <= FAX_PAGES_LIMIT:
        raise Refused("paper_too_large", f"{total} pages")
    writer = TiffFaxWriter(geometry, total, FaxDescription(software, datetime.fromisoformat(at), description))
    done = 0
    with Path(out).open("wb") as target:
        for image in _pages(files, geometry, total, cover):
            page = fitted(image, geometry)
            strip = coded(inked(page, halftone), geometry.profile)
            target.write(writer.page(strip, page.height))
            done += 1
            progress(done, total)
        return {"pages": done, "octets": target.tell()}


def _count(file: str) -> int:
    if file.endswith(".txt"):
        return sum(1 for _page in text_pages(text_of(file), 204, measure=True))
    with open_source(Path(file)) as source:
        return source.count


def _pages(
    files: Sequence[str], geometry: FaxGeometry, total: int, cover: dict[str, Any] | None
) -> Iterator[Image.Image]:
    if cover:
        yield cover_page(cover, total, _CROSS)
    dpi = max(_CROSS, geometry.resolution.lines)
    for file in files:
        if file.endswith(".txt"):
            yield from text_pages(text_of(file), _CROSS)
            continue
        with open_source(Path(file)) as source:
            for number in range(source.count):
                yield source.page(number, dpi, upright=(_CROSS, geometry.resolution.lines), grey=True)


def text_of(file: str) -> str:
    """Return the text of a file, whatever is wrong with its octets."""
    return Path(file).read_text("utf-8", "replace")


def fitted(image: Image.Image, geometry: FaxGeometry) -> Image.Image:
    """Return a page as large as the geometry: what was drawn at its own size, or smaller so that it fits, in the middle."""
    across, down = dpi_of(image)
    page = image if image.mode in ("L", "1") else image.convert("L")
    if page.width / across > max(page.height / down, geometry.width / _CROSS):  # wide: it goes in sideways
        page = page.transpose(Image.Transpose.ROTATE_90)
        across, down = down, across
    width, height = page.width / across * _CROSS, page.height / down * geometry.resolution.lines
    scale = min(1.0, geometry.width / width, geometry.height / height)
    scale = 1.0 if scale > _ALMOST else scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if page.size != size:
        page = page.convert("L").resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    if size == (geometry.width, geometry.height):
        return page
    sheet = Image.new(page.mode, (geometry.width, geometry.height), 255)
    sheet.paste(page, ((geometry.width - size[0]) // 2, 0))
    return sheet


def inked(page: Image.Image, halftone: str) -> Image.Image:
    """Return a page of one bit, set where there is ink: dithered for photos, sharp for text."""
    if page.mode == "L" and halftone != "photo":
        return page.point(_SHARP, "1")
    return ImageChops.invert(page if page.mode == "1" else page.convert("1"))


_SHARP: Final = [255] * _THRESHOLD + [0] * (256 - _THRESHOLD)


def coded(ink: Image.Image, profile: FaxProfile) -> bytes:
    """Return a page's strip: MH or MMR, least significant bit first, black is one.

    Pillow turns pixels over one by one for a photometric of zero, so it is given ink as if it were light.
    """
    out = io.BytesIO()
    one_dimensional = profile is FaxProfile.S
    fields = {266: 2, 278: ink.height} | ({292: 4} if one_dimensional else {})
    ink.save(out, "TIFF", compression="group3" if one_dimensional else "group4", tiffinfo=fields)
    data = out.getvalue()
    ((offset, size),) = next(read_pages(lambda at, count: data[at : at + count], len(data))).strips
    return data[offset : offset + size]


# --- what came ------------------------------------------------------------------------------------------------------------


def read_fax(progress: Progress, /, path: str, out: str, folder: str, *, title: str, at: str) -> dict[str, Any]:
    """Make a PDF of a TIFF that came; return its ``pages`` and ``profile`` (s, f, or empty for another one)."""
    source = Path(path)
    with source.open("rb") as file:
        size = source.stat().st_size
        try:
            pages = list(read_pages(_reader(file), size))
        except BadTiff as bad:
            raise Refused("paper_unreadable", str(bad)) from None
        if len(pages) > FAX_PAGES_LIMIT:
            raise Refused("paper_too_large", f"{len(pages)} pages")
        if all(page.is_fax for page in pages):
            profiles = {page.profile for page in pages}
            profile = FaxProfile.S if profiles == {FaxProfile.S} else FaxProfile.F
            images = (_decoded(file, page) for page in pages)
            count = write_pages(images, Path(out), Path(folder), title, at, len(pages), progress)
            return {"pages": count, "profile": profile.value}
    return any_pages(progress, path, out, folder, title=title, at=at) | {"profile": ""}


def any_pages(progress: Progress, /, path: str, out: str, folder: str, *, title: str, at: str) -> dict[str, Any]:
    """Make a PDF of a file of pictures or text that came; return its ``pages``."""
    if path.endswith(".txt"):
        text = text_of(path)
        total = sum(1 for _page in text_pages(text, _CROSS, measure=True))
        return {"pages": write_pages(text_pages(text, _CROSS), Path(out), Path(folder), title, at, total, progress)}
    with open_source(Path(path)) as source:
        if source.count > FAX_PAGES_LIMIT:
            raise Refused("paper_too_large", f"{source.count} pages")
        images = (source.page(number, 200) for number in range(source.count))
        return {"pages": write_pages(images, Path(out), Path(folder), title, at, source.count, progress)}


def write_pages(
    images: Iterator[Image.Image], out: Path, folder: Path, title: str, at: str, total: int, progress: Progress
) -> int:
    """Write pages as they come, as a PDF; each one's own file is gone before the next is made. Return how many."""

    def files() -> Iterator[Path]:
        for number, image in enumerate(images, 1):
            path = Path(save_page(image, folder / "page", "colour")["file"])
            yield path
            path.unlink()
            progress(number, total)

    counted = 0

    def counting() -> Iterator[Path]:
        nonlocal counted
        for path in files():
            counted += 1
            yield path

    write_pdf(counting(), out, title=title, at=datetime.fromisoformat(at))
    return counted


def fax_images(file: BinaryIO, size: int) -> tuple[Iterator[Image.Image], int]:
    """Return the pages of a TIFF for fax and how many they are; 0 if it is another TIFF. Raises :class:`BadTiff`."""
    pages = list(read_pages(_reader(file), size))
    if not all(page.is_fax for page in pages):
        return iter(()), 0
    if len(pages) > FAX_PAGES_LIMIT:
        raise Refused("paper_too_large", f"{len(pages)} pages")
    return (_decoded(file, page) for page in pages), len(pages)


def _reader(file: BinaryIO) -> Callable[[int, int], bytes]:
    def read(at: int, count: int) -> bytes:
        file.seek(at)
        return file.read(count)

    return read


def _decoded(file: BinaryIO, page: TiffPage) -> Image.Image:
    """Decode one page, shown to the decoder alone and cleaned. A strip that ends too early leaves its rest white."""
    read = _reader(file)
    data = alone(page, [read(offset, size) for offset, size in page.strips])
    with Image.open(io.BytesIO(data), formats=("TIFF",)) as found:
        with suppress(OSError):  # what a damaged line spoils is its own affair: the rest is shown
            found.load()
        image = found.convert("1")
    low, high = 30, 1200
    across, down = round(page.cross), round(page.lines)
    usable = low <= across <= high and low <= down <= high
    image.info["dpi"] = (across, down) if usable else (204, 196 if page.height > 1500 else 98)
    return image
