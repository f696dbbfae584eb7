"""When status mails are due: daily, weekly, monthly at a local time, once each, also where clocks change. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Final

from valija.domain.alert_settings import AlertSettings
from valija.domain.text import N_


class Period(StrEnum):
    """How often."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


PERIOD_LABELS: Final = {
    Period.DAILY: N_("Daily status"),
    Period.WEEKLY: N_("Weekly status"),
    Period.MONTHLY: N_("Monthly status"),
}


@dataclass(frozen=True, slots=True)
class DueStatus:
    """A status mail: its ``name`` is given once; ``since`` is when its period began."""

    name: str
    period: Period
    to: tuple[str, ...]
    at: datetime
    since: datetime


def due(settings: AlertSettings, now: datetime, zone: tzinfo | None) -> list[DueStatus]:
    """Return the last status mail of each period that should have gone out by now; ``zone`` None is the system's."""
    found = []
    for period, to in _lists(settings):
        day = _last_day(period, settings, now, zone)
        at = _moment(day, settings, zone)
        if to and settings.status_since is not None and at > settings.status_since:
            since = _moment(_day_before(period, day), settings, zone)
            found.append(DueStatus(f"{period} {day.isoformat()}", period, to, at, since))
    return found


def _lists(settings: AlertSettings) -> list[tuple[Period, tuple[str, ...]]]:
    return list(zip(Period, (settings.daily_to, settings.weekly_to, settings.monthly_to), strict=True))


def _last_day(period: Period, settings: AlertSettings, now: datetime, zone: tzinfo | None) -> date:
    day = now.astimezone(zone).date()
    if _moment(day, settings, zone) > now:
        day -= timedelta(days=1)
    if period is Period.WEEKLY:
        return day - timedelta(days=(day.weekday() - settings.status_weekday) % 7)
    return day.replace(day=1) if period is Period.MONTHLY else day


def _day_before(period: Period, day: date) -> date:
    if period is Period.MONTHLY:
        return (day - timedelta(days=1)).replace(day=1)
    return day - timedelta(days=7 if period is Period.WEEKLY else 1)


def _moment(day: date, settings: AlertSettings, zone: tzinfo | None) -> datetime:
    """Return the moment of a day's local time: the first one where it comes twice, one hour on where it does not come."""
    local = datetime.combine(day, time.fromisoformat(settings.status_at))
    return (local.replace(tzinfo=zone) if zone is not None else local.astimezone()).astimezone(UTC)
