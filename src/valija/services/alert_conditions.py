"""What somebody should know now, found out from what the machine knows: nothing remote is asked but a printer how it is.

Each of :class:`Conditions`' looks covers some kinds. One that cannot look (a store that does not answer) says so, and what is
known of its kinds stays as it was.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Final

from valija.domain.account import Authentication, Setting
from valija.domain.alert import (
    AlertKind,
    Condition,
    Level,
    condition,
    ending,
)
from valija.domain.alert_settings import AlertSettings, secret_end
from valija.domain.clock import Clock
from valija.domain.errors import ValijaError
from valija.domain.guess_guard import LOCKED
from valija.domain.job import Failed, JobKind
from valija.domain.printer import PrinterState, PrinterStateName, Severity
from valija.domain.queue import RecipientStateName
from valija.domain.token import Invalid, StateName
from valija.net.jose import KeyUnusable, certificate_end
from valija.services.events import GuessingSeen
from valija.services.gateway import Gateway
from valija.services.preferences import zone_of
from valija.services.providers import ProviderBook
from valija.services.status import StatusDesk
from valija.store.port import Store

log: Final = logging.getLogger(__name__)
PRINTER_EVERY: Final = timedelta(minutes=5)
UNREACHABLE_FOR: Final = timedelta(minutes=15)
DEVICE_WINDOW: Final = timedelta(hours=1)
LOCKOUTS_LIMIT: Final = 50
WORDS: Final = 200
MEGABYTE: Final = 1_000_000
WAITING: Final = (RecipientStateName.QUEUED, RecipientStateName.DEFERRED, RecipientStateName.HELD)
K: Final = AlertKind
_Look = Callable[[AlertSettings, datetime], Awaitable[list[Condition]]]


@dataclass(frozen=True, slots=True)
class Findings:
    """What holds now, of the kinds that could be looked at."""

    conditions: tuple[Condition, ...]
    kinds: frozenset[AlertKind]


@dataclass
class Conditions:
    """Finds them out. ``certificates`` are files that an operator put there; ``printer`` asks one how it is."""

    store: Store
    gateway: Gateway
    providers: ProviderBook
    status: StatusDesk
    clock: Clock
    state_dir: Path
    node: str
    certificates: Sequence[Path]
    printer: Callable[[], Awaitable[PrinterState | None]]
    _printer: tuple[datetime, list[Condition]] | None = None
    _baselines: dict[str, tuple[datetime | None, int]] = field(default_factory=dict)
    _lockouts: dict[str, GuessingSeen] = field(default_factory=dict)
    _paused: dict[str, datetime] = field(default_factory=dict)

    async def find(self, settings: AlertSettings) -> Findings:
        """Look at all. Never raises for one that cannot be looked at."""
        now = self.clock.now()
        found: list[Condition] = []
        kinds: set[AlertKind] = set()
        looks: tuple[tuple[_Look, tuple[AlertKind, ...]], ...] = (
            (self._tokens, (K.TOKEN_INVALID, K.TOKEN_ENDING)),
            (self._secrets, (K.SECRET_ENDING,)),
            (self._certificates, (K.CERTIFICATE_ENDING,)),
            (self._gates, (K.ACCOUNT_HELD,)),
            (self._queue, (K.QUEUE_OLD, K.QUEUE_LARGE)),
            (self._upstream, (K.UPSTREAM_UNREACHABLE,)),
            (self._disk, (K.DISK_LOW,)),
            (self._devices, (K.DEVICE_ERRORS,)),
            (self._guessing, (K.LOCKOUT,)),
            (self._printers, (K.PRINTER_FAULT, K.SUPPLIES_LOW)),
            (self._scanner, (K.SCANNER_FAULT,)),
        )
        for look, covered in looks:
            try:
                found += await look(settings, now)
                kinds |= set(covered)
            except (ValijaError, OSError) as error:
                log.warning("condition_not_seen", extra={"fields": {"kinds": list(covered), "why": str(error)}})
            except Exception:  # one look that breaks must not silence the others
                log.exception("condition_broke", extra={"fields": {"kinds": list(covered)}})
        return Findings(tuple(found), frozenset(kinds))

    def locked_out(self, event: GuessingSeen) -> None:
        """Note a lock-out."""
        self._lockouts[event.subject] = event
        while len(self._lockouts) > LOCKOUTS_LIMIT:
            del self._lockouts[next(iter(self._lockouts))]

    # --- accounts ---------------------------------------------------------------------------------------------------------

    async def _tokens(self, _settings: AlertSettings, now: datetime) -> list[Condition]:
        found = []
        for setting in Setting:
            if (await self.store.load_settings(setting)).value.auth is not Authentication.OAUTH2:
                continue
            report = await self.status.report(setting)
            if report.state is StateName.INVALID:
                found.append(condition(K.TOKEN_INVALID, setting.value, Level.CRITICAL))
            elif report.idle_limit_at is not None and report.refreshed_at is not None:
                life = report.idle_limit_at - report.refreshed_at
                near = ending(K.TOKEN_ENDING, setting.value, report.idle_limit_at, now, life=life)
                found += [near] if near else []
        return found

    async def _secrets(self, settings: AlertSettings, now: datetime) -> list[Condition]:
        zone = zone_of(await self.store.load_preferences())
        found = []
        for line in settings.secret_dates:
            said = secret_end(line)
            if said is not None:  # a day is one of the machine's own zone, in which it is told
                begins = datetime.combine(said[1], time())
                begins = begins.replace(tzinfo=zone) if zone is not None else begins.astimezone()
                found.append(ending(K.SECRET_ENDING, said[0], begins.astimezone(UTC), now))
        return [one for one in found if one is not None]

    async def _certificates(self, _settings: AlertSettings, now: datetime) -> list[Condition]:
        found = []
        signed = [r for r in await self.providers.all() if r.certificate]
        found += [await self._certificate(r.name, r.certificate, now, "") for r in signed]
        for path in self.certificates:
            text = await asyncio.to_thread(path.read_text, "ascii", "replace")
            found.append(await self._certificate(str(path), text, now, self.node))
        return [one for one in found if one is not None]

    async def _certificate(self, name: str, text: str, now: datetime, node: str) -> Condition | None:
        try:
            end = await asyncio.to_thread(certificate_end, text)
        except (KeyUnusable, ValueError):  # who uses it says so
            return None
        return ending(K.CERTIFICATE_ENDING, name, end, now, node=node)

    async def _gates(self, _settings: AlertSettings, _now: datetime) -> list[Condition]:
        found = []
        for account, gate in (await self.store.queue.gates()).items():
            if gate.held_at is not None:
                found.append(condition(K.ACCOUNT_HELD, account, Level.WARNING, reason="held"))
            elif gate.blocked is not None:
                state = (await self.store.load_token(account)).state
                if gate.blocked.opens_with_token and isinstance(state, Invalid):
                    continue  # the token's alert says it
                trouble = gate.blocked.trouble
                words = trouble.server_words[:WORDS]
                found.append(condition(K.ACCOUNT_HELD, account, Level.CRITICAL, reason=trouble.reason, words=words))
        return found

    # --- mail -------------------------------------------------------------------------------------------------------------

    async def _queue(self, settings: AlertSettings, now: datetime) -> list[Condition]:
        found = []
        if settings.queue_hours:
            for account, at in (await self.store.queue.oldest_waiting()).items():
                hours = int((now - at).total_seconds() // 3600)
                if hours >= settings.queue_hours:
                    found.append(condition(K.QUEUE_OLD, account, Level.WARNING, hours=str(settings.queue_hours)))
        if settings.queue_count:
            waiting: dict[str, int] = {}
            for (account, state), count in (await self.gateway.counts.read()).items():
                if state in WAITING:
                    waiting[account] = waiting.get(account, 0) + count
            for account, count in waiting.items():
                if count > settings.queue_count:
                    found.append(condition(K.QUEUE_LARGE, account, Level.WARNING, count=str(settings.queue_count)))
        return found

    async def _upstream(self, _settings: AlertSettings, now: datetime) -> list[Condition]:
        """A server that paused an account's mail by not being there, for a while without an end."""
        account = Setting.SMTP.value
        pause = self.gateway.dispatcher.pause_of(account)
        if pause is None or not (pause.words or pause.reason):
            waits = await self.store.queue.oldest_waiting() if account in self._paused else {}
            if account not in waits:
                self._paused.pop(account, None)
            if account not in self._paused:
                return []
        since = self._paused.setdefault(account, now)
        if now - since < UNREACHABLE_FOR:
            return []
        server = (await self.store.load_settings(Setting.SMTP)).value.server
        said = {"words": pause.words[:WORDS] if pause else ""}
        if pause and pause.reason:
            said["reason"] = pause.reason
        return [condition(K.UPSTREAM_UNREACHABLE, server, Level.WARNING, node=self.node, **said)]

    async def _disk(self, settings: AlertSettings, _now: datetime) -> list[Condition]:
        free = (await asyncio.to_thread(shutil.disk_usage, self.state_dir)).free // MEGABYTE
        if not settings.disk_mb or free >= settings.disk_mb:
            return []
        level = Level.CRITICAL if free < settings.disk_mb // 5 else Level.WARNING
        shown = settings.disk_mb if level is Level.WARNING else settings.disk_mb // 5
        return [condition(K.DISK_LOW, self.node, level, node=self.node, free=str(shown))]

    # --- machines ---------------------------------------------------------------------------------------------------------

    async def _devices(self, settings: AlertSettings, now: datetime) -> list[Condition]:
        """Devices that were refused often since they last worked; what was before this start counts for one that never did."""
        found = []
        for device in self.gateway.devices.all():
            seen = self.gateway.devices.sighting(device.login)
            if seen is None or not settings.device_errors:
                continue
            before = self._baselines.get(device.login)
            if before is None or before[0] != seen.accepted_at:
                fresh = seen.refused if seen.accepted_at is not None and before is None else 0
                base = fresh if before is None else seen.refused
                self._baselines[device.login] = before = (seen.accepted_at, base)
            lately = seen.refused_at is not None and now - seen.refused_at < DEVICE_WINDOW
            if lately and seen.refused - before[1] >= settings.device_errors:
                words = seen.last_error[:WORDS]
                found.append(condition(K.DEVICE_ERRORS, device.login, Level.WARNING, node=self.node, words=words))
        return found

    async def _guessing(self, _settings: AlertSettings, now: datetime) -> list[Condition]:
        self._lockouts = {s: e for s, e in self._lockouts.items() if timedelta() <= now - e.at < LOCKED}
        found = [
            condition(K.LOCKOUT, e.subject, Level.WARNING, node=self.node, words=e.address)
            for e in self._lockouts.values()
        ]
        locked = (await self.store.load_lockout()).locked_until
        if locked is not None and locked > now:
            found.append(condition(K.LOCKOUT, "administrator", Level.WARNING, words="-"))
        return found

    async def _printers(self, _settings: AlertSettings, now: datetime) -> list[Condition]:
        if self._printer is None or not timedelta() <= now - self._printer[0] < PRINTER_EVERY:
            name = (await self.store.load_print()).target
            state = await self.printer()
            self._printer = now, [] if state is None else _printer_conditions(name, state)
        return self._printer[1]

    async def _scanner(self, _settings: AlertSettings, _now: datetime) -> list[Condition]:
        for job in await self.store.jobs.list_jobs(kind=JobKind.SCAN, state=None, limit=1):
            state = job.state
            if isinstance(state, Failed) and state.trouble.reason in _SCANNER_FAULTS:
                name = job.card.detail("scanner") or "SANE"
                words = state.trouble.server_words[:WORDS]
                return [condition(K.SCANNER_FAULT, name, Level.WARNING, reason=state.trouble.reason, words=words)]
        return []


_SCANNER_FAULTS: Final = frozenset(
    {"scanner_failed", "scanner_jammed", "scanner_open", "scanner_missing", "scanner_timed_out"}
)


def _printer_conditions(name: str, state: PrinterState) -> list[Condition]:
    found = []
    if not state.can_print and state.state is not PrinterStateName.UNKNOWN:
        faults = [r.keyword for r in state.reasons if r.severity is Severity.ERROR]
        words = ", ".join(faults) or state.words or state.state.value
        found.append(condition(K.PRINTER_FAULT, name, Level.WARNING, words=words[:WORDS]))
    low = [s.name for s in state.supplies if s.level is not None and s.level <= (s.low if s.low is not None else 5)]
    if low:
        found.append(condition(K.SUPPLIES_LOW, name, Level.INFO, words=", ".join(low)[:WORDS]))
    return found
