"""Runs with a limit on the size of files, as on a disk that has no more space; says what happened, line by line."""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from store_values import audit_record, token_set

from valija.domain.account import Setting
from valija.domain.errors import StoreError, StoreFull
from valija.domain.token import Retrieved
from valija.store.sqlite import SqliteStore, open_store

UNLIMITED = resource.getrlimit(resource.RLIMIT_FSIZE)[1]


def say(*words: object) -> None:
    """Write one line at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def limit(size: int) -> None:
    """Let no file grow beyond ``size`` octets."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, UNLIMITED))


async def fill(store: SqliteStore) -> int:
    """Write until there is no space; return the last version that was reported as stored."""
    version = 0
    while True:
        try:
            state = Retrieved(token_set(str(version + 1) + "x" * 3000))
            written = await store.replace_token("smtp", version, state, due_at=None, audit=audit_record())
        except StoreFull as error:
            say("full", error.cure is not None)
            return version
        if written is None:
            raise RuntimeError("nobody else writes here")
        version = written.version


async def run(state_dir: Path) -> None:
    """Fill the disk, look what still works, make space, go on."""
    store = open_store(state_dir, None, {})
    limit(200_000)
    version = await fill(store)
    say("version", version)
    say("read", (await store.load_token("smtp")).version)
    try:
        await store.load_settings(Setting.SMTP)
        await store.append_audit(audit_record("x" * 100_000))
    except StoreFull:
        say("again full")
    limit(UNLIMITED)
    written = await store.replace_token("smtp", version, Retrieved(token_set("last")), due_at=None)
    say("after", written.version if written else None)
    await store.close()


def first_start(state_dir: Path) -> None:
    """Start on a disk that is full from the beginning, then with a little space."""
    limit(int(sys.argv[3]))
    try:
        asyncio.run(open_store(state_dir, None, {}).close())
        say("opened")
    except (StoreError, StoreFull) as error:
        say("refused", error.cure is not None)


if __name__ == "__main__":
    if sys.argv[1] == "run":
        asyncio.run(run(Path(sys.argv[2])))
    else:
        first_start(Path(sys.argv[2]))
