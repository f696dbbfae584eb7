"""Scanning as a person does it in Chromium, with SANE's test scanner: the pages are looked at, changed and sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from panel_driver import ANA, panel, sit_down_at_a_desk
from paper_files import make_file
from playwright.sync_api import Browser, Page, expect
from scan_rig import page_count, set_up_sane
from test_scan_commands import LUIS, received

from driver import Daemon

SAY = {
    "en": {
        "scan": "Scan to e-mail",
        "key": "Scan",
        "review": "Waiting for you to look at the pages",
        "delete": "Delete page 3",
        "turn": "Turn page 2 to the right",
        "send": "Send",
        "done": "Done",
        "name": "Name",
        "addresses": "Addresses",
        "favourite": "Favourite",
        "save": "Save",
        "resolution": "Resolution",
        "again": "Scan to luis@sandbox.test",
        "pages": "Pages",
        "take": "Take in",
        "file": "CSV or vCard",
        "taken": "Taken from the file: 1.",
    },
    "es": {
        "scan": "Escaneo a correo",
        "key": "Escanear",
        "review": "A la espera de que revise las páginas",
        "delete": "Borrar la página 3",
        "turn": "Girar la página 2 a la derecha",
        "send": "Enviar",
        "done": "Listo",
        "name": "Nombre",
        "addresses": "Direcciones",
        "favourite": "Favorito",
        "save": "Guardar",
        "resolution": "Resolución",
        "again": "Escanear a luis@sandbox.test",
        "pages": "Páginas",
        "take": "Incorporar",
        "file": "CSV o vCard",
        "taken": "Tomados del archivo: 1.",
    },
}


@pytest.fixture(name="office")
def office_fixture(tmp_path: Path) -> Iterator[Daemon]:
    """A machine that can send, with a scanner."""
    set_up_sane(tmp_path / "sane")
    machine = Daemon(tmp_path, environment={"SANE_CONFIG_DIR": str(tmp_path / "sane")}).start()
    machine.set_smtp(ANA)
    machine.get_token("smtp", ANA)
    machine.set_pop(account=LUIS)
    machine.get_token("internet-fax", LUIS)
    yield machine
    assert machine.stop() == 0, machine.log()[-3000:]


def look(page: Page, name: str) -> None:
    """Check that the page has no barrier and fits; keep a picture of it if somebody wants to look."""
    found = Axe().run(page).response["violations"]
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found] == [], name
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth + 1"), name
    if folder := os.environ.get("VALIJA_LOOK"):
        page.screenshot(path=f"{folder}/{name}.png")
        page.set_viewport_size({"width": 390, "height": 780})
        page.screenshot(path=f"{folder}/{name}-phone.png", full_page=True)
        page.set_viewport_size({"width": 1024, "height": 600})


@pytest.mark.parametrize("language", ["en", "es"])
def test_paper_is_scanned_looked_at_and_sent_at_the_panel(
    chromium: Browser, office: Daemon, language: str, tmp_path: Path
) -> None:
    say = SAY[language]
    page, base = panel(chromium, office, language)
    page.goto(f"{base}/contacts")
    page.get_by_label(say["name"], exact=True).fill("Luis")
    page.get_by_label(say["addresses"]).fill(LUIS)
    page.get_by_label(say["favourite"]).check(force=True)
    page.get_by_role("button", name=say["save"]).click()
    page.wait_for_url("**?saved")
    look(page, f"contacts-{language}")

    page.goto(base)
    look(page, f"home-{language}")
    page.get_by_role("link", name=say["scan"]).first.click()
    page.get_by_text("Luis", exact=True).click()
    page.get_by_label(say["resolution"]).select_option("100")
    look(page, f"scan-{language}")
    page.get_by_role("button", name=say["key"], exact=True).click()
    page.wait_for_url("**/jobs/*")
    expect(page.locator(".state").get_by_text(say["review"])).to_be_visible(timeout=30_000)
    expect(page.locator("#pages li")).to_have_count(10)
    look(page, f"pages-{language}")
    page.get_by_role("button", name=say["delete"]).click()
    expect(page.locator("#pages li")).to_have_count(9)
    before = page.locator("#pages img").nth(1).get_attribute("src")
    page.get_by_role("button", name=say["turn"]).click()
    page.wait_for_load_state()
    assert page.locator("#pages img").nth(1).get_attribute("src") != before
    page.get_by_role("button", name=say["send"], exact=True).click()
    expect(page.locator(".headline .state")).to_have_text(say["done"], timeout=30_000)
    look(page, f"done-{language}")
    _mail, [pdf] = received(office, tmp_path)
    assert page_count(pdf) == 9

    page.goto(base)
    page.get_by_role("button", name=say["again"]).click()
    expect(page.locator(".headline .state")).to_have_text(say["done"], timeout=30_000)
    _mail, [pdf] = received(office, tmp_path)
    assert page_count(pdf) == 10
    page.goto(f"{base}/jobs")
    expect(page.locator("#jobs li").filter(has_text=say["scan"])).to_have_count(2)
    look(page, f"jobs-{language}")


def test_files_are_sent_and_contacts_taken_in_from_a_desk(chromium: Browser, office: Daemon, tmp_path: Path) -> None:
    """What is wrong is said at its field, and what was typed stays."""
    say = SAY["es"]
    panel(chromium, office, "es")
    page = sit_down_at_a_desk(chromium, office, "es", "scan")
    page.wait_for_url("**/settings/scan")
    look(page, "settings")
    base = page.url.rsplit("/settings", 1)[0]
    page.goto(f"{base}/contacts")
    (tmp_path / "a.csv").write_text(f"Nombre;Correo\nNúñez;{LUIS}\n", "utf-8")
    page.get_by_label(say["file"]).set_input_files(tmp_path / "a.csv")
    page.get_by_role("button", name=say["take"]).click()
    expect(page.get_by_text(say["taken"])).to_be_visible()
    page.goto(f"{base}/scan")
    page.locator("[name=to]").fill("nadie@")
    page.locator("[name=from][value=file]").check(force=True)
    page.locator("[name=file]").set_input_files(make_file(tmp_path / "Acta.pdf", [1, 2]))
    page.get_by_role("button", name=say["key"], exact=True).click()
    expect(page.locator("#n-to")).to_contain_text("nadie@")
    page.locator("[name=to]").fill(LUIS)
    page.locator("[name=file]").set_input_files(tmp_path / "Acta.pdf")
    page.get_by_role("button", name=say["key"], exact=True).click()
    page.wait_for_url("**/jobs/*")
    page.get_by_role("button", name=say["send"], exact=True).click(timeout=30_000)
    expect(page.locator(".headline .state")).to_have_text(say["done"], timeout=30_000)
    _mail, [pdf] = received(office, tmp_path / "state")
    assert (pdf.name, page_count(pdf)) == ("Acta.pdf", 2)
