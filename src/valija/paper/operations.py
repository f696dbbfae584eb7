"""What the worker can do; every operation takes ``progress`` and JSON's values, and returns JSON's values."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from PIL import Image, TiffImagePlugin

from valija.paper.fax import any_pages, make_fax, read_fax
from valija.paper.pages import QUALITY, copy_page, in_colour, save_page
from valija.paper.pdf_writer import write_pdf
from valija.paper.printing import for_printer, join_pages
from valija.paper.refusal import Operation, Progress, Refused
from valija.paper.sources import USUAL_DPI, dpi_of, open_source

PICTURE_DPI: Final = 60
PAGE_FORMATS: Final = ("JPEG", "TIFF")
_OCR_PAGE: Final = re.compile(rb"^Page (\d+)\b")


def count(_progress: Progress, /, path: str) -> dict[str, Any]:
    """Return a file's ``kind`` (pdf, tiff, jpeg, png, pnm) and how many ``pages`` it has."""
    with open_source(Path(path)) as source:
        return {"kind": source.kind, "pages": source.count}


def picture(
    _progress: Progress, /, path: str, out: str, *, page: int = 0, width: int = 400, height: int = 560
) -> dict[str, Any]:
    """Write a small picture (PNG) of a page, from 0, that fits ``width`` and ``height`` pixels."""
    with open_source(Path(path)) as source:
        image = source.page(page, PICTURE_DPI)
    across, down = dpi_of(image)
    if across != down:  # a fax's lines are not as far from each other as its columns
        image = image.convert("L").resize((image.width, max(1, round(image.height * across / down))))
    small = image.convert("L" if image.mode in ("1", "L") else "RGB")
    small.thumbnail((width, height))
    small.save(out, "PNG")
    return {"width": small.width, "height": small.height}


def take(
    progress: Progress,
    /,
    path: str,
    folder: str,
    *,
    first: int = 1,
    colour: str = "colour",
    dpi: int = USUAL_DPI,
    own_dpi: int = 0,
    quality: int = QUALITY,
    limit: int = 1000,
) -> dict[str, Any]:
    """Make page files of a file's pages, from ``first`` on; ``own_dpi``: its resolution, if it cannot say it."""
    pages = []
    with open_source(Path(path)) as source:
        if source.count > limit:
            raise Refused("paper_too_large", f"{source.count} pages")
        for number in range(source.count):
            stem = Path(folder) / f"page-{first + number:05}"
            image = source.page(number, dpi)
            if own_dpi:
                image.info["dpi"] = (own_dpi, own_dpi)
            as_it_is = getattr(source, "is_plain_jpeg", False) and in_colour(image, colour) is image
            pages.append(copy_page(image, Path(path), stem) if as_it_is else save_page(image, stem, colour, quality))
            progress(number + 1, source.count)
        return {"kind": source.kind, "pages": pages}


def turn(_progress: Progress, /, path: str, degrees: int) -> dict[str, Any]:
    """Turn a page file clockwise by 90, 180 or 270 degrees."""
    file = Path(path)
    with Image.open(file, formats=PAGE_FORMATS) as image:
        dpi = dpi_of(image)
        turned = image.transpose(_TURNS[degrees])
    turned.info["dpi"] = dpi if degrees == 180 else dpi[::-1]
    colour = {"1": "mono", "L": "grey"}.get(turned.mode, "colour")
    return save_page(turned, file.with_suffix(""), colour, 90)


_TURNS: Final = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


def shrink(progress: Progress, /, pages: Sequence[str], folder: str, scale: float, quality: int) -> dict[str, Any]:
    """Make page files again with fewer pixels (``scale`` below 1) and of a lower quality."""
    made = []
    for number, page in enumerate(pages, 1):
        with Image.open(page, formats=PAGE_FORMATS) as image:
            across, down = dpi_of(image)
            size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
            mono = image.mode == "1"
            if scale >= 1:
                smaller = image.copy()
            else:
                smaller = (image.convert("L") if mono else image).resize(size, Image.Resampling.LANCZOS)
        smaller.info["dpi"] = round(across * min(scale, 1)), round(down * min(scale, 1))
        colour = "mono" if mono else ("grey" if smaller.mode == "L" else "colour")
        made.append(save_page(smaller, Path(folder) / f"small-{number:05}", colour, quality))
        progress(number, len(pages))
    return {"pages": made}


# --- documents ------------------------------------------------------------------------------------------------------------


def assemble(
    progress: Progress, /, pages: Sequence[str], out: str, kind: str, *, title: str, at: str, language: str = ""
) -> dict[str, Any]:
    """Make ``out`` of page files: pdf, pdfa, searchable (PDF) or tiff."""
    paths = [Path(page) for page in pages]
    if kind == "tiff":
        _write_tiff(paths, Path(out), progress)
    elif kind == "searchable":
        _write_searchable(paths, Path(out), language, progress)
    else:
        moment = datetime.fromisoformat(at)
        write_pdf(_counted(paths, progress), Path(out), title=title, at=moment, archive=kind == "pdfa")
    return {"octets": Path(out).stat().st_size}


def jpeg(_progress: Progress, /, page: str, out: str, *, quality: int = QUALITY) -> dict[str, Any]:
    """Make a JPEG file of a page file."""
    if page.endswith(".jpg"):
        shutil.copyfile(page, out)
    else:
        with Image.open(page, formats=PAGE_FORMATS) as image:
            image.convert("L").save(out, "JPEG", quality=quality, dpi=dpi_of(image))
    return {"octets": Path(out).stat().st_size}


def _counted(paths: Sequence[Path], progress: Progress) -> Iterator[Path]:
    for number, path in enumerate(paths, 1):
        yield path
        progress(number, len(paths))


def _write_tiff(paths: Sequence[Path], out: Path, progress: Progress) -> None:
    with TiffImagePlugin.AppendingTiffWriter(str(out), new=True) as file:
        for path in _counted(paths, progress):
            with Image.open(path, formats=PAGE_FORMATS) as image:
                more = {"compression": "group4"} if image.mode == "1" else {"compression": "jpeg", "quality": QUALITY}
                image.save(file, "TIFF", dpi=dpi_of(image), **more)
            file.newFrame()


def _write_searchable(paths: Sequence[Path], out: Path, language: str, progress: Progress) -> None:
    """Let tesseract read the pages; it puts the pictures in as they are, and the words below them."""
    program = shutil.which("tesseract")
    if program is None:
        raise Refused("ocr_missing")
    names = out.with_suffix(".list")
    names.write_text("".join(f"{path}\n" for path in paths), "utf-8")
    command = [program, str(names), str(out.with_suffix("")), *(["-l", language] if language else []), "pdf"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)  # noqa: S603
    last = b""
    for line in process.stderr or ():
        found = _OCR_PAGE.match(line)
        if found:
            progress(int(found[1]), len(paths))
        last = line if line.strip() else last
    names.unlink()
    if process.wait():
        raise Refused("paper_too_hard", last.decode("utf-8", "replace").strip())


_ON_PAGES: Final = (count, picture, take, turn, shrink, assemble, jpeg)
OPERATIONS: Final[dict[str, Operation]] = {
    operation.__name__: operation for operation in (*_ON_PAGES, make_fax, read_fax, any_pages, for_printer, join_pages)
}
