"""The state of the machine as a mail: tokens and their dates, mail and jobs, open alerts, disk, supplies."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from valija.domain.account import Setting
from valija.domain.alert import LEVEL_LABELS
from valija.domain.clock import Clock
from valija.domain.job import JobKind, JobStateName
from valija.domain.printer import PrinterState
from valija.domain.queue import RecipientStateName
from valija.domain.status_schedule import PERIOD_LABELS, Period
from valija.domain.text import N_, Message, message
from valija.domain.token import StateName
from valija.services.alert_words import Words, setting_name
from valija.services.gateway import Gateway
from valija.services.status import StatusDesk
from valija.store.port import Store

JOBS_LIMIT: Final = 5000
DAY: Final = timedelta(days=1)
MEGABYTE: Final = 1_000_000
_TOKENS: Final = {
    StateName.NOT_RETRIEVED: N_("Not retrieved"),
    StateName.AWAITING_AUTHORIZATION: N_("Waiting for authorization"),
    StateName.RETRIEVED: N_("Retrieved"),
    StateName.INVALID: N_("Invalid"),
}
_WAITING: Final = (RecipientStateName.QUEUED, RecipientStateName.DEFERRED, RecipientStateName.IN_FLIGHT)
_KINDS: Final = {
    JobKind.SCAN: N_("Scans"),
    JobKind.FAX_SEND: N_("Faxes sent"),
    JobKind.FAX_RECEIVE: N_("Faxes received"),
    JobKind.PRINT: N_("Prints"),
    JobKind.STATUS_REQUEST: N_("Status requests"),
}


class StatusReport:
    """Makes it."""

    def __init__(
        self,
        store: Store,
        gateway: Gateway,
        status: StatusDesk,
        clock: Clock,
        state_dir: Path,
        printer: Callable[[], Awaitable[PrinterState | None]],
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._status = status
        self._clock = clock
        self._state_dir = state_dir
        self._printer = printer

    async def mail(self, period: str, since: datetime | None, words: Words) -> tuple[str, str]:
        """Return subject and text; ``period`` is one of the schedule's, or anything else for a state that was asked for."""
        machine = (await self._store.load_preferences()).name
        known = period in tuple(Period)
        title = words.text(PERIOD_LABELS[Period(period)] if known else N_("State of the machine"))
        return f"{machine}: {title}"[:150], await self.text(since, words)

    async def text(self, since: datetime | None, words: Words) -> str:
        """Return the state now, and what was done since then (the last day, if that is not said)."""
        now = self._clock.now()
        begin = since or now - DAY
        parts = [
            [words.text(message(N_("{machine}, {time}"), machine=await self._name(), time=words.moment(now)))],
            await self._alerts(words),
            await self._tokens(words),
            await self._mail(begin, words),
            await self._jobs(begin, words),
            await self._machine(words),
        ]
        return "\n\n".join("\n".join(part) for part in parts if part) + "\n"

    async def _name(self) -> str:
        return (await self._store.load_preferences()).name

    async def _alerts(self, words: Words) -> list[str]:
        found = [s.alert for s in await self._store.alerting.alerts() if s.alert.is_open]
        if not found:
            return [words.text(N_("There are no alerts."))]
        found.sort(key=lambda alert: (-alert.condition.level.rank, alert.since))
        lines = [f"  {words.text(LEVEL_LABELS[a.condition.level])}: {words.sentence(a.condition)}" for a in found[:30]]
        return [words.text(N_("Alerts:")), *lines]

    async def _tokens(self, words: Words) -> list[str]:
        lines = [words.text(N_("Tokens:"))]
        for setting in Setting:
            report = await self._status.report(setting)
            line = f"  {setting_name(words, setting)}: {words.text(_TOKENS[report.state])}"
            if report.idle_limit_at is not None:
                until = message(N_("to be refreshed before {time}"), time=words.moment(report.idle_limit_at))
                line += f", {words.text(until)}"
            lines.append(line)
        return lines

    async def _mail(self, since: datetime, words: Words) -> list[str]:
        passed = await self._gateway.traffic.counted(since)
        counts: Counter[RecipientStateName] = Counter()
        for (_account, state), count in (await self._gateway.counts.read()).items():
            counts[state] += count
        rows: list[Message] = [
            message(N_("accepted: {count}"), count=passed.accepted),
            message(N_("delivered: {count}"), count=passed.delivered),
            message(N_("failed: {count}"), count=passed.failed),
            message(N_("waiting now: {count}"), count=sum(counts[state] for state in _WAITING)),
            message(N_("held now: {count}"), count=counts[RecipientStateName.HELD]),
        ]
        head = words.text(message(N_("Mail since {time} (recipients):"), time=words.moment(since)))
        return [head, *(f"  {words.text(row)}" for row in rows)]

    async def _jobs(self, since: datetime, words: Words) -> list[str]:
        lines = []
        for kind, label in _KINDS.items():
            jobs = await self._store.jobs.list_jobs(kind=kind, state=None, limit=JOBS_LIMIT)
            lately = [job for job in jobs if job.card.created_at >= since]
            if lately:
                failed = sum(job.state.name is JobStateName.FAILED for job in lately)
                told = message(N_("{count}, of which {failed} failed"), count=len(lately), failed=failed)
                lines.append(f"  {words.text(label)}: {words.text(told)}")
        head = words.text(message(N_("Jobs since {time}:"), time=words.moment(since)))
        return [head, *lines] if lines else []

    async def _machine(self, words: Words) -> list[str]:
        free = (await asyncio.to_thread(shutil.disk_usage, self._state_dir)).free // MEGABYTE
        lines = [words.text(message(N_("Disk: {free} MB are free."), free=free))]
        state = await self._printer()
        if state is not None:
            lines += [
                words.text(message(N_("Supply {name}: {level} %"), name=supply.name, level=supply.level))
                for supply in state.supplies
                if supply.level is not None
            ]
        return lines
