"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from driver import Daemon

TESTS = Path(__file__).parent
# begun first, so that no worker is idle at the end
LONG = ("web/test_guide_pictures", "web/test_browser", "end_to_end/", "gateway/", "web/")
pytest_plugins = ["rig_fixture", "chromium_fixture", "postgres", "cups"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that take long before the others; a file's tests stay together, in their order."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(TESTS).as_posix()
        return next((number for number, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _no_authorities_of_the_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is asked of the world outside, and a hundred authorities take longer to read than most tests take."""
    with pytest.MonkeyPatch.context() as patch:
        empty = tmp_path_factory.mktemp("authorities") / "none.pem"
        empty.touch()
        patch.setenv("SSL_CERT_FILE", str(empty))
        yield


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
