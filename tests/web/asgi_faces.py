"""A machine whose panel and web page are visited without sockets: the browser talks to the applications."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from valija.apps.config import Configuration
from valija.apps.machine import Machine, SystemClock, build
from valija.apps.web.application import make_face
from valija.apps.web.launch import LaunchKeys
from valija.apps.web.pages import Pages
from valija.apps.web.screens import SCREENS
from valija.apps.web.visit import Face
from valija.domain.account import Actor, Presence
from valija.domain.administrator import PANEL, WEB
from valija.secret import Secret
from valija.services.administrator import AdministratorDesk
from valija.store.memory import MemoryStore

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


@asynccontextmanager
async def machinery(state_dir: Path, *, new: bool = False) -> AsyncIterator[Machinery]:
    """A machine with an administrator's password and a provider; or a new one, with neither."""
    machine = build(Configuration(), MemoryStore(), SystemClock(), state_dir)
    administrator = AdministratorDesk(machine.store, machine.clock, machine.events)
    if not new:
        await administrator.set_first_password(Secret(PASSWORD), AT_MACHINE)
        changes = {"kind": "microsoft", "client_id": "id-1", "tenant": "example.com"}
        await machine.providers.set("microsoft", changes, confirm=False, actor=AT_MACHINE)
    yield Machinery(machine, administrator, LaunchKeys(machine.clock), Pages())
    await machine.stop()


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
