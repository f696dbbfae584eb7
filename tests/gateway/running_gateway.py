"""The gateway as the daemon makes it, in the caller's process: real store, real listeners, real connections to an upstream."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from upstream import Upstream

from valija.apps.config import Configuration, Tls
from valija.apps.gateway_listeners import GatewayListeners
from valija.apps.machine import Machine, build
from valija.domain.account import Actor, Authentication, Presence, Setting
from valija.domain.account_gate import hold
from valija.domain.clock import Clock
from valija.domain.queue import RecipientState, RecipientStateName
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.settings import SmtpSettings
from valija.secret import Secret
from valija.services.devices import MadeDevice
from valija.store.opening import open_store
from valija.store.port import Store

ORIGIN: Final = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
OPERATOR: Final = Actor("ana", "cli", Presence.AT_MACHINE)
MAILBOX: Final = "box@example.test"
Entry = tuple[str, RecipientState]


class HurryClock:
    """Time that passes ``speed`` times as fast; the same for all processes that are told the same ``began`` (time.time())."""

    def __init__(self, speed: float = 1.0, began: float | None = None) -> None:
        self._speed = speed
        self._began = time.time() if began is None else began

    def now(self) -> datetime:
        """Return the wall-clock time."""
        return ORIGIN + timedelta(seconds=(time.time() - self._began) * self._speed)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic() * self._speed

    async def sleep(self, seconds: float) -> None:
        """Let seconds pass."""
        await asyncio.sleep(seconds / self._speed)


class RunningGateway:
    """All of it. The upstream is a server in clear, without log-in; ``settings`` are the configuration's under gateway.

    ``store_url``, set before the start, is a PostgreSQL's, for a gateway that shares its store.
    """

    def __init__(
        self,
        directory: Path,
        upstream_port: int,
        *,
        clock: Clock | None = None,
        timeout_s: int = 20,
        **settings: Any,
    ) -> None:
        self.directory = directory
        self.clock = clock or HurryClock()
        ports = {"smtp_port": -1, "submission_port": 0, "submissions_port": 0, "pop3_port": 0, "pop3s_port": 0}
        self.configuration = Configuration.model_validate({"gateway": ports | settings})
        self.ports: dict[str, int] = {}
        self.store_url = ""
        self.store: Store
        self.machine: Machine
        self._upstream = SmtpSettings("127.0.0.1", upstream_port, timeout=timeout_s, tls=False, sender_address=MAILBOX)
        self._listeners: GatewayListeners

    def on(self, store_url: str) -> RunningGateway:
        """Share a store."""
        self.store_url = store_url
        return self

    def logging_in(self, authority: Path) -> RunningGateway:
        """Send over TLS, with a log-in; ``authority`` is a file."""
        tls = Tls(ca_file=authority)
        self.configuration = self.configuration.model_copy(update={"tls": tls})
        auth, password = Authentication.PASSWORD, Secret("pw")
        self._upstream = replace(self._upstream, tls=True, auth=auth, account=MAILBOX, password=password)
        return self

    async def start(self) -> RunningGateway:
        """Start; what waits goes on."""
        await self._open()
        return await self._begin()

    async def _open(self) -> None:
        self.store = await open_store(self.store_url, self.directory, None, {}, ssl.create_default_context)

    async def _begin(self) -> RunningGateway:
        with _few_authorities():
            self.machine = build(self.configuration, self.store, self.clock, self.directory)
        await self._set_upstream()
        await self.machine.start()
        self._listeners = GatewayListeners(self.machine, self.configuration, loopback_only=True)
        await self._listeners.start()
        self.ports = self._listeners.places
        return self

    async def start_held(self) -> RunningGateway:
        """Start; what waits is held, as by an operator before."""
        await self._open()
        gate = await self.store.queue.load_gate("smtp")
        assert await self.store.queue.save_gate("smtp", gate.version, hold(gate, self.clock.now()))
        return await self._begin()

    async def _set_upstream(self) -> None:
        stored = await self.store.load_settings(Setting.SMTP)
        if stored.value != self._upstream:
            record = AuditRecord(self.clock.now(), OPERATOR, AuditAction.SETTINGS_CHANGED, "smtp")
            await self.store.save_settings(Setting.SMTP, stored.version, self._upstream, record)

    async def stop(self) -> None:
        """Stop as the daemon does."""
        await self._listeners.stop()
        await self.machine.stop()
        await self.store.close()

    async def add_device(self, name: str = "Ricoh", **changes: Any) -> MadeDevice:
        """Add a device; without ``ranges`` it gets a password."""
        return await self.machine.gateway.devices.add({"name": name, **changes}, OPERATOR)

    async def open_door(self) -> None:
        """Let everybody on loopback be a device that can do no AUTH and no TLS."""
        await self.add_device("Old fax", ranges=["127.0.0.1"], tls="offered", rewriting="never")

    @property
    def port(self) -> int:
        """The port for devices."""
        return self.ports["smtp"]

    async def entries(self) -> list[Entry]:
        """Return all recipients with their states, earliest message first."""
        found = await self.store.queue.list_messages(account=None, state=None, limit=1_000_000)
        return [(entry.recipient.address, entry.state) for stored in reversed(found) for entry in stored.entries]

    async def count(self) -> int:
        """Return how many messages were accepted."""
        return len(await self.store.queue.list_messages(account=None, state=None, limit=1_000_000))

    async def until(self, reached: Callable[[list[Entry]], bool], seconds: float = 20.0) -> list[Entry]:
        """Wait until the queue is as wanted."""
        end = time.monotonic() + seconds
        while not reached(found := await self.entries()):
            assert time.monotonic() < end, (Counter(state.name for _address, state in found), found[-3:])
            await asyncio.sleep(0.02)
        return found

    async def until_all_delivered(self, seconds: float = 20.0) -> list[Entry]:
        """Wait until nothing is owed."""
        end, delivered = time.monotonic() + seconds, RecipientStateName.DELIVERED
        while any(state is not delivered for _account, state in await self.store.queue.counts()):
            assert time.monotonic() < end, await self.store.queue.counts()
            await asyncio.sleep(0.02)
        return await self.entries()

    async def history(self, number: int = 1) -> list[str]:
        """Return what befell a message, in words."""
        return [line.word.value for line in await self.store.queue.history(number)]

    def spooled(self) -> list[str]:
        """Return the files of large bodies."""
        return sorted(item.name for item in (self.directory / "spool").iterdir())


@contextlib.contextmanager
def _few_authorities() -> Iterator[None]:
    """Do not read all authorities of this system for each gateway: its upstream speaks no TLS."""
    kept = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    os.environ.update(dict.fromkeys(kept, os.devnull))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(name="upstream")
async def upstream_fixture() -> AsyncIterator[Upstream]:
    """A provider's server without faults."""
    started = await Upstream().start()
    yield started
    await started.stop()


@pytest.fixture(name="gateway")
async def gateway_fixture(tmp_path: Path, upstream: Upstream) -> AsyncIterator[RunningGateway]:
    """A gateway with an open door."""
    started = await RunningGateway(tmp_path, upstream.port).start()
    await started.open_door()
    yield started
    await started.stop()
