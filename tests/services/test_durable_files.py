"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from valija.services.durable import copy_durably


@pytest.mark.parametrize("step", ["fchmod", "fsync", "replace"])
def test_a_copy_that_cannot_be_made_leaves_what_was_there_and_no_part_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    source, target = tmp_path / "source", tmp_path / "out" / "fax.pdf"
    target.parent.mkdir()
    source.write_bytes(b"new" * 1_000)
    target.write_bytes(b"old")

    def full(*_told: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path if step == "replace" else os, step, full)
        with pytest.raises(OSError, match="No space"):
            copy_durably(source, target)
    assert [path.name for path in target.parent.iterdir()] == ["fax.pdf"]
    assert target.read_bytes() == b"old"
    copy_durably(source, target)
    assert target.read_bytes() == source.read_bytes()
