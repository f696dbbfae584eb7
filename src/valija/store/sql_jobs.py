"""The jobs in SQL: see :class:`valija.store.jobs_port.JobStore` for the meaning."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, cast

from valija.domain.job import (
    Awaiting,
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
    Preparing,
    Progress,
    Sending,
    line_of,
    lines_limit,
    next_state,
)
from valija.domain.trouble import Trouble, WhoActs
from valija.store.codec import NotReadable, decode_value, encode_value
from valija.store.jobs_port import UNREADABLE, StoredJob
from valija.store.sql_rows import epoch, moment, readable_values
from valija.store.work import Engine, Row, Work, do, each, one, rows

log: Final = logging.getLogger(__name__)
_JOB: Final = "SELECT id, node, done, pages, card, payload, kind, state, ended_at FROM jobs "
ADD: Final = (
    "INSERT INTO jobs (kind, state, node, ended_at, done, pages, card, payload) "
    "VALUES (?, ?, ?, ?, 0, 0, ?, ?) RETURNING id"
)
LOAD: Final = _JOB + "WHERE id = ?"
LOCK: Final = (
    "UPDATE jobs SET kind = kind WHERE id = ? RETURNING id, node, done, pages, card, payload, kind, state, ended_at"
)
LIVE: Final = _JOB + "WHERE ended_at IS NULL AND node = ? ORDER BY id"
SEEN: Final = (
    "INSERT INTO job_nodes (name, seen_at) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at"
)
ADOPT: Final = (
    "UPDATE jobs SET node = ? WHERE ended_at IS NULL AND node <> ? "
    "AND node NOT IN (SELECT name FROM job_nodes WHERE seen_at >= ?) "
    "RETURNING id, node, done, pages, card, payload, kind, state, ended_at"
)
REPLACE: Final = "UPDATE jobs SET state = ?, ended_at = ?, payload = ? WHERE id = ?"
PROGRESS: Final = "UPDATE jobs SET done = ?, pages = ? WHERE id = ? AND ended_at IS NULL"
ENDED: Final = "SELECT id FROM jobs WHERE ended_at < ? ORDER BY ended_at LIMIT ?"
DELETE: Final = "DELETE FROM jobs WHERE id = ? RETURNING id"
NUMBERS: Final = "SELECT id FROM jobs"
ADD_LINE: Final = "INSERT INTO job_history (job_id, payload) VALUES (?, ?)"
HISTORY: Final = "SELECT payload FROM job_history WHERE job_id = ? ORDER BY id"
TRIM: Final = (
    "DELETE FROM job_history WHERE job_id = ? AND id <= "
    "(SELECT id FROM job_history WHERE job_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"
)
_STATES: Final = (Preparing, Sending, Awaiting, Done, Failed, Cancelled)


class SqlJobs:
    """The jobs' rows in an open database."""

    def __init__(self, database: Engine) -> None:
        self._db = database

    async def add(self, card: JobCard, state: JobState, node: str = "") -> StoredJob:
        values = (
            card.kind.value,
            state.name.value,
            node,
            epoch(_ended(state)),
            encode_value(card),
            encode_value(state),
        )
        line = encode_value(JobLine(card.created_at, JobWord.BEGAN, who=card.who))

        def work() -> Work[int]:
            number = cast("Row", (yield from one(ADD, *values)))[0]
            yield from do(ADD_LINE, number, line)
            return int(number)

        return StoredJob(await self._db.write(work), card, state, node=node)

    async def load(self, number: int) -> StoredJob | None:
        row = await self._db.read(lambda: one(LOAD, number))
        return None if row is None else _job(row)

    async def list_jobs(
        self, *, kind: JobKind | None, state: JobStateName | None, limit: int, before_id: int | None = None
    ) -> list[StoredJob]:
        wanted: list[tuple[str, Any]] = [("id < ?", before_id if before_id is not None else 2**62)]
        if kind is not None:
            wanted.append(("kind = ?", kind.value))
        if state is not None:
            wanted.append(("state = ?", state.value))
        where = " AND ".join(condition for condition, _value in wanted)
        statement = f"{_JOB}WHERE {where} ORDER BY id DESC LIMIT ?"
        values = (*(value for _condition, value in wanted), limit)
        return [_job(row) for row in await self._db.read(lambda: rows(statement, *values))]

    async def live(self, node: str) -> list[StoredJob]:
        return [_job(row) for row in await self._db.read(lambda: rows(LIVE, node))]

    async def seen(self, node: str, at: datetime) -> None:
        await self._db.write(lambda: do(SEEN, node, epoch(at)))

    async def adopt(self, node: str, before: datetime) -> list[StoredJob]:
        found = await self._db.write(lambda: rows(ADOPT, node, node, epoch(before)))
        return sorted((_job(row) for row in found), key=lambda job: job.id)

    async def apply(self, number: int, event: JobEvent) -> StoredJob | None:
        return await self._db.write(lambda: _apply(number, event))

    async def note_progress(self, number: int, progress: Progress) -> None:
        await self._db.write(lambda: do(PROGRESS, progress.done, progress.of, number))

    async def history(self, number: int) -> list[JobLine]:
        found = await self._db.read(lambda: rows(HISTORY, number))
        return readable_values(JobLine, "job_history", ((number, row[0]) for row in found))

    async def forget_ended(self, before: datetime, limit: int) -> list[int]:
        def work() -> Work[list[int]]:
            over = yield from rows(ENDED, epoch(before), limit)
            return [row[0] for row in (yield from each(DELETE, [(row[0],) for row in over]))]

        return await self._db.write(work)

    async def numbers(self) -> set[int]:
        return {row[0] for row in await self._db.read(lambda: rows(NUMBERS))}


def _apply(number: int, event: JobEvent) -> Work[StoredJob | None]:
    row = yield from one(LOCK, number)
    if row is None:
        return None
    job = _job(row)
    after = next_state(job.state, event)
    line = line_of(job.state, event, after)
    if after is not job.state:
        yield from do(REPLACE, after.name.value, epoch(_ended(after)), encode_value(after), number)
    if line is not None:
        yield from do(ADD_LINE, number, encode_value(line))
        yield from do(TRIM, number, number, lines_limit(job.card))
    return replace(job, state=after)


def _job(row: Row) -> StoredJob:
    """Return a job; of one that cannot be read, what its columns say, so that it costs only itself."""
    number, node, done, pages, card, payload, kind, _state, _ended_at = row
    try:
        state = cast("JobState", decode_value(payload, *_STATES))
        return StoredJob(number, decode_value(card, JobCard), state, Progress(done, pages), node)
    except NotReadable as error:
        log.warning("entry_unreadable", extra={"fields": {"table": "jobs", "row": number, "why": str(error)}})
    unknown = JobCard(JobKind(kind), "", "", "?", moment(0))
    return StoredJob(number, unknown, _state_by_columns(row), Progress(done, pages), node, readable=False)


def _state_by_columns(row: Row) -> JobState:
    *_, name, ended_at = row
    if ended_at is None:
        return Preparing(moment(0))
    at = moment(ended_at)
    if name == JobStateName.DONE:
        return Done(at)
    return Cancelled(at) if name == JobStateName.CANCELLED else Failed(at, unreadable_job_trouble(at))


def unreadable_job_trouble(at: datetime) -> Trouble:
    """Return the trouble of a job of which nobody knows any more what it was."""
    return Trouble(UNREADABLE, WhoActs.USER, "", at)


def _ended(state: JobState) -> datetime | None:
    return state.at if isinstance(state, Done | Failed | Cancelled) else None
