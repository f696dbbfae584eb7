"""Small files that must be whole after a power cut, whenever it comes."""

from __future__ import annotations

import os
from contextlib import suppress
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


def copy_durably(source: Path, target: Path) -> None:
    """Copy a file so that it is there whole or not at all, for whom the folder is there. Blocking; raises OSError."""
    new = target.with_name(f".{target.name}.new")
    mode = target.parent.stat().st_mode & 0o666  # the program's own files are nobody else's: it has a strict umask
    try:
        with source.open("rb") as octets, new.open("wb") as out:
            while piece := octets.read(1 << 20):
                out.write(piece)
            out.flush()
            with suppress(PermissionError):  # a file system of the network has its own idea
                os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        new.replace(target)
    except OSError:
        with suppress(OSError):  # a part of it would take the room that is missing
            new.unlink(missing_ok=True)
        raise
