"""The watch: looks at what somebody should know, and tells it.

Theory of operation
-------------------
1. Once a minute, and when a token changes or somebody is locked out, conditions are found out and alerts follow them.
2. What is worth telling becomes a *telling*, stored with the alerts in one transaction: of several nodes one makes it.
3. Each telling is claimed and handed to its channels, each of which is tried again by itself for about two hours. A crash
   loses nothing; at worst a mail comes twice, with the same Message-ID.
4. The panel's lamp and the log show alerts at once, whatever becomes of the channels. A channel that fails is an alert itself.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Final

from valija.domain.alert import (
    Alert,
    AlertKind,
    Condition,
    Level,
    Solved,
    condition,
    see,
)
from valija.domain.alert_settings import AlertSettings
from valija.domain.alert_telling import (
    LINES_LIMIT,
    TELLINGS_PER_HOUR,
    Channel,
    Handing,
    HandingName,
    Telling,
    TellingKind,
    choose,
    handed,
    tell,
)
from valija.domain.clock import Clock
from valija.domain.errors import ValijaError
from valija.domain.status_schedule import due
from valija.services.alert_channels import Channels
from valija.services.alert_conditions import Conditions, Findings
from valija.services.alert_settings import SUBJECT, AlertSettingsDesk
from valija.services.events import AlertsChanged, Event, EventBus, GuessingSeen, SettingsChanged, TokenChanged
from valija.services.preferences import zone_of
from valija.store.alerts_port import StoredAlert, StoredTelling
from valija.store.port import Store

log: Final = logging.getLogger(__name__)
LOOK_S: Final = 60.0
FORGET_S: Final = 3600.0
CLAIM: Final = timedelta(minutes=5)
AT_ONCE: Final = 20
KEPT: Final = timedelta(days=30)
SOLVED_LIMIT: Final = 500  # all are looked at with every page, and who guesses makes new ones with each name
RECENT: Final = 5 * TELLINGS_PER_HOUR
_TRIES: Final = 3


class Alerts:
    """Run :meth:`run` as a task."""

    def __init__(
        self,
        store: Store,
        settings: AlertSettingsDesk,
        conditions: Conditions,
        channels: Channels,
        clock: Clock,
        events: EventBus,
    ) -> None:
        self.settings = settings
        self.channels = channels
        self._store = store
        self._conditions = conditions
        self._clock = clock
        self._events = events
        self._forget_at = float("-inf")

    async def run(self) -> None:
        """Watch and tell, for ever."""
        async with self._events.subscribe() as queue:
            while True:
                try:
                    await self.turn()
                except (ValijaError, OSError) as error:
                    log.warning("alerts_not_seen", extra={"fields": {"why": str(error)}})
                except Exception:  # the watch must outlive whatever it stumbles over
                    log.exception("alerts_broken_off")
                await self._wait(queue)

    async def turn(self) -> None:
        """Look once, and hand out what is due. Raises store errors, OSError."""
        await self.look()
        await self.schedule()
        await self.hand_out()

    async def _wait(self, queue: asyncio.Queue[Event]) -> None:
        sleep = asyncio.ensure_future(self._clock.sleep(LOOK_S))
        try:
            while not sleep.done():
                get = asyncio.ensure_future(queue.get())
                await asyncio.wait({sleep, get}, return_when=asyncio.FIRST_COMPLETED)
                if not get.done():
                    get.cancel()
                    return
                event = get.result()
                if isinstance(event, GuessingSeen):
                    self._conditions.locked_out(event)
                if isinstance(event, SettingsChanged) and event.subject != SUBJECT:
                    continue
                if isinstance(event, GuessingSeen | TokenChanged | SettingsChanged):
                    return
        finally:
            sleep.cancel()

    # --- looking ----------------------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """See what holds, and make a telling of what is worth it."""
        settings = await self.settings.load()
        findings = await self._conditions.find(settings)
        findings = replace(
            findings,
            conditions=(*findings.conditions, *await self._broken_channels(settings)),
            kinds=findings.kinds | {AlertKind.CHANNEL_FAILED},
        )
        for _try in range(_TRIES):
            if await self._follow(settings, findings):
                break
        if self._clock.monotonic() >= self._forget_at:
            self._forget_at = self._clock.monotonic() + FORGET_S
            await self._store.alerting.forget(self._clock.now() - KEPT, SOLVED_LIMIT)

    async def _follow(self, settings: AlertSettings, findings: Findings) -> bool:
        now = self._clock.now()
        stored = {s.alert.condition.key: s for s in await self._store.alerting.alerts()}
        found = {c.key: c for c in findings.conditions}
        after: dict[str, StoredAlert] = dict(stored)
        for key in stored.keys() | found.keys():
            before = stored.get(key)
            if key not in found and before is not None and not self._may_end(before.alert.condition, findings):
                continue
            seen = see(before.alert if before else None, found.get(key), now)
            after[key] = StoredAlert(before.version if before else 0, seen)
        told = [t.telling for t in await self._store.alerting.tellings(RECENT)]
        chosen = choose([s.alert for s in after.values()], [t.at for t in told if t.kind is TellingKind.ALERTS], now)
        for alert, _line in chosen:
            key = alert.condition.key
            after[key] = StoredAlert(after[key].version, tell(alert, now))
        changes = [s for key, s in after.items() if key not in stored or s is not stored[key]]
        changes = [s for s in changes if (old := stored.get(s.alert.condition.key)) is None or old.alert != s.alert]
        if not changes:
            return True
        lines = tuple(line for _alert, line in chosen)
        telling = None
        if lines:
            handings = _handings(settings, max((line.condition.level for line in lines), key=_rank), now)
            more = max(0, len(lines) - LINES_LIMIT)
            name = f"alerts {secrets.token_hex(8)}"
            telling = Telling(name, TellingKind.ALERTS, now, lines[:LINES_LIMIT], handings, more=more)
        if not await self._store.alerting.save(changes, telling):
            return False
        _log(stored, changes)
        self._events.publish(AlertsChanged(now))
        return True

    def _may_end(self, found: Condition, findings: Findings) -> bool:
        return found.kind in findings.kinds and found.node in ("", self._conditions.node)

    async def _broken_channels(self, settings: AlertSettings) -> list[Condition]:
        """A channel whose last telling was given up, as long as it is set."""
        found: dict[Channel, Condition | None] = {}
        for stored in await self._store.alerting.tellings(RECENT):
            for handing in stored.telling.handings:
                if handing.state is not HandingName.WAITING and handing.channel not in found:
                    words = handing.words[:200]
                    broken = condition(AlertKind.CHANNEL_FAILED, handing.channel.value, Level.WARNING, words=words)
                    found[handing.channel] = broken if handing.state is HandingName.GIVEN_UP else None
        active = _active(settings)
        return [c for channel, c in found.items() if c is not None and channel in active]

    # --- telling ----------------------------------------------------------------------------------------------------------

    async def schedule(self) -> None:
        """Make tellings of the status mails that are due."""
        settings, now = await self.settings.load(), self._clock.now()
        zone: tzinfo | None = zone_of(await self._store.load_preferences())
        for one in due(settings, now, zone):
            if await self._store.alerting.has_told(one.name):
                continue
            handing = Handing(Channel.MAIL, HandingName.WAITING, now)
            telling = Telling(one.name, TellingKind.STATUS, now, (), (handing,), to=one.to, since=one.since)
            await self._store.alerting.save((), telling)

    async def hand_out(self) -> None:
        """Hand what is due to its channels."""
        now = self._clock.now()
        for stored in await self._store.alerting.due(now, AT_ONCE):
            claimed = await self._store.alerting.claim(stored, now + CLAIM)
            if claimed is not None:
                await self._hand(claimed)

    async def _hand(self, claimed: StoredTelling) -> None:
        settings = await self.settings.load()
        done = []
        for handing in claimed.telling.handings:
            now = self._clock.now()
            if handing.state is HandingName.WAITING and handing.next_at <= now:
                problem = await self._send(handing.channel, claimed.telling, settings)
                if problem is not None:
                    about = {"channel": handing.channel.value, "why": problem}
                    log.warning("alert_not_sent", extra={"fields": about})
                handing = handed(handing, problem, now)
            done.append(handing)
        await self._store.alerting.note(claimed, replace(claimed.telling, handings=tuple(done)))
        self._events.publish(AlertsChanged(self._clock.now()))

    async def _send(self, channel: Channel, telling: Telling, settings: AlertSettings) -> str | None:
        try:
            return await self.channels.send(channel, telling, settings)
        except Exception as error:  # what the others have told is noted all the same, or it would be told again
            log.exception("alert_channel_broke", extra={"fields": {"channel": channel.value}})
            return type(error).__name__

    async def test(self, channel: Channel) -> str | None:
        """Tell by one channel that this is a test; return why it could not be done, None if it was."""
        now = self._clock.now()
        telling = Telling(f"test {secrets.token_hex(8)}", TellingKind.TEST, now, (), ())
        return await self._send(channel, telling, await self.settings.load())

    async def active(self) -> frozenset[Channel]:
        """Return the channels that are set; the lamp and the log always are."""
        return _active(await self.settings.load())

    async def all(self) -> list[Alert]:
        """Return the alerts: open ones first, the worst of them at the top."""
        found = [stored.alert for stored in await self._store.alerting.alerts()]
        order: Callable[[Alert], tuple[bool, int, float]] = lambda a: (  # noqa: E731
            not a.is_open,
            -a.condition.level.rank,
            -a.since.timestamp(),
        )
        return sorted(found, key=order)


def _rank(level: Level) -> int:
    return level.rank


def _active(settings: AlertSettings) -> frozenset[Channel]:
    found = {Channel.MAIL: settings.alert_to, Channel.WEBHOOK: settings.webhook_url, Channel.SYSLOG: settings.syslog}
    return frozenset(channel for channel, is_set in found.items() if is_set)


def _handings(settings: AlertSettings, worst: Level, now: datetime) -> tuple[Handing, ...]:
    levels = {
        Channel.MAIL: settings.mail_level,
        Channel.WEBHOOK: settings.webhook_level,
        Channel.SYSLOG: settings.syslog_level,
    }
    active = _active(settings)
    wanted = [c for c in Channel if c in active and worst.rank >= levels[c].rank]
    return tuple(Handing(channel, HandingName.WAITING, now) for channel in wanted)


def _log(stored: dict[str, StoredAlert], changes: Sequence[StoredAlert]) -> None:
    """The log hears of what begins and ends, whatever the channels do."""
    for change in changes:
        alert = change.alert
        before = stored.get(alert.condition.key)
        about = {"kind": alert.condition.kind.value, "subject": alert.condition.subject}
        was_open = before is not None and before.alert.is_open
        if alert.is_open and not was_open:
            log.warning("alert_raised", extra={"fields": about | {"level": alert.condition.level.value}})
        elif isinstance(alert.state, Solved) and was_open:
            log.info("alert_solved", extra={"fields": about})
