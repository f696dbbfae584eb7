"""The store on PostgreSQL, shared by several nodes that have the same master key."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, MutableMapping
from pathlib import Path
from typing import Final

from valija.domain.errors import MasterKeyError, ValijaError
from valija.domain.text import N_, message
from valija.store.key_check import check_key, has_key
from valija.store.lock import StateLock
from valija.store.master_key import load_master_key
from valija.store.port import Change, ChangeKind
from valija.store.postgres_address import Address, find_password, parse_address
from valija.store.postgres_connections import Connections, explain_refusal
from valija.store.postgres_engine import PostgresEngine, migrate, run
from valija.store.postgres_nodes import Node
from valija.store.postgres_queue import PostgresQueue
from valija.store.postgres_spool import PostgresSpool
from valija.store.spool_port import BodySpool
from valija.store.sql_store import SqlStore
from valija.store.vault import BoxNotOpened, Vault
from valija.store.work import Work

_COPY_THE_KEY: Final = N_("Copy the key of a machine that uses this store already. Nothing was changed.")


async def open_store(
    url: str, state_dir: Path, key_file: Path | None, environment: MutableMapping[str, str], tls: ssl.SSLContext
) -> PostgresStore:
    """Take the state directory, reach the database, bring its schema up to date, compare the master key.

    Raises :class:`~valija.domain.errors.ConfigurationError` and the errors below :class:`~valija.domain.errors.StoreError`;
    whatever they are, a database that was there is left as it was.
    """
    address = parse_address(url)
    lock = StateLock(state_dir)
    try:
        connections = Connections(address, find_password(environment), tls)
        try:
            vault = await _prepare(connections, state_dir, key_file, environment)
        except BaseException:
            await connections.close()
            raise
        return PostgresStore(PostgresEngine(connections), vault, lock)
    except BaseException:
        lock.release()
        raise


class PostgresStore(SqlStore):
    """An open store."""

    queue: PostgresQueue

    def __init__(self, database: PostgresEngine, vault: Vault, lock: StateLock | None = None) -> None:
        self._node = Node()
        self._postgres = database
        super().__init__(database, PostgresQueue(database, self._node), vault, lock)

    async def close(self) -> None:
        with contextlib.suppress(ValijaError):  # else their time ends them
            await self._postgres.write(self._node.leave_all)
        await super().close()

    def spool_in(self, state_dir: Path) -> BodySpool:
        return PostgresSpool(self._postgres)

    async def changes(self) -> AsyncIterator[Change]:
        async for change in self._node.listen(self._postgres.connections):
            yield change

    @contextlib.asynccontextmanager
    async def refreshing(self, account: str) -> AsyncIterator[None]:
        async with self._postgres.alone(f"refresh {account}"):
            yield

    async def have_duty(self, name: str, seconds: float) -> bool:
        return await self._postgres.write(lambda: self._node.take(name, seconds))

    def _tell(self, kind: ChangeKind, name: str = "") -> Work[None]:
        yield from self._node.tell(kind, name)


async def _prepare(
    connections: Connections, state_dir: Path, key_file: Path | None, environment: MutableMapping[str, str]
) -> Vault:
    """Make or migrate the schema and compare the key, all or nothing: the first of several nodes decides on the key."""
    address = connections.address
    try:
        async with connections.lend() as connection, connection.transaction():
            await migrate(connection, address)
            store_exists = await run(connection, has_key())
            key = load_master_key(
                state_dir, key_file, environment, store_exists=store_exists, cure_if_missing=message(_COPY_THE_KEY)
            )
            vault = Vault(key)
            await run(connection, check_key(vault))
    except BoxNotOpened:
        raise _other_key(address) from None
    except Exception as error:
        raise explain_refusal(error, address) from None
    return vault


def _other_key(address: Address) -> MasterKeyError:
    return MasterKeyError(
        message(N_("The master key is not the one that the store {file} was encrypted with."), file=str(address)),
        message(_COPY_THE_KEY),
    )
