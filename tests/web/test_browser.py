"""The printed manual followed in Chromium, finding every control by its printed label; and what stands on each screen."""

from __future__ import annotations

import pytest
from panel_driver import (
    ANA,
    LABELS,
    SMTP_SCREENS,
    expect_on_every_smtp_screen,
    panel,
    press_get_token,
    set_smtp,
    sit_down_at_a_desk,
)
from playwright.sync_api import Browser, expect

from driver import Daemon, decide


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_manual_is_followed_step_by_step(chromium: Browser, daemon: Daemon, language: str) -> None:
    """Settings, token, the four states on every SMTP screen, connection test, deletion from a desk seen live here."""
    say = LABELS[language]
    page, base = panel(chromium, daemon, language)
    set_smtp(page, base, daemon, language)
    expect_on_every_smtp_screen(page, base, say["none"])

    press_get_token(page, language)
    asked = daemon.json("token", "status", "smtp")["authorization"]
    expect(page.locator("output.code")).to_contain_text(asked["user_code"][:4])
    expect(page.locator(".qr img")).to_be_visible()
    other = page.context.new_page()
    expect_on_every_smtp_screen(other, base, say["waiting"])
    page.reload()
    decide(asked["verification_uri_complete"], ANA)
    expect(page.locator("#waiting")).to_contain_text(say["got"])
    expect(other.locator("#token-smtp .state")).to_have_text(say["got"])
    expect_on_every_smtp_screen(page, base, say["got"])

    page.get_by_role("button", name=say["test"]).click()
    expect(page.get_by_text(say["works"])).to_be_visible()

    desk = sit_down_at_a_desk(chromium, daemon, language, "alert-smtp")
    expect(desk.get_by_text(say["only_here"])).to_be_visible()
    expect(desk.get_by_role("button", name=say["get"])).to_have_count(0)
    desk.get_by_role("button", name=say["delete"]).click()
    desk.locator("#dialog").get_by_role("button", name=say["ok"], exact=True).click()
    expect(other.locator("#token-smtp .state")).to_have_text(say["none"])
    expect(desk.locator("#token-smtp .state")).to_have_text(say["none"])


def test_a_token_that_turns_invalid_is_seen_while_the_page_is_open(chromium: Browser, daemon: Daemon) -> None:
    """The fourth state: the sandbox forgets the grant, the next refresh proves it."""
    page, base = panel(chromium, daemon, "en")
    set_smtp(page, base, daemon, "en")
    daemon.get_token("smtp", ANA)
    page.goto(f"{base}/settings/{SMTP_SCREENS[1]}")
    expect(page.locator("#token-smtp .state")).to_have_text("Retrieved")
    daemon.revoke_at_provider("smtp")
    daemon.run("token", "refresh", "smtp")
    expect(page.locator("#token-smtp .state")).to_have_text("Invalid")
    expect(page.locator("#token-smtp .cure")).to_be_visible()
    expect(page.locator("#lamps")).to_contain_text("Cannot send")


def test_a_large_form_can_be_filled_by_keyboard_alone(chromium: Browser, daemon: Daemon) -> None:
    """Tab reaches every control of a screen in reading order, Enter saves."""
    page, base = panel(chromium, daemon, "en")
    page.goto(f"{base}/settings/{SMTP_SCREENS[0]}")
    page.get_by_label("Primary Server").focus()
    reached = []
    for _step in range(14):
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
        if reached[-1] == "auth":
            page.keyboard.press("ArrowLeft")  # round from None to OAuth 2.0: now a provider is asked for
        page.keyboard.press("Tab")
    wanted = ["server", "port", "timeout", "sender_name", "sender_address", "tls", "auth", "provider", "account"]
    assert [name for name in reached if name in wanted] == wanted
    page.get_by_label("Primary Server").fill("mail.example.com")
    page.get_by_label("Primary Server").press("Enter")
    page.wait_for_url("**?saved")
    assert daemon.json("smtp", "show")["fields"]["server"] == "mail.example.com"


PRESS_THEN_PRESS_AGAIN = """() => {
  const say = name => document.dispatchEvent(new PointerEvent(name));
  say('pointerdown');
  document.querySelector('[name=tls]').focus();
  say('pointerup');
  say('pointerdown');
}"""


def test_the_keyboard_on_the_screen_stays_while_something_is_pressed(chromium: Browser, daemon: Daemon) -> None:
    """It would move the key away under the finger, and the press would be lost; also a press right after another one."""
    page, base = panel(chromium, daemon, "en")
    page.goto(f"{base}/settings/{SMTP_SCREENS[0]}")
    page.get_by_label("Sender Name").click()
    page.wait_for_selector("#keyboard:not([hidden])")
    page.evaluate(PRESS_THEN_PRESS_AGAIN)
    page.wait_for_timeout(300)
    assert page.locator("#keyboard").is_visible()
    page.evaluate("document.dispatchEvent(new PointerEvent('pointerup'))")
    page.wait_for_selector("#keyboard", state="hidden")
