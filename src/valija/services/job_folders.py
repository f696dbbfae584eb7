"""The folders of jobs, and the name of the machine whose jobs they are. All of it blocks: call it in a thread."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from pathlib import Path
from typing import Final

from valija.services.durable import write_durably
from valija.services.job_run import KEPT, PICTURE

DIRECTORY: Final = "jobs"
NODE: Final = "node-name"


class JobFolders:
    """All of a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.directory = state_dir / DIRECTORY
        self._name_file = state_dir / NODE

    def of(self, number: int) -> Path:
        """Return a job's own folder."""
        return self.directory / str(number)

    def make(self, number: int) -> Path:
        """Make a job's folder, unless it is there. Raises OSError."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        folder = self.of(number)
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / KEPT).mkdir(mode=0o700, exist_ok=True)
        return folder

    def tidy(self, number: int) -> None:
        """Delete what an ended job has no use for."""
        folder = self.of(number)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in (PICTURE, KEPT):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def sweep(self, numbers: set[int]) -> None:
        """Delete folders that belong to no job."""
        for path in self.directory.iterdir() if self.directory.is_dir() else ():
            if not (path.name.isdigit() and int(path.name) in numbers):
                shutil.rmtree(path, ignore_errors=True)

    def forget(self, number: int) -> None:
        """Delete a job's folder."""
        shutil.rmtree(self.of(number), ignore_errors=True)

    def own_name(self) -> str:
        """Return the name of this machine among those that share the store; the first one who asks makes it."""
        with contextlib.suppress(FileNotFoundError):
            if kept := self._name_file.read_text("ascii").strip():
                return kept
        name = secrets.token_hex(8)
        write_durably(self._name_file, name)
        return name
