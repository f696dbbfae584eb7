"""A machine whose panel and web page are visited without sockets: the browser talks to the applications."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from argon2.profiles import CHEAPEST

from valija.apps.config import Configuration
from valija.apps.machine import Machine, SystemClock, build
from valija.apps.web.application import make_face
from valija.apps.web.launch import LaunchKeys
from valija.apps.web.pages import Pages
from valija.apps.web.screens import SCREENS
from valija.apps.web.visit import Face
from valija.domain.account import Actor, Presence
from valija.domain.administrator import PANEL, WEB
from valija.domain.queue import GivenBack, HoldAsked, Refused, TryFailed
from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.domain.sighting import Seen
from valija.domain.trouble import Trouble, WhoActs
from valija.secret import Secret
from valija.services.administrator import AdministratorDesk
from valija.services.passwords import Passwords
from valija.store.memory import MemoryStore
from valija.store.queue_port import Body

PASSWORD = "correct horse 7"
AT_MACHINE = Actor("uid 0", "cli", Presence.AT_MACHINE)
BASE = "http://machine"
SMTP = SCREENS[0].base


@dataclass
class Machinery:
    """A machine, its administrator and its faces."""

    machine: Machine
    administrator: AdministratorDesk
    launch: LaunchKeys
    pages: Pages

    def browser(self, face: Face, language: str = "en") -> httpx2.AsyncClient:
        """Return a browser that visits a face."""
        app = make_face(self.machine, self.administrator, self.pages, face)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=True)
        return httpx2.AsyncClient(transport=transport, base_url=BASE, headers={"Accept-Language": language})

    def panel(self, language: str = "en") -> httpx2.AsyncClient:
        """Return a browser at the panel's Unix socket."""
        return self.browser(Face(PANEL, Presence.AT_MACHINE, secure=False), language)

    def web(self, language: str = "en") -> httpx2.AsyncClient:
        """Return a browser at the web page (over plain HTTP, so that the client keeps its cookies)."""
        return self.browser(Face(WEB, Presence.REMOTE, secure=False), language)


PAGES = Pages()  # the templates are compiled once


@asynccontextmanager
async def machinery(state_dir: Path, *, new: bool = False) -> AsyncIterator[Machinery]:
    """A machine with an administrator's password and a provider; or a new one, with neither."""
    machine = build(Configuration(), MemoryStore(), SystemClock(), state_dir)
    administrator = AdministratorDesk(machine.store, machine.clock, machine.events, Passwords(CHEAPEST))
    if not new:
        await administrator.set_first_password(Secret(PASSWORD), AT_MACHINE)
        changes = {"kind": "microsoft", "client_id": "id-1", "tenant": "example.com"}
        await machine.providers.set("microsoft", changes, confirm=False, actor=AT_MACHINE)
    yield Machinery(machine, administrator, LaunchKeys(machine.clock), PAGES)
    await machine.stop()


async def with_two_providers(here: Machinery, *, is_new: bool = False) -> None:
    """Give a new machine two providers and, unless it stays new, a password."""
    machine = here.machine
    if not is_new:
        await here.administrator.set_first_password(Secret(PASSWORD), AT_MACHINE)
    for name in ("microsoft", "google"):
        changes = {"kind": name, "client_id": "id-1"}
        await machine.providers.set(name, changes, confirm=False, actor=AT_MACHINE)


@pytest.fixture(name="here")
async def furnished_fixture(tmp_path: Path) -> AsyncIterator[Machinery]:
    """A machine with a device, a stranger and mail: 1 deferred, 2 half refused, 3 held, 4 on its way."""
    async with machinery(tmp_path, new=True) as made:
        await with_two_providers(made)
        await furnish(made)
        yield made


async def furnish(here: Machinery) -> list[int]:
    """Let there be a device, a stranger and mail in every state but delivered; return the messages' numbers."""
    gateway, queue, now = here.machine.gateway, here.machine.store.queue, here.machine.clock.now()
    vars(gateway.devices)["_passwords"] = Passwords(CHEAPEST)
    await gateway.devices.add({"name": "Ricoh, floor 2"}, AT_MACHINE)
    gateway.devices.saw("ricoh-floor-2", Seen(now, "192.0.2.7", "smtp", "TLSv1.2", error="535 wrong"))
    gateway.devices.saw(None, Seen(now, "192.0.2.8", "smtp", "", "canon", "530 no log-in"))
    recipients = (QueuedRecipient("luis@example.org"), QueuedRecipient("eva@example.org"))
    sent = QueuedMessage("smtp", "ricoh-floor-2", "s@example.org", "1@x", 9000, now, recipients, "Contrato <b>1</b>")
    numbers = [await queue.accept(sent, Body(b"x")) for _message in range(4)]
    first, second, third, _fourth = await queue.lease("smtp", now, now, 9)
    trouble = Trouble("server_busy", WhoActs.NOBODY, "451 4.3.0 later", now)
    await queue.apply([(entry.id, TryFailed(first.lease, now, trouble)) for entry in first.entries])
    await queue.apply([(second.entries[0].id, Refused(second.lease, trouble))])
    for entry in third.entries:
        await queue.apply([(entry.id, GivenBack(third.lease)), (entry.id, HoldAsked(now, "administrator"))])
    return numbers


def csrf(page: str) -> str:
    """Return the word that a page's forms carry."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]


async def log_in(browser: httpx2.AsyncClient, password: str = PASSWORD) -> httpx2.Response:
    """Log in with the administrator's password."""
    page = await browser.get("/login")
    return await browser.post("/login", data={"csrf": csrf(page.text), "password": password, "next": "/settings"})


async def blank(browser: httpx2.AsyncClient, path: str) -> dict[str, str]:
    """Return what a form of a page needs at least."""
    return {"csrf": csrf((await browser.get(path)).text)}
