"""The store on PostgreSQL, shared by several nodes that have the same master key."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, MutableMapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from valija.domain.errors import MasterKeyError, ValijaError
from valija.domain.record import ReceivedMessage
from valija.domain.text import N_, message
from valija.store.key_check import check_key, has_key
from valija.store.lock import StateLock
from valija.store.master_key import load_master_key
from valija.store.port import Change, ChangeKind, StoredMessage
from valija.store.postgres_address import Address, find_password, parse_address
from valija.store.postgres_connections import Connections, explain_refusal
from valija.store.postgres_engine import ADVISORY, PostgresEngine, migrate, run
from valija.store.postgres_nodes import Node
from valija.store.postgres_queue import PostgresQueue
from valija.store.postgres_spool import PostgresSpool
from valija.store.spool_port import BodySpool
from valija.store.sql_store import SqlStore, received_values
from valija.store.statements import RECORD_RECEIVED
from valija.store.together import Together
from valija.store.vault import BoxNotOpened, Vault
from valija.store.work import Work, do, each

_IN_ORDER: Final = "SELECT pg_advisory_xact_lock(?, ?)"
_COPY_THE_KEY: Final = N_("Copy the key of a machine that uses this store already. Nothing was changed.")


async def open_store(
    url: str, state_dir: Path, key_file: Path | None, environment: MutableMapping[str, str], tls: ssl.SSLContext
) -> PostgresStore:
    """Take the state directory, reach the database, bring its schema up to date, compare the master key.

    Raises :class:`~valija.domain.errors.ConfigurationError` and the errors below :class:`~valija.domain.errors.StoreError`;
    whatever they are, a database that was there is left as it was.
    """
    address = parse_address(url)
    lock, node = StateLock(state_dir), Node()
    try:
        connections = Connections(address, find_password(environment), tls)
        try:
            vault = await _prepare(connections, node, state_dir, key_file, environment)
        except BaseException:
            await connections.close()
            raise
        return PostgresStore(PostgresEngine(connections), node, vault, lock)
    except BaseException:
        lock.release()
        raise


class PostgresStore(SqlStore):
    """An open store."""

    queue: PostgresQueue
    shared = True

    def __init__(self, database: PostgresEngine, node: Node, vault: Vault, lock: StateLock | None = None) -> None:
        self._node = node
        self._postgres = database
        self._notes: Together[ReceivedMessage, StoredMessage | None] = Together(database, _note)
        super().__init__(database, PostgresQueue(database, node), vault, lock)

    @property
    def clock_shift(self) -> timedelta:  # type: ignore[override]
        return self._node.clock_shift

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

    async def record_received(self, message: ReceivedMessage) -> StoredMessage | None:
        return await self._notes.write(message)

    def _tell(self, kind: ChangeKind, name: str = "") -> Work[None]:
        yield from self._node.tell(kind, name)


async def _prepare(
    connections: Connections, node: Node, state_dir: Path, key_file: Path | None, environment: MutableMapping[str, str]
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
            await node.look_at_clock(connection)
    except BoxNotOpened:
        raise _other_key(address) from None
    except Exception as error:
        raise explain_refusal(error, address) from None
    return vault


def _note(messages: Sequence[ReceivedMessage]) -> Work[list[StoredMessage | None]]:
    """Note messages, those of other nodes before or after: a number that is taken first is seen first."""
    yield from do(_IN_ORDER, ADVISORY + 2, 0)
    noted = yield from each(RECORD_RECEIVED, [received_values(message) for message in messages])
    numbers = {(account, maildrop, unique_id): number for number, account, maildrop, unique_id in noted}
    found = [(numbers.pop((m.account, m.maildrop, m.unique_id), None), m) for m in messages]
    return [None if number is None else StoredMessage(number, message) for number, message in found]


def _other_key(address: Address) -> MasterKeyError:
    return MasterKeyError(
        message(N_("The master key is not the one that the store {file} was encrypted with."), file=str(address)),
        message(_COPY_THE_KEY),
    )
