"""A real PostgreSQL on loopback and on a Unix socket, as durable as in an office: fsync on.

    with Postgres() as server:
        url = server.new_database()
        await server.restart_at_once()      # as after a crash

It runs as an unprivileged user, since root cannot. Local users are believed on the socket; on the port, passwords are asked.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import asyncpg
import pytest
from rig_process import START_LIMIT_S, STOP_LIMIT_S, PeersMissing, free_ports, new_directory, program, read_logs

PROGRAMS: Final = Path("/usr/lib/postgresql")
OWNER: Final = "postgres"  # Debian's package makes it
USER: Final = "valija"
PASSWORD: Final = "p4ss-Wört:@/"
SETTINGS: Final = """
listen_addresses = '127.0.0.1'
fsync = on
synchronous_commit = off  # ours must not depend on the server's word
shared_buffers = 32MB
max_connections = 100
log_line_prefix = '%m [%p] %u@%d '
"""
EMPTY: Final = """
DO $$ DECLARE found record; BEGIN
  FOR found IN SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'valija_schema' LOOP
    IF found.name = 'queue_numbers' THEN UPDATE queue_numbers SET last = 0;
    ELSE EXECUTE format('DELETE FROM %I', found.name); END IF;
  END LOOP;
  PERFORM setval(format('%I', sequencename)::regclass, 1, false) FROM pg_sequences WHERE schemaname = 'public';
END $$
"""
ACCESS: Final = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


class Postgres:
    """A server with a superuser ``valija``."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.directory: Path
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._kept = ""

    def __enter__(self) -> Self:
        self.directory = new_directory()
        try:
            self._make()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGQUIT)
        if not os.environ.get("PEERS_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def data(self) -> Path:
        """The cluster's directory."""
        return self.directory / "data"

    def url(self, database: str, *, port: bool = False) -> str:
        """Return a database's address: by the socket, or by the port."""
        if port:
            return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{USER}@:{self.port}/{database}?host={self.directory}"

    def new_database(self, name: str = "") -> str:
        """Make an empty database; return its address."""
        self._databases += 1
        name = name or f"valija_{self._databases}"
        self.psql(f'CREATE DATABASE "{name}"')
        return self.url(name)

    async def empty_database(self) -> str:
        """Return the address of a database that is kept, with all rows deleted: cheaper than a new one for each test."""
        if not self._kept:
            self._kept = self.new_database("kept")
        connection = await asyncpg.connect(host=str(self.directory), port=self.port, user=USER, database="kept")
        await connection.execute(EMPTY)
        await connection.close()
        return self._kept

    def psql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement; return its rows, fields divided by ``|``."""
        where = ("-h", str(self.directory), "-p", str(self.port), "-U", USER, "-d", database)
        command = [str(_bin("psql")), *where, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        """Start; connections are taken when this returns. It ends with the thread that started it."""
        self._spawn()
        self._await_ready()

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop: SIGINT ends sessions in order, SIGQUIT is ``pg_ctl stop -m immediate``."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_LIMIT_S)

    async def restart_at_once(self, down_s: float = 0.0) -> None:
        """Stop as a crash does, then start: what was not on disk is gone. Others go on meanwhile."""
        await asyncio.to_thread(self.stop, signal.SIGQUIT)
        await asyncio.sleep(down_s)
        self._spawn()  # in this thread: it ends with it
        await asyncio.to_thread(self._await_ready)

    def _spawn(self) -> None:
        command = [*_as_owner(), "--pdeathsig", "INT", str(_bin("postgres")), "-D", str(self.data)]
        with (self.directory / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _await_ready(self) -> None:
        process, end = self._process, time.monotonic() + START_LIMIT_S
        assert process is not None
        while not self._is_ready(process.pid):
            if process.poll() is not None or time.monotonic() > end:
                raise PeersMissing(f"PostgreSQL did not start\n{read_logs(self.directory)}")
            time.sleep(0.01)

    def use_certificate(self, certificate: Path, key: Path) -> None:
        """Offer TLS with this certificate from the next start on."""
        for source, name in ((certificate, "server.crt"), (key, "server.key")):
            target = self.data / name
            target.write_bytes(source.read_bytes())
            _give(target, 0o600)
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write("ssl = on\n")

    def _make(self) -> None:
        secret = self.directory / "password"
        secret.write_text(PASSWORD, "utf-8")
        _give(secret, 0o600)
        self.data.mkdir(mode=0o700)
        _give(self.data, 0o700)
        _give(self.directory, 0o755)
        options = [
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--no-sync",
            "--no-instructions",
        ]
        # not in the order of octets, to see that the store does not depend on it
        locale = ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=es"]
        command = [str(_bin("initdb")), "-D", str(self.data), "-U", USER, f"--pwfile={secret}", *options, *locale]
        done = subprocess.run(
            [*_as_owner(), *command], capture_output=True, text=True, timeout=START_LIMIT_S, check=False
        )
        if done.returncode != 0:
            raise PeersMissing(f"initdb failed: {done.stderr}")
        place = f"port = {self.port}\nunix_socket_directories = '{self.directory}'\n"
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS + place)
        (self.data / "pg_hba.conf").write_text(ACCESS)

    def _is_ready(self, pid: int) -> bool:
        with suppress(OSError):
            lines = (self.data / "postmaster.pid").read_text().split("\n")
            return lines[0] == str(pid) and len(lines) > 7 and lines[7].strip() == "ready"
        return False


def server_trust(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return what the daemon hands to the store."""
    return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))


def _bin(name: str) -> Path:
    """Return a program of the latest PostgreSQL that is installed; Debian keeps them out of PATH."""
    versions = sorted(PROGRAMS.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if not versions:
        raise PeersMissing("PostgreSQL is not installed: run tests/peers/install.sh")
    return versions[-1].with_name(name)


def _as_owner() -> list[str]:
    return [program("setpriv"), *(_identity() if os.geteuid() == 0 else [])]


def _identity() -> list[str]:
    return [f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups"]


def _give(path: Path, mode: int) -> None:
    path.chmod(mode)
    if os.geteuid() == 0:
        shutil.chown(path, OWNER, OWNER)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL, started when the first test asks for it."""
    with Postgres() as server:
        yield server
