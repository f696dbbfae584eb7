"""Small files that must be whole after a power cut, whenever it comes."""

from __future__ import annotations

import os
from pathlib import Path

from valija.store.master_key import sync_directory


def write_durably(path: Path, text: str) -> None:
    """Put a file in place of the one that is there; one of both is there at any moment. Blocking; raises OSError."""
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_directory(path.parent)
