"""A job from the side of whoever works on it: its folder, how far it is, how it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from valija.domain.account import MACHINE, Actor
from valija.domain.job import (
    TITLE_LIMIT,
    Cancelled,
    Detail,
    Finished,
    HandedOn,
    JobCard,
    JobEvent,
    JobKind,
    JobWord,
    Noted,
    Progress,
)
from valija.store.jobs_port import StoredJob

if TYPE_CHECKING:
    from valija.services.jobs import JobDesk

PICTURE: Final = "first.png"
KEPT: Final = "kept"
TOLD_S: Final = 0.25  # between two pieces of news of a job's progress
STORED_S: Final = 2.0


class JobStopped(Exception):
    """A work cannot go on: ``reason`` is a key of the explanations, ``words`` are the other side's."""

    def __init__(self, reason: str, words: str = "") -> None:
        super().__init__(reason, words)
        self.reason = reason
        self.words = words


@dataclass(slots=True)
class JobRun:
    """What a work has of its job."""

    desk: JobDesk
    job: StoredJob
    directory: Path
    unstored: JobEvent | None = None  # what the work said of itself while the store was away
    _told: float = float("-inf")
    _stored: float = float("-inf")

    @property
    def id(self) -> int:
        """Return the job's number."""
        return self.job.id

    @property
    def picture(self) -> Path:
        """Return where the picture of the first page (PNG) belongs."""
        return self.directory / PICTURE

    @property
    def kept(self) -> Path:
        """Return where files belong that stay when the job has ended."""
        return self.directory / KEPT

    async def progress(self, done: int, of: int = 0) -> None:
        """Say how far the job is; cheap enough to be called for each page."""
        progress, now = Progress(done, of), self.desk.clock.monotonic()
        self.job = replace(self.job, progress=progress)
        self.desk.live_progress[self.id] = progress
        if now - self._stored >= STORED_S:
            self._stored = now
            await self.desk.store.jobs.note_progress(self.id, progress)
        if now - self._told >= TOLD_S:
            self._told = now
            self.desk.tell(self.job)

    async def note(self, word: JobWord, about: str = "") -> None:
        """Write a line into the job's history."""
        await self.apply(Noted(self.desk.clock.now(), word.value, about))

    async def is_cancelled(self) -> bool:
        """Tell whether somebody at another node does not want the job any more; one at this node ends the work itself."""
        job = await self.desk.store.jobs.load(self.id)
        return job is None or isinstance(job.state, Cancelled)

    async def hand_on(self, messages: Sequence[int]) -> None:
        """Say that the job is in the mail queue now; what was queued of one that nobody wants any more is taken back."""
        await self.apply(HandedOn(self.desk.clock.now(), tuple(messages)))
        if isinstance(self.job.state, Cancelled):
            await self.desk.take_back(messages, MACHINE)

    async def finish(self, words: str = "") -> None:
        """Say that the job has come to its end."""
        await self.apply(Finished(self.desk.clock.now(), words))

    async def apply(self, event: JobEvent) -> None:
        """Apply an event to the job."""
        self.unstored = event if isinstance(event, HandedOn | Finished) else None
        changed = await self.desk.apply(self.id, event)
        self.unstored = None
        if changed is not None:
            self.job = changed


def card_of(
    kind: JobKind,
    title: str,
    actor: Actor,
    now: datetime,
    recipients: Sequence[str] = (),
    details: Mapping[str, str] | None = None,
) -> JobCard:
    """Return the card of a job that somebody begins; ``title`` is shortened to one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in title).split())[:TITLE_LIMIT]
    known = tuple(Detail(name, value) for name, value in (details or {}).items())
    return JobCard(kind, actor.who, actor.where, line, now, tuple(recipients), known)


def words_of(error: OSError) -> str:
    """Return what an error of a file says, with the file's name but not where it lies."""
    name = Path(str(error.filename)).name if error.filename else ""
    return f"{error.strerror or type(error).__name__}: {name}".rstrip(": ")
