"""Machines to measure."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from driver import Daemon


@contextlib.contextmanager
def machine(directory: Path, *, sandbox: bool, configuration: str = "") -> Iterator[Daemon]:
    """Start a machine, and stop it at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    started = Daemon(directory, sandbox=sandbox, configuration=configuration).start()
    try:
        yield started
    finally:
        started.stop()
