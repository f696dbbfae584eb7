"""Ten thousand mailboxes that are looked at every five minutes, and a server for them; each in a process of its own.

``python -m bench.pollers serve`` prints its port and serves until its input ends. ``python -m bench.pollers poll PORT SECONDS``
looks for so long, at the pace of 10,000 accounts, and prints JSON. ``python -m bench.pollers check PORT COUNT`` lets a machine
check so often: with a setting, a token and a ledger in SQLite.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import uvloop

from valija.apps.config import Configuration
from valija.apps.machine import SystemClock, build
from valija.domain.account import POP_SETTINGS, Actor, GrantKind, Presence, Setting
from valija.domain.token import Retrieved, TokenSet
from valija.net.listeners import pop3_listener
from valija.net.pop3 import Pop3Connection
from valija.net.tls import client_context
from valija.net.visits import LoginRefused, Peer, PopHandler, PopVisit
from valija.net.wire import Endpoint, TlsMode
from valija.protocol.pop3_client import PopAuthAccepted
from valija.protocol.pop3_server_events import Entry, PopPolicy
from valija.protocol.sasl import BearerCredentials
from valija.protocol.sasl_server import Shown
from valija.secret import Secret
from valija.store.sqlite import open_store

ACCOUNTS: Final = 10_000
INTERVAL_S: Final = 300.0
TOKEN: Final = Secret("t" * 2000)
EMPTY: Final = "empty@example.com"


class _Maildrop:
    def __init__(self, count: int) -> None:
        self.entries: Sequence[Entry] = [Entry(f"unique-{number:020}", 4096) for number in range(count)]

    async def read(self, index: int, lines: int | None) -> AsyncGenerator[bytes]:
        yield b".\r\n"

    async def delete(self, indexes: Sequence[int]) -> bool:
        return True

    async def close(self) -> None:
        return None


class _Server(PopHandler):
    def open(self, _peer: Peer) -> PopVisit:
        return _Visit()


class _Visit(PopVisit):
    policy = PopPolicy("bench", ("XOAUTH2",), auth_needs_tls=False)

    def login(self, shown: Shown, *, utf8: bool) -> _Maildrop | LoginRefused:
        return _Maildrop(0 if shown.user == EMPTY else 3) if shown.token == TOKEN else LoginRefused()


async def _serve() -> None:
    listener = pop3_listener(_Server(), None, connections_limit=2000)
    await listener.start("127.0.0.1", 0)
    sys.stdout.write(f"{listener.port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await listener.stop(0.1)


async def _poll(port: int, seconds: float) -> dict[str, float]:
    """Look at all accounts by their intervals, each beginning somewhere in the first one."""
    tls, rng = client_context(), random.Random(7)
    endpoint = Endpoint("127.0.0.1", port, TlsMode.NONE, plaintext_bearer=True)
    done = 0

    async def account(number: int, first: float) -> None:
        nonlocal done
        await asyncio.sleep(first)
        while True:
            connection = await Pop3Connection.open(endpoint, tls)
            outcome = await connection.authenticate(
                BearerCredentials(f"a{number}@example.com", TOKEN, "localhost", port)
            )
            assert isinstance(outcome, PopAuthAccepted)
            assert (await connection.stat()).count == len(await connection.unique_ids())
            await connection.quit()
            done += 1
            await asyncio.sleep(INTERVAL_S)

    accounts = [asyncio.create_task(account(n, rng.uniform(1, INTERVAL_S))) for n in range(ACCOUNTS)]
    await asyncio.sleep(1)
    cpu, start = time.process_time(), time.perf_counter()
    before = done
    ended, _running = await asyncio.wait(accounts, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    found = {
        "polls": done - before,
        "cpu": time.process_time() - cpu,
        "seconds": time.perf_counter() - start,
        "failed": len(ended),
    }
    for task in accounts:
        task.cancel()
    await asyncio.gather(*accounts, return_exceptions=True)
    return found


async def _check(port: int, count: int) -> dict[str, float]:
    """Check mailboxes in which nothing is."""
    with tempfile.TemporaryDirectory() as directory:
        store = await asyncio.to_thread(open_store, Path(directory), None, {})
        machine = build(Configuration(), store, SystemClock(), Path(directory))
        machine.retrieval.sandbox_ports = frozenset((port,))  # a token in clear is for these only
        actor = Actor("bench", "cli", Presence.AT_MACHINE)
        registration = {"client_id": "bench", "tenant": "example.com"}
        await machine.providers.set("microsoft", registration, confirm=False, actor=actor)
        now = machine.clock.now()
        tokens = TokenSet("bench", GrantKind.DEVICE, TOKEN, now + timedelta(hours=1), None, (), now, now)
        for setting in POP_SETTINGS:
            server = {"server": "127.0.0.1", "port": port, "tls": False}
            login = {"auth": "oauth2", "provider": "microsoft", "account": EMPTY}
            await machine.settings.change(setting, server | login, confirm=False, actor=actor)
            await store.replace_token(setting.value, 0, Retrieved(tokens), due_at=None)

        async def one(setting: Setting) -> None:
            for _check in range(count // len(POP_SETTINGS)):
                assert (await machine.retrieval.check(setting)).trouble is None

        cpu = time.process_time()
        await asyncio.gather(*map(one, POP_SETTINGS))
        cpu = time.process_time() - cpu
        await machine.stop()
        await store.close()
    return {"each": cpu / count}


def main() -> None:
    """Do what is asked on the command line."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        match sys.argv[1]:
            case "serve":
                runner.run(_serve())
            case "poll":
                json.dump(runner.run(_poll(int(sys.argv[2]), float(sys.argv[3]))), sys.stdout)
            case "check":
                json.dump(runner.run(_check(int(sys.argv[2]), int(sys.argv[3]))), sys.stdout)


if __name__ == "__main__":
    main()
