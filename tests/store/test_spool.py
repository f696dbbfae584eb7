"""The spool: durable before it is named, nothing left over."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from valija.domain.errors import BodyMissing, StoreFull
from valija.store.spool import PIECE, Spool


async def read(spool: Spool, name: str) -> bytes:
    """Return a file's octets."""
    return b"".join([piece async for piece in spool.read(name)])


async def test_what_was_written_comes_back_in_pieces(tmp_path: Path) -> None:
    """Under its final name only after the commit."""
    spool, octets = Spool(tmp_path), os.urandom(PIECE + 1000)
    file = await spool.create()
    await file.write(octets[:1000])
    await file.write(octets[1000:])
    assert [path.suffix for path in spool.path.iterdir()] == [".part"]
    name = await file.commit()
    assert [path.name for path in spool.path.iterdir()] == [name]
    assert [len(piece) async for piece in spool.read(name)] == [PIECE, 1000]
    assert await read(spool, name) == octets
    await spool.delete([name, "gone"])
    assert list(spool.path.iterdir()) == []


async def test_what_is_abandoned_or_named_by_nobody_goes(tmp_path: Path) -> None:
    """After a crash too."""
    spool = Spool(tmp_path)
    file = await spool.create()
    await file.write(b"half")
    await file.abandon()
    await file.abandon()
    assert list(spool.path.iterdir()) == []
    kept = await (await spool.create()).commit()
    await (await spool.create()).commit()
    await (await spool.create()).write(b"cut")

    async def named() -> set[str]:
        return {kept}

    assert await Spool(tmp_path).clean(named) == 2
    assert [path.name for path in spool.path.iterdir()] == [kept]


async def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the store's own; a missing file is another one."""
    spool = Spool(tmp_path)
    file = await spool.create()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull):
        await file.commit()
    assert list(spool.path.iterdir()) == []
    with pytest.raises(BodyMissing, match="not whole"):
        await read(spool, "gone")
