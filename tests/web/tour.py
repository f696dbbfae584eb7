"""A tour of every screen: what is checked on each, and the pictures that are drawn of it."""

from __future__ import annotations

import math
import smtplib
import sqlite3
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from axe_playwright_python.base import AXE_SCRIPT
from paper_files import make_file
from playwright.sync_api import Browser, Page, ViewportSize

from driver import Daemon, decide
from printer import SENDER, Printer, scan_of
from valija.domain.traffic import SLOT, slot_of

PASSWORD = "correct horse 7"
ANA = "ana@sandbox.test"
LUIS = "luis@sandbox.test"
PANEL: ViewportSize = {"width": 1024, "height": 600}
PHONE: ViewportSize = {"width": 390, "height": 780}
SMALL: tuple[ViewportSize, ...] = ({"width": 800, "height": 480}, PHONE)
SCHEMES: dict[Literal["dark", "light"], dict[str, object]] = {
    "dark": {"runOnly": {"type": "rule", "values": ["color-contrast"]}},
    "light": {},
}
# the colours are the same in both languages, and take most of the time
COLOURS_ASIDE: dict[str, dict[str, object]] = {"es": {"rules": {"color-contrast": {"enabled": False}}}}
STEP = "/settings/first-start/step/"
SMTP = "/settings/network-services-smtp"
TOO_WIDE = """() => {
  const parts = 'main .key, main h1:not(.unseen), main h2:not(.unseen), .state, .tile strong, main label, .lamp';
  const shows = e => e.offsetParent && getComputedStyle(e).display !== 'inline';
  const wide = [...document.querySelectorAll(parts)].filter(e => shows(e) && e.scrollWidth > e.clientWidth + 1);
  const page = document.documentElement.scrollWidth > innerWidth + 1 ? ['page'] : [];
  return page.concat(wide.map(e => e.outerHTML.slice(0, 120)));
}"""
# what can be reached in reading order: one stop for each group of radio buttons, as browsers have it
STOPS = """() => {
  const all = document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]');
  const can = e => !e.disabled && e.type !== 'hidden' && e.tabIndex >= 0 && e.checkVisibility({visibilityProperty: true});
  const group = e => e.type === 'radio' ? [...e.form.elements].filter(o => o.name === e.name) : [e];
  const first = e => e === (group(e).find(o => o.checked) || group(e)[0]);
  const stops = [...all].filter(e => can(e) && (e.type !== 'radio' || first(e)));
  stops.forEach((e, n) => { e.dataset.stop = n; });
  return stops.map(e => e.name || e.getAttribute('href') || e.textContent.trim().slice(0, 40));
}"""
HERE = """() => {
  const e = document.activeElement, shown = [e, e.nextElementSibling, e.closest('label')];
  const seen = shown.some(part => part && getComputedStyle(part).outlineStyle !== 'none');
  return [Number(e.dataset.stop ?? -1), seen, e.outerHTML.slice(0, 100)];
}"""


class Tour:
    """A browser that walks through the screens of one machine in one language."""

    def __init__(self, browser: Browser, daemon: Daemon, language: str, pictures: Path | None) -> None:
        self._browser = browser
        self._daemon = daemon
        self._language = language
        self._pictures = pictures
        self.names: list[str] = []
        self.places: dict[str, tuple[Page, str]] = {}
        self.faults: list[tuple[str, object]] = []
        self.page = self._new_page()
        self.base = ""

    def _new_page(self) -> Page:
        context = self._browser.new_context(viewport=PANEL, locale=self._language, ignore_https_errors=True)
        page = context.new_page()
        page.set_default_timeout(10_000)
        return page

    def go(self, path: str) -> None:
        """Open a page."""
        answer = self.page.goto(self.base + path)
        assert answer is not None
        assert answer.ok, (path, answer.status)

    def look(self, name: str) -> None:
        """Check that the screen fits and has no barrier."""
        for size in (*SMALL, PANEL):
            self.page.set_viewport_size(size)
            if found := self.page.evaluate(TOO_WIDE):
                self.faults.append((f"{name} {size['width']}", found))
        self._look_for_barriers(name)
        self.places[name] = self.page, self.page.url

    def shoot(self, name: str, top: str = "") -> None:
        """Check the screen, and draw its picture, from the element ``top`` down."""
        self.look(name)
        if top:
            self.page.locator(top).evaluate("e => e.scrollIntoView({block: 'start', behavior: 'instant'})")
        self.draw(name)

    def _look_for_barriers(self, name: str) -> None:
        """axe-core finds no violation of any impact; of what colours can do wrong, in one language, light and dark."""
        self.page.evaluate(AXE_SCRIPT)
        for scheme, rules in SCHEMES.items():
            if rules and self._language != "en":
                continue
            self.page.emulate_media(color_scheme=scheme)
            options = {"resultTypes": ["violations"], **(rules or COLOURS_ASIDE.get(self._language, {}))}
            for found in self.page.evaluate("options => axe.run(options).then(found => found.violations)", options):
                self.faults.append((f"{name} {scheme}", (found["id"], found["nodes"][0]["html"][:200])))

    def walk(self) -> None:
        """Go again over the screens seen since the last walk, by keyboard alone: each control is reached in order, and seen.

        In one language: the order is the same in all.
        """
        for name, (page, url) in self.places.items() if self._language == "en" else ():
            page.goto(url)
            stops = page.evaluate(STOPS)
            page.evaluate("() => { document.activeElement.blur(); getSelection().collapse(document.body, 0); }")
            reached: list[int] = []
            while len(reached) < 2 * len(stops) + 2 and len(stops) - 1 not in reached:
                page.keyboard.press("Tab")
                number, seen, html = page.evaluate(HERE)
                reached.append(number)
                if not seen:
                    self.faults.append((f"{name} focus is not seen", html))
            if [number for number in reached if number >= 0] != list(range(len(stops))):
                self.faults.append((f"{name} by keyboard", (stops, reached)))
        self.places.clear()

    def draw(self, name: str) -> None:
        """Draw the picture as it is."""
        if self._pictures is not None:
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

    def jobs(self) -> None:
        """Address book, a scan whose pages are looked at, fax."""
        self.go("/contacts")
        for name, addresses in (("Oficina de obra", f"{LUIS}, {ANA}"), ("Luis", LUIS)):
            self.page.locator("#f-name").fill(name)
            self.page.locator("#f-addresses").fill(addresses)
            self.page.locator("#f-favourite").check(force=True)
            self.press("main button.primary")
        self.go("/contacts")
        self.shoot("contacts")
        self.go("/scan")
        self.page.locator("[name=contact]").first.check()
        self.shoot("scan")
        self.page.locator("[name=from][value=file]").check(force=True)
        document = make_file(self._daemon.directory / "Contrato.pdf", [1, 2, 3, 4])
        self.page.locator("[name=file]").set_input_files(document)
        self.page.locator("#f-subject").fill("Contrato 2026-118")
        self.page.locator("h1").click()
        self.page.wait_for_selector("#keyboard", state="hidden")
        self.press("main button.primary")
        self.page.wait_for_selector("#pages")
        self.shoot("scan-pages")
        self.press("main button.primary")
        self.page.wait_for_selector(".headline [data-state=job_done]")
        self.look("job")
        self.go("/jobs")
        self.look("jobs")
        self.go("/fax")
        self.shoot("fax")
        self.go("/settings/fax")
        self.look("fax-settings")
        self.go("/print")
        self.look("print")
        self.go("/settings/print")
        self.look("print-settings")
        self.go("/settings/alerts")
        self.shoot("alerts")
        self.go("/settings/alerts/list")
        self.look("alerts-list")
        self.go("/settings/scan")
        self.look("scan-settings")

    def gateway(self) -> None:
        """Devices and their mail, as on a working day."""
        self._daemon.get_token("smtp", ANA)
        name = "Ricoh planta 2" if self._language == "es" else "Ricoh, floor 2"
        self.go("/new-device")
        self.page.locator("#f-name").fill(name)
        self.page.locator("h1").click()
        self.page.wait_for_selector("#keyboard", state="hidden")
        self.shoot("device-new")
        self.press("main button.primary")
        self.shoot("device-made")
        words = [row.inner_text() for row in self.page.locator(".credentials dd").all()]
        printer = Printer(self._daemon, {"login": words[4], "password": words[5]})
        self._daemon.json("device", "add", "Kyocera")
        self._hand_in(printer)
        self.go("/queue")
        self.shoot("queue")
        self.shoot("queue-list", "#list")
        self.press(".mails li:has(small:has-text('+1')) a")
        self.shoot("message")
        self.go("/devices")
        self.press("#learning button")
        with suppress(smtplib.SMTPException):
            Printer(self._daemon, {"login": "canon", "password": "factory"}).connect()
        self.page.wait_for_selector("#strangers li", timeout=15_000)
        self.page.wait_for_selector("#devices [data-state=works]")
        self.shoot("devices")
        self.shoot("devices-unknown", "main > .card")
        self.press("#devices li:has([data-state=works]) a")
        self.shoot("device")
        self.press("form[action$='/test'] button")
        self.page.wait_for_selector(".test li")
        self.look("device-test")
        self.page.go_back()
        self.page.locator("main a.danger").click()
        self.page.wait_for_selector("#dialog .keys")
        self.look("delete-device")
        self._daemon.ok("token", "delete", "smtp", "--yes")
        for subject in ("Albarán 77", "Pedido 12"):
            printer.scan(LUIS, subject)
        self.go("/queue")
        self.page.wait_for_selector("#account-smtp [data-state=blocked]")
        self.shoot("queue-stopped")
        self.press(".mails a")
        self.look("message-waiting")
        self.page.locator("main a.danger").click()
        self.page.wait_for_selector("#dialog .keys")
        self.look("cancel-message")
        self.go("/")
        self.shoot("home-stopped")

    def _hand_in(self, printer: Printer) -> None:
        for subject in ("Contrato 2026-118", "Factura 4711", "Plano del almacén"):
            printer.scan(LUIS, subject)
        with printer.connect() as session:
            report = scan_of(LUIS, "Informe anual")
            session.sendmail(SENDER, [LUIS, "away@elsewhere.example"], report, (), ["NOTIFY=NEVER"])
        self._daemon.ok("queue", "hold", "--account", "smtp")
        printer.scan(LUIS, "Nóminas de noviembre")
        newest = self._daemon.json("queue", "list", "--limit", "1")["messages"][0]["id"]
        self._daemon.ok("queue", "hold", str(newest))
        self._daemon.ok("queue", "release", "--account", "smtp")
        deadline = time.monotonic() + 20
        while {"queued", "in_flight"} & set(self._daemon.json("queue", "list")["accounts"][0]["counts"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def trouble(self) -> None:
        """What a person sees at the panel when something is wrong: no picture of it stands in the guide."""
        self.page, url = self.places["home"]
        self.base = url.rstrip("/")
        self.go(SMTP)
        self.page.locator("#token-smtp a.primary").click()
        self.press("#dialog button.primary")
        asked = self._daemon.json("token", "status", "smtp")["authorization"]
        decide(asked["verification_uri_complete"], ANA, deny=True)
        self.page.wait_for_selector("#waiting .trouble")
        self.look("denied")
        self.go(SMTP)
        self.page.locator("#f-server").fill("nobody.invalid")
        self.press("main button.primary")
        self.press(
            "main button:has-text('onexi')" if self._language == "es" else "main button:has-text('Connection test')"
        )
        self.look("test-failed")
        self.page.goto(self.base + "/settings/nowhere")
        self.look("nowhere")
        self.walk()
        self.page.context.clear_cookies()
        self.page.goto(self.base + "/")
        self.look("entrance")

    def _sit_down_at_a_desk(self) -> None:
        self.page = self._new_page()
        self.base = self._daemon.json("status")["web_address"].rstrip("/")

    def lock_out(self) -> None:
        """Three wrong passwords at the web page."""
        self._sit_down_at_a_desk()
        self.go("/login")
        for attempt in range(4):
            self.page.locator("#f-password").fill(f"wrong {attempt}")
            self.press("main button.primary")
            self.look(f"wrong-password-{attempt}")

    def desk(self) -> None:
        """The web page, on a phone and in the dark as well."""
        self._sit_down_at_a_desk()
        self.go("/login")
        self.shoot("web-login")
        self.page.locator("#f-password").fill(PASSWORD)
        self.press("main button.primary")
        self.go("/settings/alert-smtp")
        self.shoot("web-smtp", "#token-smtp")
        self.page.set_viewport_size(PHONE)
        self.go("/status")
        self.draw("web-phone")
        self.go("/queue")
        self.draw("web-queue-phone")
        self.page.set_viewport_size(PANEL)
        self.page.emulate_media(color_scheme="dark")
        self.go("/settings")
        self.draw("web-dark")


def let_a_day_pass(daemon: Daemon) -> None:
    """Put the traffic of an ordinary working day into a machine's store, so that its picture shows one."""
    assert daemon.stop() == 0
    now, zone = slot_of(datetime.now(UTC)), ZoneInfo("Europe/Madrid")
    rows = []
    for back in range(1, int(timedelta(hours=24) / SLOT)):
        at = now - back * SLOT
        local = at.astimezone(zone)
        hour = local.hour + local.minute / 60
        busy = sum(
            high * math.exp(-(((hour - when) / wide) ** 2)) for when, wide, high in ((10.5, 2.2, 34), (16.5, 1.7, 22))
        )
        accepted = round(busy * (1 + 0.35 * math.sin(back * 2.4)))
        stopped = 12 <= hour < 13
        delivered = 0 if stopped else accepted + (9 * (hour < 13.5) if 13 <= hour < 14 else 0)
        rows.append((int(at.timestamp()) * 1000, accepted, delivered, back % 23 == 0, int(accepted * 2 * stopped)))
    with sqlite3.connect(daemon.state_dir / "valija.sqlite3") as store:
        store.executemany("INSERT INTO traffic VALUES (?, ?, ?, ?, ?)", rows)
    store.close()
    daemon.start()
