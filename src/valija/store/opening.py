"""Which store it is: SQLite in the state directory, or PostgreSQL where the configuration names one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, MutableMapping
from pathlib import Path

from valija.domain.errors import ConfigurationError
from valija.domain.text import N_, message
from valija.store import sqlite
from valija.store.sql_store import SqlStore


async def open_store(
    url: str,
    state_dir: Path,
    key_file: Path | None,
    environment: MutableMapping[str, str],
    tls: Callable[[], ssl.SSLContext],
) -> SqlStore:
    """Open the store at ``url``; empty: SQLite in ``state_dir``. ``tls`` makes the context for a server on another machine.

    Raises :class:`ConfigurationError` and the errors below :class:`~valija.domain.errors.StoreError`.
    """
    if not url:
        return await asyncio.to_thread(sqlite.open_store, state_dir, key_file, environment)
    try:
        from valija.store import postgres  # asyncpg: only where it is used
    except ImportError:
        raise ConfigurationError(
            message(N_("The configuration names a PostgreSQL, but what Valija needs for it is not installed.")),
            message(N_("Install it: {command}"), command="pip install 'valija[postgres]'"),
        ) from None
    return await postgres.open_store(url, state_dir, key_file, environment, tls())
