"""Queue and devices on the pages, without a browser: what is shown, what can be done, and who may do it."""

from __future__ import annotations

import re
from datetime import timedelta

import httpx2
import pytest
from argon2.profiles import CHEAPEST
from asgi_faces import PASSWORD, Machinery, blank, csrf, furnished_fixture, log_in
from form_walk import read

from valija.domain import account_gate
from valija.domain.device import TlsPolicy
from valija.domain.queue import Failed, Held, Queued
from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.domain.sighting import Seen
from valija.domain.trouble import Trouble, WhoActs
from valija.secret import Secret
from valija.services.passwords import Passwords
from valija.store.queue_port import Body

here = furnished_fixture
STOPPED = {"en": "There is no token", "es": "No hay ningún token"}


async def _stop_mail(here: Machinery) -> None:
    now = here.machine.clock.now()
    trouble = Trouble("no_token", WhoActs.USER, "", now)
    await here.machine.gateway.dispatcher.change_gate(
        "smtp", lambda gate: account_gate.block(gate, trouble, now, opens_with_token=True, jitter=0.5)
    )


def _rows(page: httpx2.Response) -> list[str]:
    return re.findall(r'href="/queue/(\d+)"', page.text)


async def _press(browser: httpx2.AsyncClient, page: str, action: str, **fields: str) -> httpx2.Response:
    """Send a form of a page."""
    return await browser.post(action, data=await blank(browser, page) | fields)


# --- who may look ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/queue", "/queue/1", "/queue/1/cancel", "/queue/events", "/devices", "/devices/ricoh-floor-2", "/new-device"],
)
async def test_queue_and_devices_are_behind_the_password(here: Machinery, path: str) -> None:
    """Subjects and addresses are nobody else's; on both faces, and both may do all once the password was said."""
    for browser in (here.panel(), here.web()):
        async with browser:
            answer = await browser.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")
            if not path.endswith("events"):
                await log_in(browser)
                assert (await browser.get(path)).status_code == 200


async def test_a_log_in_leads_to_the_page_that_was_wanted(here: Machinery) -> None:
    """To one of ours, never elsewhere."""
    wanted = {
        "/queue": "/queue",
        "/devices/ricoh-floor-2": "/devices/ricoh-floor-2",
        "/queue?state=held": "/queue?state=held",
    }
    elsewhere = ("//evil.example", "/\\evil.example", "https://evil.example/queue", "/queuex", "/queue\\x", "")
    for path, leads_to in {**wanted, **dict.fromkeys(elsewhere, "/settings")}.items():
        async with here.web() as web:
            form = {"csrf": csrf((await web.get("/login")).text), "password": PASSWORD, "next": path}
            assert (await web.post("/login", data=form)).headers["location"] == leads_to


@pytest.mark.parametrize("language", ["en", "es"])
async def test_mail_that_has_stopped_is_an_alert_where_people_look(here: Machinery, language: str) -> None:
    """On home and on the state of the machine, with the cure; not for somebody from afar who has not logged in."""
    async with here.panel(language) as panel, here.web(language) as web:
        await panel.get("/")
        for path in ("/", "/status"):
            assert STOPPED[language] not in (await panel.get(path)).text
        await _stop_mail(here)
        for path in ("/", "/status"):
            page = (await panel.get(path)).text
            assert STOPPED[language] in page
            assert "valija token get" in page
        assert STOPPED[language] not in (await web.get("/")).text
        await log_in(web)
        assert 'role="alert"' in (await web.get("/")).text
        page = (await web.get("/queue")).text
        assert 'data-state="blocked"' in page
        assert "/queue/accounts/smtp/retry" in page


# --- the queue ------------------------------------------------------------------------------------------------------------


async def test_messages_are_found_by_state_device_and_text(here: Machinery) -> None:
    """What a person types is looked for as it is, and what cannot be is as if it was not there."""
    async with here.panel() as panel:
        await log_in(panel)
        found = {
            "": ["4", "3", "2", "1"],
            "state=deferred": ["1"],
            "state=failed": ["2"],
            "state=held": ["3"],
            "state=delivered": [],
            "state=nonsense": ["4", "3", "2", "1"],
            "device=ricoh-floor-2": ["4", "3", "2", "1"],
            "device=other": [],
            "device=%3Cb%3E": ["4", "3", "2", "1"],
            "text=%3CB%3E1": ["4", "3", "2", "1"],
            "text=EVA%40": ["4", "3", "2", "1"],
            "text=nobody": [],
            "text=contrato&state=held&device=ricoh-floor-2": ["3"],
            "before=3": ["2", "1"],
            "before=-1": ["4", "3", "2", "1"],
        }
        for query, wanted in found.items():
            page = await panel.get(f"/queue?{query}")
            assert (page.status_code, _rows(page)) == (200, wanted), query
            assert "Contrato &lt;b&gt;1" in page.text or not wanted
        assert "No such mail" in (await panel.get("/queue?text=nobody")).text
        assert (await panel.get("/queue/99")).status_code == 404
        assert (await panel.get("/queue/x")).status_code == 404


async def test_a_long_list_is_shown_page_by_page(here: Machinery) -> None:
    """Twenty at a time, with a way on and a way back."""
    recipients = (QueuedRecipient("a@example.org"),)
    for number in range(40):
        sent = QueuedMessage("other", "", "", "", 1, here.machine.clock.now(), recipients, f"page {number}")
        await here.machine.store.queue.accept(sent, Body())
    async with here.panel() as panel:
        await log_in(panel)
        seen, path, pages = [], "/queue?text=page", 0
        while path:
            page = await panel.get(path)
            seen += _rows(page)
            pages += 1
            older = re.search(r'href="(/queue\?[^"]*before=\d+)"', page.text)
            assert (">Latest<" in page.text) == (pages > 1)
            path = older[1].replace("&amp;", "&") if older else ""
        assert (pages, seen) == (2, [str(n) for n in range(44, 4, -1)])


async def test_a_message_is_held_released_tried_and_cancelled_by_name(here: Machinery) -> None:
    """Each is in its life, with who asked for it; what destroys is asked first."""
    queue = here.machine.store.queue

    async def state() -> object:
        stored = await queue.load(1)
        assert stored is not None
        return stored.entries[0].state

    async with here.web() as web:
        await log_in(web)
        page = await web.get("/queue/1")
        assert "Try 1 failed" in page.text
        assert "451 4.3.0 later" in page.text
        assert (await _press(web, "/queue/1", "/queue/1/hold")).headers["location"] == "/queue/1?done=hold"
        assert isinstance(await state(), Held)
        await _press(web, "/queue/1", "/queue/1/release")
        await _press(web, "/queue/1", "/queue/1/retry")
        assert isinstance(await state(), Queued)
        question = await web.get("/queue/1/cancel")
        assert "“Contrato &lt;b&gt;1&lt;/b&gt;”" in question.text
        assert isinstance(await state(), Queued)
        await web.post("/queue/1/cancel", data={"csrf": csrf(question.text)})
        assert isinstance(await state(), Failed)
        life = re.findall(r"<strong>([^<]+)</strong>(?: by (\w+))?", (await web.get("/queue/1?done")).text)
        by = "administrator"
        asked = [("Held", by), ("Released", by), ("Asked to try at once", by), ("Cancelled", by)]
        assert life == [("Accepted", ""), ("Try 1 failed", ""), *asked]
        assert (await _press(web, "/queue", "/queue/1/eat")).status_code == 404


async def test_of_a_message_that_is_being_sent_it_is_not_said_that_it_was_stopped(here: Machinery) -> None:
    """But what becomes of it."""
    queue, now = here.machine.store.queue, here.machine.clock.now()
    async with here.web() as web:
        await log_in(web)
        await queue.lease("smtp", now + timedelta(days=1), now + timedelta(days=2), 10)
        for action in ("hold", "cancel"):
            await _press(web, f"/queue/1{'/cancel' if action == 'cancel' else ''}", f"/queue/1/{action}")
            page = await web.get(f"/queue/1?done={action}")
            assert "Message 1 is being sent already" in page.text
            assert "Done." not in page.text


async def test_all_mail_of_an_account_is_held_and_let_go(here: Machinery) -> None:
    """From the page of the queue; an account that there is not is no account."""
    gateway = here.machine.gateway
    async with here.web("es") as web:
        await log_in(web)
        await _press(web, "/queue", "/queue/accounts/smtp/hold")
        assert not gateway.dispatcher.gate("smtp").is_open
        page = (await web.get("/queue")).text
        assert "Un operador ha detenido todo el correo de esta cuenta." in page
        await _press(web, "/queue", "/queue/accounts/smtp/release")
        assert gateway.dispatcher.gate("smtp").is_open
        for action in ("nobody/hold", "smtp/eat", "internet-fax/hold"):
            assert (await _press(web, "/queue", f"/queue/accounts/{action}")).status_code == 404


async def test_the_picture_has_its_numbers_beside_it(here: Machinery) -> None:
    """For those who do not see it: in words, and as a table; what waits is counted now."""
    here.machine.gateway.traffic.accepted(7)
    async with here.panel() as panel:
        await log_in(panel)
        page = (await panel.get("/queue")).text
        assert "Accepted 7, delivered 0, failed 0; waiting now 7." in page
        assert '<path class="in"' in page
        assert page.count("<tr>") > 24


# --- devices --------------------------------------------------------------------------------------------------------------


def _shown_password(page: httpx2.Response) -> str:
    found = re.search(r"<dt>Password</dt><dd>([a-z2-9-]{14})</dd>", page.text)
    return found[1] if found else ""


async def test_a_new_devices_password_is_shown_once(here: Machinery) -> None:
    """With what else to type; a page that is loaded again, or another session, has it no more; a new one can be made."""
    desk = here.machine.gateway.devices
    async with here.web() as web, here.panel() as panel:
        await log_in(web)
        await log_in(panel)
        made = await _press(web, "/new-device", "/devices", name="Kyocera, 1st floor", ranges="")
        where = made.headers["location"]
        assert where.startswith("/devices/kyocera-1st-floor/credentials?once=")
        assert _shown_password(await panel.get(where)) == ""
        page = await web.get(where)
        password = _shown_password(page)
        assert await desk.verify("kyocera-1st-floor", Secret(password), "192.0.2.1")
        assert "<dd>kyocera-1st-floor</dd>" in page.text
        again = await web.get(where)
        assert (again.status_code, _shown_password(again), password in again.text) == (200, "", False)
        assert "is not shown again" in again.text
        base = "/devices/kyocera-1st-floor"
        question = await web.get(base + "/password")
        where = (await web.post(base + "/password", data={"csrf": csrf(question.text)})).headers["location"]
        newer = _shown_password(await web.get(where))
        assert newer not in ("", password)
        assert await desk.verify("kyocera-1st-floor", Secret(newer), "192.0.2.1")
        assert not await desk.verify("kyocera-1st-floor", Secret(password), "192.0.2.1")


async def test_a_device_without_a_log_in_is_added_by_its_address(here: Machinery) -> None:
    """No password is made, and the page says that none is needed."""
    async with here.panel("es") as panel:
        await log_in(panel)
        made = await _press(panel, "/new-device", "/devices", name="Fax", ranges="192.0.2.40 192.0.2.41", language="es")
        page = (await panel.get(made.headers["location"])).text
        assert "se le reconoce por su dirección, 192.0.2.40, 192.0.2.41" in page
        device = here.machine.gateway.devices.get("fax")
        assert (device.password, device.tls, device.language) == (None, TlsPolicy.OFFERED, "es")
        refused = await _press(panel, "/new-device", "/devices", name="", ranges="0.0.0.0/0")
        assert refused.status_code == 422
        assert refused.text.count('aria-invalid="true"') == 2
        assert 'value="0.0.0.0/0"' in refused.text


async def test_a_device_is_changed_switched_off_and_deleted(here: Machinery) -> None:
    """All or nothing; a switch that is off is not sent; who may not be there is not there."""
    desk = here.machine.gateway.devices
    async with here.panel() as panel:
        await log_in(panel)
        base = "/devices/ricoh-floor-2"
        page = await panel.get(base)
        for text in ("192.0.2.7", "TLSv1.2", "535 wrong", 'data-state="refused"'):
            assert text in page.text
        fields = {"name": "Ricoh 2", "tls": "offered", "senders": "@example.org a@b.example", "rewriting": "always"}
        same = fields | {"ranges": "", "language": "", "mailbox": "internet-fax", "enabled": "on"}
        assert (await _press(panel, base, base, **same)).headers["location"] == "/devices?saved"
        device = desk.get("ricoh-floor-2")
        assert (device.name, device.senders, device.enabled) == ("Ricoh 2", ("@example.org", "a@b.example"), True)
        assert (device.mailbox, device.lf_ends_message) == ("internet-fax", False)
        wrong = await _press(panel, base, base, **same | {"name": "x" * 61, "tls": "none"})
        assert wrong.status_code == 422
        assert desk.get("ricoh-floor-2") == device
        del same["enabled"]
        await _press(panel, base, base, **same)
        assert not desk.get("ricoh-floor-2").enabled
        assert 'data-state="off"' in (await panel.get("/devices")).text
        question = await panel.get(base + "/delete")
        assert "Ricoh 2" in question.text
        await panel.post(base + "/delete", data={"csrf": csrf(question.text)})
        assert desk.all() == []
        assert (await panel.get(base)).status_code == 404


async def test_a_device_stays_switched_off_when_an_older_page_is_saved(here: Machinery) -> None:
    """Only what was changed on a page is stored: not what somebody else has changed since it was opened."""
    desk, base = here.machine.gateway.devices, "/devices/ricoh-floor-2"
    async with here.panel() as panel, here.web() as web:
        await log_in(panel)
        await log_in(web)
        opened = next(f for f in read((await web.get(base)).text, base).forms if f.action == base).values()
        await _press(panel, base, base, name="Ricoh 2", ranges="", senders="a@b.example", tls="required")
        assert not desk.get("ricoh-floor-2").enabled
        wrong = await web.post(base, data=opened | {"language": "en", "ranges": "everywhere"})
        again = next(f for f in read(wrong.text, base).forms if f.action == base).values()
        assert (await web.post(base, data=again | {"ranges": "192.0.2.0/24"})).status_code == 303
    device = desk.get("ricoh-floor-2")
    assert (device.enabled, device.name, device.senders) == (False, "Ricoh 2", ("a@b.example",))
    assert (device.language, device.ranges) == ("en", ("192.0.2.0/24",))


async def test_a_stranger_is_let_in_with_one_key(here: Machinery) -> None:
    """By what it tried; if its login is a device's already, that is said and nothing is made."""
    desk = here.machine.gateway.devices
    vars(desk)["_passwords"] = Passwords(CHEAPEST)
    async with here.web() as web:
        await log_in(web)
        page = await web.get("/devices")
        assert "192.0.2.8" in page.text
        made = await _press(web, "/devices", "/accept-device", address="192.0.2.8")
        assert made.headers["location"].startswith("/devices/canon/credentials?once=")
        assert _shown_password(await web.get(made.headers["location"]))
        assert desk.strangers() == []
        desk.saw(None, Seen(here.machine.clock.now(), "192.0.2.9", "smtp", "", "canon", "535 wrong"))
        refused = await _press(web, "/devices", "/accept-device", address="192.0.2.9")
        assert refused.status_code == 422
        assert "canon" in refused.text
        assert (await _press(web, "/devices", "/accept-device", address="192.0.2.99")).status_code == 404


async def test_learning_mode_is_begun_and_ended(here: Machinery) -> None:
    """With the time that is left, which goes on over a new page."""
    learning = here.machine.gateway.learning
    async with here.panel() as panel:
        await log_in(panel)
        await _press(panel, "/devices", "/learning", learn="on")
        assert learning.is_on()
        assert 'data-until="' in (await panel.get("/devices")).text
        await _press(panel, "/devices", "/learning", learn="off")
        assert not learning.is_on()
