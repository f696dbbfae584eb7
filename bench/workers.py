"""The measured clients, each in a process of its own: ``python -m bench.workers NAME ARGUMENTS``; prints JSON."""

from __future__ import annotations

import asyncio
import json
import poplib
import smtplib
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

MAILBOXES = 10
SENDER, RECIPIENT = "bench@example.com", "to@example.com"
MESSAGE = b"From: bench@example.com\r\nTo: to@example.com\r\nSubject: bench\r\n\r\n" + (b"x" * 76 + b"\r\n") * 128


def _measure(work: Callable[[], None]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def _in_threads(work: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _in_loop(work: Callable[[], Awaitable[None]]) -> dict[str, float]:
    import uvloop

    async def main() -> dict[str, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        await work()
        return {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


# --- SMTP: kept connections ---------------------------------------------------------------------------------------------------


def smtp_valija(port: int, count: int, connections: int) -> dict[str, float]:
    """Our client."""
    from valija.net.smtp import SmtpConnection
    from valija.net.tls import client_context
    from valija.net.wire import Endpoint, TlsMode
    from valija.protocol.smtp_transaction import Envelope, Recipient, Verdict

    tls = client_context()
    envelope = Envelope(SENDER, (Recipient(RECIPIENT),), len(MESSAGE))

    async def body() -> AsyncIterator[bytes]:
        yield MESSAGE

    async def one() -> None:
        connection = await SmtpConnection.open(Endpoint("127.0.0.1", port, TlsMode.NONE), tls)
        for _message in range(count // connections):
            outcome = await connection.send(envelope, body())
            assert outcome.outcomes[0].verdict is Verdict.ACCEPTED
        await connection.close()

    async def work() -> None:
        await asyncio.gather(*(one() for _ in range(connections)))

    return _in_loop(work)


def smtp_aiosmtplib(port: int, count: int, connections: int) -> dict[str, float]:
    """aiosmtplib, on the same event loop."""
    import aiosmtplib

    async def one() -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False, use_tls=False)
        await client.connect()
        for _message in range(count // connections):
            await client.sendmail(SENDER, [RECIPIENT], MESSAGE)
        await client.quit()

    async def work() -> None:
        await asyncio.gather(*(one() for _ in range(connections)))

    return _in_loop(work)


def smtp_smtplib(port: int, count: int, connections: int) -> dict[str, float]:
    """The standard library's smtplib, a thread for each connection."""

    def one(_number: int) -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            for _message in range(count // connections):
                client.sendmail(SENDER, [RECIPIENT], MESSAGE)

    return _measure(lambda: _in_threads(one, connections))


# --- POP3 over TLS ------------------------------------------------------------------------------------------------------------


def pop_valija(port: int, rounds: int, ca_file: str, what: str) -> dict[str, float]:
    """Our client, a task for each mailbox: ``poll`` (log in, list, leave) or ``retrieve`` (and fetch the first message)."""
    from valija.net.pop3 import Pop3Connection
    from valija.net.tls import client_context
    from valija.net.wire import Endpoint, TlsMode
    from valija.protocol.sasl import PasswordCredentials
    from valija.secret import Secret

    tls = client_context(Path(ca_file))

    async def one(number: int) -> None:
        for _round in range(rounds // MAILBOXES):
            connection = await Pop3Connection.open(Endpoint("localhost", port, TlsMode.IMPLICIT), tls)
            await connection.authenticate(PasswordCredentials(f"bench{number}@sandbox.test", Secret("sandbox")))
            await connection.stat()
            await connection.unique_ids()
            if what == "retrieve":
                size = 0
                async for piece in connection.retrieve(1):
                    size += len(piece)
                assert size > 10_000_000
            await connection.quit()

    async def work() -> None:
        await asyncio.gather(*(one(number) for number in range(MAILBOXES)))

    return _in_loop(work)


def pop_poplib(port: int, rounds: int, ca_file: str, what: str) -> dict[str, float]:
    """The standard library's poplib, the same steps, a thread for each mailbox."""
    context = ssl.create_default_context(cafile=ca_file)

    def one(number: int) -> None:
        for _round in range(rounds // MAILBOXES):
            client = poplib.POP3_SSL("localhost", port, context=context, timeout=30)
            client.user(f"bench{number}@sandbox.test")
            client.pass_("sandbox")
            client.stat()
            client.uidl()
            if what == "retrieve":
                _answer, lines, _octets = client.retr(1)
                assert sum(map(len, lines)) > 10_000_000
            client.quit()

    return _measure(lambda: _in_threads(one, MAILBOXES))


def tls_handshake(port: int, rounds: int, ca_file: str) -> dict[str, float]:
    """Connect with TLS, read the greeting, go: what no client can do without."""
    context = ssl.create_default_context(cafile=ca_file)

    def one(_number: int) -> None:
        for _round in range(rounds // MAILBOXES):
            plain = socket.create_connection(("localhost", port), 30)
            with context.wrap_socket(plain, server_hostname="localhost") as secured:
                secured.recv(100)

    return _measure(lambda: _in_threads(one, MAILBOXES))


def main() -> None:
    """Run the worker that is named."""
    name, *arguments = sys.argv[1:]
    values: list[Any] = [int(a) if a.isdigit() else a for a in arguments]
    json.dump(globals()[name](*values), sys.stdout)


if __name__ == "__main__":
    main()
