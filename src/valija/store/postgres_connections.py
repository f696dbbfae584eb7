"""A few connections to PostgreSQL: opened when needed, kept, replaced when they break, with a wait that has an end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from valija.domain.errors import StoreError, StoreUnreachable
from valija.domain.text import N_, message
from valija.secret import Secret
from valija.store.postgres_address import PASSWORD_NAME, Address, connection_arguments

MOST: Final = 8
CONNECT_WITHIN_S: Final = 5.0
ANSWER_WITHIN_S: Final = 30.0
PATIENCE_S: Final = 10.0  # for a server that restarts
PAUSES_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
# off would say 250 before the message is on disk; what is stronger than on is the administrator's choice
_SETTINGS: Final = {
    "application_name": "valija",
    "jit": "off",  # compiling a short statement takes longer than running it
    "lock_timeout": "20s",
    "idle_in_transaction_session_timeout": "60s",
}
# the connection is gone, or the server is going, coming, full of connections, or a standby that must not be written to
_LOST: Final = ("57P01", "57P02", "57P03", "57P05", "25P03", "53300", "25006")


class Connections:
    """Lends connections to one database."""

    def __init__(self, address: Address, password: Secret | None, tls: ssl.SSLContext) -> None:
        self.address = address
        self._password = password
        self._tls = tls
        self._idle: list[Any] = []
        self._places = asyncio.Semaphore(MOST)
        self._closed = False

    async def open(self) -> Any:
        """Open a connection of its own. Raises :class:`StoreUnreachable` for what passes, :class:`StoreError`."""
        arguments = connection_arguments(self.address, self._password, self._tls)
        try:
            connection = await asyncpg.connect(
                **arguments, timeout=CONNECT_WITHIN_S, command_timeout=ANSWER_WITHIN_S, server_settings=_SETTINGS
            )
        except Exception as error:
            raise explain_refusal(error, self.address) from None
        try:
            await _make_durable(connection, self.address)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def open_with_patience(self, patience_s: float = PATIENCE_S) -> Any:
        """Open a connection; try again for a while where that may help."""
        end = asyncio.get_running_loop().time() + patience_s
        for tries in range(10_000):
            try:
                return await self.open()
            except StoreUnreachable:
                pause = PAUSES_S[min(tries, len(PAUSES_S) - 1)]
                if asyncio.get_running_loop().time() + pause > end:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Any]:
        """Lend a connection, which is not given to anybody else if it comes back with an error that is not SQL's."""
        try:
            async with asyncio.timeout(PATIENCE_S + ANSWER_WITHIN_S):
                await self._places.acquire()
        except TimeoutError:
            raise unreachable(self.address, "all connections are busy") from None
        connection = None
        try:
            connection = self._take_idle() or await self.open_with_patience()
            yield connection
        except BaseException as error:
            if connection is not None and (not isinstance(error, asyncpg.PostgresError) or is_lost(error)):
                connection.terminate()
            raise
        finally:
            self._places.release()
            if connection is not None and not connection.is_closed():
                self._keep(connection)

    def _take_idle(self) -> Any | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _keep(self, connection: Any) -> None:
        if connection.is_in_transaction() or self._closed:
            connection.terminate()
        else:
            self._idle.append(connection)

    async def close(self) -> None:
        """Close what is open, and what comes back later."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            try:
                await connection.close(timeout=CONNECT_WITHIN_S)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()


async def _make_durable(connection: Any, address: Address) -> None:
    """See to it that a commit that is reported is on disk. Raises :class:`StoreError` where the server cannot."""
    try:
        row = await connection.fetchrow("SELECT current_setting('fsync'), current_setting('synchronous_commit')")
        if row[1] == "off":
            await connection.execute("SET synchronous_commit = on")
    except Exception as error:
        raise explain_refusal(error, address) from None
    if row[0] != "on":
        raise StoreError(
            message(N_("PostgreSQL at {place} runs with fsync = off: it would lose mail."), place=address.host),
            message(N_("Set fsync = on in its configuration and restart it.")),
        )


def is_lost(error: BaseException) -> bool:
    """Tell whether an error means that the connection or the server went away."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith("08") or state in _LOST
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)  # ValueErrors are about what was sent
    return isinstance(error, OSError | TimeoutError | asyncpg.InternalClientError)


def unreachable(address: Address, why: str) -> StoreUnreachable:
    """Return the error for a server that does not answer."""
    return StoreUnreachable(
        message(N_("PostgreSQL at {place} cannot be reached: {why}."), place=address.host, why=why),
        message(
            N_("Check that it runs and that {key} in the configuration names it; what waits goes on by itself."),
            key="[store] url",
        ),
    )


def explain_refusal(error: Exception, address: Address) -> StoreError:
    """Return what an error at connecting means."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, ssl.SSLError):
        return StoreError(
            message(
                N_("The certificate of PostgreSQL at {place} is not trusted: {why}."),
                place=address.host,
                why=getattr(error, "verify_message", "") or error.reason or type(error).__name__,
            ),
            message(N_("Name the authority that signed it as {key} in the configuration."), key="[tls] ca_file"),
        )
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return StoreError(
            message(N_("PostgreSQL at {place} does not let {user} in."), place=address.host, user=address.user),
            message(
                N_("Check the user in {key}, and the password in {variable} or ~/.pgpass."),
                key="[store] url",
                variable=PASSWORD_NAME,
            ),
            diagnostics=words(error),
        )
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return StoreError(
            message(N_("PostgreSQL at {place} has no database {name}."), place=address.host, name=address.database),
            message(N_("Make it there: {command}"), command=f"createdb -O {address.user} {address.database}"),
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return StoreError(
            message(N_("PostgreSQL at {place} cannot be used: {why}."), place=address.host, why=words(error)),
            message(N_("Make {user} the owner of the database {name}."), user=address.user, name=address.database),
        )
    if is_lost(error):
        return unreachable(address, words(error))
    return StoreError(
        message(N_("PostgreSQL at {place} cannot be used: {why}."), place=address.host, why=words(error)),
        diagnostics=type(error).__name__,
    )


def words(error: BaseException) -> str:
    """Return what an error says, without details that hold values of rows."""
    if isinstance(error, asyncpg.PostgresError):
        return f"{error.args[0] if error.args else ''} ({error.sqlstate})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ValueError):
        return type(error).__name__
    return str(error) or type(error).__name__
