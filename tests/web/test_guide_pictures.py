"""Every screen in both languages: it fits the small screens, and its picture stands in docs/images for the user's guides.

``VALIJA_PICTURES=1`` draws the pictures anew (``make pictures``); otherwise only what they show is checked.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from driver import Daemon, decide

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
GUIDES = {"en": ROOT / "docs" / "guide.en.md", "es": ROOT / "docs" / "guide.es.md"}
PASSWORD = "correct horse 7"
ANA = "ana@sandbox.test"
PANEL = {"width": 1024, "height": 600}
PHONE = {"width": 390, "height": 780}
SMALL = ({"width": 800, "height": 480}, PHONE)
STEP = "/settings/first-start/step/"
SMTP = "/settings/network-services-smtp"
TOO_WIDE = """() => {
  const parts = 'main .key, main h1:not(.unseen), main h2:not(.unseen), .state, .tile strong, main label, .lamp';
  const shows = e => e.offsetParent && getComputedStyle(e).display !== 'inline';
  const wide = [...document.querySelectorAll(parts)].filter(e => shows(e) && e.scrollWidth > e.clientWidth + 1);
  const page = document.documentElement.scrollWidth > innerWidth + 1 ? ['page'] : [];
  return page.concat(wide.map(e => e.outerHTML.slice(0, 120)));
}"""


class Tour:
    """A browser that walks through the screens of one machine in one language."""

    def __init__(self, browser: Browser, daemon: Daemon, language: str, pictures: Path) -> None:
        self._browser = browser
        self._daemon = daemon
        self._language = language
        self._pictures = pictures
        self.names: list[str] = []
        self.faults: list[tuple[str, object]] = []
        self.page = self._new_page()
        self.base = ""

    def _new_page(self) -> Page:
        context = self._browser.new_context(viewport=PANEL, locale=self._language, ignore_https_errors=True)  # type: ignore[arg-type]
        page = context.new_page()
        page.set_default_timeout(10_000)
        return page

    def go(self, path: str) -> None:
        """Open a page."""
        answer = self.page.goto(self.base + path)
        assert answer is not None
        assert answer.ok, (path, answer.status)

    def shoot(self, name: str, top: str = "") -> None:
        """Check that the screen fits, and draw its picture, from the element ``top`` down."""
        for size in (*SMALL, PANEL):
            self.page.set_viewport_size(size)  # type: ignore[arg-type]
            if found := self.page.evaluate(TOO_WIDE):
                self.faults.append((f"{name} {size['width']}", found))
        if top:
            self.page.locator(top).evaluate("e => e.scrollIntoView({block: 'start', behavior: 'instant'})")
        self.draw(name)

    def draw(self, name: str) -> None:
        """Draw the picture as it is."""
        self.page.screenshot(path=self._pictures / f"{name}.png", animations="disabled")
        self.names.append(name)

    def press(self, selector: str) -> None:
        """Press a key that leads to another page."""
        with self.page.expect_navigation():
            self.page.locator(selector).first.click()

    # --- the tour -----------------------------------------------------------------------------------------------------

    def first_start(self) -> None:
        """From the unpacked machine to the first mail."""
        self.page.goto(self._daemon.json("panel")["url"])
        self.page.wait_for_selector(".tiles")
        self.base = self.page.url.rstrip("/")
        self.shoot("home-new")
        self.press("main .message a.key")
        self.shoot("first-1-password")
        for field in ("#f-password", "#f-again"):
            self.page.locator(field).fill(PASSWORD)
        self.press("main button.primary")
        self.shoot("first-2-machine")
        self.page.locator("#f-name").fill("Ricoh planta 2" if self._language == "es" else "Ricoh, floor 2")
        self.page.locator("#f-time_zone").select_option("Europe/Madrid")
        self.press("main button.primary")
        self.shoot("first-3-provider")
        self.go(STEP + "provider?kind=microsoft")
        self.shoot("first-3-microsoft")
        self.go(STEP + "smtp?provider=sandbox")
        self.page.locator("#f-server").fill("localhost")
        self.page.locator("#f-port").fill(self._daemon.place("smtp_port"))
        self.page.locator("#f-sender_address").fill(ANA)
        self.page.locator("h1").click()
        self.page.wait_for_selector("#keyboard", state="hidden")
        self.shoot("first-4-smtp")
        self.press("main button.primary")
        self.shoot("first-5-token")
        self.page.locator("#token-smtp a.primary").click()
        self.page.wait_for_selector("#dialog .keys")
        self.shoot("get-token")
        self.press("#dialog button.primary")
        self.shoot("authorization")
        decide(self._daemon.json("token", "status", "smtp")["authorization"]["verification_uri_complete"], ANA)
        self.page.wait_for_selector("#waiting a.primary")
        self.shoot("authorized")
        self.press("#waiting a.primary")
        self.press("main button.primary")
        self.shoot("first-6-test")
        self.go(STEP + "mail")
        self.press("button[form=first-mail]")
        self.shoot("first-7-mail")
        self.press("button[form=end]")
        self.shoot("home")

    def settings(self) -> None:
        """The administrator's screens."""
        pages = {
            "settings": "/settings",
            "smtp": SMTP,
            "internet-fax": "/settings/image-send-internet-fax",
            "machine": "/settings/machine",
            "providers": "/settings/providers",
            "provider-custom": "/settings/new-provider?kind=custom",
            "password": "/settings/password",
            "audit": "/settings/audit",
            "status": "/status",
            "send": "/send",
        }
        for name, path in pages.items():
            self.go(path)
            self.shoot(name)
        self.go(SMTP)
        self.page.locator("#token-smtp").scroll_into_view_if_needed()
        self.page.locator("#token-smtp a.danger").click()
        self.page.wait_for_selector("#dialog .keys")
        self.shoot("delete-token")
        self.go(SMTP)
        self._daemon.revoke_at_provider("smtp")
        self._daemon.run("token", "refresh", "smtp")
        self.page.wait_for_selector("#token-smtp[data-state=invalid]")
        self.shoot("invalid", "#token-smtp")
        self.go(SMTP)
        self.page.locator("#f-server").click()
        self.page.wait_for_selector("#keyboard:not([hidden])")
        self.draw("keyboard")

    def desk(self) -> None:
        """The web page, on a phone and in the dark as well."""
        self.page = self._new_page()
        self.base = self._daemon.json("status")["web_address"].rstrip("/")
        self.go("/login")
        self.shoot("web-login")
        self.page.locator("#f-password").fill(PASSWORD)
        self.press("main button.primary")
        self.go("/settings/alert-smtp")
        self.shoot("web-smtp", "#token-smtp")
        self.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        self.go("/status")
        self.draw("web-phone")
        self.page.set_viewport_size(PANEL)  # type: ignore[arg-type]
        self.page.emulate_media(color_scheme="dark")
        self.go("/settings")
        self.draw("web-dark")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is not installed: run tests/peers/install.sh"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.mark.parametrize("language", ["en", "es"])
def test_every_screen_fits_and_has_its_picture(browser: Browser, daemon: Daemon, tmp_path: Path, language: str) -> None:
    """Nothing is wider than the screen or cut off, at 800x480, 1024x600 and on a phone."""
    wanted = os.environ.get("VALIJA_PICTURES") == "1"
    pictures = IMAGES / language if wanted else tmp_path / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    tour = Tour(browser, daemon, language, pictures)
    tour.first_start()
    tour.settings()
    tour.desk()
    assert tour.faults == []
    assert sorted(path.stem for path in (IMAGES / language).glob("*.png")) == sorted(tour.names), "run `make pictures`"


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_guide_shows_every_picture(language: str) -> None:
    """In its own language, each with words for those who do not see it."""
    text = GUIDES[language].read_text("utf-8")
    shown = re.findall(r"!\[([^\]]+)\]\(images/(\w+)/([\w-]+)\.png\)", text)
    assert {place for _words, place, _name in shown} == {language}
    assert {name for _words, _place, name in shown} == {path.stem for path in (IMAGES / language).glob("*.png")}
