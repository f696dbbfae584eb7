"""The process that opens what came from outside: what it makes of good files, and what becomes of it with bad ones."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from paper_files import A4_100, make_file, sheet
from pdf_bombs import BOMBS
from PIL import Image, ImageChops

from valija.paper.process import Limits, PaperProblem, PaperWorker


@pytest.fixture(name="worker")
async def worker_fixture() -> AsyncIterator[PaperWorker]:
    """Give a process that is ended with the test."""
    async with PaperWorker(Limits(clock_s=60)) as worker:
        yield worker


def run(*command: str | Path) -> str:
    """Run a program that knows the format better than we do."""
    done = subprocess.run([str(c) for c in command], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.decode("utf-8", "replace")


def likeness(one: Image.Image, other: Image.Image) -> float:
    """Return how far two images are from each other: 0 for the same, 255 for black and white."""
    difference = ImageChops.difference(one.convert("L"), other.convert("L").resize(one.size))
    histogram = difference.histogram()
    return sum(value * n for value, n in enumerate(histogram)) / sum(histogram)


def same(one: str, other: Path) -> bool:
    """Tell whether two files have the same octets."""
    return Path(one).read_bytes() == other.read_bytes()


async def taken(worker: PaperWorker, source: Path, folder: Path, **arguments: Any) -> list[dict[str, Any]]:
    """Return the pages that are made of a file."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    return list((await worker.call("take", path=str(source), folder=str(folder), **arguments))["pages"])


@pytest.mark.parametrize(("name", "pages"), [("a.pdf", 3), ("a.tif", 3), ("a.jpg", 1), ("a.png", 1)])
async def test_pages_are_counted_shown_and_taken(worker: PaperWorker, tmp_path: Path, name: str, pages: int) -> None:
    source = make_file(tmp_path / name, list(range(1, pages + 1)))
    found = await worker.call("count", path=str(source))
    assert found["pages"] == pages
    made = await taken(worker, source, tmp_path / "pages", dpi=100)
    assert [Path(page["file"]).name for page in made] == [f"page-{n:05}.jpg" for n in range(1, pages + 1)]
    for number, page in enumerate(made, 1):
        assert abs(page["width"] - A4_100[0]) <= 2
        with Image.open(page["file"]) as image:
            assert likeness(sheet(number), image) < 3
    await worker.call("picture", path=str(source), out=str(tmp_path / "first.png"), page=pages - 1, width=200)
    with Image.open(tmp_path / "first.png") as small:
        assert small.width == 200
        assert likeness(sheet(pages).resize(small.size), small) < 6


@pytest.mark.parametrize(("kind", "colour"), [("pdf", "colour"), ("pdf", "mono"), ("pdfa", "grey")])
async def test_a_pdf_of_pages_is_right_by_qpdf_and_shows_them_by_poppler(
    worker: PaperWorker, tmp_path: Path, kind: str, colour: str
) -> None:
    made = await taken(worker, make_file(tmp_path / "a.tif", [1, 2, 3]), tmp_path / "pages", colour=colour)
    out = tmp_path / "out.pdf"
    told: list[tuple[int, int]] = []

    async def hear(done: int, of: int) -> None:
        told.append((done, of))

    files = [page["file"] for page in made]
    at = "2026-11-24T12:00:00+00:00"
    found = await worker.call("assemble", hear, pages=files, out=str(out), kind=kind, title="Año (1)", at=at)
    assert found["octets"] == out.stat().st_size
    assert told[-1] == (3, 3)
    assert "No syntax or stream encoding errors" in run("qpdf", "--check", out)
    assert "Pages:           3" in run("pdfinfo", out)
    assert "Año (1)" in run("pdfinfo", out)
    run("pdftoppm", "-r", "100", "-png", out, tmp_path / "shown")
    for number in (1, 2, 3):
        with Image.open(tmp_path / f"shown-{number}.png") as image:
            assert likeness(sheet(number), image) < (8 if colour == "mono" else 3)


async def test_a_pdf_for_the_archive_says_so_and_names_its_colours(worker: PaperWorker, tmp_path: Path) -> None:
    """What ISO 19005-2 wants beyond a PDF of images: output intent with a profile, and XMP that says what the rest says."""
    made = await taken(worker, make_file(tmp_path / "a.jpg", [1]), tmp_path / "pages")
    out = tmp_path / "out.pdf"
    at = "2026-11-24T12:00:00+00:00"
    files = [page["file"] for page in made]
    await worker.call("assemble", pages=files, out=str(out), kind="pdfa", title="Contrato <ñ>", at=at)
    text = run("qpdf", "--qdf", "--object-streams=disable", out, "-")
    for needed in (
        "<pdfaid:part>2</pdfaid:part>",
        "Contrato &lt;ñ&gt;",
        "/S /GTS_PDFA1",
        "/DestOutputProfile",
        "acsp",  # the profile's own mark (ICC.1, 7.2.9)
        "<xmp:CreateDate>2026-11-24T12:00:00+00:00",
        "D:20261124120000+00'00'",
    ):
        assert needed in text
    assert "/Encrypt" not in text


@pytest.mark.parametrize("colour", ["colour", "mono"])
async def test_a_tiff_of_pages_holds_them_all_by_libtiff(worker: PaperWorker, tmp_path: Path, colour: str) -> None:
    made = await taken(worker, make_file(tmp_path / "a.tif", [1, 2, 3]), tmp_path / "pages", colour=colour)
    out = tmp_path / "out.tif"
    files = [page["file"] for page in made]
    await worker.call("assemble", pages=files, out=str(out), kind="tiff", title="", at="")
    told = run("tiffinfo", out)
    assert told.count("TIFF Directory") == 3 or told.count("Image Width: ") == 3
    assert ("CCITT Group 4" if colour == "mono" else "JPEG") in told
    for number in (1, 2, 3):
        run("tiffcp", f"{out},{number - 1}", tmp_path / "one.tif")
        with Image.open(tmp_path / "one.tif") as image:
            assert likeness(sheet(number), image) < (8 if colour == "mono" else 4)


async def test_a_searchable_pdf_has_its_words(worker: PaperWorker, tmp_path: Path) -> None:
    made = await taken(worker, make_file(tmp_path / "a.tif", [4, 5]), tmp_path / "pages")
    out = tmp_path / "out.pdf"
    files = [page["file"] for page in made]
    await worker.call("assemble", pages=files, out=str(out), kind="searchable", title="", at="")
    words = run("pdftotext", out, "-")
    assert "Page 4" in words
    assert "Page 5" in words


async def test_without_a_program_that_reads_words_it_is_said_which_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a PDF without words can still be made."""
    monkeypatch.setenv("PATH", str(tmp_path))
    async with PaperWorker(Limits(clock_s=60)) as worker:
        made = await taken(worker, make_file(tmp_path / "a.png", [4]), tmp_path / "pages")
        pages = {"pages": [page["file"] for page in made], "out": str(tmp_path / "out.pdf"), "title": "", "at": ""}
        with pytest.raises(PaperProblem) as refused:
            await worker.call("assemble", kind="searchable", **pages)
        assert refused.value.reason == "ocr_missing"
        pages["at"] = "2026-11-24T12:00:00+00:00"
        assert (await worker.call("assemble", kind="pdf", **pages))["octets"] > 0


async def test_blank_pages_have_no_ink_and_others_do(worker: PaperWorker, tmp_path: Path) -> None:
    made = await taken(worker, make_file(tmp_path / "a.tif", [1, 0, 2]), tmp_path / "pages")
    assert [page["ink"] > 0.0005 for page in made] == [True, False, True]


async def test_a_page_is_turned_and_made_smaller(worker: PaperWorker, tmp_path: Path) -> None:
    made = await taken(worker, make_file(tmp_path / "a.jpg", [3]), tmp_path / "pages")
    turned = await worker.call("turn", path=made[0]["file"], degrees=90)
    assert (turned["width"], turned["height"]) == A4_100[::-1]
    with Image.open(turned["file"]) as image:
        assert likeness(sheet(3).transpose(Image.Transpose.ROTATE_270), image) < 3
    files = [made[0]["file"]]
    small = (await worker.call("shrink", pages=files, folder=str(tmp_path), scale=0.5, quality=40))["pages"][0]
    assert small["dpi"] == 50
    assert small["octets"] < turned["octets"] / 2


async def test_a_jpeg_is_taken_as_it_is(worker: PaperWorker, tmp_path: Path) -> None:
    source = make_file(tmp_path / "a.jpg", [1])
    made = await taken(worker, source, tmp_path / "pages")
    assert same(made[0]["file"], source)


# --- bad files ------------------------------------------------------------------------------------------------------------


def encrypted(path: Path) -> None:
    run("qpdf", "--encrypt", "secret", "owner", "256", "--", make_file(path.with_name("clear.pdf"), [1]), path)


def bomb(path: Path) -> None:
    """Write a small PNG that would be 40 gigabytes of pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))))


def huge_page(path: Path) -> None:
    make_file(path, [1])
    path.write_bytes(path.read_bytes().replace(b"MediaBox [ 0 0 595.44 841.68 ]", b"MediaBox [ 0 0 14400 14400.0 ]"))
    assert b"14400" in path.read_bytes()


def circle(path: Path) -> None:
    """Write a TIFF whose second page is followed by its first."""
    make_file(path, [1], "1")
    octets = bytearray(path.read_bytes())
    start = int.from_bytes(octets[4:8], "little")
    entries = int.from_bytes(octets[start : start + 2], "little")
    place = start + 2 + 12 * entries
    octets[place : place + 4] = start.to_bytes(4, "little")
    path.write_bytes(octets)


BAD = {
    "locked.pdf": (encrypted, {"paper_encrypted"}),
    "bomb.png": (bomb, {"paper_too_large"}),
    "huge.pdf": (huge_page, {"paper_too_large"}),
    "cut.pdf": (lambda path: path.write_bytes(b"%PDF-1.7\n1 0 obj"), {"paper_unreadable"}),
    "cut.tif": (lambda path: path.write_bytes(b"II*\x00\xff\xff\xff\x7f"), {"paper_unreadable"}),
    "empty.jpg": (lambda path: path.write_bytes(b""), {"paper_unreadable"}),
    "wrong.pdf": (lambda path: path.write_bytes(b"GIF89a" + bytes(100)), {"paper_unreadable"}),
}


async def test_pages_that_follow_each_other_in_a_circle_are_counted_once(worker: PaperWorker, tmp_path: Path) -> None:
    circle(tmp_path / "circle.tif")
    assert (await worker.call("count", path=str(tmp_path / "circle.tif")))["pages"] == 1


async def test_what_is_said_of_a_bad_file_does_not_tell_where_it_lies(worker: PaperWorker, tmp_path: Path) -> None:
    for name in ("empty.tif", "año nuevo.tif", "empty.pdf"):
        path = tmp_path / name
        await asyncio.to_thread(path.write_bytes, b"")
        with pytest.raises(PaperProblem) as caught:
            await worker.call("count", path=str(path))
        assert str(tmp_path) not in caught.value.words
        assert tmp_path.name not in caught.value.words


async def test_a_bad_file_is_refused_with_a_reason_and_the_next_one_is_read(
    worker: PaperWorker, tmp_path: Path
) -> None:
    for name, (make, reasons) in BAD.items():
        make(tmp_path / name)
        with pytest.raises(PaperProblem) as problem:
            await taken(worker, tmp_path / name, tmp_path / "pages", dpi=300)
        assert problem.value.reason in reasons, name
    assert (await worker.call("count", path=str(make_file(tmp_path / "good.pdf", [1]))))["pages"] == 1


@pytest.mark.parametrize("name", BOMBS)
async def test_a_pdf_bomb_ends_at_its_limits_and_the_next_file_is_read(tmp_path: Path, name: str) -> None:
    """Whatever it is, it is refused with a reason, in time, within its memory."""
    (tmp_path / "bomb.pdf").write_bytes(BOMBS[name]())
    begun = time.monotonic()
    async with PaperWorker(Limits(memory_mb=700, clock_s=1.5)) as worker:
        with pytest.raises(PaperProblem) as problem:
            await taken(worker, tmp_path / "bomb.pdf", tmp_path / "pages")
        assert problem.value.reason in ("paper_too_hard", "paper_too_large", "paper_unreadable")
        assert time.monotonic() < begun + 5
        assert (await worker.call("count", path=str(make_file(tmp_path / "good.pdf", [1]))))["pages"] == 1


async def test_memory_has_a_limit(tmp_path: Path) -> None:
    """A page that would fit is too much for a worker that has less; the machine does not notice."""
    Image.new("RGB", (9000, 9000), "white").save(tmp_path / "big.png")
    async with PaperWorker(Limits(memory_mb=400)) as worker:
        with pytest.raises(PaperProblem) as problem:
            await taken(worker, tmp_path / "big.png", tmp_path / "pages")
        assert problem.value.reason == "paper_too_hard"


async def test_time_has_a_limit(tmp_path: Path) -> None:
    """The process is ended, and another one serves the next request."""
    source = make_file(tmp_path / "long.pdf", [1, 2, 3, 4, 5, 6])
    async with PaperWorker(Limits(clock_s=0.05)) as worker:
        with pytest.raises(PaperProblem) as problem:
            await taken(worker, source, tmp_path / "pages", dpi=600)
        assert (problem.value.reason, problem.value.words) == ("paper_too_hard", "time")
        assert worker.pid is None


async def test_a_request_that_is_cancelled_ends_the_process_at_once(worker: PaperWorker, tmp_path: Path) -> None:
    source = make_file(tmp_path / "long.pdf", [1, 2, 3, 4, 5, 6, 7, 8])
    begun = asyncio.Event()

    async def hear(_done: int, _of: int) -> None:
        begun.set()

    folder = tmp_path / "pages"
    folder.mkdir()
    task = asyncio.create_task(worker.call("take", hear, path=str(source), folder=str(folder), dpi=600))
    await begun.wait()
    pid = worker.pid
    assert pid is not None
    before = time.monotonic()
    task.cancel()
    await asyncio.wait([task])
    assert time.monotonic() - before < 2
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_who_stops_all_processes_does_not_stop_a_request_before_the_daemon(
    worker: PaperWorker, tmp_path: Path
) -> None:
    """It would look as if the file were bad."""
    source = make_file(tmp_path / "a.pdf", [1])
    await worker.call("count", path=str(source))
    pid = worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    assert (await worker.call("count", path=str(source)))["pages"] == 1
    assert worker.pid == pid
