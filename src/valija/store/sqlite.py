"""The store on SQLite: see :class:`valija.store.port.Store` for the meaning, :mod:`sqlite_engine` for how it is written.

What may hold a secret (token states, settings, registrations) is one encrypted value a row; beside it stands only what is
searched by.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from valija.domain.account import Actor, Presence, Setting
from valija.domain.administrator import Lockout, Session
from valija.domain.errors import MasterKeyError, StoreError
from valija.domain.record import AuditAction, AuditRecord, ReceivedMessage
from valija.domain.registration import Registration
from valija.domain.settings import MailSettings, PopSettings, SmtpSettings
from valija.domain.text import N_, message
from valija.domain.token import AwaitingAuthorization, Invalid, NotRetrieved, Retrieved, TokenState
from valija.secret import Secret
from valija.store import sqlite_engine as engine
from valija.store import statements as sql
from valija.store.codec import NotReadable, decode_value, encode_value
from valija.store.lock import StateLock
from valija.store.master_key import load_master_key
from valija.store.port import (
    StoredAudit,
    StoredMessage,
    VersionedRegistration,
    VersionedSettings,
    VersionedToken,
)
from valija.store.vault import BoxNotOpened, Vault

_KEY_CHECK: Final = "key_check"
_KEY_CHECK_CLEAR: Final = b"valija"
_PASSWORD: Final = "password"
_LOCKOUT: Final = "lockout"
_STATES: Final = (NotRetrieved, AwaitingAuthorization, Retrieved, Invalid)
T = TypeVar("T")
_Row = tuple[int, bytes] | None


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


class SqliteStore:
    """An open store."""

    def __init__(self, state_dir: Path, vault: Vault, lock: StateLock | None = None) -> None:
        self._vault = vault
        self._lock = lock
        _check_key(state_dir, vault)
        self._db = engine.SqliteEngine(state_dir)

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
        box, due = self._seal("tokens", account, state), _epoch(due_at)

        def work(c: sqlite3.Connection) -> int | None:
            if expected_version == 0:
                found = c.execute(sql.INSERT_TOKEN, (account, state.name.value, due, box)).fetchone()
            else:
                values = (state.name.value, due, box, account, expected_version)
                found = c.execute(sql.REPLACE_TOKEN, values).fetchone()
            if found is not None and audit is not None:
                _append_audit(c, audit)
            return found[0] if found else None

        version = await self._db.write(work)
        return None if version is None else VersionedToken(version, state)

    async def list_tokens(self) -> Mapping[str, VersionedToken]:
        rows = await self._db.read(lambda c: c.execute(sql.LIST_TOKENS).fetchall())
        return {account: self._token(account, version, box) for account, version, box in rows}

    async def tokens_due(self, now: datetime, limit: int) -> list[str]:
        rows = await self._db.read(lambda c: c.execute(sql.TOKENS_DUE, (_epoch(now), limit)).fetchall())
        return [row[0] for row in rows]

    async def next_due(self) -> datetime | None:
        row = await self._db.read(lambda c: c.execute(sql.NEXT_DUE).fetchone())
        return _moment(row[0]) if row and row[0] is not None else None

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
            _append_audit(c, audit)
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
            _append_audit(c, audit)
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
        at = _epoch(m.received_at)
        values = (m.account, m.maildrop, m.unique_id, at, m.file, m.size, m.sender, m.subject)
        row = await self._db.write(lambda c: c.execute(sql.RECORD_RECEIVED, values).fetchone())
        return StoredMessage(row[0], message) if row else None

    async def list_received(self, account: str | None, limit: int) -> list[StoredMessage]:
        query, values = (sql.LIST_RECEIVED, (limit,)) if account is None else (sql.LIST_RECEIVED_OF, (account, limit))
        return [_message(row) for row in await self._db.read(lambda c: c.execute(query, values).fetchall())]

    async def load_received(self, message_id: int) -> StoredMessage | None:
        row = await self._db.read(lambda c: c.execute(sql.LOAD_RECEIVED, (message_id,)).fetchone())
        return _message(row) if row else None

    # --- the administrator ----------------------------------------------------------------------------------------------

    async def load_password_hash(self) -> Secret | None:
        return self._password_hash(await self._db.read(_administrator_row(_PASSWORD)))

    async def save_password_hash(self, expected: Secret | None, new: Secret, record: AuditRecord | None) -> bool:
        box = self._seal_octets("administrator", _PASSWORD, new.reveal().encode())
        records = () if record is None else (record,)
        return await self._swap(_PASSWORD, lambda row: self._password_hash(row) == expected, box, records)

    async def load_lockout(self) -> Lockout:
        return self._lockout(await self._db.read(_administrator_row(_LOCKOUT)))

    async def save_lockout(self, expected: Lockout, new: Lockout, records: Sequence[AuditRecord] = ()) -> bool:
        box = self._seal("administrator", _LOCKOUT, new)
        return await self._swap(_LOCKOUT, lambda row: self._lockout(row) == expected, box, records)

    async def _swap(
        self, name: str, is_expected: Callable[[_Row], bool], box: bytes, records: Sequence[AuditRecord]
    ) -> bool:
        def work(c: sqlite3.Connection) -> bool:
            row = _administrator_row(name)(c)
            if not is_expected(row):
                return False
            if row is None:
                written = c.execute(sql.INSERT_ADMINISTRATOR, (name, box)).fetchone()
            else:
                written = c.execute(sql.REPLACE_ADMINISTRATOR, (box, name, row[0])).fetchone()
            if written is None:
                return False
            for record in records:
                _append_audit(c, record)
            return True

        return await self._db.write(work)

    def _password_hash(self, row: _Row) -> Secret | None:
        return None if row is None else Secret(self._open_octets("administrator", _PASSWORD, row[1]).decode())

    def _lockout(self, row: _Row) -> Lockout:
        return Lockout() if row is None else self._open("administrator", _LOCKOUT, row[1], Lockout)

    async def add_session(self, session: Session, record: AuditRecord) -> None:
        values = (session.key, _epoch(session.last_seen_at), self._seal("sessions", session.key, session))

        def work(c: sqlite3.Connection) -> None:
            c.execute(sql.ADD_SESSION, values)
            _append_audit(c, record)

        await self._db.write(work)

    async def load_session(self, key: str) -> Session | None:
        row = await self._db.read(lambda c: c.execute(sql.LOAD_SESSION, (key,)).fetchone())
        if row is None:
            return None
        return replace(self._open("sessions", key, row[1], Session), last_seen_at=_moment(row[0]))

    async def touch_session(self, key: str, last_seen_at: datetime) -> None:
        at = _epoch(last_seen_at)
        await self._execute(sql.TOUCH_SESSION, (at, key, at))

    async def delete_session(self, key: str) -> None:
        await self._execute(sql.DELETE_SESSION, (key,))

    async def delete_sessions(self, except_key: str | None) -> None:
        await self._execute(sql.DELETE_OTHER_SESSIONS, (except_key or "",))

    async def delete_sessions_before(self, moment: datetime) -> None:
        await self._execute(sql.DELETE_SESSIONS_BEFORE, (_epoch(moment),))

    async def _execute(self, statement: str, values: tuple[Any, ...]) -> None:
        await self._db.write(lambda c: c.execute(statement, values) and None)

    # --- audit ----------------------------------------------------------------------------------------------------------

    async def append_audit(self, record: AuditRecord) -> None:
        await self._db.write(lambda c: _append_audit(c, record))

    async def list_audit(self, limit: int, before_id: int | None = None) -> list[StoredAudit]:
        values = (before_id if before_id is not None else 2**62, limit)
        rows = await self._db.read(lambda c: c.execute(sql.LIST_AUDIT, values).fetchall())
        return [_audit(row) for row in rows]

    # --- encryption -----------------------------------------------------------------------------------------------------

    def _seal(self, table: str, row: str, value: TokenState | MailSettings | Registration | Session | Lockout) -> bytes:
        return self._seal_octets(table, row, encode_value(value))

    def _seal_octets(self, table: str, row: str, clear: bytes) -> bytes:
        return self._vault.seal(clear, f"{table}|{row}|payload")

    def _open(self, table: str, row: str, box: bytes, *expected: type[T]) -> T:
        try:
            return decode_value(self._open_octets(table, row, box), *expected)
        except NotReadable as error:
            raise _unreadable(table, row, error) from None

    def _open_octets(self, table: str, row: str, box: bytes) -> bytes:
        try:
            return self._vault.open(box, f"{table}|{row}|payload")
        except BoxNotOpened as error:
            raise _unreadable(table, row, error) from None

    def _token(self, account: str, version: int, box: bytes) -> VersionedToken:
        state: Any = self._open("tokens", account, box, *_STATES)
        return VersionedToken(version, state)


def _unreadable(table: str, row: str, error: Exception) -> StoreError:
    return StoreError(
        message(N_("An entry of the store cannot be read: {row} in {table}."), row=row, table=table),
        message(N_("Put the store back from your backup, or delete this entry and set it again.")),
        diagnostics=str(error),
    )


def _administrator_row(name: str) -> Callable[[sqlite3.Connection], _Row]:
    def work(c: sqlite3.Connection) -> _Row:
        row: _Row = c.execute(sql.LOAD_ADMINISTRATOR, (name,)).fetchone()
        return row

    return work


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


def _append_audit(c: sqlite3.Connection, r: AuditRecord) -> None:
    details = json.dumps(dict(r.details), ensure_ascii=False, sort_keys=True)
    a = r.actor
    values = (_epoch(r.at), a.who, a.where, a.presence.value, r.action.value, r.subject, details)
    c.execute(sql.APPEND_AUDIT, values)


def _audit(row: tuple[Any, ...]) -> StoredAudit:
    number, at, who, place, presence, action, subject, details = row
    actor = Actor(who, place, Presence(presence))
    return StoredAudit(number, AuditRecord(_moment(at), actor, AuditAction(action), subject, json.loads(details)))


def _message(row: tuple[Any, ...]) -> StoredMessage:
    number, account, maildrop, unique_id, at, file, size, sender, subject = row
    return StoredMessage(
        number, ReceivedMessage(account, maildrop, unique_id, _moment(at), file, size, sender, subject)
    )


def _epoch(at: datetime | None) -> int | None:
    """Return milliseconds since 1970."""
    return None if at is None else round(at.timestamp() * 1000)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
