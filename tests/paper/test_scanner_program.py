"""A scanner's program that behaves badly: every wait for it ends, it fills no memory, nothing of it is left."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from valija.paper import scanner
from valija.paper.process import PaperProblem
from valija.paper.scanner import ScanOptions, list_scanners, scan

OPTIONS = ScanOptions("colour", 75, "auto", duplex=False)
Program = Callable[[str], None]


@pytest.fixture(name="program")
def program_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put a shell script in scanimage's place; it notes its number in ``pid``."""

    def put(script: str) -> None:
        path = tmp_path / "scanimage"
        path.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{script}\n")
        path.chmod(0o700)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(scanner, "LIST_LIMIT_S", 0.5)
    monkeypatch.setattr(scanner, "PAGE_LIMIT_S", 0.3)
    return put


def is_gone(folder: Path) -> bool:
    number = (folder / "pid").read_text().strip()
    try:
        return "(zombie)" in Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return True


async def test_one_that_prints_without_an_end_is_ended_and_fills_no_memory(program: Program, tmp_path: Path) -> None:
    program("yes scanner >&2 & exec yes scanner")
    tracemalloc.start()
    with pytest.raises(PaperProblem) as caught:
        await list_scanners()
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.reason == "scanner_timed_out"
    assert most < 8_000_000
    assert is_gone(tmp_path)


async def test_many_words_beside_the_list_are_no_trouble(program: Program) -> None:
    program("head -c 5000000 /dev/zero | tr '\\0' 'x' >&2; printf 'test:0\\tNoname frontend-tester\\n'")
    (found,) = await list_scanners()
    assert (found.name, found.label) == ("test:0", "Noname frontend-tester")


@pytest.mark.parametrize("script", ["exec sleep 60", "exec >&-; exec sleep 60", "exec >&- 2>&-; exec sleep 60"])
async def test_one_that_never_ends_is_ended(program: Program, tmp_path: Path, script: str) -> None:
    program(f'case "$*" in *-A*) exit 0;; esac; {script}')
    with pytest.raises(PaperProblem) as caught:
        async for _page in scan("test:0", OPTIONS, tmp_path, limit=10):
            pass
    assert caught.value.reason == "scanner_timed_out"
    assert is_gone(tmp_path)
