"""The file of a SQLite store: made, brought to the latest schema, or refused and left as it is; what its errors mean."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from valija.domain.errors import StoreDamaged, StoreError, StoreFull
from valija.domain.text import N_, message
from valija.store.master_key import directory_unusable, sync_directory
from valija.store.schema import Dialect, latest_version, migration, refuse_later

FILE_NAME: Final = "valija.sqlite3"
MARKER_NAME: Final = "valija.store"
APPLICATION_ID: Final = 0x56414C49
QUICK_CHECK_LIMIT: Final = 64 * 1024 * 1024
DIALECT: Final = Dialect(
    "sqlite",
    {
        "id": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "blob": "BLOB",
        "bigint": "INTEGER",
        "text": "TEXT",
        "strict": "STRICT",
        "lock": "",  # there is one writer
        "skip": "",
    },
)
_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC})
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR_SHORT_READ})


def exists(state_dir: Path) -> bool:
    """Tell whether there is, or was, a store in ``state_dir``."""
    return (state_dir / MARKER_NAME).exists() or (state_dir / FILE_NAME).exists()


def open_database(state_dir: Path) -> sqlite3.Connection:
    """Open the database for writing, made or brought to the latest schema. Raises errors below ``StoreError``."""
    path, marker = state_dir / FILE_NAME, state_dir / MARKER_NAME
    is_new = not path.exists() or path.stat().st_size == 0
    if is_new and marker.exists():
        raise StoreDamaged(
            message(N_("The store {file} is gone or empty, but it was there before."), file=str(path)),
            message(N_("Put it back from your backup; to begin anew, remove {marker} too."), marker=str(marker)),
        )
    connection = None
    try:
        if not is_new:
            _refuse_foreign(path, was_made=marker.exists())
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA busy_timeout=5000")
        migrate(connection, path)
        if not marker.exists():
            marker.write_text("a store was made here\n")
            sync_directory(state_dir)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise explain(error, path) from None
    except OSError as error:
        if connection is not None:
            connection.close()
        raise directory_unusable(state_dir, error) from None
    except StoreError:
        if connection is not None:
            connection.close()
        raise
    return connection


def _refuse_foreign(path: Path, *, was_made: bool) -> None:
    """Look at a file without writing a byte: is it ours, of a version we know, and whole?

    ``was_made``: a store was finished here once, so a database without tables (a file cut down to one octet) is not new.
    """
    try:
        _look(path, "ro", was_made=was_made)
    except sqlite3.OperationalError as error:
        if was_made or error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        # a first start was cut short before the journal was a WAL: what it had begun is undone, then there is something to see
        _look(path, "rw", was_made=was_made)


def _look(path: Path, mode: str, *, was_made: bool) -> None:
    connection = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, isolation_level=None)
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != APPLICATION_ID and (application or tables):
            raise StoreDamaged(
                message(N_("{file} is a database of another program."), file=str(path)),
                message(N_("Move it away, or name another directory with --state-dir.")),
            )
        if was_made and not tables:
            raise damaged(path, "no tables")
        refuse_later(connection.execute("PRAGMA user_version").fetchone()[0], str(path))
        if path.stat().st_size < QUICK_CHECK_LIMIT:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise damaged(path, found)
    finally:
        connection.close()


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema to the latest version, in one transaction."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    refuse_later(version, str(path))
    if version == latest_version():
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in migration(version, DIALECT):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={latest_version()}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def damaged(path: Path, found: str) -> StoreDamaged:
    """Return the error for a file that cannot be trusted."""
    return StoreDamaged(
        message(N_("The store {file} is damaged."), file=str(path)),
        message(N_("Put it back from your backup. Nothing was changed.")),
        diagnostics=found[:300],
    )


def explain(error: sqlite3.Error, path: Path) -> StoreError | StoreFull:
    """Return what an error of SQLite means."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _FULL or code & 0xFF == sqlite3.SQLITE_FULL:
        return StoreFull(
            message(N_("There is no space left for the store {file}; nothing was changed."), file=str(path)),
            message(N_("Make space on the disk; what waits goes on by itself.")),
            diagnostics=str(error),
        )
    if code in _DAMAGED or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, str(error))
    return StoreError(
        message(N_("The store {file} cannot be used: {why}."), file=str(path), why=str(error)),
        message(N_("Check the disk, and owner and permissions of the state directory.")),
        diagnostics=str(error),
    )
