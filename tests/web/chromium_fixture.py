"""Pytest plugin: the fixture ``chromium``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from panel_driver import chromium_browser
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    with chromium_browser() as browser:
        yield browser
