"""A disk without space: an error that passes, nothing half written, and it goes on when there is space."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from store_values import token_set

from valija.domain.errors import StoreError, StoreFull
from valija.domain.token import NotRetrieved, Retrieved
from valija.store.sqlite import open_store
from valija.store.sqlite_engine import SqliteEngine
from valija.store.work import Work, do, one, rows

CHILD = Path(__file__).with_name("full_disk_child.py")


def child(*arguments: object) -> list[list[str]]:
    """Run the child under its limit; return the words of its lines."""
    command = [sys.executable, str(CHILD), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return [line.split() for line in done.stdout.splitlines()]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    opened = SqliteEngine(tmp_path)
    await opened.write(lambda: do("CREATE TABLE heap (name TEXT, octets BLOB)"))
    await opened.write(lambda: do("PRAGMA max_page_count=64"))
    yield opened
    await opened.close()


def put(name: str, size: int) -> Callable[[], Work[str]]:
    def work() -> Work[str]:
        yield from do("INSERT INTO heap VALUES (?, zeroblob(?))", name, size)
        return name

    return work


async def names(engine: SqliteEngine) -> list[str]:
    return [row[0] for row in await engine.read(lambda: rows("SELECT name FROM heap ORDER BY 1"))]


async def together(engine: SqliteEngine, works: list[Callable[[], Work[Any]]]) -> list[Any]:
    return await asyncio.gather(*(engine.write(work) for work in works), return_exceptions=True)


def test_a_full_disk_is_an_error_that_passes_and_loses_nothing_reported(tmp_path: Path) -> None:
    said = child("run", tmp_path)
    version = int(said[1][1])
    assert version > 3
    assert said == [
        ["full", "True"],
        ["version", str(version)],
        ["read", str(version)],
        ["again", "full"],
        ["after", str(version + 1)],
    ]

    async def reopen() -> None:
        store = open_store(tmp_path, None, {})
        assert (await store.load_token("smtp")).state == Retrieved(token_set("last"))
        assert len(await store.list_audit(1000)) == version
        await store.close()

    asyncio.run(reopen())


@pytest.mark.parametrize("size", [0, 10, 4096, 20_000])
def test_a_first_start_on_a_full_disk_is_refused_and_the_next_one_works(tmp_path: Path, size: int) -> None:
    assert child("start", tmp_path, size) == [["refused", "True"]]

    async def start() -> None:
        store = open_store(tmp_path, None, {})
        assert (await store.load_token("smtp")).state == NotRetrieved()
        await store.close()

    asyncio.run(start())


async def test_of_writes_made_together_only_the_one_that_does_not_fit_fails(engine: SqliteEngine) -> None:
    works = [put("a", 100), put("huge", 10_000_000), put("b", 100)]
    found = await together(engine, works)
    assert found[0] == "a"
    assert isinstance(found[1], StoreFull)
    assert found[2] == "b"
    assert await names(engine) == ["a", "b"]


async def test_a_write_that_raises_fails_alone_and_is_undone(engine: SqliteEngine) -> None:
    def broken() -> Work[None]:
        yield from do("INSERT INTO heap VALUES ('broken', NULL)")
        raise ZeroDivisionError

    works = [put("a", 1), broken, put("b", 1)]
    found = await together(engine, works)
    assert [type(one) for one in found] == [str, ZeroDivisionError, str]
    assert await names(engine) == ["a", "b"]


async def test_a_wrong_statement_fails_alone_with_a_clear_error(engine: SqliteEngine) -> None:
    works = [put("a", 1), lambda: do("INSERT INTO nowhere VALUES (1)"), put("b", 1)]
    found = await together(engine, works)
    assert isinstance(found[1], StoreError)
    assert await names(engine) == ["a", "b"]


async def test_readers_cannot_write(engine: SqliteEngine) -> None:
    with pytest.raises(StoreError):
        await engine.read(lambda: do("INSERT INTO heap VALUES ('x', NULL)"))
    assert await names(engine) == []


async def test_a_caller_who_is_cancelled_does_not_stop_the_write(engine: SqliteEngine) -> None:
    task = asyncio.create_task(engine.write(put("a", 1)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await engine.write(put("b", 1))
    assert await names(engine) == ["a", "b"]


async def test_closing_finishes_what_was_accepted(tmp_path: Path) -> None:
    store = open_store(tmp_path, None, {})
    tasks = [
        asyncio.create_task(store.replace_token(f"account-{n}", 0, NotRetrieved(), due_at=None)) for n in range(600)
    ]
    await asyncio.sleep(0)
    await store.close()
    assert [w.version for w in await asyncio.gather(*tasks) if w] == [1] * 600
    again = open_store(tmp_path, None, {})
    assert len(await again.list_tokens()) == 600
    await again.close()


async def test_every_commit_is_synchronised_to_the_disk(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    try:
        assert await engine.write(lambda: one("PRAGMA synchronous")) == (2,)  # FULL
        assert await engine.write(lambda: one("PRAGMA journal_mode")) == ("wal",)
    finally:
        await engine.close()
