"""Faxes filed in folders by rule: each page document once, tried again while a folder (of the network, perhaps) is away.

What is in ``kept/`` of the job stays there, whatever becomes of the folder. A document's name has the job's number, so that
one that is written twice, after a crash, is one. The rules of the moment decide: one that was mended meanwhile holds.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Final

from valija.domain.clock import Clock
from valija.domain.fax import file_to
from valija.domain.job import Awaited, Finished, JobEvent, JobKind, JobWord, Noted, TroubleCame, Waits
from valija.domain.scan import safe_file_name
from valija.services.durable import copy_durably
from valija.services.job_run import KEPT
from valija.services.jobs import JobDesk
from valija.store.jobs_port import StoredJob
from valija.store.port import Store

FIRST_RETRY: Final = timedelta(minutes=1)
LAST_RETRY: Final = timedelta(hours=1)
GIVEN_UP_AFTER: Final = timedelta(days=5)
NAME_LIMIT: Final = 80


class FaxFiling:
    """Files them."""

    def __init__(self, store: Store, jobs: JobDesk, clock: Clock) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock
        jobs.overdue[JobKind.FAX_RECEIVE] = self.again

    async def file(self, job: StoredJob) -> JobEvent | None:
        """Copy a fax's documents into its folders; None if all are there, else when it is to be tried again."""
        why = await self._copy(job)
        if not why:
            return None
        now = self._clock.now()
        lines = await self._store.jobs.history(job.id)
        if now - job.card.created_at > GIVEN_UP_AFTER:
            trouble = self._jobs.troubles.of_reason("fax_folder", why)
            return TroubleCame(trouble.at, trouble)
        said = [line.about for line in lines if line.word is JobWord.NOT_FILED]
        if said[-1:] != [why]:
            await self._note(job, JobWord.NOT_FILED, why)
        tries = sum(line.word is JobWord.WAITS for line in lines)
        return Waits(now, Awaited.RETRY, now + min(LAST_RETRY, FIRST_RETRY * 2 ** min(tries, 10)))

    async def again(self, job: StoredJob) -> JobEvent:
        """Return what follows when it is time to try again."""
        return await self.file(job) or Finished(self._clock.now())

    async def _copy(self, job: StoredJob) -> str:
        """Copy what is not there yet; return why some could not be."""
        filed = {line.about for line in await self._store.jobs.history(job.id) if line.word is JobWord.FILED}
        documents = await asyncio.to_thread(_documents, job, self._jobs.folder(job.id) / KEPT)
        why = ""
        for folder in file_to(await self._store.load_fax(), job.card.detail("sender")):
            try:
                for target, source in ((Path(folder) / name, source) for name, source in documents):
                    if str(target) not in filed:
                        await asyncio.to_thread(copy_durably, source, target)
                        await self._note(job, JobWord.FILED, str(target))
            except OSError as error:
                why = why or f"{folder}: {error.strerror or error}"
        return why

    async def _note(self, job: StoredJob, word: JobWord, about: str) -> None:
        await self._jobs.apply(job.id, Noted(self._clock.now(), word.value, about))


def _documents(job: StoredJob, kept: Path) -> list[tuple[str, Path]]:
    """Return the names that the documents get, and where they are."""
    sources = sorted(kept.glob("part-*.pdf"))
    base = f"{job.card.created_at:%Y%m%d}-{job.id:06}-{safe_file_name(job.card.title, '', 'fax')[:NAME_LIMIT]}"
    return [(f"{base}{f'-{n}' if n > 1 else ''}.pdf", source) for n, source in enumerate(sources, 1)]
