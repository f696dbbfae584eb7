"""The store in SQL: see :class:`valija.store.port.Store` for the meaning, the engines for how it is written.

What may hold a secret (token states, settings, registrations) is one encrypted value a row; beside it stands only what is
searched by.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from valija.domain.account import Actor, Presence, Setting
from valija.domain.record import AuditAction, AuditRecord, ReceivedMessage
from valija.domain.refresh_policy import LATEST_DUE
from valija.domain.registration import Registration
from valija.domain.settings import MailSettings, PopSettings, SmtpSettings
from valija.domain.token import AwaitingAuthorization, Invalid, NotRetrieved, Retrieved, TokenState
from valija.store import statements as sql
from valija.store.lock import StateLock
from valija.store.port import (
    Change,
    ChangeKind,
    StoredAudit,
    StoredMessage,
    VersionedRegistration,
    VersionedSettings,
    VersionedToken,
)
from valija.store.spool import Spool
from valija.store.spool_port import BodySpool
from valija.store.sql_administrator import AdministratorRows
from valija.store.sql_alerts import SqlAlerts
from valija.store.sql_api_tokens import ApiTokenRows
from valija.store.sql_contacts import ContactRows
from valija.store.sql_devices import DeviceRows
from valija.store.sql_jobs import SqlJobs
from valija.store.sql_queue import SqlQueue
from valija.store.sql_rows import append_audit, epoch, moment
from valija.store.vault import Vault
from valija.store.work import Engine, Row, Work, each, one, rows

_STATES: Final = (NotRetrieved, AwaitingAuthorization, Retrieved, Invalid)


class SqlStore(AdministratorRows, ApiTokenRows, ContactRows, DeviceRows):
    """An open store."""

    shared = False
    clock_shift = timedelta()

    def __init__(self, database: Engine, queue: SqlQueue, vault: Vault, lock: StateLock | None = None) -> None:
        self._db = database
        self._vault = vault
        self._lock = lock
        self.queue = queue
        self.jobs = SqlJobs(database)
        self.alerting = SqlAlerts(database)

    async def close(self) -> None:
        await self._db.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def spool_in(self, state_dir: Path) -> BodySpool:
        return Spool(state_dir)

    async def changes(self) -> AsyncIterator[Change]:
        for nothing in list[Change]():  # one process owns the database
            yield nothing

    def refreshing(self, account: str) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def have_duty(self, name: str, seconds: float) -> bool:
        return True

    # --- tokens ---------------------------------------------------------------------------------------------------------

    async def load_token(self, account: str) -> VersionedToken:
        row = await self._db.read(lambda: one(sql.LOAD_TOKEN, account))
        return self._token(account, *row) if row else VersionedToken(0, NotRetrieved())

    async def replace_token(
        self,
        account: str,
        expected_version: int,
        state: TokenState,
        *,
        due_at: datetime | None,
        audit: AuditRecord | None = None,
    ) -> VersionedToken | None:
        box, due = self._seal("tokens", account, state), epoch(due_at)

        def work() -> Work[int | None]:
            if expected_version == 0:
                found = yield from one(sql.INSERT_TOKEN, account, state.name.value, due, box)
            else:
                found = yield from one(sql.REPLACE_TOKEN, state.name.value, due, box, account, expected_version)
            if found is None:
                return None
            if audit is not None:
                yield from append_audit(audit)
            yield from self._tell(ChangeKind.TOKEN, account)
            return int(found[0])

        version = await self._db.write(work)
        return None if version is None else VersionedToken(version, state)

    async def list_tokens(self) -> Mapping[str, VersionedToken]:
        found = await self._db.read(lambda: rows(sql.LIST_TOKENS))
        return {account: self._token(account, version, box) for account, version, box in found}

    async def tokens_due(self, now: datetime, limit: int) -> list[str]:
        latest = epoch(now + LATEST_DUE)
        return [row[0] for row in await self._db.read(lambda: rows(sql.TOKENS_DUE, epoch(now), latest, limit))]

    async def next_due(self) -> datetime | None:
        row = await self._db.read(lambda: one(sql.NEXT_DUE))
        return moment(row[0]) if row and row[0] is not None else None

    # --- settings -------------------------------------------------------------------------------------------------------

    async def load_settings(self, setting: Setting) -> VersionedSettings:
        row = await self._db.read(lambda: one(sql.LOAD_SETTINGS, setting.value))
        expected: type[PopSettings] | type[SmtpSettings] = PopSettings if setting.is_pop else SmtpSettings
        if row is None:
            return VersionedSettings(0, expected())
        value: Any = self._open("settings", setting.value, row[1], expected)
        return VersionedSettings(row[0], value)

    async def save_settings(
        self, setting: Setting, expected_version: int, value: MailSettings, audit: AuditRecord
    ) -> VersionedSettings | None:
        return await self._save_settings(setting, expected_version, value, audit, ())

    async def save_settings_and_forget_token(
        self, setting: Setting, expected_version: int, value: MailSettings, audit: AuditRecord
    ) -> VersionedSettings | None:
        return await self._save_settings(setting, expected_version, value, audit, (setting.value,))

    async def _save_settings(
        self, setting: Setting, expected: int, value: MailSettings, audit: AuditRecord, forget: Collection[str]
    ) -> VersionedSettings | None:
        box = self._seal("settings", setting.value, value)
        insert, replace = (setting.value, box), (box, setting.value, expected)
        version = await self._save_versioned(
            expected, (sql.INSERT_SETTINGS, insert), (sql.REPLACE_SETTINGS, replace), audit, forget
        )
        return None if version is None else VersionedSettings(version, value)

    # --- registrations --------------------------------------------------------------------------------------------------

    async def load_registration(self, name: str) -> VersionedRegistration | None:
        row = await self._db.read(lambda: one(sql.LOAD_REGISTRATION, name))
        return VersionedRegistration(row[0], self._open("registrations", name, row[1], Registration)) if row else None

    async def list_registrations(self) -> list[VersionedRegistration]:
        found = await self._db.read(lambda: rows(sql.LIST_REGISTRATIONS))
        return [VersionedRegistration(v, self._open("registrations", n, box, Registration)) for n, v, box in found]

    async def save_registration(
        self, expected_version: int, value: Registration, audit: AuditRecord, *, forget_tokens: Collection[str] = ()
    ) -> VersionedRegistration | None:
        box = self._seal("registrations", value.name, value)
        insert, replace = (value.name, box), (box, value.name, expected_version)
        version = await self._save_versioned(
            expected_version,
            (sql.INSERT_REGISTRATION, insert),
            (sql.REPLACE_REGISTRATION, replace),
            audit,
            forget_tokens,
        )
        return None if version is None else VersionedRegistration(version, value)

    async def delete_registration(self, name: str, audit: AuditRecord, *, forget_tokens: Collection[str] = ()) -> bool:
        boxes = self._forgotten(forget_tokens)

        def work() -> Work[bool]:
            if (yield from one(sql.DELETE_REGISTRATION, name)) is None:
                return False
            yield from self._forget_and_note(boxes, audit)
            return True

        return await self._db.write(work)

    async def _save_versioned(
        self,
        expected: int,
        insert: tuple[str, tuple[Any, ...]],
        replace: tuple[str, tuple[Any, ...]],
        audit: AuditRecord,
        forget: Collection[str],
    ) -> int | None:
        boxes = self._forgotten(forget)
        statement, values = replace if expected else insert

        def work() -> Work[int | None]:
            found = yield from one(statement, *values)
            if found is None:
                return None
            yield from self._forget_and_note(boxes, audit)
            return int(found[0])

        return await self._db.write(work)

    def _forget_and_note(self, boxes: list[tuple[str, bytes, str]], audit: AuditRecord) -> Work[None]:
        yield from each(sql.FORGET_TOKEN, boxes)
        yield from append_audit(audit)
        yield from self._tell(ChangeKind.SETTINGS, audit.subject)
        for _state, _box, account in boxes:
            yield from self._tell(ChangeKind.TOKEN, account)

    def _forgotten(self, accounts: Collection[str]) -> list[tuple[str, bytes, str]]:
        state = NotRetrieved()
        return [(state.name.value, self._seal("tokens", account, state), account) for account in sorted(accounts)]

    # --- received mail --------------------------------------------------------------------------------------------------

    async def known_unique_ids(self, account: str, maildrop: str, unique_ids: Sequence[str]) -> set[str]:
        asked = [(account, maildrop, unique_id) for unique_id in unique_ids]
        return {row[0] for row in await self._db.read(lambda: each(sql.KNOWN, asked))}

    async def record_received(self, message: ReceivedMessage) -> StoredMessage | None:
        row = await self._db.write(lambda: one(sql.RECORD_RECEIVED, *received_values(message)))
        return StoredMessage(row[0], message) if row else None

    async def list_received(self, account: str | None, limit: int) -> list[StoredMessage]:
        query, values = (sql.LIST_RECEIVED, (limit,)) if account is None else (sql.LIST_RECEIVED_OF, (account, limit))
        return [_message(row) for row in await self._db.read(lambda: rows(query, *values))]

    async def received_after(self, account: str, after: int, limit: int) -> list[StoredMessage]:
        return [_message(row) for row in await self._db.read(lambda: rows(sql.RECEIVED_AFTER, account, after, limit))]

    async def load_received(self, message_id: int) -> StoredMessage | None:
        row = await self._db.read(lambda: one(sql.LOAD_RECEIVED, message_id))
        return _message(row) if row else None

    # --- audit ----------------------------------------------------------------------------------------------------------

    async def append_audit(self, record: AuditRecord) -> None:
        await self._db.write(lambda: append_audit(record))

    async def list_audit(self, limit: int, before_id: int | None = None) -> list[StoredAudit]:
        below = before_id if before_id is not None else 2**62
        return [_audit(row) for row in await self._db.read(lambda: rows(sql.LIST_AUDIT, below, limit))]

    def _token(self, account: str, version: int, box: bytes) -> VersionedToken:
        state: Any = self._open("tokens", account, box, *_STATES)
        return VersionedToken(version, state)


def _audit(row: Row) -> StoredAudit:
    number, at, who, place, presence, action, subject, details = row
    actor = Actor(who, place, Presence(presence))
    return StoredAudit(number, AuditRecord(moment(at), actor, AuditAction(action), subject, json.loads(details)))


def received_values(message: ReceivedMessage) -> tuple[Any, ...]:
    """Return the values of :data:`valija.store.statements.RECORD_RECEIVED`."""
    m = message
    return m.account, m.maildrop, m.unique_id, epoch(m.received_at), m.file, m.size, m.sender, m.subject


def _message(row: Row) -> StoredMessage:
    number, account, maildrop, unique_id, at, file, size, sender, subject = row
    return StoredMessage(number, ReceivedMessage(account, maildrop, unique_id, moment(at), file, size, sender, subject))
