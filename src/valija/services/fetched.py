"""Messages that were fetched, on their way to disk: written aside, synced several at one moment, then given their names.

All but :meth:`Fetched.take` is for a thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from valija.message.summary import HEADER_LIMIT
from valija.store.master_key import sync_directory

SYNCS: Final = 8  # at one moment
LIMIT: Final = 1 << 30  # octets of a message: several times what any provider takes
RESERVE: Final = 64_000_000  # octets of the disk that a large message leaves to others


class NoEnd(Exception):
    """A message goes on and on."""

    def __str__(self) -> str:
        return f"a message of more than {LIMIT:,} octets"


class Fetched:
    """One message: ``name`` below the state directory, ``beginning`` for its summary; ``waiting`` is not written yet."""

    def __init__(self, unique_id: str, at: datetime, name: Path, state_dir: Path) -> None:
        self.unique_id = unique_id
        self.at = at
        self.name = name
        self.size = 0
        self.beginning = b""
        self.waiting = bytearray()
        self.path = state_dir / name
        self._temporary = self.path.with_suffix(".tmp")
        self._out: BinaryIO | None = None

    def take(self, piece: bytes) -> None:
        """Take the next octets. Raises :class:`NoEnd`."""
        if len(self.beginning) < HEADER_LIMIT:
            self.beginning += piece[: HEADER_LIMIT - len(self.beginning)]
        self.size += len(piece)
        if self.size > LIMIT:
            raise NoEnd
        self.waiting += piece

    def write(self) -> None:
        """Write what waits. Raises OSError."""
        if self._out is None:
            self._temporary.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._out = os.fdopen(os.open(self._temporary, flags, 0o600), "wb")
        self._out.write(self.waiting)
        self.waiting.clear()

    def write_on(self) -> None:
        """Write what waits, of a message that goes on; not to the disk's last octet. Raises OSError."""
        self.write()
        found = os.statvfs(self._temporary)
        if found.f_bavail * found.f_frsize < RESERVE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def keep(self) -> None:
        """Write the rest and sync it, whole, under its name; the name is durable with its directory. Raises OSError."""
        self.write()
        out, self._out = self._out, None
        if out is None:
            raise RuntimeError("nothing is open")
        with out:
            out.flush()
            os.fsync(out.fileno())
        self._temporary.rename(self.path)

    def let_go(self) -> None:
        """Leave nothing behind."""
        out, self._out = self._out, None
        if out is not None:
            with suppress(OSError):  # on a full disk what was not written cannot be written now, either
                out.close()
        self._temporary.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def keep_together(some: Sequence[Fetched]) -> list[OSError | None]:
    """Make messages durable; return for each why it could not be: nothing of such a one is left."""
    if len(some) == 1:
        outcomes = [_kept(some[0])]
    else:
        with ThreadPoolExecutor(SYNCS, "fetched") as threads:
            outcomes = list(threads.map(_kept, some))
    for directory in {fetched.path.parent for fetched, error in zip(some, outcomes, strict=True) if error is None}:
        sync_directory(directory)
    return outcomes


def _kept(fetched: Fetched) -> OSError | None:
    try:
        fetched.keep()
    except OSError as error:
        fetched.let_go()
        return error
    return None


def discard(some: Sequence[Fetched]) -> None:
    """Leave nothing of messages that are not noted."""
    for fetched in some:
        fetched.let_go()
