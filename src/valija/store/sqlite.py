"""The store on SQLite: opened under a lock, with the key that it was made with."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from valija.domain.errors import MasterKeyError
from valija.domain.text import N_, message
from valija.store import sqlite_engine as engine
from valija.store import sqlite_file as files
from valija.store.key_check import check_key
from valija.store.lock import StateLock
from valija.store.master_key import load_master_key
from valija.store.sql_store import SqlStore
from valija.store.sqlite_queue import SqliteQueue
from valija.store.vault import BoxNotOpened, Vault


def open_store(state_dir: Path, key_file: Path | None, environment: MutableMapping[str, str]) -> SqliteStore:
    """Take the state directory, find the master key, open the database; blocking, for start-up.

    Raises the errors below :class:`StoreError`; whatever they are, files that were there are left as they were.
    """
    lock = StateLock(state_dir)
    try:
        key = load_master_key(state_dir, key_file, environment, store_exists=files.exists(state_dir))
        return SqliteStore(state_dir, Vault(key), lock)
    except BaseException:
        lock.release()
        raise


class SqliteStore(SqlStore):
    """An open store."""

    def __init__(self, state_dir: Path, vault: Vault, lock: StateLock | None = None) -> None:
        _check_key(state_dir, vault)
        database = engine.SqliteEngine(state_dir)
        super().__init__(database, SqliteQueue(database), vault, lock)


def _check_key(state_dir: Path, vault: Vault) -> None:
    """Compare the key with the store's, or note it in a new store; without starting any thread."""
    path = state_dir / files.FILE_NAME
    connection = files.open_database(state_dir)
    try:
        engine.run(connection, check_key(vault))
    except BoxNotOpened:
        raise MasterKeyError(
            message(N_("The master key is not the one that the store {file} was encrypted with."), file=str(path)),
            message(N_("Put the right key back from your backup. Nothing was changed.")),
        ) from None
    except engine.Error as error:
        raise files.explain(error, path) from None
    finally:
        connection.close()
