"""A machine whose API is called without sockets: at the machine, and over the network with tokens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import httpx2
import pytest
from starlette.requests import Request
from starlette.types import ASGIApp

from valija.apps.api.application import make_application, make_network_application
from valija.apps.api.calls import Route
from valija.apps.api.models import Problem
from valija.apps.config import Configuration
from valija.apps.machine import Machine, SystemClock, build
from valija.domain.account import Actor, GrantKind, Presence, Setting
from valija.domain.api_token import Scope
from valija.domain.record import ReceivedMessage
from valija.domain.token import Retrieved, TokenSet
from valija.secret import Secret
from valija.services.events import Stopping
from valija.store.memory import MemoryStore

AT_MACHINE: Final = Actor("uid 0", "cli", Presence.AT_MACHINE)
ABOUT: Final = json.dumps({"to": ["luis@example.com"], "subject": "Contrato"})
SCOPES: Final = [scope.value for scope in Scope]
PROVIDER: Final = "microsoft"
_OWNER: Final = {"auth": "oauth2", "provider": PROVIDER, "account": "ana@example.com"}
PLACES: Final = {"setting": "internet-fax", "id": "1", "name": PROVIDER, "login": "ricoh"}


class MovedClock(SystemClock):
    """The clock of this machine, put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        """Return the time in UTC."""
        return super().now() + self.ahead


@dataclass
class ApiBench:
    """A machine, its clock, and the application that serves the network."""

    machine: Machine
    clock: MovedClock
    network: ASGIApp
    _numbers: list[int] = field(default_factory=list)

    async def token(self, *scopes: str, days: int = 90) -> str:
        """Make a token; return what a program sends."""
        self._numbers.append(0)
        made = await self.machine.api_access.make(f"program-{len(self._numbers)}", scopes, days, AT_MACHINE)
        return made.secret.reveal()

    def afar(self, token: str | None = None, **headers: str) -> httpx2.AsyncClient:
        """Return a client in the network; ``headers`` with ``_`` for ``-``."""
        own = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return client(self.network, own | {name.replace("_", "-"): value for name, value in headers.items()})

    def here(self, language: str = "en") -> httpx2.AsyncClient:
        """Return a client at the machine."""

        def who(_request: Request) -> Actor:
            return AT_MACHINE

        return client(make_application(self.machine, who), {"Accept-Language": language})


def client(app: ASGIApp, headers: dict[str, str]) -> httpx2.AsyncClient:
    """Return a client of an application."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://machine", headers=headers)


async def make_bench(state_dir: Path, *, stopping: bool = True) -> ApiBench:
    """Return a machine with a provider and no mail server. When it is ``stopping``, streams and long polls end at once."""
    clock = MovedClock()
    machine = build(Configuration(), MemoryStore(), clock, state_dir)
    changes = {"kind": PROVIDER, "client_id": "id-1", "tenant": "example.com"}
    await machine.providers.set(PROVIDER, changes, confirm=False, actor=AT_MACHINE)
    if stopping:
        machine.events.publish(Stopping(clock.now()))
    return ApiBench(machine, clock, make_network_application(machine))


async def furnish(machine: Machine) -> None:
    """Set servers, give SMTP and E-mail Status a token each, and lay down a message: so that all rows have something to do."""
    smtp: dict[str, object] = {"server": "mail.example.com", "sender_address": "ana@example.com", **_OWNER}
    pops: dict[str, object] = {"server": "mail.example.com", "check_interval": 0}
    of_each: dict[Setting, dict[str, object]] = {
        Setting.SMTP: smtp,
        Setting.INTERNET_FAX: pops | {"auth": "password", "account": "luis@example.com", "password": "secret"},
        Setting.EMAIL_STATUS: pops | _OWNER,
    }
    for setting, changes in of_each.items():
        await machine.settings.change(setting, changes, confirm=False, actor=AT_MACHINE)
    now = machine.clock.now()
    end = now + timedelta(hours=1)
    tokens = TokenSet("grant", GrantKind.DEVICE, Secret("access"), end, Secret("refresh"), ("smtp",), now, now)
    for name in (Setting.SMTP, Setting.EMAIL_STATUS):
        await machine.store.replace_token(name.value, 0, Retrieved(tokens), due_at=None)
    file = machine.state_dir / "received" / "1.eml"
    file.parent.mkdir()
    file.write_bytes(b"Subject: Contrato\r\n\r\n")
    kept = ReceivedMessage("internet-fax", "luis@example.com", "1", now, "received/1.eml", 21, "ana", "Contrato")
    await machine.store.record_received(kept)


@asynccontextmanager
async def api_bench(state_dir: Path, *, stopping: bool = True) -> AsyncIterator[ApiBench]:
    """A machine for a test."""
    bench = await make_bench(state_dir, stopping=stopping)
    yield bench
    await bench.machine.stop()


def address(route: Route) -> str:
    """Return an address of a row, of something that a path can name."""
    return "/v1" + route.path.format(**PLACES)


@pytest.fixture(name="bench")
async def bench_fixture(tmp_path: Path) -> AsyncIterator[ApiBench]:
    """A machine that nothing reaches out from."""
    async with api_bench(tmp_path) as made:
        yield made


def refused(answer: httpx2.Response, status: int, code: str) -> Problem:
    """Check a refusal's shape (RFC 9457)."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert answer.headers["cache-control"] == "no-store"
    problem = Problem.model_validate_json(answer.content, strict=True, extra="forbid")
    assert (problem.status, problem.code, problem.exit_status) == (status, code, 2)
    assert problem.title
    assert problem.cure
    return problem
