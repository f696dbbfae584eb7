"""Every screen in both languages: it fits small screens, has no barrier, and its picture stands in docs/images for the guides.

``VALIJA_PICTURES=1`` draws the pictures anew (``make pictures``); otherwise only what they show is checked.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tour import Tour, let_a_day_pass

from driver import Daemon

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
GUIDES = {"en": ROOT / "docs" / "guide.en.md", "es": ROOT / "docs" / "guide.es.md"}


@pytest.mark.parametrize("language", ["en", "es"])
def test_every_screen_fits_and_has_its_picture(chromium: Browser, daemon: Daemon, language: str) -> None:
    """Nothing is wider than the screen or cut off, at 800x480, 1024x600 and on a phone."""
    pictures = IMAGES / language if os.environ.get("VALIJA_PICTURES") == "1" else None
    let_a_day_pass(daemon)
    tour = Tour(chromium, daemon, language, pictures)
    tour.first_start()
    tour.jobs()
    tour.settings()
    tour.gateway()
    tour.desk()
    tour.trouble()
    tour.lock_out()
    tour.walk()
    assert tour.faults == [], "\n".join(map(str, tour.faults))
    assert sorted(path.stem for path in (IMAGES / language).glob("*.png")) == sorted(tour.names), "run `make pictures`"


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_guide_shows_every_picture(language: str) -> None:
    """In its own language, each with words for those who do not see it."""
    text = GUIDES[language].read_text("utf-8")
    shown = re.findall(r"!\[([^\]]+)\]\(images/(\w+)/([\w-]+)\.png\)", text)
    assert {place for _words, place, _name in shown} == {language}
    assert {name for _words, _place, name in shown} == {path.stem for path in (IMAGES / language).glob("*.png")}
