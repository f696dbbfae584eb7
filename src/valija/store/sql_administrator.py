"""The administrator's rows: password hash, lock-out, preferences, learning mode, fax settings, sessions. See the port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from valija.domain.administrator import Lockout, Session
from valija.domain.alert_settings import AlertSettings
from valija.domain.fax import FaxSettings
from valija.domain.learning import Learning
from valija.domain.preferences import Preferences
from valija.domain.print_job import PrintSettings
from valija.domain.record import AuditRecord
from valija.domain.scan import ScanSettings
from valija.secret import Secret
from valija.store import statements as sql
from valija.store.port import ChangeKind
from valija.store.sql_rows import SealedRows, append_audit, epoch, moment
from valija.store.work import Row, Work, do, one

_PASSWORD: Final = "password"
_LOCKOUT: Final = "lockout"
_PREFERENCES: Final = "preferences"
_LEARNING: Final = "learning"
_FAX: Final = "fax"
_PRINT: Final = "print"
_SCAN: Final = "scan"
_ALERTING: Final = "alerting"
_TOLD: Final = {
    _PREFERENCES: ChangeKind.SETTINGS,
    _FAX: ChangeKind.SETTINGS,
    _PRINT: ChangeKind.SETTINGS,
    _SCAN: ChangeKind.SETTINGS,
    _ALERTING: ChangeKind.SETTINGS,
    _LEARNING: ChangeKind.DEVICES,
}
_Row = Row | None


class AdministratorRows(SealedRows):
    """Part of the store."""

    async def load_password_hash(self) -> Secret | None:
        return self._password_hash(await self._db.read(lambda: one(sql.LOAD_ADMINISTRATOR, _PASSWORD)))

    async def save_password_hash(self, expected: Secret | None, new: Secret, record: AuditRecord | None) -> bool:
        box = self._seal_octets("administrator", _PASSWORD, new.reveal().encode())
        records = () if record is None else (record,)
        return await self._swap(_PASSWORD, lambda row: self._password_hash(row) == expected, box, records)

    async def load_lockout(self) -> Lockout:
        return self._lockout(await self._db.read(lambda: one(sql.LOAD_ADMINISTRATOR, _LOCKOUT)))

    async def save_lockout(self, expected: Lockout, new: Lockout, records: Sequence[AuditRecord] = ()) -> bool:
        box = self._seal("administrator", _LOCKOUT, new)
        return await self._swap(_LOCKOUT, lambda row: self._lockout(row) == expected, box, records)

    async def load_preferences(self) -> Preferences:
        return self._preferences(await self._db.read(lambda: one(sql.LOAD_ADMINISTRATOR, _PREFERENCES)))

    async def save_preferences(self, expected: Preferences, new: Preferences, record: AuditRecord) -> bool:
        box = self._seal("administrator", _PREFERENCES, new)
        return await self._swap(_PREFERENCES, lambda row: self._preferences(row) == expected, box, (record,))

    async def load_learning(self) -> Learning:
        return self._learning(await self._db.read(lambda: one(sql.LOAD_ADMINISTRATOR, _LEARNING)))

    async def save_learning(self, expected: Learning, new: Learning, record: AuditRecord) -> bool:
        box = self._seal("administrator", _LEARNING, new)
        return await self._swap(_LEARNING, lambda row: self._learning(row) == expected, box, (record,))

    async def load_fax(self) -> FaxSettings:
        return self._fax(await self._db.read(lambda: one(sql.LOAD_ADMINISTRATOR, _FAX)))

    async def save_fax(self, expected: FaxSettings, new: FaxSettings, record: AuditRecord) -> bool:
        box = self._seal("administrator", _FAX, new)
        return await self._swap(_FAX, lambda row: self._fax(row) == expected, box, (record,))

    async def load_print(self) -> PrintSettings:
        return self._print(await self._db.read(lambda: one(sql.LOAD_ADMINISTRATOR, _PRINT)))

    async def save_print(self, expected: PrintSettings, new: PrintSettings, record: AuditRecord) -> bool:
        box = self._seal("administrator", _PRINT, new)
        return await self._swap(_PRINT, lambda row: self._print(row) == expected, box, (record,))

    async def load_scan_settings(self) -> ScanSettings:
        return self._scan(await self._db.read(lambda: one(sql.LOAD_ADMINISTRATOR, _SCAN)))

    async def save_scan_settings(self, expected: ScanSettings, new: ScanSettings, record: AuditRecord) -> bool:
        box = self._seal("administrator", _SCAN, new)
        return await self._swap(_SCAN, lambda row: self._scan(row) == expected, box, (record,))

    async def load_alerting(self) -> AlertSettings:
        return self._alerting(await self._db.read(lambda: one(sql.LOAD_ADMINISTRATOR, _ALERTING)))

    async def save_alerting(self, expected: AlertSettings, new: AlertSettings, record: AuditRecord) -> bool:
        box = self._seal("administrator", _ALERTING, new)
        return await self._swap(_ALERTING, lambda row: self._alerting(row) == expected, box, (record,))

    async def _swap(
        self, name: str, is_expected: Callable[[_Row], bool], box: bytes, records: Sequence[AuditRecord]
    ) -> bool:
        def work() -> Work[bool]:
            row = yield from one(sql.LOAD_ADMINISTRATOR, name)
            if not is_expected(row):
                return False
            if row is None:
                written = yield from one(sql.INSERT_ADMINISTRATOR, name, box)
            else:
                written = yield from one(sql.REPLACE_ADMINISTRATOR, box, name, row[0])
            if written is None:
                return False
            for record in records:
                yield from append_audit(record)
            if name in _TOLD:
                yield from self._tell(_TOLD[name], records[0].subject if records else "")
            return True

        return await self._db.write(work)

    def _password_hash(self, row: _Row) -> Secret | None:
        return None if row is None else Secret(self._open_octets("administrator", _PASSWORD, row[1]).decode())

    def _lockout(self, row: _Row) -> Lockout:
        return Lockout() if row is None else self._open("administrator", _LOCKOUT, row[1], Lockout)

    def _preferences(self, row: _Row) -> Preferences:
        return Preferences() if row is None else self._open("administrator", _PREFERENCES, row[1], Preferences)

    def _learning(self, row: _Row) -> Learning:
        return Learning() if row is None else self._open("administrator", _LEARNING, row[1], Learning)

    def _fax(self, row: _Row) -> FaxSettings:
        return FaxSettings() if row is None else self._open("administrator", _FAX, row[1], FaxSettings)

    def _print(self, row: _Row) -> PrintSettings:
        return PrintSettings() if row is None else self._open("administrator", _PRINT, row[1], PrintSettings)

    def _scan(self, row: _Row) -> ScanSettings:
        return ScanSettings() if row is None else self._open("administrator", _SCAN, row[1], ScanSettings)

    def _alerting(self, row: _Row) -> AlertSettings:
        return AlertSettings() if row is None else self._open("administrator", _ALERTING, row[1], AlertSettings)

    async def add_session(self, session: Session, record: AuditRecord) -> None:
        values = (session.key, epoch(session.last_seen_at), self._seal("sessions", session.key, session))

        def work() -> Work[None]:
            yield from do(sql.ADD_SESSION, *values)
            yield from append_audit(record)

        await self._db.write(work)

    async def load_session(self, key: str) -> Session | None:
        row = await self._db.read(lambda: one(sql.LOAD_SESSION, key))
        if row is None:
            return None
        return replace(self._open("sessions", key, row[1], Session), last_seen_at=moment(row[0]))

    async def touch_session(self, key: str, last_seen_at: datetime) -> None:
        at = epoch(last_seen_at)
        await self._db.write(lambda: do(sql.TOUCH_SESSION, at, key, at))

    async def delete_session(self, key: str) -> None:
        await self._db.write(lambda: do(sql.DELETE_SESSION, key))

    async def delete_sessions(self, except_key: str | None) -> None:
        await self._db.write(lambda: do(sql.DELETE_OTHER_SESSIONS, except_key or ""))

    async def delete_sessions_before(self, moment: datetime) -> None:
        await self._db.write(lambda: do(sql.DELETE_SESSIONS_BEFORE, epoch(moment)))
