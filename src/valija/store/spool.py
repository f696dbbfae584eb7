"""Message bodies that are too large for a row: one file each, made durable before the message is accepted.

A file is written under a name that ends in ``.part``, synced, renamed, and its directory synced. The row that names it comes
after that, and goes before it: what no row names is left over from a crash, and :meth:`Spool.clean` removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import Final, TypeVar

from valija.domain.errors import BodyMissing, StoreError, StoreFull
from valija.domain.text import N_, message
from valija.store.master_key import sync_directory

DIRECTORY: Final = "spool"
PIECE: Final = 262_144
LOOK_S: Final = 1.0
PART: Final = ".part"
_NOT_THERE: Final = (errno.ENOENT, errno.EIO)
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
T = TypeVar("T")


class Spool:
    """The directory of bodies."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / DIRECTORY
        self.path.mkdir(mode=0o700, exist_ok=True)
        self._free, self._looked_at = 0, float("-inf")

    def has_room(self, octets: int) -> bool:
        """Tell whether so many octets fit; the disk is looked at once a second."""
        now = time.monotonic()
        if now - self._looked_at > LOOK_S:
            found = os.statvfs(self.path)
            self._free, self._looked_at = found.f_bavail * found.f_frsize, now
        return octets <= self._free

    async def create(self) -> SpoolFile:
        """Begin a file. Raises :class:`StoreFull`, :class:`StoreError`."""
        name = secrets.token_hex(16)
        descriptor = await _guarded(
            lambda: os.open(self.path / (name + PART), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        )
        return SpoolFile(self.path, name, descriptor)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Yield a file's octets. Raises :class:`BodyMissing` if they are not there, :class:`StoreError`."""
        source = await _guarded(lambda: _found(lambda: (self.path / name).open("rb")))
        try:
            while piece := await _guarded(lambda: _found(lambda: source.read(PIECE))):
                yield piece
        finally:
            source.close()

    async def delete(self, names: Collection[str]) -> None:
        """Remove files; one that is gone already is no trouble."""

        def work() -> None:
            for name in names:
                (self.path / name).unlink(missing_ok=True)

        if names:
            await _guarded(work)

    async def clean(self, named: Callable[[], Awaitable[Collection[str]]]) -> int:
        """Remove what no message names, at start-up; return how many files."""
        known = frozenset(await named())

        def work() -> int:
            left = [item for item in self.path.iterdir() if item.name not in known]
            for item in left:
                item.unlink()
            return len(left)

        return await _guarded(work)


class SpoolFile:
    """A body on its way in."""

    def __init__(self, directory: Path, name: str, descriptor: int) -> None:
        self._directory = directory
        self._name = name
        self._descriptor: int | None = descriptor

    async def write(self, data: bytes) -> None:
        """Add octets. Raises :class:`StoreFull`."""
        descriptor = self._descriptor
        if descriptor is None:
            raise ValueError("the file is closed")

        def work() -> None:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]

        await _guarded(work)

    async def commit(self) -> str:
        """Make it durable; return its name. Raises :class:`StoreFull`."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            raise ValueError("the file is closed")
        part = self._directory / (self._name + PART)

        def work() -> str:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            part.rename(self._directory / self._name)
            sync_directory(self._directory)
            return self._name

        try:
            return await _guarded(work)
        except BaseException:
            await asyncio.to_thread(part.unlink, missing_ok=True)
            raise

    async def abandon(self) -> None:
        """Remove it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            await asyncio.to_thread((self._directory / (self._name + PART)).unlink, missing_ok=True)


def _found(work: Callable[[], T]) -> T:
    """Read; a file that is gone, or that its disk does not give, is one message's matter."""
    try:
        return work()
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        raise BodyMissing(
            message(N_("A message's body is not whole in the store.")),
            message(N_("Put the store back from your backup, or cancel the message.")),
            diagnostics=str(error),
        ) from None


async def _guarded(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise StoreFull(
                message(N_("There is no space left for the message.")),
                message(N_("Make space on the disk; what waits goes on by itself.")),
                diagnostics=str(error),
            ) from None
        raise StoreError(
            message(N_("A message's file cannot be used: {why}."), why=error.strerror or str(error)),
            message(N_("Check the disk, and owner and permissions of the state directory.")),
            diagnostics=str(error),
        ) from None
