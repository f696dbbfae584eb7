"""The engines that keep the same contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from valija.store.memory import MemoryStore
from valija.store.port import Store
from valija.store.sqlite import open_store


@pytest.fixture(name="store", params=["memory", "sqlite"])
async def store_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Give an empty store of each engine."""
    opened: Store = MemoryStore() if request.param == "memory" else open_store(tmp_path, None, {})
    yield opened
    await opened.close()
