"""Several nodes on one PostgreSQL, each with its own state directory and the same master key."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from postgres import USER, Postgres
from store_engines import open_postgres

from valija.store import postgres_nodes
from valija.store.master_key import FILE_NAME
from valija.store.postgres import PostgresStore

DATABASE = "kept"


class Nodes:
    """Opens nodes on a database without rows."""

    def __init__(self, server: Postgres, url: str, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.url = url
        self.directory = directory
        self._patch = patch
        self._open: list[PostgresStore] = []

    def new_state_dir(self, *, with_key: bool = True) -> Path:
        """Make one, with the first node's key."""
        made = self.directory / f"node-{len(list(self.directory.glob('node-*')))}"
        made.mkdir(mode=0o700)
        first = self.directory / "node-0" / FILE_NAME
        if with_key and first.exists():
            shutil.copy(first, made)
        return made

    async def open(self, *, url: str = "", state_dir: Path | None = None) -> PostgresStore:
        """Open one more node."""
        node = await open_postgres(url or self.url, state_dir or self.new_state_dir())
        self._open.append(node)
        return node

    async def close(self) -> None:
        """Close all."""
        for node in self._open:
            await node.close()

    def sql(self, statement: str) -> str:
        """Run a statement on the database."""
        return self.server.psql(statement, DATABASE)

    def end_holds(self) -> None:
        """Let the time of all duties be over."""
        self.sql("UPDATE holds SET ends_at = now() - interval '1 s'")

    def server_is_old(self) -> None:
        """Let the server have run for longer than the grace after a restart."""
        self._patch.setattr(postgres_nodes, "GRACE_S", -3600.0)


@pytest.fixture(name="nodes")
async def nodes_fixture(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    """Nodes that see each other."""
    made = Nodes(postgres, await postgres.empty_database(), tmp_path, monkeypatch)
    yield made
    await made.close()


class Wire:
    """The wire between a node and the server, which can be cut after a COMMIT has arrived and before its answer has."""

    def __init__(self, server: Postgres) -> None:
        self._socket = server.directory / f".s.PGSQL.{server.port}"
        self._listener: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut_at_commit = False
        self.cuts = 0
        self.url = ""

    async def __aenter__(self) -> Wire:
        self._listener = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = f"postgresql://{USER}@127.0.0.1:{self._listener.sockets[0].getsockname()[1]}/{DATABASE}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        answers, asks = await asyncio.open_unix_connection(self._socket)
        back = asyncio.create_task(self._bring_back(answers, writer))
        try:
            while data := await reader.read(1 << 16):
                cut = self.cut_at_commit and b"COMMIT\0" in data
                if cut:
                    self.cut_at_commit = False
                    self.cuts += 1
                    back.cancel()
                    await asyncio.gather(back, return_exceptions=True)
                asks.write(data)
                await asks.drain()
                if cut:
                    await answers.read(1 << 16)  # it was answered: it is done
                    return
        finally:
            back.cancel()
            with contextlib.suppress(OSError):
                asks.close()
                writer.close()

    async def _bring_back(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await answers.read(1 << 16):
                writer.write(data)
                await writer.drain()
            writer.close()
