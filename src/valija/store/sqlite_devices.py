"""The rows of devices and of what was seen of them in SQLite. See the port for the meaning."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

from valija.domain.device import Device
from valija.domain.record import AuditRecord
from valija.domain.sighting import Sighting
from valija.store import statements as sql
from valija.store.codec import NotReadable, decode_value, encode_value
from valija.store.port import VersionedDevice
from valija.store.sqlite_rows import SealedRows, append_audit, epoch, unreadable

_TABLE: Final = "devices"


class DeviceRows(SealedRows):
    """Part of the store."""

    async def list_devices(self) -> list[VersionedDevice]:
        rows = await self._db.read(lambda c: c.execute(sql.LIST_DEVICES).fetchall())
        return [VersionedDevice(version, self._open(_TABLE, login, box, Device)) for login, version, box in rows]

    async def save_device(self, expected_version: int, value: Device, audit: AuditRecord) -> VersionedDevice | None:
        box = self._seal(_TABLE, value.login, value)

        def work(c: sqlite3.Connection) -> int | None:
            if expected_version == 0:
                found = c.execute(sql.INSERT_DEVICE, (value.login, box)).fetchone()
            else:
                found = c.execute(sql.REPLACE_DEVICE, (box, value.login, expected_version)).fetchone()
            if found is not None:
                append_audit(c, audit)
            return None if found is None else int(found[0])

        version = await self._db.write(work)
        return None if version is None else VersionedDevice(version, value)

    async def delete_device(self, login: str, audit: AuditRecord) -> bool:
        def work(c: sqlite3.Connection) -> bool:
            if c.execute(sql.DELETE_DEVICE, (login,)).fetchone() is None:
                return False
            c.execute(sql.DELETE_SIGHTING, (login,))
            append_audit(c, audit)
            return True

        return await self._db.write(work)

    async def list_sightings(self) -> list[Sighting]:
        rows = await self._db.read(lambda c: c.execute(sql.LIST_SIGHTINGS).fetchall())
        return [_sighting(subject, payload) for subject, payload in rows]

    async def save_sightings(self, sightings: Sequence[Sighting], forget: Collection[str] = ()) -> None:
        rows = [(s.subject, epoch(s.last_at), encode_value(s)) for s in sightings]

        def work(c: sqlite3.Connection) -> None:
            c.executemany(sql.SAVE_SIGHTING, rows)
            c.executemany(sql.DELETE_SIGHTING, [(subject,) for subject in forget])

        await self._db.write(work)


def _sighting(subject: str, payload: bytes) -> Sighting:
    try:
        return decode_value(payload, Sighting)
    except NotReadable as error:
        raise unreadable("sightings", subject, error) from None
