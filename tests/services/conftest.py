"""The services, closed after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from desk_bench import Machine


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    """Give services on an empty store; time passes only when the test says so."""
    built = Machine()
    yield built
    await built.close()
