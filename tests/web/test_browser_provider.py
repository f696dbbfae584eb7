"""The printed manual followed in Chromium with real peers: a certified provider, Postfix, Dovecot."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from panel_driver import (
    FAX_SCREEN,
    LABELS,
    expect_on_every_smtp_screen,
    fill_pop,
    fill_smtp,
    panel,
    press_get_token,
    sit_down_at_a_desk,
)
from playwright.sync_api import Browser, Page, expect
from rig import CODE, DEVICE, Client, Rig

from driver import Daemon, kept_tokens

pytestmark = pytest.mark.peers
SAMPLE = Path(__file__).resolve().parents[2] / "src/valija/apps/sandbox/scan.pdf"
ANA = "ana@rig.test"
SCOPES = ("--scope", "openid", "--scope", "offline_access", "--scope", "smtp", "--scope", "pop")


@pytest.fixture
def machine(tmp_path: Path, rig: Rig) -> Iterator[Daemon]:
    """A machine without sandbox that is registered at the provider, once for each grant."""
    started = Daemon(tmp_path, sandbox=False, configuration=f"[tls]\nca_file = '{rig.ca_file}'\n").start()
    _register(started, rig, "office", DEVICE)
    _register(started, rig, "office-browser", CODE, "--grant", "code")
    yield started
    assert started.stop() == 0, started.log()[-3000:]


def _register(machine: Daemon, rig: Rig, name: str, client: Client, *options: str) -> None:
    where = ("--kind", "custom", "--issuer", rig.issuer, "--client-id", client.id)
    machine.ok("provider", "set", name, *where, *SCOPES, *options)


def _sign_in(page: Page, login: str) -> None:
    """Fill in the provider's own pages."""
    page.locator("input[name=login]").fill(login)
    page.locator("input[name=password]").fill("any")
    page.locator("button[type=submit]").click()
    page.locator("button[type=submit]").click()  # consent
    expect(page).not_to_have_url(re.compile("/interaction/|/auth"))


def _test_the_connection(page: Page, language: str) -> None:
    page.get_by_role("button", name=LABELS[language]["test"]).click()
    expect(page.get_by_text(LABELS[language]["works"])).to_be_visible()


def _wait_for_mail(machine: Daemon, subject: str) -> None:
    """Whoever fetches it: this, or the machine by itself."""
    end = time.monotonic() + 30
    while not any(m["subject"] == subject for m in machine.json("received", "internet-fax")):
        machine.json("receive", "internet-fax")
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.1)


@pytest.mark.parametrize("language", ["es", "en"])
def test_the_manual_is_followed_with_a_certified_provider(
    chromium: Browser, machine: Daemon, rig: Rig, language: str
) -> None:
    """SMTP by code on a phone, a file sent, Internet Fax in the same browser, deletion here and from a desk."""
    say, fax = LABELS[language], f"fax-{language}@rig.test"
    page, base = panel(chromium, machine, language)
    fill_smtp(page, base, language, port=str(rig.ports.submission), account=ANA, provider="office")
    expect_on_every_smtp_screen(page, base, say["none"])
    press_get_token(page, language)
    waiting = page.url
    asked = machine.json("token", "status", "smtp")["authorization"]
    expect(page.locator("output.code")).to_contain_text(asked["user_code"][:4])
    expect_on_every_smtp_screen(page, base, say["waiting"])
    page.goto(waiting)
    rig.approve_device(asked["verification_uri"], asked["user_code"], ANA)
    expect(page.locator("#waiting")).to_contain_text(say["got"], timeout=20_000)
    expect_on_every_smtp_screen(page, base, say["got"])
    _test_the_connection(page, language)

    page.goto(f"{base}/send")
    page.get_by_label(say["to"]).fill(fax)
    page.get_by_label(say["file"]).set_input_files(SAMPLE)
    page.get_by_label(say["subject"]).fill(f"Contrato {language}")
    page.get_by_role("button", name=say["send"], exact=True).click()
    expect(page.locator("main")).to_contain_text(say["accepted"])

    fill_pop(page, base, language, port=str(rig.ports.pop3s), account=fax, provider="office-browser")
    expect(page.locator("#token-internet-fax .state")).to_have_text(say["none"])
    press_get_token(page, language)
    page.get_by_role("button", name=say["to_provider"]).click()
    _sign_in(page, fax)
    page.goto(f"{base}/settings/{FAX_SCREEN}")
    expect(page.locator("#token-internet-fax .state")).to_have_text(say["got"])
    _test_the_connection(page, language)
    _wait_for_mail(machine, f"Contrato {language}")

    for token in kept_tokens(machine):
        rig.revoke(token)
    machine.run("token", "refresh", "smtp")
    expect_on_every_smtp_screen(page, base, say["invalid"])
    page.get_by_role("button", name=say["delete"]).click()
    page.locator("#dialog").get_by_role("button", name=say["ok"], exact=True).click()
    expect_on_every_smtp_screen(page, base, say["none"])

    page.goto(f"{base}/settings/{FAX_SCREEN}")
    expect(page.locator("#token-internet-fax .state")).to_have_text(say["got"])
    desk = sit_down_at_a_desk(chromium, machine, language, FAX_SCREEN)
    expect(desk.get_by_role("button", name=say["get"])).to_have_count(0)
    desk.get_by_role("button", name=say["delete"]).click()
    desk.locator("#dialog").get_by_role("button", name=say["ok"], exact=True).click()
    expect(page.locator("#token-internet-fax .state")).to_have_text(say["none"])
