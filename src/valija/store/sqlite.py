"""The store on SQLite: see :class:`valija.store.port.Store` for the meaning, :mod:`sqlite_engine` for how it is written.

What may hold a secret (token states, settings, registrations) is one encrypted value a row; beside it stands only what is
searched by.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from valija.domain.account import Actor, Presence, Setting
from valija.domain.errors import MasterKeyError
from valija.domain.record import AuditAction, AuditRecord, ReceivedMessage
from valija.domain.registration import Registration
from valija.domain.settings import MailSettings, PopSettings, SmtpSettings
from valija.domain.text import N_, message
from valija.domain.token import AwaitingAuthorization, Invalid, NotRetrieved, Retrieved, TokenState
from valija.store import sqlite_engine as engine
from valija.store import statements as sql
from valija.store.lock import StateLock
from valija.store.master_key import load_master_key
from valija.store.port import (
    StoredAudit,
    StoredMessage,
    VersionedRegistration,
    VersionedSettings,
    VersionedToken,
)
from valija.store.sqlite_administrator import AdministratorRows
from valija.store.sqlite_api_tokens import ApiTokenRows
from valija.store.sqlite_devices import DeviceRows
from valija.store.sqlite_queue import SqliteQueue
from valija.store.sqlite_rows import append_audit, epoch, moment
from valija.store.vault import BoxNotOpened, Vault

_KEY_CHECK: Final = "key_check"
_KEY_CHECK_CLEAR: Final = b"valija"
_STATES: Final = (NotRetrieved, AwaitingAuthorization, Retrieved, Invalid)


def open_store(state_dir: Path, key_file: Path | None, environment: MutableMapping[str, str]) -> SqliteStore:
    """Take the state directory, find the master key, open the database; blocking, for start-up.

    Raises the errors below :class:`StoreError`; whatever they are, files that were there are left as they were.
    """
    lock = StateLock(state_dir)
    try:
        key = load_master_key(state_dir, key_file, environment, store_exists=engine.exists(state_dir))
        return SqliteStore(state_dir, Vault(key), lock)
    except BaseException:
        lock.release()
        raise


class SqliteStore(AdministratorRows, ApiTokenRows, DeviceRows):
    """An open store."""

    def __init__(self, state_dir: Path, vault: Vault, lock: StateLock | None = None) -> None:
        self._vault = vault
        self._lock = lock
        _check_key(state_dir, vault)
        self._db = engine.SqliteEngine(state_dir)
        self.queue = SqliteQueue(self._db)

    async def close(self) -> None:
        await self._db.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # --- tokens ---------------------------------------------------------------------------------------------------------

    async def load_token(self, account: str) -> VersionedToken:
        row = await self._db.read(lambda c: c.execute(sql.LOAD_TOKEN, (account,)).fetchone())
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

        def work(c: sqlite3.Connection) -> int | None:
            if expected_version == 0:
                found = c.execute(sql.INSERT_TOKEN, (account, state.name.value, due, box)).fetchone()
            else:
                values = (state.name.value, due, box, account, expected_version)
                found = c.execute(sql.REPLACE_TOKEN, values).fetchone()
            if found is not None and audit is not None:
                append_audit(c, audit)
            return found[0] if found else None

        version = await self._db.write(work)
        return None if version is None else VersionedToken(version, state)

    async def list_tokens(self) -> Mapping[str, VersionedToken]:
        rows = await self._db.read(lambda c: c.execute(sql.LIST_TOKENS).fetchall())
        return {account: self._token(account, version, box) for account, version, box in rows}

    async def tokens_due(self, now: datetime, limit: int) -> list[str]:
        rows = await self._db.read(lambda c: c.execute(sql.TOKENS_DUE, (epoch(now), limit)).fetchall())
        return [row[0] for row in rows]

    async def next_due(self) -> datetime | None:
        row = await self._db.read(lambda c: c.execute(sql.NEXT_DUE).fetchone())
        return moment(row[0]) if row and row[0] is not None else None

    # --- settings -------------------------------------------------------------------------------------------------------

    async def load_settings(self, setting: Setting) -> VersionedSettings:
        row = await self._db.read(lambda c: c.execute(sql.LOAD_SETTINGS, (setting.value,)).fetchone())
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
        row = await self._db.read(lambda c: c.execute(sql.LOAD_REGISTRATION, (name,)).fetchone())
        return VersionedRegistration(row[0], self._open("registrations", name, row[1], Registration)) if row else None

    async def list_registrations(self) -> list[VersionedRegistration]:
        rows = await self._db.read(lambda c: c.execute(sql.LIST_REGISTRATIONS).fetchall())
        return [VersionedRegistration(v, self._open("registrations", n, box, Registration)) for n, v, box in rows]

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

        def work(c: sqlite3.Connection) -> bool:
            if c.execute(sql.DELETE_REGISTRATION, (name,)).fetchone() is None:
                return False
            c.executemany(sql.FORGET_TOKEN, boxes)
            append_audit(c, audit)
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

        def work(c: sqlite3.Connection) -> int | None:
            found = c.execute(*(replace if expected else insert)).fetchone()
            if found is None:
                return None
            c.executemany(sql.FORGET_TOKEN, boxes)
            append_audit(c, audit)
            return int(found[0])

        return await self._db.write(work)

    def _forgotten(self, accounts: Collection[str]) -> list[tuple[str, bytes, str]]:
        state = NotRetrieved()
        return [(state.name.value, self._seal("tokens", account, state), account) for account in accounts]

    # --- received mail --------------------------------------------------------------------------------------------------

    async def known_unique_ids(self, account: str, maildrop: str, unique_ids: Sequence[str]) -> set[str]:
        def work(c: sqlite3.Connection) -> set[str]:
            return {uid for uid in unique_ids if c.execute(sql.IS_KNOWN, (account, maildrop, uid)).fetchone()}

        return await self._db.read(work)

    async def record_received(self, message: ReceivedMessage) -> StoredMessage | None:
        m = message
        at = epoch(m.received_at)
        values = (m.account, m.maildrop, m.unique_id, at, m.file, m.size, m.sender, m.subject)
        row = await self._db.write(lambda c: c.execute(sql.RECORD_RECEIVED, values).fetchone())
        return StoredMessage(row[0], message) if row else None

    async def list_received(self, account: str | None, limit: int) -> list[StoredMessage]:
        query, values = (sql.LIST_RECEIVED, (limit,)) if account is None else (sql.LIST_RECEIVED_OF, (account, limit))
        return [_message(row) for row in await self._db.read(lambda c: c.execute(query, values).fetchall())]

    async def load_received(self, message_id: int) -> StoredMessage | None:
        row = await self._db.read(lambda c: c.execute(sql.LOAD_RECEIVED, (message_id,)).fetchone())
        return _message(row) if row else None

    # --- audit ----------------------------------------------------------------------------------------------------------

    async def append_audit(self, record: AuditRecord) -> None:
        await self._db.write(lambda c: append_audit(c, record))

    async def list_audit(self, limit: int, before_id: int | None = None) -> list[StoredAudit]:
        values = (before_id if before_id is not None else 2**62, limit)
        rows = await self._db.read(lambda c: c.execute(sql.LIST_AUDIT, values).fetchall())
        return [_audit(row) for row in rows]

    def _token(self, account: str, version: int, box: bytes) -> VersionedToken:
        state: Any = self._open("tokens", account, box, *_STATES)
        return VersionedToken(version, state)


def _check_key(state_dir: Path, vault: Vault) -> None:
    """Compare the key with the store's, or note it in a new store; without starting any thread."""
    path = state_dir / engine.FILE_NAME
    place = f"meta|{_KEY_CHECK}|value"
    connection = engine.open_database(state_dir)
    try:
        row = connection.execute(sql.LOAD_META, (_KEY_CHECK,)).fetchone()
        if row is None:
            connection.execute(sql.INSERT_META, (_KEY_CHECK, vault.seal(_KEY_CHECK_CLEAR, place)))
        else:
            vault.open(row[0], place)
    except BoxNotOpened:
        raise MasterKeyError(
            message(N_("The master key is not the one that the store {file} was encrypted with."), file=str(path)),
            message(N_("Put the right key back from your backup. Nothing was changed.")),
        ) from None
    except sqlite3.Error as error:
        raise engine.explain(error, path) from None
    finally:
        connection.close()


def _audit(row: tuple[Any, ...]) -> StoredAudit:
    number, at, who, place, presence, action, subject, details = row
    actor = Actor(who, place, Presence(presence))
    return StoredAudit(number, AuditRecord(moment(at), actor, AuditAction(action), subject, json.loads(details)))


def _message(row: tuple[Any, ...]) -> StoredMessage:
    number, account, maildrop, unique_id, at, file, size, sender, subject = row
    return StoredMessage(number, ReceivedMessage(account, maildrop, unique_id, moment(at), file, size, sender, subject))
