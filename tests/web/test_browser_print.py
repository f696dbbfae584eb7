"""E-mail print as a person does it in Chromium, with Postfix, Dovecot and CUPS: set, sent, received, out of paper, printed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cups import Cups
from fax_machine import fax_machine
from panel_driver import panel, sit_down_at_a_desk
from playwright.sync_api import Browser, Page, expect
from rig import Rig
from test_browser_fax import look

from driver import Daemon
from long_pdf import pdf

ME = "printweb@rig.test"
SAY = {
    "en": {
        "receive": "Receive now",
        "printer": "Printer",
        "senders": "Allowed senders",
        "password": "Password in the subject",
        "save": "Save",
        "paper": "The printer has no paper.",
        "waits": "Waiting for the printer",
        "done": "Done",
        "failed": "Failed",
        "no_pin": "password that prints need",
        "first": "The first page",
    },
    "es": {
        "receive": "Recibir ahora",
        "printer": "Impresora",
        "senders": "Remitentes permitidos",
        "password": "Contraseña en el asunto",
        "save": "Guardar",
        "paper": "La impresora no tiene papel.",
        "waits": "A la espera de la impresora",
        "done": "Listo",
        "failed": "Fallido",
        "no_pin": "contraseña que exige la impresión",
        "first": "La primera página",
    },
}


@pytest.fixture(scope="module")
def place(chromium: Browser, rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Page]]:
    """A machine that prints what it sends to itself, and its panel."""
    machine = fax_machine(tmp_path_factory.mktemp("print") / "machine", rig, ME, "email-print")
    machine.ok("print", "set", "--confirmation", "off")
    yield machine, panel(chromium, machine, "en")[0]
    assert machine.stop() == 0, machine.log()[-3000:]


def row_of(page: Page, base: str, title: str) -> None:
    """Press [Receive now] until a job of that title is listed."""
    end = time.monotonic() + 30
    while True:
        page.goto(f"{base}/print")
        if page.locator("#jobs li").filter(has_text=title).count():
            return
        assert time.monotonic() < end, page.locator("main").inner_text()
        page.locator("form[action='/print/receive'] button").click()
        page.wait_for_url("**/print/receive")
        page.wait_for_timeout(200)


@pytest.mark.peers
@pytest.mark.parametrize("language", ["en", "es"])
def test_mail_is_printed_when_there_is_paper_and_what_is_missing_is_said(
    chromium: Browser, place: tuple[Daemon, Page], cups: Cups, tmp_path: Path, language: str
) -> None:
    """Settings by their printed labels; a subject without the password is refused, and says so. Open pages follow."""
    say, (machine, page) = SAY[language], place
    base = machine.json("panel")["url"].partition("/launch")[0]
    document = tmp_path / "Acta.pdf"
    document.write_bytes(pdf(2))
    page.goto(base)
    page.locator(f"[name=language][value={language}]").click()
    cups.supplies("office", "marker-names=Negro\nmarker-levels=7\nmarker-types=toner\n")
    cups.trouble("office", "media-empty-error")

    desk = sit_down_at_a_desk(chromium, machine, language, "print")
    desk.wait_for_url("**/settings/print")
    desk.get_by_label(say["printer"], exact=True).fill(cups.uri())
    desk.get_by_label(say["senders"]).fill(ME)
    desk.get_by_label(say["password"], exact=True).fill("s3cret-pin")
    look(desk, f"print-settings-{language}")
    desk.get_by_role("button", name=say["save"]).click()
    desk.wait_for_url("**?saved")
    web = desk.url.partition("/settings")[0]

    title, other = f"Acta {language}", f"Sin clave {language}"
    for subject in (f"{title} [pin=s3cret-pin pages=2]", other):
        machine.ok("send", str(document), "--to", ME, "--subject", subject)
    row_of(desk, web, title)
    row_of(desk, web, other)
    expect(desk.locator("#printer")).to_contain_text(say["paper"], timeout=15_000)
    expect(desk.locator("#printer")).to_contain_text("7 %")
    look(desk, f"print-{language}")
    desk.locator("#jobs li").filter(has_text=title).get_by_role("link").click()
    expect(desk.locator(".headline .state")).to_have_text(say["waits"])
    expect(desk.get_by_role("table")).to_contain_text(say["paper"], timeout=15_000)
    expect(desk.get_by_alt_text(say["first"])).to_be_visible()
    look(desk, f"print-job-{language}")
    page.goto(f"{base}/print")
    expect(page.locator("#printer")).to_contain_text(say["paper"])

    cups.trouble("office", "")
    expect(desk.locator(".headline .state")).to_have_text(say["done"], timeout=20_000)
    (printed,) = cups.await_output(1)
    assert re.search(rf"^Acta {language} \(valija", printed.title)
    desk.goto(f"{web}/print")
    desk.locator("#jobs li").filter(has_text=other).get_by_role("link").click()
    expect(desk.locator(".headline .state")).to_have_text(say["failed"])
    expect(desk.locator(".trouble")).to_contain_text(say["no_pin"])
    assert "s3cret-pin" not in machine.log()
    assert "s3cret-pin" not in machine.ok("received", "--json")
    row = page.locator("#jobs li").filter(has_text=title)
    expect(row.locator(".state")).to_have_text(say["done"])
    expect(page.locator("#printer")).not_to_contain_text(say["paper"])
    look(page, f"print-panel-{language}")
    desk.context.close()
