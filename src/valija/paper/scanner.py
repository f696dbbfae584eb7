"""Scanners, through SANE's program scanimage: which there are, what they can, and pages as they come out of one.

What a scanner calls its options differs from model to model; the words are matched by what they contain. Pages come as PNM
files, one after the other, so that a page can be dealt with while the next one is being scanned.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from valija.paper import children
from valija.paper.process import PaperProblem

PROGRAM: Final = "scanimage"
LIST_LIMIT_S: Final = 40.0
PAGE_LIMIT_S: Final = 180.0
FREE_LIMIT: Final = 300_000_000  # octets of disk that stay free
AREA_MM: Final = (216, 297)  # A4 and Letter
_WORDS_LIMIT: Final = 4000
_OUTPUT_LIMIT: Final = 1_000_000
# its name; its values, in one of two forms; the present one
_OPTION: Final = re.compile(
    r"^\s+--?([a-z][a-z-]*)(?:\[=\((.*?)\)\]| (.*?))? \[((?:[^\[\]]|\[[^\[\]]*\])*)\](?: \[(?:advanced|hardware)\])*\s*$"
)
_RANGE: Final = re.compile(r"(\d+(?:\.\d+)?)\.\.(\d+(?:\.\d+)?)")
_COLOUR_WORDS: Final = {
    "colour": ("color", "colour"),
    "grey": ("true gray", "gray", "grey"),
    "mono": ("lineart", "black & white", "binary", "monochrome"),
}
_GLASS_WORDS: Final = ("flat", "glass", "platen")
_TWO_SIDED: Final = frozenset(
    {"adf-mode", "duplex"}
)  # options of scanners whose feeder has no second name for both sides
# what scanimage says (sane_strstatus) and what it means; the first that fits
_MEANINGS: Final = (
    ("out of documents", "scanner_no_paper"),
    ("jammed", "scanner_jammed"),
    ("cover is open", "scanner_open"),
    ("device busy", "scanner_busy"),
    ("open of device", "scanner_missing"),
    ("no sane devices", "scanner_missing"),
    ("no space left", "disk_full"),
)


@dataclass(frozen=True, slots=True)
class Scanner:
    """A scanner: SANE's ``name`` for it, and a ``label`` for people."""

    name: str
    label: str


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How to scan, in our words."""

    colour: str  # colour, grey, mono
    resolution: int
    source: str  # auto, feeder, glass
    duplex: bool


async def list_scanners() -> list[Scanner]:
    """Return the scanners that SANE finds. Raises :class:`PaperProblem`."""
    found = await _output("--formatted-device-list=%d\t%v %m%n")
    rows = (line.partition("\t") for line in found.splitlines())
    return [Scanner(name, label.strip()) for name, tab, label in rows if tab]


async def scan(
    device: str, options: ScanOptions, folder: Path, *, limit: int
) -> AsyncGenerator[tuple[Path, int], None]:
    """Yield pages (PNM files in ``folder``, for the caller to delete) and their resolution, as the scanner gives them.

    Raises :class:`PaperProblem` for what a scanner says no to; pages that came before are good.
    """
    known = _parse_options(await _output("-d", device, "-A"))
    if options.duplex and (feeder := _says_more_with(known)):
        known = _parse_options(await _output("-d", device, "--source", feeder, "-A"))
    sources = _sources(known, options)
    for number, source in enumerate(sources):
        arguments, resolution = _arguments(known, options, source)
        is_last = number == len(sources) - 1
        count = 0
        try:
            async with contextlib.aclosing(_run(device, arguments, folder, source, limit)) as pages:
                async for page in pages:
                    count += 1
                    yield page, resolution
        except PaperProblem as problem:
            if problem.reason != "scanner_no_paper" or (is_last and not count):
                raise
        if count:
            return


async def _run(
    device: str, arguments: Sequence[str], folder: Path, source: str, limit: int
) -> AsyncGenerator[Path, None]:
    one_page = [] if _is_feeder(source) else ["--batch-count=1"]
    process = await _start(
        "-d", device, *arguments, "--format=pnm", f"--batch={folder}/raw-%d.pnm", "--batch-print", *one_page
    )
    words = asyncio.create_task(_last_words(process))
    try:
        count = 0
        while name := await _page_name(process):
            count += 1
            if (await asyncio.to_thread(shutil.disk_usage, folder)).free < FREE_LIMIT:
                raise PaperProblem("disk_full")
            if count > limit:
                raise PaperProblem("paper_too_large", f"{count} pages")
            yield Path(name)
        try:
            async with asyncio.timeout(PAGE_LIMIT_S):
                status, said = await process.wait(), await words
        except TimeoutError:  # its pages are there, but it goes on with something
            raise PaperProblem("scanner_timed_out") from None
        if status or (not count and said):
            raise PaperProblem(_meaning(said), _last_line(said))
    finally:
        await children.end(process)
        words.cancel()
        await asyncio.wait([words])


async def _page_name(process: asyncio.subprocess.Process) -> str:
    if process.stdout is None:
        raise RuntimeError("no pipe")
    try:
        async with asyncio.timeout(PAGE_LIMIT_S):
            return (await process.stdout.readline()).decode("utf-8", "surrogateescape").rstrip("\n")
    except TimeoutError:
        raise PaperProblem("scanner_timed_out") from None


async def _output(*arguments: str) -> str:
    process = await _start(*arguments)
    try:
        async with asyncio.timeout(LIST_LIMIT_S):
            out, said = await asyncio.gather(_first_octets(process), _last_words(process))
            await process.wait()
    except TimeoutError:
        raise PaperProblem("scanner_timed_out") from None
    finally:
        await children.end(process)
    text = out.decode("utf-8", "replace")
    if process.returncode and not text.strip():
        raise PaperProblem(_meaning(said), _last_line(said))
    return text


async def _start(*arguments: str) -> asyncio.subprocess.Process:
    program = await asyncio.to_thread(shutil.which, PROGRAM)
    if program is None:
        raise PaperProblem("scanner_program_missing")
    return await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if k in ("PATH", "HOME") or k.startswith("SANE_")}
        | {"LC_ALL": "C.UTF-8"},
        start_new_session=True,
    )


async def _first_octets(process: asyncio.subprocess.Process) -> bytes:
    """Read all that a program prints, and keep what a list of scanners or options can be."""
    kept = b""
    while process.stdout is not None and (piece := await process.stdout.read(65_536)):
        kept += piece[: _OUTPUT_LIMIT - len(kept)]
    return kept


async def _last_words(process: asyncio.subprocess.Process) -> str:
    kept = b""
    while process.stderr is not None and (piece := await process.stderr.read(4096)):
        kept = (kept + piece)[-_WORDS_LIMIT:]
    return kept.decode("utf-8", "replace")


def _meaning(said: str) -> str:
    low = said.lower()
    return next((reason for words, reason in _MEANINGS if words in low), "scanner_failed")


def _last_line(said: str) -> str:
    own = (line.removeprefix("scanimage: ") for line in said.splitlines() if line.startswith("scanimage: "))
    lines = [line for line in own if not line.startswith(("trying to stop", "received signal", "rounded value"))]
    return (lines or said.splitlines() or [""])[-1][:200]


# --- options --------------------------------------------------------------------------------------------------------------


def _parse_options(text: str) -> dict[str, str]:
    """Return the options that a scanner has now, with their values as scanimage lists them."""
    found = (_OPTION.match(line) for line in text.splitlines())
    return {o[1]: o[2] or o[3] or "" for o in found if o and o[4] != "inactive"}


def _values(listed: str) -> list[str]:
    return [value.strip() for value in re.sub(r"(?:dpi|mm|%)$", "", listed).split("|")]


def _is_feeder(source: str) -> bool:
    return any(word in source.lower() for word in ("adf", "feeder", "duplex"))


def _is_two_sided(source: str) -> bool:
    return "duplex" in source.lower()


def _says_more_with(known: dict[str, str]) -> str:
    """Return the source that must be chosen before a scanner tells whether it can do both sides; empty: it has told."""
    feeders = [source for source in _values(known.get("source", "")) if _is_feeder(source)]
    has_told = any(map(_is_two_sided, feeders)) or _TWO_SIDED & known.keys()
    return feeders[0] if feeders and not has_told else ""


def _sources(known: dict[str, str], options: ScanOptions) -> list[str]:
    """Return which sources to try, one after the other; an empty name is the only one that there is."""
    listed = _values(known["source"]) if "source" in known else []
    feeders = [source for source in listed if _is_feeder(source)]
    two_sided = [source for source in feeders if _is_two_sided(source)]
    one_sided = [source for source in feeders if source not in two_sided]
    if options.duplex and not two_sided and not _TWO_SIDED & known.keys():
        raise PaperProblem("scanner_cannot", "duplex")
    feeder = ((two_sided if options.duplex else []) or one_sided or two_sided)[:1]
    others = [source for source in listed if source not in feeders]
    glass = [source for source in others if any(word in source.lower() for word in _GLASS_WORDS)][:1] or others[:1]
    if options.source == "feeder" and not feeder:
        raise PaperProblem("scanner_cannot", "ADF")
    wanted = {"feeder": feeder, "glass": glass, "auto": feeder if options.duplex else feeder + glass}[options.source]
    return wanted or [""]


def _arguments(known: dict[str, str], options: ScanOptions, source: str) -> tuple[list[str], int]:
    arguments = ["--source", source] if source else []
    modes = _values(known.get("mode", ""))
    order = {"colour": ("colour", "grey"), "grey": ("grey", "colour"), "mono": ("mono", "grey")}[options.colour]
    words = [word for colour in order for word in _COLOUR_WORDS[colour]]
    mode = next((mode for word in words for mode in modes if word in mode.lower()), "")
    arguments += ["--mode", mode] if mode else []
    resolution = _nearest(known.get("resolution", ""), options.resolution)
    arguments += ["--resolution", str(resolution)] if "resolution" in known else []
    if options.duplex and not _is_two_sided(source):
        if "adf-mode" in known:
            arguments += ["--adf-mode", "Duplex"]
        elif "duplex" in known:
            arguments += ["--duplex=yes"]
    for option, most in zip(("x", "y"), AREA_MM, strict=True):
        area = _RANGE.search(known.get(option, ""))
        if area:
            arguments += [f"-{option}", str(int(min(float(area[2]), most)))]
    return arguments, resolution


def _nearest(listed: str, wanted: int) -> int:
    found = _RANGE.search(listed)
    if found:
        return int(min(max(wanted, float(found[1])), float(found[2])))
    numbers = [int(value) for value in _values(listed) if value.isdigit()]
    return min(numbers, key=lambda number: (abs(number - wanted), -number)) if numbers else wanted
