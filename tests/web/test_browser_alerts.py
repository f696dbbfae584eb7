"""Alert and status as a person sets it in Chromium, with Postfix, Dovecot and tokens: a test, a request that is answered."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from fax_machine import fax_machine
from panel_driver import panel, sit_down_at_a_desk
from playwright.sync_api import Browser, Page, expect
from rig import Rig
from test_browser_fax import look

from driver import Daemon

ME, ASKER = "statusweb@rig.test", "askerweb@rig.test"
SAY = {
    "en": {
        "alerts_to": "Alerts to",
        "senders": "Who may ask by mail",
        "password": "Password in the subject",
        "save": "Save",
        "list": "Alerts",
        "test": "Test: Mail",
        "handed": "The test was handed over.",
        "full": "The disk of",
    },
    "es": {
        "alerts_to": "Alertas a",
        "senders": "Quién puede preguntar por correo",
        "password": "Contraseña en el asunto",
        "save": "Guardar",
        "list": "Alertas",
        "test": "Probar: Correo",
        "handed": "La prueba se ha entregado.",
        "full": "El disco de",
    },
}


@pytest.fixture(scope="module")
def place(
    chromium: Browser, rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Daemon, Daemon, Page]]:
    """The machine whose state is asked for, one that asks, and the panel of the first."""
    here = tmp_path_factory.mktemp("status")
    machine = fax_machine(here / "machine", rig, ME, "email-status")
    asker = fax_machine(here / "asker", rig, ASKER)
    page, base = panel(chromium, machine, "en")
    page.goto(base)
    yield machine, asker, page
    assert asker.stop() == 0
    assert machine.stop() == 0, machine.log()[-3000:]


def fetched(asker: Daemon, words: str) -> str:
    """Fetch until a mail came whose subject has these words; return it as it came."""
    end = time.monotonic() + 30
    while True:
        asker.run("receive", "internet-fax")
        for received in asker.json("received"):
            if words in received["subject"]:
                return str(received["subject"])
        assert time.monotonic() < end, asker.json("received")
        time.sleep(0.2)


@pytest.mark.peers
@pytest.mark.parametrize("language", ["en", "es"])
def test_who_is_told_is_set_a_test_arrives_and_a_request_is_answered(
    chromium: Browser, place: tuple[Daemon, Daemon, Page], language: str
) -> None:
    say, (machine, asker, page) = SAY[language], place
    page.locator(f"[name=language][value={language}]").click()
    desk = sit_down_at_a_desk(chromium, machine, language, "alerts")
    desk.wait_for_url("**/settings/alerts")
    desk.get_by_label(say["alerts_to"], exact=True).fill(ASKER)
    desk.get_by_label(say["senders"]).fill("@rig.test")
    desk.get_by_label(say["password"], exact=True).fill("s3cret-pin")
    desk.locator("[name=disk_mb]").fill("1000000")
    look(desk, f"alert-settings-{language}")
    desk.get_by_role("button", name=say["save"]).click()
    desk.wait_for_url("**?saved")
    expect(page.locator("#alerts")).to_contain_text(say["full"], timeout=10_000)  # the panel's home, by itself
    look(page, f"alert-home-{language}")
    desk.get_by_role("link", name=say["list"], exact=True).click()
    expect(desk.locator("main")).to_contain_text(say["full"])
    desk.get_by_role("button", name=say["test"]).click()
    expect(desk.locator("main, .notices").first).to_contain_text(say["handed"])
    look(desk, f"alerts-{language}")
    fetched(asker, "test of the alerts")

    before = {job["id"] for job in machine.json("job", "list", "--kind", "status_request")}
    for pin in ("s3cret-pin", "wrong"):
        about = f"{language} [pin={pin}]"
        asker.ok("send", "--to", ME, "--subject", about, str(asker.directory / "valija.toml"))
    end = time.monotonic() + 30
    states: list[str] = []
    while states not in (["failed", "sending"], ["done", "failed"]):
        machine.run("receive", "email-status")
        jobs = [job for job in machine.json("job", "list", "--kind", "status_request") if job["id"] not in before]
        states = sorted(job["state"] for job in jobs)
        assert time.monotonic() < end, jobs
        time.sleep(0.2)
    fetched(asker, "State of the machine")
    assert "s3cret-pin" not in machine.log() + str(jobs) + str(machine.json("received"))
