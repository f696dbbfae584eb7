"""Pytest plugin: the fixture ``rig``, one set of real peers for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rig import Rig


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """The real peers, started when the first test asks for them."""
    with Rig() as peers:
        yield peers


@pytest.fixture(autouse=True)
def _peers_as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take back what a test configured, so that the next one finds the peers as they were."""
    yield
    if "rig" in request.fixturenames:
        request.getfixturevalue("rig").reset()
