"""Internet fax as a person does it in Chromium, with Postfix and Dovecot: sent, followed, received, looked at, unwanted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from fax_machine import fax_machine
from panel_driver import panel, sit_down_at_a_desk
from paper_files import make_file
from playwright.sync_api import Browser, Page, expect
from rig import Rig
from scan_rig import page_count

from driver import Daemon

ME = "faxweb@rig.test"
SAY = {
    "en": {
        "tile": "Internet fax",
        "to": "Recipient",
        "file": "File",
        "subject": "Subject",
        "cover": "Cover page",
        "send": "Send",
        "waits": "Waiting for a confirmation",
        "receive": "Receive now",
        "done": "Done",
        "processed": "processed",
        "came": "Internet fax, received",
        "first": "The first page",
        "settings": "Settings",
        "reject": "Reject these senders",
        "senders": "Senders in the list",
        "save": "Save",
        "failed": "Failed",
        "unwanted": "anti-junk",
    },
    "es": {
        "tile": "Internet Fax",
        "to": "Destinatario",
        "file": "Archivo",
        "subject": "Asunto",
        "cover": "Portada",
        "send": "Enviar",
        "waits": "A la espera de confirmación",
        "receive": "Recibir ahora",
        "done": "Listo",
        "processed": "procesado",
        "came": "Fax de Internet, recibido",
        "first": "La primera página",
        "settings": "Ajustes",
        "reject": "Rechazar estos remitentes",
        "senders": "Remitentes de la lista",
        "save": "Guardar",
        "failed": "Fallido",
        "unwanted": "correo basura",
    },
}


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


def receive_until(page: Page, base: str, say: dict[str, str], title: str, kind: str, state: str) -> None:
    """Press [Receive now] until the list says so; leave the list open."""
    end = time.monotonic() + 30
    row = page.locator("#jobs li").filter(has_text=title).filter(has_text=say[kind]).filter(has_text=say[state])
    while True:
        page.goto(f"{base}/fax")
        if row.count():
            return
        assert time.monotonic() < end, page.locator("main").inner_text()
        page.get_by_role("button", name=say["receive"]).click()
        page.wait_for_url("**/fax/receive")
        page.wait_for_timeout(200)


def send(page: Page, base: str, say: dict[str, str], path: Path, title: str) -> None:
    """Fill in the form by its printed labels, and send."""
    page.goto(base)
    page.get_by_role("link", name=say["tile"]).click()
    page.get_by_label(say["to"]).fill(ME)
    page.get_by_label(say["file"]).set_input_files(path)
    page.get_by_label(say["subject"]).fill(title)
    page.get_by_role("button", name=say["send"], exact=True).click()
    page.wait_for_url("**/jobs/*")


@pytest.fixture(scope="module")
def place(chromium: Browser, rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Page]]:
    """A machine that is its own other side, and its panel."""
    machine = fax_machine(tmp_path_factory.mktemp("fax") / "machine", rig, ME)
    yield machine, panel(chromium, machine, "en")[0]
    assert machine.stop() == 0, machine.log()[-3000:]


@pytest.mark.peers
@pytest.mark.parametrize("language", ["en", "es"])
def test_a_fax_is_sent_followed_received_and_looked_at(
    chromium: Browser, place: tuple[Daemon, Page], tmp_path: Path, language: str
) -> None:
    """The machine receives what it sends, and its own confirmation, too; then it rejects itself."""
    say, (machine, page) = SAY[language], place
    base = machine.json("panel")["url"].partition("/launch")[0]
    contract, advertisement = f"Contrato ñ {language}", f"Anuncio {language}"
    document = make_file(tmp_path / "Contrato.pdf", [1, 2])
    page.goto(base)
    page.locator(f"[name=language][value={language}]").click()

    page.goto(f"{base}/fax")
    look(page, f"fax-{language}")
    send(page, base, say, document, contract)
    expect(page.locator(".headline .state")).to_have_text(say["waits"], timeout=30_000)
    look(page, f"fax-job-{language}")
    job = page.url
    receive_until(page, base, say, contract, "processed", "done")
    look(page, f"faxes-{language}")
    page.locator("#jobs li").filter(has_text=contract).filter(has_text=say["came"]).get_by_role("link").click()
    picture = page.get_by_alt_text(say["first"])
    expect(picture).to_be_visible()
    assert picture.evaluate("e => e.complete && e.naturalWidth > 100 && e.naturalHeight > e.naturalWidth")
    look(page, f"fax-came-{language}")
    received = page.url.rpartition("/")[2]
    page.goto(job)
    expect(page.locator(".headline .state")).to_have_text(say["done"])
    expect(page.get_by_role("table")).to_contain_text(say["processed"])

    page.goto(f"{base}/fax")
    page.get_by_role("button", name=say["settings"], exact=True).click()
    page.get_by_text(say["reject"], exact=True).click()
    page.get_by_label(say["senders"]).fill(ME)
    page.get_by_role("button", name=say["save"]).click()
    page.wait_for_url("**?saved")
    look(page, f"fax-settings-{language}")
    send(page, base, say, document, advertisement)
    receive_until(page, base, say, advertisement, "came", "failed")
    page.locator("#jobs li").filter(has_text=advertisement).filter(has_text=say["failed"]).get_by_role("link").click()
    expect(page.locator(".trouble")).to_contain_text(say["unwanted"])
    look(page, f"fax-junk-{language}")

    desk = sit_down_at_a_desk(chromium, machine, language, "fax")
    desk.wait_for_url("**/settings/fax")
    desk.goto(desk.url.replace("/settings/fax", f"/jobs/{received}"))
    look(desk, f"fax-desk-{language}")
    with desk.expect_download() as download:
        desk.get_by_role("link", name=".pdf").click()
    assert page_count(download.value.path()) == 2
    machine.ok("fax", "set", "--junk", "off")
