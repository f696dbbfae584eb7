"""What goes wrong, or goes otherwise, at the panel in Chromium: every end of an authorization, other browsers, a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from panel_driver import (
    ANA,
    LABELS,
    PASSWORD,
    SMTP_SCREENS,
    fill_smtp,
    panel,
    press_get_token,
    set_smtp,
)
from playwright.sync_api import Browser, Page, expect
from rig import DEVICE, ROBOT, ROBOT_SECRET, Rig

from driver import Daemon, decide

SAY = LABELS["en"]
SCREEN = f"/settings/{SMTP_SCREENS[0]}"
STATE = "#token-smtp .state"
RIG_ANA = "ana@rig.test"
SCOPES = ("--scope", "openid", "--scope", "offline_access", "--scope", "smtp", "--scope", "pop")


@pytest.fixture
def machine(tmp_path: Path, rig: Rig) -> Iterator[Daemon]:
    """A machine without sandbox that trusts the peers' authority."""
    started = Daemon(tmp_path, sandbox=False, configuration=f"[tls]\nca_file = '{rig.ca_file}'\n").start()
    where = ("--kind", "custom", "--issuer", rig.issuer, "--client-id", DEVICE.id)
    started.ok("provider", "set", "office", *where, *SCOPES)
    yield started
    assert started.stop() == 0, started.log()[-3000:]


def _asked(daemon: Daemon) -> dict[str, str]:
    asked: dict[str, str] = daemon.json("token", "status", "smtp")["authorization"]
    return asked


def _ready(chromium: Browser, daemon: Daemon) -> tuple[Page, str]:
    page, base = panel(chromium, daemon, "en")
    set_smtp(page, base, daemon, "en")
    return page, base


def test_another_account_needs_another_token_and_says_so_first(chromium: Browser, daemon: Daemon) -> None:
    """The change is asked about; Cancel keeps all, OK deletes the token."""
    page, base = _ready(chromium, daemon)
    daemon.get_token("smtp", ANA)
    for key, state, account in (("cancel", "got", ANA), ("ok", "none", "luis@sandbox.test")):
        page.goto(base + SCREEN)
        page.get_by_label(SAY["account"]).fill("luis@sandbox.test")
        page.get_by_role("button", name=SAY["save"]).click()
        expect(page.locator("main")).to_contain_text("token")
        page.get_by_role("button", name=SAY[key], exact=True).click()
        page.goto(base + SCREEN)
        expect(page.locator(STATE)).to_have_text(SAY[state])
        expect(page.get_by_label(SAY["account"])).to_have_value(account)


def test_who_refuses_is_told_so_at_once(chromium: Browser, daemon: Daemon) -> None:
    """The cause, who must act, and the provider's own words."""
    page, _base = _ready(chromium, daemon)
    press_get_token(page, "en")
    decide(_asked(daemon)["verification_uri_complete"], ANA, deny=True)
    expect(page.locator("#waiting .trouble")).to_be_visible()
    expect(page.locator("#waiting")).to_contain_text(SAY["none"])
    page.locator("#waiting .trouble summary").click()
    expect(page.locator("#waiting .trouble")).to_contain_text("access_denied")


def test_two_browsers_at_once_show_the_same(chromium: Browser, daemon: Daemon) -> None:
    """One waits, the other one cancels; then the other begins anew and the first one sees it through."""
    page, base = _ready(chromium, daemon)
    other = page.context.new_page()
    press_get_token(page, "en")
    other.goto(base + SCREEN)
    expect(other.locator(STATE)).to_have_text(SAY["waiting"])
    other.goto(page.url)
    other.get_by_role("button", name=SAY["cancel"]).click()
    expect(other.locator(STATE)).to_have_text(SAY["none"])
    expect(page.locator("#waiting")).to_contain_text(SAY["none"])
    other.goto(base + SCREEN)
    press_get_token(other, "en")
    page.goto(other.url)
    decide(_asked(daemon)["verification_uri_complete"], ANA)
    for one in (page, other):
        expect(one.locator("#waiting")).to_contain_text(SAY["got"])


@pytest.mark.peers
def test_waiting_survives_a_reload_a_closed_browser_and_a_restart(chromium: Browser, machine: Daemon, rig: Rig) -> None:
    """The same code is still good."""
    page, base = panel(chromium, machine, "en")
    fill_smtp(page, base, "en", port=str(rig.ports.submission), account=RIG_ANA, provider="office")
    press_get_token(page, "en")
    code = page.locator("output.code").inner_text()
    page.reload()
    expect(page.locator("output.code")).to_have_text(code, use_inner_text=True)
    page.context.close()
    asked = _asked(machine)
    assert machine.stop() == 0
    machine.start()
    later = chromium.new_context(locale="en").new_page()
    later.goto(machine.json("panel")["url"])
    later.wait_for_selector(".tiles")
    later.goto(later.url.rstrip("/") + SCREEN)
    later.get_by_label(SAY["password"]).fill(PASSWORD)
    later.get_by_role("button", name=SAY["log_in"]).click()
    expect(later.locator(STATE)).to_have_text(SAY["waiting"])
    later.get_by_role("button", name=SAY["continue"]).click()
    expect(later.locator("output.code")).to_have_text(code, use_inner_text=True)
    rig.approve_device(asked["verification_uri"], asked["user_code"], RIG_ANA)
    expect(later.locator("#waiting")).to_contain_text(SAY["got"], timeout=20_000)


def test_the_other_way_is_offered_and_works_in_the_same_browser(chromium: Browser, daemon: Daemon) -> None:
    """From the code on a phone to the provider's page here."""
    page, base = _ready(chromium, daemon)
    press_get_token(page, "en")
    page.get_by_role("button", name=SAY["by_code"]).click()
    page.get_by_role("button", name=SAY["to_provider"]).click()
    page.locator("[name=mailbox]").fill(ANA)
    page.locator("button[value=allow]").click()
    page.goto(base + SCREEN)
    expect(page.locator(STATE)).to_have_text(SAY["got"])
    assert daemon.json("token", "status", "smtp")["grant"] == "code"


def test_all_goes_without_javascript(chromium: Browser, daemon: Daemon) -> None:
    """Every step is a page of its own; only what happens meanwhile is not seen by itself."""
    context = chromium.new_context(locale="en", java_script_enabled=False)
    page = context.new_page()
    page.goto(daemon.json("panel")["url"])
    page.wait_for_selector(".tiles")
    base = page.url.rstrip("/")
    page.get_by_role("link", name=SAY["settings"]).first.click()
    page.get_by_label(SAY["new"], exact=True).fill(PASSWORD)
    page.get_by_label(SAY["again"], exact=True).fill(PASSWORD)
    page.get_by_role("button", name=SAY["ok"], exact=True).click()
    set_smtp(page, base, daemon, "en")
    page.get_by_role("link", name=SAY["get"]).or_(page.get_by_role("button", name=SAY["get"])).click()
    page.get_by_role("button", name=SAY["ok"], exact=True).click()
    page.wait_for_url("**/authorization")
    decide(_asked(daemon)["verification_uri_complete"], ANA)
    daemon.until("smtp", lambda status: status["state"] == "retrieved")
    page.reload()
    expect(page.locator(STATE)).to_have_text(SAY["got"])
    page.get_by_role("button", name=SAY["test"]).click()
    expect(page.get_by_text(SAY["works"])).to_be_visible()
    context.close()


def test_a_lost_connection_is_said(chromium: Browser, daemon: Daemon) -> None:
    """A person does not look at a state that is old."""
    page, base = _ready(chromium, daemon)
    page.goto(base + SCREEN)
    expect(page.locator(STATE)).to_have_text(SAY["none"])
    daemon.kill()
    expect(page.get_by_text("The connection to the machine is lost.")).to_be_visible()


@pytest.mark.peers
def test_a_code_that_is_past_its_time_is_replaced_by_a_key(chromium: Browser, machine: Daemon, rig: Rig) -> None:
    """The countdown ends, [New code] begins anew."""
    rig.configure(ttl={"DeviceCode": 2})
    page, base = panel(chromium, machine, "en")
    fill_smtp(page, base, "en", port=str(rig.ports.submission), account=RIG_ANA, provider="office")
    press_get_token(page, "en")
    expect(page.locator("#waiting .trouble")).to_be_visible(timeout=20_000)
    rig.configure(ttl={"DeviceCode": 600})
    page.goto(base + SCREEN)
    press_get_token(page, "en")
    first = page.locator("output.code").inner_text()
    page.get_by_role("button", name=SAY["new_code"]).click()
    expect(page.locator("output.code")).not_to_have_text(first, use_inner_text=True)
    asked = _asked(machine)
    rig.approve_device(asked["verification_uri"], asked["user_code"], RIG_ANA)
    expect(page.locator("#waiting")).to_contain_text(SAY["got"], timeout=20_000)


@pytest.mark.peers
def test_a_provider_that_is_down_is_named_and_nothing_is_lost(chromium: Browser, machine: Daemon, rig: Rig) -> None:
    """Its own words stand below; a moment later the same key works."""
    page, base = panel(chromium, machine, "en")
    fill_smtp(page, base, "en", port=str(rig.ports.submission), account=RIG_ANA, provider="office")
    rig.configure(
        faults=[{"path": "/device/auth", "status": 503, "body": {"error": "temporarily_unavailable"}, "times": -1}]
    )
    page.get_by_role("button", name=SAY["get"]).click()
    page.locator("#dialog").get_by_role("button", name=SAY["ok"], exact=True).click()
    expect(page.locator("main .trouble")).to_be_visible()
    expect(page.locator("main .trouble")).to_contain_text("503")
    rig.configure(faults=[])
    page.goto(base + SCREEN)
    expect(page.locator(STATE)).to_have_text(SAY["none"])
    press_get_token(page, "en")
    expect(page.locator("output.code")).to_be_visible()


@pytest.mark.peers
def test_client_credentials_need_nobody(chromium: Browser, machine: Daemon, rig: Rig, tmp_path: Path) -> None:
    """[Get Token], OK, and it is there."""
    secret = tmp_path / "robot"
    secret.write_text(ROBOT_SECRET.secret)
    where = (
        "--kind",
        "custom",
        "--issuer",
        rig.issuer,
        "--client-id",
        ROBOT_SECRET.id,
        "--client-secret-file",
        str(secret),
    )
    machine.ok("provider", "set", "robot", *where, "--grant", "client-credentials", "--scope", "smtp", "--scope", "pop")
    page, base = panel(chromium, machine, "en")
    fill_smtp(page, base, "en", port=str(rig.ports.submission), account=ROBOT, provider="robot")
    page.get_by_role("button", name=SAY["get"]).click()
    page.locator("#dialog").get_by_role("button", name=SAY["ok"], exact=True).click()
    expect(page.locator("main")).to_contain_text(SAY["got"], timeout=20_000)
    page.goto(base + SCREEN)
    expect(page.locator(STATE)).to_have_text(SAY["got"])
