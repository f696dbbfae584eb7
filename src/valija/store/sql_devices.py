"""The rows of devices and of what was seen of them. See the port for the meaning."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Final

from valija.domain.account import Setting
from valija.domain.device import Device
from valija.domain.errors import StoreError
from valija.domain.record import AuditRecord
from valija.domain.sighting import Sighting
from valija.store import statements as sql
from valija.store.codec import encode_value
from valija.store.port import ChangeKind, VersionedDevice
from valija.store.sql_rows import SealedRows, append_audit, epoch, readable_values
from valija.store.work import Work, do, each, one, rows

_TABLE: Final = "devices"
log: Final = logging.getLogger(__name__)


class DeviceRows(SealedRows):
    """Part of the store."""

    async def list_devices(self) -> list[VersionedDevice]:
        found = await self._db.read(lambda: rows(sql.LIST_DEVICES))
        return [VersionedDevice(version, self._device(login, box)) for login, version, box in found]

    def _device(self, login: str, box: bytes) -> Device:
        """Return a device; one that cannot be read is switched off, so that it is seen and can be made anew."""
        try:
            return self._open(_TABLE, login, box, Device)
        except StoreError as error:
            log.warning("entry_unreadable", extra={"fields": {"table": _TABLE, "row": login, "why": error.diagnostics}})
            return Device(login, login, Setting.SMTP.value, enabled=False)

    async def save_device(self, expected_version: int, value: Device, audit: AuditRecord) -> VersionedDevice | None:
        box = self._seal(_TABLE, value.login, value)

        def work() -> Work[int | None]:
            if expected_version == 0:
                found = yield from one(sql.INSERT_DEVICE, value.login, box)
            else:
                found = yield from one(sql.REPLACE_DEVICE, box, value.login, expected_version)
            if found is None:
                return None
            yield from append_audit(audit)
            yield from self._tell(ChangeKind.DEVICES)
            return int(found[0])

        version = await self._db.write(work)
        return None if version is None else VersionedDevice(version, value)

    async def delete_device(self, login: str, audit: AuditRecord) -> bool:
        def work() -> Work[bool]:
            if (yield from one(sql.DELETE_DEVICE, login)) is None:
                return False
            yield from do(sql.DELETE_SIGHTING, login)
            yield from append_audit(audit)
            yield from self._tell(ChangeKind.DEVICES)
            return True

        return await self._db.write(work)

    async def list_sightings(self) -> list[Sighting]:
        found = await self._db.read(lambda: rows(sql.LIST_SIGHTINGS))
        return readable_values(Sighting, "sightings", found)

    async def save_sightings(self, sightings: Sequence[Sighting], forget: Collection[str] = ()) -> None:
        # in one order on all nodes: two that store the same subjects do not wait for each other in a circle
        seen = [(s.subject, epoch(s.last_at), encode_value(s)) for s in sorted(sightings, key=lambda s: s.subject)]
        gone = [(subject,) for subject in sorted(forget)]

        def work() -> Work[None]:
            yield from each(sql.SAVE_SIGHTING, seen)
            yield from each(sql.DELETE_SIGHTING, gone)

        await self._db.write(work)
