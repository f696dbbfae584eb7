"""The engines that keep the same contract."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from postgres import Postgres

from valija.store import postgres, sqlite
from valija.store.memory import MemoryStore
from valija.store.port import Store

ENGINES: Final = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.peers)]


async def open_postgres(url: str, state_dir: Path) -> postgres.PostgresStore:
    """Open a store on a server of the tests, as one more node."""
    return await postgres.open_store(url, state_dir, None, {}, ssl.create_default_context())


@pytest.fixture(name="store", params=ENGINES)
async def store_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Give an empty store of each engine."""
    opened: Store
    if request.param == "memory":
        opened = MemoryStore()
    elif request.param == "sqlite":
        opened = sqlite.open_store(tmp_path, None, {})
    else:
        server: Postgres = request.getfixturevalue("postgres")
        opened = await open_postgres(await server.empty_database(), tmp_path)
    yield opened
    await opened.close()
