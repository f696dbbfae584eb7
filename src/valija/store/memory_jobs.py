"""The jobs in memory: the same contract, nothing on disk."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from valija.domain.job import (
    Cancelled,
    Done,
    Failed,
    JobCard,
    JobEvent,
    JobKind,
    JobLine,
    JobState,
    JobStateName,
    JobWord,
    Progress,
    is_final,
    line_of,
    lines_limit,
    next_state,
)
from valija.store.jobs_port import StoredJob


class MemoryJobs:
    """See :class:`valija.store.jobs_port.JobStore`; nothing here awaits, so every method is atomic."""

    def __init__(self) -> None:
        self._jobs: dict[int, StoredJob] = {}
        self._lines: dict[int, list[JobLine]] = {}
        self._seen: dict[str, datetime] = {}
        self._last = 0

    async def add(self, card: JobCard, state: JobState, node: str = "") -> StoredJob:
        self._last += 1
        self._jobs[self._last] = StoredJob(self._last, card, state, node=node)
        self._lines[self._last] = [JobLine(card.created_at, JobWord.BEGAN, who=card.who)]
        return self._jobs[self._last]

    async def load(self, number: int) -> StoredJob | None:
        return self._jobs.get(number)

    async def list_jobs(
        self, *, kind: JobKind | None, state: JobStateName | None, limit: int, before_id: int | None = None
    ) -> list[StoredJob]:
        found = [
            job
            for number, job in sorted(self._jobs.items(), reverse=True)
            if (before_id is None or number < before_id)
            and kind in (None, job.card.kind)
            and state in (None, job.state.name)
        ]
        return found[:limit]

    async def live(self, node: str) -> list[StoredJob]:
        return [job for _number, job in sorted(self._jobs.items()) if not is_final(job.state) and job.node == node]

    async def seen(self, node: str, at: datetime) -> None:
        self._seen[node] = at

    async def adopt(self, node: str, before: datetime) -> list[StoredJob]:
        there = {node, *(name for name, at in self._seen.items() if at >= before)}
        gone = [
            number for number, job in sorted(self._jobs.items()) if not is_final(job.state) and job.node not in there
        ]
        for number in gone:
            self._jobs[number] = replace(self._jobs[number], node=node)
        return [self._jobs[number] for number in gone]

    async def apply(self, number: int, event: JobEvent) -> StoredJob | None:
        job = self._jobs.get(number)
        if job is None:
            return None
        after = next_state(job.state, event)
        line = line_of(job.state, event, after)
        if line is not None:
            self._lines[number] = [*self._lines[number], line][-lines_limit(job.card) :]
        self._jobs[number] = replace(job, state=after)
        return self._jobs[number]

    async def note_progress(self, number: int, progress: Progress) -> None:
        job = self._jobs.get(number)
        if job is not None and not is_final(job.state):
            self._jobs[number] = replace(job, progress=progress)

    async def history(self, number: int) -> list[JobLine]:
        return list(self._lines.get(number, ()))

    async def forget_ended(self, before: datetime, limit: int) -> list[int]:
        ended = sorted(
            (job.state.at, number)
            for number, job in self._jobs.items()
            if isinstance(job.state, Done | Failed | Cancelled) and job.state.at < before
        )
        over = [number for _at, number in ended[:limit]]
        for number in over:
            del self._jobs[number], self._lines[number]
        return over

    async def numbers(self) -> set[int]:
        return set(self._jobs)
