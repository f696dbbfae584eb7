"""Paper: page files to PDF beside img2pdf, each in a process of its own that is started for it; and the scanner's pages."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

from bench.figures import Row, Section, against, goal, memory_kb
from valija.paper.process import PaperWorker

PAGES: Final = 300
SCANNED: Final = 40
ROUNDS: Final = 3
A4_200: Final = (1654, 2339)
AT: Final = "2026-11-25T12:00:00+00:00"
GROWTH_MB: Final = 10
PEER: Final = """
import img2pdf, sys
with open(sys.argv[1], "wb") as out:
    img2pdf.convert(sys.argv[2:], outputstream=out)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def paper() -> Section:
    """Pages a second, and memory, with 300 colour pages."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        pages = asyncio.run(_pages(folder))
        before = memory_kb_here()
        ours = [asyncio.run(_assemble(pages, folder / "ours.pdf")) for _round in range(ROUNDS)]
        grown = (memory_kb_here() - before) / 1024
        theirs = [_img2pdf(pages, folder / "theirs.pdf") for _round in range(ROUNDS)]
        size = (folder / "ours.pdf").stat().st_size / 1e6
        taken = asyncio.run(_take(folder))
    rate, peer_rate = (PAGES / min(seconds for seconds, _kb in runs) for runs in (ours, theirs))
    peak, peer_peak = (max(kb for _seconds, kb in runs) / 1024 for runs in (ours, theirs))
    fast = goal("as fast as img2pdf", rate >= peer_rate)
    return Section(
        "Paper",
        f"{PAGES} colour pages (JPEG, A4, 200 dpi, {size:.0f} MB in all), best of {ROUNDS}, process start included;",
        (
            against("img2pdf", "page files to PDF, pages", rate, peer_rate, fast),
            Row("peak memory of that process", f"{peak:.0f} MB", f"{peer_peak:.0f} MB (img2pdf)"),
            Row(
                "what the daemon's side grows by",
                f"{grown:.1f} MB",
                "",
                goal(f"below {GROWTH_MB} MB", grown < GROWTH_MB),
            ),
            Row("a scanner's pages (PNM, colour) to page files, one process", f"{taken:.1f}/s"),
        ),
    )


def memory_kb_here() -> int:
    """Return this process's peak."""
    return memory_kb(os.getpid(), "VmHWM")


def _sheet(path: Path, number: int) -> Path:
    image = Image.effect_noise(A4_200, 12).point(lambda value: min(255, value + 100)).convert("RGB")
    draw = ImageDraw.Draw(image)
    spread = random.Random(number)
    for line in range(60):
        draw.text(
            (120, 120 + 34 * line), " ".join("lorem ipsum"[: spread.randint(2, 11)] for _word in range(20)), "black"
        )
    image.save(path)
    return path


async def _pages(folder: Path) -> list[str]:
    """Make page files of sheets, as a scan does."""
    async with PaperWorker() as worker:
        sheet = _sheet(folder / "sheet.ppm", 1)
        made = (await worker.call("take", path=str(sheet), folder=str(folder), own_dpi=200))["pages"][0]["file"]
    return [str(_copy(made, folder / f"p{number:05}.jpg")) for number in range(PAGES)]


def _copy(made: str, page: Path) -> Path:
    page.write_bytes(Path(made).read_bytes())
    return page


async def _assemble(pages: list[str], out: Path) -> tuple[float, int]:
    began = time.monotonic()
    async with PaperWorker() as worker:
        await worker.call("assemble", pages=pages, out=str(out), kind="pdf", title="bench", at=AT)
        seconds = time.monotonic() - began
        return seconds, memory_kb(worker.pid or 0, "VmHWM")


def _img2pdf(pages: list[str], out: Path) -> tuple[float, int]:
    began = time.monotonic()
    command = [sys.executable, "-c", PEER, str(out), *pages]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return time.monotonic() - began, int(done.stdout)


async def _take(folder: Path) -> float:
    sheet = _sheet(folder / "sheet.ppm", 2)
    async with PaperWorker() as worker:
        await worker.call("take", path=str(sheet), folder=str(folder), own_dpi=200)
        began = time.monotonic()
        for number in range(SCANNED):
            await worker.call("take", path=str(sheet), folder=str(folder), first=number + 2, own_dpi=200)
        return SCANNED / (time.monotonic() - began)
