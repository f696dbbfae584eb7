"""Nothing that was reported as stored is lost, however the process dies."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from store_values import received, token_set

from valija.domain.token import Retrieved
from valija.store.sqlite import open_store

SERVER = Path(__file__).with_name("crash_server.py")
KILLS = 40
STARTS = 15


class Writers:
    """The process that forks writers."""

    def __init__(self, asks: IO[str], says: IO[str]) -> None:
        self._asks = asks
        self._says = says

    def start(self, state_dir: Path) -> int:
        """Start a writer; return its process id."""
        print(state_dir, file=self._asks, flush=True)
        return int(self._says.readline().removeprefix("pid "))

    def kill_after(self, pid: int, commits: int, pause: float) -> list[str]:
        """Kill a writer after so many commits and a moment; return all that it said."""
        said = [self._says.readline() for _ in range(commits)]
        time.sleep(pause)
        os.kill(pid, signal.SIGKILL)
        while (line := self._says.readline()) != "gone\n":
            said.append(line)
        return said


@pytest.fixture(scope="module")
def writers() -> Iterator[Writers]:
    with subprocess.Popen([sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:
        assert p.stdin is not None
        assert p.stdout is not None
        yield Writers(p.stdin, p.stdout)
        p.stdin.close()


def note(reported: dict[str, int], said: list[str]) -> None:
    for line in said:
        _word, name, version = line.split()
        reported[name] = int(version)


async def assert_all_is_there(state_dir: Path, reported: dict[str, int]) -> None:
    store = open_store(state_dir, None, {})
    try:
        found = await store.list_tokens()
        for name, version in reported.items():
            if name in found:
                assert found[name].version >= version
        expected = {name: Retrieved(token_set(f"{name}-{stored.version}")) for name, stored in found.items()}
        assert {name: stored.state for name, stored in found.items()} == expected
        uids = [name for name in reported if name.startswith("u")]
        assert await store.known_unique_ids("internet-fax", received("").maildrop, uids) == set(uids)
        assert {name for name in reported if not name.startswith("u")} <= set(found)
        written = sum(stored.version for stored in found.values())
        assert len(await store.list_audit(1_000_000)) == written  # a token and its record: all or none
    finally:
        await store.close()


async def test_every_commit_that_was_reported_survives_a_kill(writers: Writers, tmp_path: Path) -> None:
    rng = random.Random(7)
    reported: dict[str, int] = {}
    for _ in range(KILLS):
        pid = writers.start(tmp_path)
        note(reported, writers.kill_after(pid, rng.randrange(0, 30), rng.random() * 0.008))
        await assert_all_is_there(tmp_path, reported)
    assert len(reported) > KILLS


async def test_a_first_start_that_was_killed_leaves_what_the_next_start_can_use(
    writers: Writers, tmp_path: Path
) -> None:
    rng = random.Random(8)
    for n in range(STARTS):
        state_dir = tmp_path / str(n)
        pid = writers.start(state_dir)
        reported: dict[str, int] = {}
        note(reported, writers.kill_after(pid, 0, rng.random() * 0.012))
        await assert_all_is_there(state_dir, reported)


HALF_WAY = """
import os, signal, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("PRAGMA cache_size=1")
c.execute("BEGIN IMMEDIATE")
c.execute("CREATE TABLE meta (octets)")
c.executemany("INSERT INTO meta VALUES (zeroblob(?))", [(4000,)] * 50)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_first_start_that_was_killed_within_its_first_transaction_is_undone(tmp_path: Path) -> None:
    (tmp_path / "master.key").write_bytes(b"k" * 32)
    (tmp_path / "master.key").chmod(0o600)
    killed = subprocess.run([sys.executable, "-c", HALF_WAY, str(tmp_path / "valija.sqlite3")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "valija.sqlite3-journal").exists()
    asyncio.run(assert_all_is_there(tmp_path, {}))


async def test_a_killed_daemon_leaves_no_lock_behind(writers: Writers, tmp_path: Path) -> None:
    pid = writers.start(tmp_path)
    writers.kill_after(pid, 1, 0)
    await open_store(tmp_path, None, {}).close()
