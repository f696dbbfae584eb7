"""SQLite with one writing connection on its own thread, group commit, and one reading connection beside it.

Theory of operation
-------------------
1. All writes go through one thread and one connection: SQLite's WAL has a corruption bug with two writers up to 3.51.2,
   and one writer needs no busy loop.
2. A write is a unit of work (:mod:`valija.store.work`). The thread takes all that wait, runs them in one transaction,
   commits once (``synchronous=FULL``: the commit is on disk), and only then tells the callers.
3. If the transaction fails (disk full, or one unit of it), nothing of it happened; each write is then tried alone, so one
   that does not fit fails alone. Not if another program holds the file: each would wait for it anew.
4. Reads have their own thread and a connection that cannot write; they see every commit that was reported.
5. The file itself is opened by :mod:`valija.store.sqlite_file`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import re
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

from valija.domain.errors import StoreError
from valija.domain.text import N_, message
from valija.store.sqlite_file import DIALECT, FILE_NAME, explain, open_database
from valija.store.work import Row, Work

BATCH_LIMIT: Final = 256
_VALUES: Final = re.compile(r"\bVALUES (\((?:\?, )*\?\))(?= RETURNING \w+$|$)")  # an INSERT that can have more rows
_BY_ONE_VALUE: Final = re.compile(r"SELECT [^?]*[^<>?] = \?[^?]*")
_ROWLESS: Final = re.compile(r"(?:UPDATE|DELETE)\b(?:(?!\bRETURNING\b).)*")
ROWS_AT_ONCE: Final = 100
VALUES_STEP: Final = 10
Error: Final = sqlite3.Error
T = TypeVar("T")
log: Final = logging.getLogger(__name__)


class SqliteEngine:
    """An open database; :meth:`write` and :meth:`read` run units of work on its connections."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE_NAME
        self._writer = open_database(state_dir)
        self._reader = sqlite3.connect(
            f"file:{self.path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        self._reader.execute("PRAGMA query_only=ON")
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._readers = ThreadPoolExecutor(1, "store-reader")
        self._closed = False
        self._thread.start()

    async def write(self, work: Callable[[], Work[T]]) -> T:
        """Run ``work`` in the next transaction; return what it returned once that is on disk.

        A caller who is cancelled does not stop the write.
        """
        self.check_open()
        return await asyncio.shield(self._put(work))

    async def commit(self, work: Callable[[], Work[T]]) -> T:
        """Do the same, for who has made sure that it is not cancelled."""
        return await self._put(work)

    def _put(self, work: Callable[[], Work[T]]) -> asyncio.Future[T]:
        write = _Write(work, asyncio.get_running_loop())
        self._waiting.put(write)
        return write.future

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin something that is finished before the engine closes."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def check_open(self) -> None:
        """Raise :class:`StoreError` once the engine is closed."""
        if self._closed:
            raise StoreError(message(N_("The store is closed.")))

    async def read(self, work: Callable[[], Work[T]]) -> T:
        """Run ``work`` on the reading connection."""
        self.check_open()

        def guarded() -> T:
            try:
                return run(self._reader, work())
            except sqlite3.Error as error:
                raise explain(error, self.path) from None

        return await asyncio.get_running_loop().run_in_executor(self._readers, guarded)

    async def close(self) -> None:
        """Finish the writes that wait, then close the files."""
        if not self._closed:
            self._closed = True
            while self._tasks:
                await asyncio.gather(*self._tasks, return_exceptions=True)
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)
            await asyncio.to_thread(self._readers.shutdown)
            self._reader.close()
            self._writer.close()

    # --- the writer's thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            last = False
            while len(batch) < BATCH_LIMIT:
                try:
                    more = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    last = True
                    break
                batch.append(more)
            self._commit(batch)
            if last:
                return

    def _commit(self, batch: list[_Write]) -> None:
        try:
            values = self._transaction(batch)
        except Exception as error:
            if len(batch) > 1 and not _is_locked(
                error
            ):  # one that does not fit fails alone; a locked file is all's trouble
                for one in batch:
                    self._commit([one])
                return
            _tell(batch, [None] * len(batch), explain(error, self.path) if isinstance(error, sqlite3.Error) else error)
        else:
            _tell(batch, values, None)

    def _transaction(self, batch: list[_Write]) -> list[Any]:
        connection = self._writer
        connection.execute("BEGIN IMMEDIATE")
        try:
            values = [run(connection, write.work()) for write in batch]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return values


def _is_locked(error: Exception) -> bool:
    """Did another program hold the database longer than BUSY_TIMEOUT?"""
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


class _Write:
    """A unit of work that waits, and who waits for it."""

    __slots__ = ("future", "loop", "work")

    def __init__(self, work: Callable[[], Work[Any]], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()


def _tell(batch: list[_Write], values: list[Any], failure: BaseException | None) -> None:
    """Tell all who wait, each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for write, value in zip(batch, values, strict=True):
        by_loop.setdefault(write.loop, []).append((write.future, value))
    for loop, told in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is gone, and who waited with it
            loop.call_soon_threadsafe(_settle, told, failure)


def _settle(told: list[tuple[asyncio.Future[Any], Any]], failure: BaseException | None) -> None:
    for future, value in told:
        if future.done():
            continue
        if failure is None:
            future.set_result(value)
        else:
            future.set_exception(failure)
            future.exception()  # who asked may be gone: nobody need hear of it then


def run(connection: sqlite3.Connection, work: Work[T]) -> T:
    """Run a unit of work to its end on a connection."""
    execute = connection.execute
    try:
        query = next(work)
        while True:
            statement = _statement(query.statement)
            if len(query.many) == 1:
                found: list[Row] = execute(statement, query.many[0]).fetchall()
            elif _VALUES.search(statement):
                found = _insert(connection, statement, query.many)
            elif _BY_ONE_VALUE.fullmatch(statement):
                found = _select(connection, statement, query.many)
            elif _ROWLESS.fullmatch(statement):
                connection.executemany(statement, query.many)
                found = []
            else:
                found = [row for values in query.many for row in execute(statement, values)]
            query = work.send(found)
    except StopIteration as end:
        value: T = end.value
        return value


def _insert(connection: sqlite3.Connection, statement: str, many: Sequence[Sequence[Any]]) -> list[Row]:
    """Add many rows by few statements: each one is a turn of the interpreter's lock."""
    found: list[Row] = []
    for at in range(0, len(many), ROWS_AT_ONCE):
        part = many[at : at + ROWS_AT_ONCE]
        values = [value for values in part for value in values]
        found += connection.execute(_with_rows(statement, len(part)), values).fetchall()
    return found


def _select(connection: sqlite3.Connection, statement: str, many: Sequence[Sequence[Any]]) -> list[Row]:
    """Look for many values by few statements."""
    found: list[Row] = []
    for at in range(0, len(many), ROWS_AT_ONCE):
        values = [value for (value,) in many[at : at + ROWS_AT_ONCE]]
        values += values[-1:] * (-len(values) % VALUES_STEP)  # few lengths, few statements to prepare
        found += connection.execute(_with_values(statement, len(values)), values).fetchall()
    return found


@lru_cache(100)
def _with_values(statement: str, count: int) -> str:
    return statement.replace(" = ?", f" IN ({', '.join('?' * count)})")


@lru_cache(400)
def _with_rows(statement: str, count: int) -> str:
    return _VALUES.sub(lambda found: "VALUES " + ", ".join([found[1]] * count), statement)


@cache
def _statement(text: str) -> str:
    return DIALECT.fill(text)
