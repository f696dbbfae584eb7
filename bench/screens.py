"""The panel in Chromium: what a page weighs, when it is first painted, how soon a change of state is on the screen."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Request, sync_playwright

from bench.figures import Row, Section, goal
from bench.machines import machine
from bench.page_clients import PASSWORD, call_machine
from bench.pages import SMTP
from driver import Daemon

VISITS, CHANGES = 7, 5
GOAL_KB, GOAL_S = 150, 1.0
ANA = "ana@sandbox.test"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# notes when the token's state has other words, in the frame after the one that shows them
WATCH = """() => {
  const shown = () => document.querySelector("#token-smtp .state").textContent.trim();
  const before = shown();
  window.changed = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error("nothing has changed")), 10000);
    const observer = new MutationObserver(() => {
      if (shown() === before) return;
      observer.disconnect();
      requestAnimationFrame(() => requestAnimationFrame(() => resolve([Date.now(), shown()])));
    });
    observer.observe(document.body, { childList: true, subtree: true, characterData: true });
  });
  return true;
}"""


def screens() -> Section:
    """Weight, first paint, a change seen."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is not installed: run tests/peers/install.sh"
    with tempfile.TemporaryDirectory() as directory, machine(Path(directory), sandbox=True) as served:
        served.set_smtp(ANA)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=QUIET)
            version = browser.version
            rows = (*_first_visits(browser, served), *_changes(browser, served))
            browser.close()
    how = (
        f"The SMTP screen at the panel in Chromium {version}, headless, 1024 x 600; {VISITS} visits with an empty cache, "
        f"{CHANGES} tokens deleted by the API on the control socket. Chromium paints on the same cores as the daemon."
    )
    return Section("Screens", how, rows)


def _visitor(browser: Browser, served: Daemon) -> tuple[Page, str]:
    """Open the panel and log in; return the page and the panel's address."""
    page = browser.new_context(viewport={"width": 1024, "height": 600}, locale="en").new_page()
    page.set_default_timeout(10_000)
    page.goto(served.json("panel")["url"])
    page.wait_for_selector("main")
    base = "{0.scheme}://{0.netloc}".format(urlsplit(page.url))
    page.goto(base + "/login")
    page.locator("input[type=password]").first.fill(PASSWORD)
    if page.locator("input[type=password]").count() > 1:
        page.locator("input[type=password]").last.fill(PASSWORD)
    page.locator("button.primary").click()
    page.wait_for_url("**/settings")
    return page, base


def _first_visits(browser: Browser, served: Daemon) -> tuple[Row, ...]:
    weights, paints, outside, count = [], [], set[str](), 0
    for _visit in range(VISITS):
        page, base = _visitor(browser, served)
        page.context.new_cdp_session(page).send("Network.clearBrowserCache")
        asked, loaded = _requests(page)
        page.goto(base + SMTP, wait_until="load")
        page.wait_for_timeout(300)
        weights.append(sum(_octets(request) for request in loaded))
        outside |= {request.url for request in asked if not request.url.startswith(base + "/")}
        count = len(loaded)
        paints.append(float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")))
        page.context.close()
    kilo = statistics.median(weights) / 1000
    return (
        Row(
            f"whole page as transferred, {count} requests",
            f"{kilo:.1f} kB",
            "",
            goal(f"under {GOAL_KB} kB", kilo < GOAL_KB),
        ),
        Row("requests to anywhere else", str(len(outside)), "", goal("0", not outside)),
        Row(
            "first paint, median",
            f"{statistics.median(paints):.0f} ms",
            "",
            f"{min(paints):.0f} to {max(paints):.0f} ms",
        ),
    )


def _requests(page: Page) -> tuple[list[Request], list[Request]]:
    """Return lists that fill with what the page asks for, and with what of it has come."""
    asked: list[Request] = []
    loaded: list[Request] = []

    def ask(request: Request) -> None:
        asked.append(request)

    def load(request: Request) -> None:
        loaded.append(request)

    page.on("request", ask)
    page.on("requestfinished", load)
    return asked, loaded


def _octets(request: Request) -> int:
    sizes = request.sizes()
    return int(sizes["responseBodySize"] + sizes["responseHeadersSize"])


def _changes(browser: Browser, served: Daemon) -> tuple[Row, ...]:
    page, base = _visitor(browser, served)
    times = []
    for _change in range(CHANGES):
        served.get_token("smtp", ANA)
        page.goto(base + SMTP)
        page.wait_for_timeout(500)
        page.evaluate(WATCH)
        begun = time.time()
        call_machine(served, "DELETE", "/v1/tokens/smtp")
        at, words = page.evaluate("window.changed")
        assert words == "Not retrieved", words
        times.append(at / 1000 - begun)
    page.context.close()
    middle = statistics.median(times)
    slowest = max(times)
    return (
        Row("from a deleted token to the words on the screen, median", f"{middle * 1000:.0f} ms"),
        Row("the same, slowest", f"{slowest * 1000:.0f} ms", "", goal(f"under {GOAL_S:.0f} s", slowest < GOAL_S)),
    )
