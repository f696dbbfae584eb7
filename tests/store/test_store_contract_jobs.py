"""Jobs: the same promises of every engine."""

from __future__ import annotations

from datetime import timedelta

import pytest
from store_engines import store_fixture
from store_values import NOW

from valija.domain.job import (
    Awaited,
    Awaiting,
    CancelAsked,
    Cancelled,
    Detail,
    Done,
    Failed,
    Finished,
    HandedOn,
    JobCard,
    JobEvent,
    JobKind,
    JobStateName,
    JobWord,
    Noted,
    Preparing,
    Progress,
    Sending,
    TroubleCame,
    Waits,
    lines_limit,
)
from valija.domain.trouble import Trouble, WhoActs
from valija.store.port import Store

store = store_fixture
MINUTE = timedelta(minutes=1)
CARD = JobCard(
    JobKind.SCAN,
    "uid 0",
    "panel",
    "Contrato ñ",
    NOW,
    ("luis@example.com", "ana@example.com"),
    (Detail("format", "pdf"),),
)
BEGUN = Preparing(NOW)
TROUBLE = Trouble("scanner_jam", WhoActs.OPERATOR, "Document feeder jammed", NOW)


async def test_a_job_comes_back_as_it_was_stored(store: Store) -> None:
    job = await store.jobs.add(CARD, BEGUN)
    assert (job.card, job.state, job.progress) == (CARD, BEGUN, Progress())
    assert await store.jobs.load(job.id) == job
    assert job.card.detail("format") == "pdf"
    assert job.card.detail("colour") == ""
    assert await store.jobs.load(job.id + 1) is None
    assert [line.word for line in await store.jobs.history(job.id)] == [JobWord.BEGAN]


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([HandedOn(NOW, (3, 4))], Sending(NOW, (3, 4))),
        ([HandedOn(NOW, (3,)), Waits(NOW, Awaited.CONFIRMATION, NOW)], Awaiting(NOW, Awaited.CONFIRMATION, NOW, (3,))),
        ([Finished(NOW, "words")], Done(NOW, "words")),
        ([TroubleCame(NOW, TROUBLE)], Failed(NOW, TROUBLE)),
        ([CancelAsked(NOW, "luis"), Finished(NOW)], Cancelled(NOW, "luis")),
    ],
    ids=["sending", "awaiting", "done", "failed", "cancelled"],
)
async def test_events_change_a_job_by_the_table_and_are_written_down(
    store: Store, events: list[JobEvent], state: object
) -> None:
    job = await store.jobs.add(CARD, BEGUN)
    for event in events:
        changed = await store.jobs.apply(job.id, event)
    assert changed is not None
    assert changed.state == state
    assert await store.jobs.load(job.id) == changed
    lines = await store.jobs.history(job.id)
    assert len(lines) == 1 + (1 if isinstance(state, Cancelled) else len(events))


async def test_an_event_for_a_job_that_is_gone_does_nothing(store: Store) -> None:
    assert await store.jobs.apply(77, Finished(NOW)) is None
    assert await store.jobs.history(77) == []


async def test_progress_is_kept_until_the_end_and_not_changed_after(store: Store) -> None:
    job = await store.jobs.add(CARD, BEGUN)
    await store.jobs.note_progress(job.id, Progress(3, 10))
    changed = await store.jobs.apply(job.id, Finished(NOW))
    await store.jobs.note_progress(job.id, Progress(4, 10))
    assert changed is not None
    assert changed.progress == Progress(3, 10)
    assert await store.jobs.load(job.id) == changed


async def test_jobs_are_listed_latest_first_by_kind_and_state(store: Store) -> None:
    first = await store.jobs.add(CARD, BEGUN)
    fax = await store.jobs.add(JobCard(JobKind.FAX_SEND, "", "web", "Fax", NOW), BEGUN)
    last = await store.jobs.add(CARD, BEGUN)
    await store.jobs.apply(first.id, Finished(NOW))

    async def found(
        kind: JobKind | None = None, state: JobStateName | None = None, before_id: int | None = None, limit: int = 10
    ) -> list[int]:
        return [j.id for j in await store.jobs.list_jobs(kind=kind, state=state, limit=limit, before_id=before_id)]

    assert await found() == [last.id, fax.id, first.id]
    assert await found(limit=2) == [last.id, fax.id]
    assert await found(before_id=last.id) == [fax.id, first.id]
    assert await found(JobKind.SCAN) == [last.id, first.id]
    assert await found(JobKind.SCAN, JobStateName.DONE) == [first.id]
    assert [job.id for job in await store.jobs.live("")] == [fax.id, last.id]


async def test_a_node_finds_its_own_jobs_and_those_of_nodes_that_are_gone(store: Store) -> None:
    """Whoever was seen keeps its jobs, whatever they are at; what has ended stays whose it was."""
    own, others, gone, ended = [
        (await store.jobs.add(CARD, BEGUN, node)).id for node in ("own", "other", "gone", "gone")
    ]
    await store.jobs.apply(ended, Finished(NOW))
    await store.jobs.seen("gone", NOW - MINUTE)
    await store.jobs.seen("other", NOW - MINUTE)
    await store.jobs.seen("other", NOW)
    assert [job.id for job in await store.jobs.live("own")] == [own]
    adopted = await store.jobs.adopt("own", NOW)
    assert [(job.id, job.node, job.card) for job in adopted] == [(gone, "own", CARD)]
    assert [job.id for job in await store.jobs.live("own")] == [own, gone]
    assert [job.id for job in await store.jobs.live("other")] == [others]
    assert await store.jobs.adopt("own", NOW) == []
    kept, changed = await store.jobs.load(ended), await store.jobs.apply(gone, HandedOn(NOW, (1,)))
    assert kept is not None
    assert changed is not None
    assert (kept.node, changed.node) == ("gone", "own")


async def test_old_jobs_are_forgotten_with_their_history_and_live_ones_stay(store: Store) -> None:
    ended, late, live = [(await store.jobs.add(CARD, BEGUN)).id for _ in range(3)]
    await store.jobs.apply(ended, CancelAsked(NOW - MINUTE, "ana"))
    await store.jobs.apply(late, Finished(NOW + MINUTE))
    assert await store.jobs.forget_ended(NOW, 10) == [ended]
    assert await store.jobs.load(ended) is None
    assert await store.jobs.history(ended) == []
    assert await store.jobs.numbers() == {late, live}


async def test_of_too_many_lines_the_last_are_kept(store: Store) -> None:
    job = await store.jobs.add(CARD, BEGUN)
    limit = lines_limit(CARD)
    for page in range(limit + 3):
        await store.jobs.apply(job.id, Noted(NOW, "blank_dropped", str(page)))
    lines = await store.jobs.history(job.id)
    assert len(lines) == limit
    assert [line.about for line in lines] == [str(page) for page in range(3, limit + 3)]
