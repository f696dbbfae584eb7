"""The alerts in SQL: see :class:`valija.store.alerts_port.AlertStore` for the meaning."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from valija.domain.alert import Alert, Solved
from valija.domain.alert_telling import Telling
from valija.store.alerts_port import StoredAlert, StoredTelling
from valija.store.codec import NotReadable, decode_value, encode_value
from valija.store.sql_rows import epoch, unreadable
from valija.store.work import Engine, Row, Work, do, one, rows

ALERTS: Final = "SELECT name, version, payload FROM alerts ORDER BY name"
INSERT: Final = (
    "INSERT INTO alerts (name, version, solved_at, payload) VALUES (?, 1, ?, ?) "
    "ON CONFLICT (name) DO NOTHING RETURNING version"
)
REPLACE: Final = (
    "UPDATE alerts SET version = version + 1, solved_at = ?, payload = ? WHERE name = ? AND version = ? "
    "RETURNING version"
)
_TELLING: Final = "SELECT id, name, version, payload FROM tellings "
ADD: Final = (
    "INSERT INTO tellings (name, version, told_at, due_at, payload) VALUES (?, 1, ?, ?, ?) "
    "ON CONFLICT (name) DO NOTHING RETURNING id"
)
DUE: Final = _TELLING + "WHERE due_at <= ? ORDER BY due_at, id LIMIT ?"
LATEST: Final = _TELLING + "ORDER BY id DESC LIMIT ?"
NAMED: Final = "SELECT id FROM tellings WHERE name = ?"
CLAIM: Final = "UPDATE tellings SET version = version + 1, due_at = ? WHERE id = ? AND version = ? RETURNING version"
NOTE: Final = (
    "UPDATE tellings SET version = version + 1, due_at = ?, payload = ? WHERE id = ? AND version = ? RETURNING version"
)
FORGET_ALERTS: Final = "DELETE FROM alerts WHERE solved_at < ?"
FORGET_MORE: Final = (
    "DELETE FROM alerts WHERE solved_at IS NOT NULL AND name NOT IN "
    "(SELECT name FROM alerts WHERE solved_at IS NOT NULL ORDER BY solved_at DESC, name DESC LIMIT ?)"
)
FORGET_TELLINGS: Final = "DELETE FROM tellings WHERE told_at < ? AND due_at IS NULL"


class _Conflict(Exception):
    """What is stored is not what was read: the transaction is taken back."""


class SqlAlerts:
    """The alerts' rows in an open database."""

    def __init__(self, database: Engine) -> None:
        self._db = database

    async def alerts(self) -> list[StoredAlert]:
        found = await self._db.read(lambda: rows(ALERTS))
        try:
            return [StoredAlert(version, decode_value(payload, Alert)) for _name, version, payload in found]
        except NotReadable as error:
            raise unreadable("alerts", "", error) from None

    async def save(self, changes: Sequence[StoredAlert], telling: Telling | None = None) -> bool:
        # in one order on all nodes: two that store the same ones do not wait for each other in a circle
        ordered = sorted(changes, key=lambda stored: stored.alert.condition.key)

        def work() -> Work[None]:
            for stored in ordered:
                name, box = stored.alert.condition.key, encode_value(stored.alert)
                ended = epoch(_solved_at(stored.alert))
                if stored.version == 0:
                    written = yield from one(INSERT, name, ended, box)
                else:
                    written = yield from one(REPLACE, ended, box, name, stored.version)
                if written is None:
                    raise _Conflict
            if telling is not None:
                values = (telling.name, epoch(telling.at), epoch(telling.due_at), encode_value(telling))
                if (yield from one(ADD, *values)) is None:
                    raise _Conflict

        try:
            await self._db.write(work)
        except _Conflict:
            return False
        return True

    async def due(self, now: datetime, limit: int) -> list[StoredTelling]:
        return [_telling(row) for row in await self._db.read(lambda: rows(DUE, epoch(now), limit))]

    async def claim(self, telling: StoredTelling, until: datetime) -> StoredTelling | None:
        row = await self._db.write(lambda: one(CLAIM, epoch(until), telling.id, telling.version))
        return None if row is None else StoredTelling(telling.id, row[0], telling.telling)

    async def note(self, telling: StoredTelling, new: Telling) -> bool:
        values = (epoch(new.due_at), encode_value(new), telling.id, telling.version)
        return await self._db.write(lambda: one(NOTE, *values)) is not None

    async def tellings(self, limit: int) -> list[StoredTelling]:
        return [_telling(row) for row in await self._db.read(lambda: rows(LATEST, limit))]

    async def has_told(self, name: str) -> bool:
        return await self._db.read(lambda: one(NAMED, name)) is not None

    async def forget(self, before: datetime, solved_limit: int) -> None:
        at = epoch(before)

        def work() -> Work[None]:
            yield from do(FORGET_ALERTS, at)
            yield from do(FORGET_MORE, solved_limit)
            yield from do(FORGET_TELLINGS, at)

        await self._db.write(work)


def _solved_at(alert: Alert) -> datetime | None:
    return alert.state.at if isinstance(alert.state, Solved) else None


def _telling(row: Row) -> StoredTelling:
    number, name, version, payload = row
    try:
        return StoredTelling(number, version, decode_value(payload, Telling))
    except NotReadable as error:
        raise unreadable("tellings", name, error) from None
