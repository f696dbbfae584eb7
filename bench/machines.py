"""Machines to measure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

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
