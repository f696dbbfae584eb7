"""Fax pages as the worker makes and reads them: geometry, cover page, text, hostile files, flat memory, progress."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from fax_pages import drawn, fax_file
from long_pdf import pdf
from valija.message.tiff_fax import FaxGeometry, FaxPaper, FaxProfile, FaxResolution
from valija.message.tiff_reading import read_pages
from valija.paper.process import PaperProblem, PaperWorker

AT: Final = "2026-11-25T20:00:00+01:00"
USUAL: Final = {
    "profile": "s",
    "resolution": "standard",
    "paper": "a4",
    "halftone": "text",
    "description": "a test",
    "software": "Valija",
    "at": AT,
}


@pytest.fixture(name="worker")
async def worker_fixture() -> AsyncIterator[PaperWorker]:
    async with PaperWorker() as started:
        yield started


def said(program: str, *arguments: str | Path) -> str:
    """Return what a program says that must not complain."""
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


async def made(worker: PaperWorker, folder: Path, files: dict[str, bytes], **changes: Any) -> list[Image.Image]:
    paths = []
    for name, octets in files.items():
        (folder / name).write_bytes(octets)
        paths.append(str(folder / name))
    found = await worker.call("make_fax", files=paths, out=str(folder / "fax.tif"), **USUAL | changes)
    pages: list[Image.Image] = []
    with Image.open(folder / "fax.tif") as image:
        for number in range(found["pages"]):
            image.seek(number)
            pages.append(image.convert("1"))
    assert (await asyncio.to_thread(said, "tiffinfo", folder / "fax.tif")).count("TIFF directory") == len(pages)
    return pages


def dark(page: Image.Image, box: tuple[float, float, float, float]) -> float:
    """Return which part of a box, given in parts of the page, is black."""
    across, down = page.size
    part = page.crop((round(box[0] * across), round(box[1] * down), round(box[2] * across), round(box[3] * down)))
    return part.convert("L").histogram()[0] / (part.width * part.height)


@pytest.mark.parametrize(
    ("profile", "resolution", "paper"),
    [("s", "standard", "a4"), ("s", "fine", "letter"), ("f", "superfine", "b4"), ("f", "fine", "a4")],
)
async def test_a_pdf_is_drawn_in_the_geometry_that_is_asked_for(
    worker: PaperWorker, tmp_path: Path, profile: str, resolution: str, paper: str
) -> None:
    """At its own size, upright, black on white."""
    geometry = FaxGeometry(FaxProfile(profile), FaxResolution(resolution), FaxPaper(paper))
    (page,) = await made(worker, tmp_path, {"a.pdf": pdf(1)}, profile=profile, resolution=resolution, paper=paper)
    assert page.size == (geometry.width, geometry.height)
    scale = min(1, geometry.paper.height(FaxResolution.FINE) / FaxPaper.A4.height(FaxResolution.FINE))
    across, down = 50 / 72 * 204 * scale, 50 / 72 * geometry.resolution.lines * scale
    left = (geometry.width - 595 / 72 * 204 * scale) / 2
    black = page.crop((round(left), 0, round(left + across), round(down))).convert("L").histogram()[0]
    assert black > 0.95 * across * down
    assert dark(page, (0.5, 0.6, 0.7, 0.75)) == 0


async def test_a_wide_page_goes_in_sideways_and_a_large_one_smaller(worker: PaperWorker, tmp_path: Path) -> None:
    """Nothing is cut off."""
    wide, large = await made(worker, tmp_path, {"a.pdf": pdf(1, size=(842, 595)), "b.pdf": pdf(1, size=(1684, 2384))})
    assert dark(wide, (0, 0.9, 0.1, 1)) > 0.4, "turned counter-clockwise"
    assert dark(large, (0.01, 0, 0.03, 0.02)) > 0.8
    assert dark(large, (0, 0.95, 1, 1)) > 0, "the frame's lower line is there"


async def test_pictures_text_and_a_cover_page_are_pages_in_order(worker: PaperWorker, tmp_path: Path) -> None:
    """A fax that came goes on pixel for pixel; a grey picture is dithered if that is asked for."""
    grey = io.BytesIO()
    Image.new("L", (800, 1000), 128).save(grey, "JPEG", dpi=(100, 100))
    files = {"a.tif": fax_file(2), "b.jpg": grey.getvalue(), "c.txt": "Año nuevo\n".encode() * 100}
    cover = {"title": "FAX", "lines": [["Páginas", "{pages}"]], "text": "hola"}
    pages = await made(worker, tmp_path, files, halftone="photo", cover=cover)
    assert len(pages) == 1 + 2 + 1 + 2
    assert 0 < dark(pages[0], (0, 0, 1, 0.3)) < 0.2
    geometry = FaxGeometry(FaxProfile.S, FaxResolution.STANDARD, FaxPaper.A4)
    assert [page.tobytes() for page in pages[1:3]] == [drawn(geometry, n).tobytes() for n in (1, 2)]
    assert 0.3 < dark(pages[3], (0.2, 0.2, 0.8, 0.6)) < 0.7
    assert dark(pages[4], (0, 0, 0.5, 0.9)) > 0.001
    (sharp,) = await made(worker, tmp_path, {"b.jpg": grey.getvalue()})
    assert dark(sharp, (0.2, 0.2, 0.8, 0.6)) in (0, 1)


async def test_a_fax_that_came_is_a_pdf_of_the_same_pages(worker: PaperWorker, tmp_path: Path) -> None:
    """Of both profiles; qpdf finds no fault, and poppler draws what was drawn."""
    for profile in FaxProfile:
        (tmp_path / "in.tif").write_bytes(fax_file(3, profile))
        found = await worker.call(
            "read_fax",
            path=str(tmp_path / "in.tif"),
            out=str(tmp_path / "o.pdf"),
            folder=str(tmp_path),
            title="ñ",
            at=AT,
        )
        assert found == {"pages": 3, "profile": profile.value}
        await asyncio.to_thread(said, "qpdf", "--check", tmp_path / "o.pdf")
        assert re.search(r"Pages: +3\n", await asyncio.to_thread(said, "pdfinfo", tmp_path / "o.pdf"))
        await asyncio.to_thread(said, "pdfimages", "-png", tmp_path / "o.pdf", tmp_path / "p")
        geometry = FaxGeometry(profile, FaxResolution.STANDARD, FaxPaper.A4)
        for number in range(3):
            with Image.open(tmp_path / f"p-00{number}.png") as image:
                assert image.convert("1").tobytes() == drawn(geometry, number + 1).tobytes()


async def test_another_profile_is_shown_if_the_decoder_can_and_refused_if_not(
    worker: PaperWorker, tmp_path: Path
) -> None:
    """Colour as JPEG in TIFF (as profile C has it), MR, uncompressed; JBIG is not known to the decoder, and said so."""
    colour = io.BytesIO()
    Image.new("RGB", (1728, 2200), (200, 30, 30)).save(colour, "TIFF", compression="jpeg", dpi=(200, 200))
    plain = io.BytesIO()
    drawn(FaxGeometry(FaxProfile.S, FaxResolution.STANDARD, FaxPaper.A4), 1).save(plain, "TIFF", dpi=(204, 98))
    (tmp_path / "s.tif").write_bytes(fax_file(1))
    await asyncio.to_thread(said, "tiffcp", "-c", "g3:2d", tmp_path / "s.tif", tmp_path / "mr.tif")
    jbig = plain.getvalue().replace(
        b"\x03\x01\x03\x00\x01\x00\x00\x00\x01\x00\x00\x00", b"\x03\x01\x03\x00\x01\x00\x00\x00\x65\x87\x00\x00"
    )
    assert jbig != plain.getvalue()

    async def shown(octets: bytes) -> dict[str, Any]:
        (tmp_path / "in.tif").write_bytes(octets)
        names = {"path": str(tmp_path / "in.tif"), "out": str(tmp_path / "o.pdf"), "folder": str(tmp_path)}
        return dict(await worker.call("read_fax", **names, title="", at=AT))

    assert await shown(colour.getvalue()) == {"pages": 1, "profile": ""}
    await asyncio.to_thread(said, "pdftoppm", "-r", "30", "-png", tmp_path / "o.pdf", tmp_path / "shown")
    with Image.open(tmp_path / "shown-1.png") as image:
        red, green, _blue = image.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert red > 150 > 100 > green
    assert await shown((tmp_path / "mr.tif").read_bytes()) == {"pages": 1, "profile": "f"}
    assert (await shown(plain.getvalue()))["pages"] == 1
    with pytest.raises(PaperProblem) as refused:
        await shown(jbig)
    assert refused.value.reason == "paper_unreadable"


async def test_a_damaged_fax_is_shown_as_far_as_it_goes(worker: PaperWorker, tmp_path: Path) -> None:
    """Lines that are spoilt, or missing, cost no page."""
    data = bytearray(fax_file(2))
    ((offset, size),) = next(read_pages(lambda at, count: bytes(data[at : at + count]), len(data))).strips
    data[offset + size // 2 : offset + size // 2 + 40] = b"\xff" * 40
    (tmp_path / "in.tif").write_bytes(data)
    found = await worker.call(
        "read_fax", path=str(tmp_path / "in.tif"), out=str(tmp_path / "o.pdf"), folder=str(tmp_path), title="", at=AT
    )
    assert found["pages"] == 2


@pytest.mark.parametrize(
    "data",
    [
        b"II*\0\x08\0\0\0\x01\0\0\x01\x04\0\x01\0\0\0\0\0\0\x7f\0\0\0\0",
        b"II*\0" + b"\xff" * 100,
        b"MM\0*",
        b"hello",
        b"",
        bytes(fax_file(1)[:300]),
    ],
    ids=["2 billion pixels wide", "IFD nowhere", "only a head", "no TIFF", "empty", "cut off"],
)
async def test_a_hostile_tiff_is_refused_and_the_worker_goes_on(
    worker: PaperWorker, tmp_path: Path, data: bytes
) -> None:
    """With a reason."""
    (tmp_path / "in.tif").write_bytes(data)
    with pytest.raises(PaperProblem) as caught:
        await worker.call(
            "read_fax",
            path=str(tmp_path / "in.tif"),
            out=str(tmp_path / "o.pdf"),
            folder=str(tmp_path),
            title="",
            at=AT,
        )
    assert caught.value.reason == "paper_unreadable"
    assert (await worker.call("count", path=await _good(tmp_path)))["pages"] == 1


async def _good(folder: Path) -> str:
    (folder / "good.tif").write_bytes(fax_file(1))
    return str(folder / "good.tif")


async def test_memory_is_flat_over_200_pages_and_progress_is_told_of_each(tmp_path: Path) -> None:
    """Ten pages need as much as two hundred."""
    peaks, octets = [], []
    for pages in (10, 200):
        told: list[tuple[int, int]] = []

        async def progress(done: int, of: int, told: list[tuple[int, int]] = told) -> None:
            told.append((done, of))

        (tmp_path / "long.pdf").write_bytes(pdf(pages))
        async with PaperWorker() as worker:
            found = await worker.call(
                "make_fax", progress, files=[str(tmp_path / "long.pdf")], out=str(tmp_path / "fax.tif"), **USUAL
            )
            status = await asyncio.to_thread(Path(f"/proc/{worker.pid}/status").read_text)
        assert told == [(n, pages) for n in range(1, pages + 1)]
        peaks.append(int(re.findall(r"VmHWM:\s+(\d+)", status)[0]))
        octets.append(found["octets"])
    assert octets[1] > 8 * octets[0]
    assert peaks[1] < peaks[0] + 12_000, peaks
