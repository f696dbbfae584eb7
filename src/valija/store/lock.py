"""One process owns a state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from valija.domain.errors import StoreLocked
from valija.domain.text import N_, message
from valija.store.master_key import directory_unusable

FILE_NAME: Final = "valija.lock"


class StateLock:
    """Held from construction to :meth:`release`; the kernel lets go of it if the process dies."""

    def __init__(self, state_dir: Path) -> None:
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = os.open(state_dir / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise directory_unusable(state_dir, error) from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip() or "?"
            os.close(self._handle)
            raise StoreLocked(
                message(N_("Another daemon (process {pid}) uses {directory}."), pid=owner, directory=str(state_dir)),
                message(N_("Stop it first, or name another directory with --state-dir.")),
            ) from None
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(self._handle)
            raise directory_unusable(state_dir, error) from None

    def release(self) -> None:
        """Let another process have the directory."""
        os.close(self._handle)
