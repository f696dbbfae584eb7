"""The jobs' port: what every engine does, with the same meaning (the contract suite in tests/store holds them to it).

States change only by :meth:`JobStore.apply`, through the one table (:mod:`valija.domain.job`): the state is read and replaced
in one transaction, and what is worth telling of the change is written with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from valija.domain.job import JobCard, JobEvent, JobKind, JobLine, JobState, JobStateName, Progress

UNREADABLE: Final = "job_unreadable"


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job and its number; later jobs have higher ones."""

    id: int
    card: JobCard
    state: JobState
    progress: Progress = field(default_factory=Progress)
    node: str = ""  # who works on it
    readable: bool = True  # else hardly anything is known of it


class JobStore(Protocol):
    """Durable jobs. All writes are durable when they return."""

    async def add(self, card: JobCard, state: JobState, node: str = "") -> StoredJob:
        """Store a new job of a node, with the first line of its history."""
        ...

    async def load(self, number: int) -> StoredJob | None:
        """Return a job; None if it is gone."""
        ...

    async def list_jobs(
        self, *, kind: JobKind | None, state: JobStateName | None, limit: int, before_id: int | None = None
    ) -> list[StoredJob]:
        """Return jobs, latest first."""
        ...

    async def live(self, node: str) -> list[StoredJob]:
        """Return a node's jobs that have not ended, oldest first."""
        ...

    async def seen(self, node: str, at: datetime) -> None:
        """Note that a node is there."""
        ...

    async def adopt(self, node: str, before: datetime) -> list[StoredJob]:
        """Give a node the jobs that have not ended of nodes not seen since ``before``; return them, oldest first."""
        ...

    async def apply(self, number: int, event: JobEvent) -> StoredJob | None:
        """Apply an event; return the job as it is then, None if it is gone."""
        ...

    async def note_progress(self, number: int, progress: Progress) -> None:
        """Store how far a job is, if it has not ended."""
        ...

    async def history(self, number: int) -> list[JobLine]:
        """Return what befell a job, in order: of too many lines, the last ones."""
        ...

    async def forget_ended(self, before: datetime, limit: int) -> list[int]:
        """Delete up to ``limit`` jobs that ended before ``before``; return their numbers."""
        ...

    async def numbers(self) -> set[int]:
        """Return the numbers of all jobs: files of others are nobody's."""
        ...
