"""Opening a store on PostgreSQL: who may, what is said where it cannot be, and that nothing is changed then."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from nodes import Nodes, nodes_fixture
from postgres import PASSWORD, Postgres
from store_engines import open_postgres

from valija.domain.errors import (
    ConfigurationError,
    MasterKeyError,
    StoreDamaged,
    StoreError,
    StoreUnreachable,
    StoreVersion,
)
from valija.store import postgres, postgres_address, postgres_connections, schema
from valija.store.opening import open_store
from valija.store.postgres_address import Address, connection_arguments, parse_address
from valija.store.schema import latest_version
from valija.store.work import one

nodes = nodes_fixture
pytestmark = pytest.mark.peers
TRUST = ssl.create_default_context()


async def _refuse(
    url: str, state_dir: Path, kind: type[StoreError], *, environment: dict[str, str] | None = None
) -> str:
    """Open; return what is said, in which no password is, not even in the traceback."""
    with pytest.raises(kind) as caught:
        await postgres.open_store(url, state_dir, None, environment or {}, TRUST)
    assert caught.type is kind
    said = "".join(traceback.format_exception(caught.value)) + caught.value.diagnostics
    assert PASSWORD not in said
    assert "wrong-pässword" not in said
    return str(caught.value)


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[str]:
    """The address of a database without tables."""
    url = postgres.new_database("empty")
    yield url
    postgres.psql("DROP DATABASE empty WITH (FORCE)")


async def test_two_nodes_may_start_at_one_moment_and_the_first_decides_on_the_key(
    empty: str, nodes: Nodes, tmp_path: Path
) -> None:
    """The other one is told to copy it, and has not made one of its own."""
    dirs = [tmp_path / name for name in ("one", "two", "three")]
    found = await asyncio.gather(*(open_postgres(empty, path) for path in dirs), return_exceptions=True)
    opened = [one for one in found if isinstance(one, postgres.PostgresStore)]
    refused = [one for one in found if isinstance(one, MasterKeyError)]
    assert (len(opened), len(refused)) == (1, 2)
    assert "is missing" in str(refused[0])
    assert "Copy the key of a machine" in str(refused[0])
    assert sum((path / "master.key").exists() for path in dirs) == 1
    key = next(path / "master.key" for path in dirs if (path / "master.key").exists())
    for path in dirs:
        (path / "master.key").write_bytes(key.read_bytes())
        (path / "master.key").chmod(0o600)
    again = await asyncio.gather(*(open_postgres(empty, path) for path in dirs if path != key.parent))
    for store in (*opened, *again):
        await store.close()


async def test_a_node_with_another_key_does_not_start_and_is_told_what_to_do(nodes: Nodes, tmp_path: Path) -> None:
    await nodes.open()
    other = tmp_path / "other"
    other.mkdir()
    (other / "master.key").write_bytes(os.urandom(32))
    (other / "master.key").chmod(0o600)
    assert "Copy the key of a machine that uses this store already" in await _refuse(nodes.url, other, MasterKeyError)


async def test_a_database_of_a_later_version_or_of_another_program_is_left_as_it_is(
    empty: str, postgres: Postgres, tmp_path: Path
) -> None:
    postgres.psql("CREATE TABLE invoices (number INTEGER)", "empty")
    assert "another program" in await _refuse(empty, tmp_path, StoreDamaged)
    assert postgres.psql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", "empty") == "invoices"
    postgres.psql("DROP TABLE invoices", "empty")
    await (await open_postgres(empty, tmp_path)).close()
    later = latest_version() + 1
    postgres.psql(f"UPDATE valija_schema SET version = {later}", "empty")
    assert "later version" in await _refuse(empty, tmp_path, StoreVersion)
    assert postgres.psql("SELECT version FROM valija_schema", "empty") == str(later)


async def test_an_older_schema_is_brought_up_to_date_and_keeps_what_it_had(
    empty: str, postgres: Postgres, tmp_path: Path
) -> None:
    """Made by a version that knew only the first steps."""
    steps = schema._steps()
    with pytest.MonkeyPatch.context() as older:
        older.setattr(schema, "_steps", lambda: steps[:7])
        await (await open_postgres(empty, tmp_path)).close()
    assert postgres.psql("SELECT version FROM valija_schema", "empty") == "7"
    postgres.psql("INSERT INTO traffic VALUES (1, 2, 3, 4, 5)", "empty")
    store = await open_postgres(empty, tmp_path)
    assert await store.have_duty("x", 1)
    await store.close()
    assert postgres.psql("SELECT accepted FROM traffic", "empty") == "2"
    assert postgres.psql("SELECT version FROM valija_schema", "empty") == str(latest_version())


async def test_what_is_said_to_be_done_is_on_disk_whatever_the_server_is_set_to(nodes: Nodes) -> None:
    """The server of the tests has synchronous_commit off; one with fsync off is refused."""
    node = await nodes.open()
    assert nodes.sql("SHOW synchronous_commit") == "off"
    assert await node._db.read(lambda: one("SHOW synchronous_commit")) == ("on",)
    assert await node._db.write(lambda: one("SHOW synchronous_commit")) == ("on",)
    nodes.sql("ALTER SYSTEM SET fsync = off")
    try:
        nodes.sql("SELECT pg_reload_conf()")
        await asyncio.sleep(0.3)
        assert "fsync = off" in await _refuse(nodes.url, nodes.new_state_dir(), StoreError)
    finally:
        nodes.sql("ALTER SYSTEM RESET fsync")
        nodes.sql("SELECT pg_reload_conf()")
        await asyncio.sleep(0.3)


async def test_the_password_comes_from_outside_and_is_never_repeated(
    nodes: Nodes, postgres: Postgres, tmp_path: Path
) -> None:
    """Environment (taken out of it), systemd's credential, PGPASSWORD; a wrong one is said to be wrong."""
    url = postgres.url("kept", port=True)
    key = (nodes.new_state_dir() / "..").resolve()
    await nodes.open(state_dir=key / "node-0")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "valija-store-password").write_text(PASSWORD + "\n", "utf-8")
    ways: list[dict[str, str]] = [
        {"VALIJA_STORE_PASSWORD": PASSWORD},
        {"CREDENTIALS_DIRECTORY": str(credentials)},
        {"PGPASSWORD": PASSWORD},
    ]
    for environment in ways:
        store = await open_store(url, nodes.new_state_dir(), None, environment, lambda: TRUST)
        assert PASSWORD not in repr(vars(store._postgres.connections))  # type: ignore[attr-defined]
        await store.close()
        assert "VALIJA_STORE_PASSWORD" not in environment
    wrong = {"VALIJA_STORE_PASSWORD": "wrong-pässword"}
    said = await _refuse(url, nodes.new_state_dir(), StoreError, environment=wrong)
    assert "does not let valija in" in said
    assert "VALIJA_STORE_PASSWORD" in said


async def test_a_server_or_database_that_is_not_there_is_said_in_time(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = await _refuse(postgres.url("nowhere"), tmp_path, StoreError)
    assert "has no database nowhere" in said
    assert "createdb -O valija nowhere" in said
    monkeypatch.setattr(postgres_connections.Connections.open_with_patience, "__defaults__", (0.3,))
    said = await _refuse("postgresql://valija@127.0.0.1:9/kept", tmp_path, StoreUnreachable)
    assert "cannot be reached" in said
    assert "[store] url" in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://valija@db.example.com",
        "postgresql://valija@db.example.com/",
        "mysql://valija@db.example.com/valija",
        "postgresql://valija@db.example.com:port/valija",
        "postgresql://valija@db.example.com/valija?sslmode=disable",
        "valija",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not one of PostgreSQL"):
        parse_address(url)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_address("postgresql://valija:s3cret@db.example.com/valija")
    assert "s3cret" not in str(caught.value)
    assert "VALIJA_STORE_PASSWORD" in str(caught.value)


def test_an_address_names_socket_or_host() -> None:
    """And a port, and a user."""
    assert parse_address("postgresql://v@db.example.com:5433/mail") == Address("db.example.com", 5433, "v", "mail")
    assert parse_address("postgresql://v@/mail?host=/run/x") == Address("/run/x", 5432, "v", "mail")
    assert parse_address("postgresql:///mail").host == postgres_address.SOCKET_DIRECTORY
    for local in ("/run/x", "localhost", "127.0.0.1", "::1"):
        assert connection_arguments(Address(local, 1, "v", "d"), None, TRUST)["ssl"] is not TRUST
    for far in ("db.example.com", "192.0.2.1", "2001:db8::1"):
        assert connection_arguments(Address(far, 1, "v", "d"), None, TRUST)["ssl"] is TRUST


async def test_the_wire_to_another_machine_is_tls_with_a_certificate_that_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No TLS, another authority, another name: refused, before the password is said; the right one is taken."""
    authority, stranger = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(tmp_path / "cert.pem", append=True)
    right, wrong = ssl.create_default_context(), ssl.create_default_context()
    authority.configure_trust(right)
    stranger.configure_trust(wrong)
    monkeypatch.setattr(Address, "is_local", False)  # as if it were another machine
    with Postgres() as server:
        server.new_database("valija")
        environment = {"PGPASSWORD": PASSWORD}
        url = server.url("valija", port=True)

        async def open_with(trust: ssl.SSLContext, name: str = "127.0.0.1") -> str:
            store = await open_store(
                url.replace("127.0.0.1", name), tmp_path / "state", None, environment, lambda: trust
            )
            row = await store._db.read(lambda: one("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
            await store.close()
            assert row is not None
            return str(row[0])

        monkeypatch.setattr(postgres_connections.Connections.open_with_patience, "__defaults__", (0.1,))
        with pytest.raises(StoreError, match="cannot be reached"):
            await open_with(right)
        server.use_certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
        server.stop()
        server.start()
        with pytest.raises(StoreError, match="not trusted"):
            await open_with(wrong)
        with pytest.raises(StoreError, match="not trusted"):
            await open_with(right, "localhost")
        assert await open_with(right) == "TLSv1.3"


async def test_without_what_it_needs_it_is_said_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of it is needed where the address is empty."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    for name in [name for name in sys.modules if name.startswith("valija.store.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("valija.store.postgres")
    with pytest.raises(ConfigurationError, match=r"pip install 'valija\[postgres\]'"):
        await open_store("postgresql://v@db.example.com/mail", tmp_path, None, {}, lambda: TRUST)
    await (await open_store("", tmp_path, None, {}, lambda: TRUST)).close()
