"""A process that forks writers for the crash tests, so that each costs no start of the interpreter.

For every line with a directory on its input it forks a writer on the store there, says ``pid N``, and ``gone`` when the
writer has ended. The writer commits tokens for ever and says ``saved ACCOUNT VERSION`` after each commit.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

from store_values import NOW, audit_record, received, token_set

from valija.domain.token import Retrieved
from valija.store.sqlite import SqliteStore, open_store

ACCOUNTS = ("smtp", "internet-fax", "email-print")


def say(line: str) -> None:
    """Write one line at once."""
    os.write(1, line.encode() + b"\n")


async def commit_for_ever(store: SqliteStore, account: str) -> None:
    """Replace an account's token again and again; the refresh token names the version."""
    while True:
        version = (await store.load_token(account)).version
        state = Retrieved(token_set(f"{account}-{version + 1}"))
        written = await store.replace_token(account, version, state, due_at=NOW, audit=audit_record(account))
        if written is None:
            raise RuntimeError("nobody else writes here")
        say(f"saved {account} {written.version}")


async def receive_for_ever(store: SqliteStore) -> None:
    """Record one message after the other."""
    for n in itertools.count(len(await store.list_received(None, 1_000_000))):
        if await store.record_received(received(f"u{n}")):
            say(f"received u{n} {n}")


async def write(state_dir: Path) -> None:
    """Be a daemon that commits without end."""
    store = open_store(state_dir, None, {})
    await asyncio.gather(receive_for_ever(store), *(commit_for_ever(store, account) for account in ACCOUNTS))


def main() -> None:
    """Serve."""
    for line in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if pid == 0:
            asyncio.run(write(Path(line.strip())))
        say(f"pid {pid}")
        os.waitpid(pid, 0)
        say("gone")


if __name__ == "__main__":
    main()
