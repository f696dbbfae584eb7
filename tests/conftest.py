"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from driver import Daemon

pytest_plugins = ["rig_fixture", "chromium_fixture", "postgres", "cups"]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A machine with its sandbox, of this test alone."""
    machine = Daemon(tmp_path).start()
    yield machine
    if machine.process is not None:
        assert machine.stop() == 0, machine.log()[-3000:]


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A machine with its sandbox, for tests that leave it as it was."""
    machine = Daemon(tmp_path_factory.mktemp("machine")).start()
    yield machine
    assert machine.stop() == 0, machine.log()[-3000:]
