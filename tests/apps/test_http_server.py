"""Listeners of pages and of the API: who takes places and asks nothing leaves the machine its descriptors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from valija.apps import daemon, http_server
from valija.apps.config import Configuration, GatewayTls
from valija.apps.http_server import HttpServer, tcp_socket

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
LIMIT_S = 0.3


@asynccontextmanager
async def _serving() -> AsyncIterator[int]:
    async def at_once(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("here")

    async def slowly(_request: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            for piece in "slow":
                await asyncio.sleep(LIMIT_S / 2)
                yield piece

        return StreamingResponse(pieces())

    listener = tcp_socket(0)
    server = HttpServer(Starlette(routes=[Route("/", at_once), Route("/slow", slowly)]), listener)
    port = listener.getsockname()[1]
    await server.start()
    try:
        yield port
    finally:
        await server.stop()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the connection ends."""
    found = b""
    async with asyncio.timeout(5):
        try:
            while piece := await reader.read(1000):
                found += piece
        except ConnectionResetError:
            pass
    return found


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_LIMIT_S", LIMIT_S)
    monkeypatch.setattr(http_server, "CONNECTIONS_LIMIT_S", 0.1)


@pytest.mark.parametrize("said", [b"", b"G", HEAD, HEAD + b"\r\n" + HEAD])
async def test_who_does_not_ask_is_let_go(said: bytes) -> None:
    """At once, in the middle of a request's head, and in that of the next one."""
    async with _serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        assert (await _rest(reader)).endswith(b"here" if said.startswith(HEAD + b"\r\n") else b"")
        writer.close()


async def test_an_answer_may_take_longer_than_the_question() -> None:
    async with _serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await _rest(reader)).endswith(b"1\r\nw\r\n0\r\n\r\n")
        writer.close()


async def test_an_address_has_so_many_connections_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_LIMIT_S", 60.0)
    monkeypatch.setattr(http_server, "ADDRESS_LIMIT", 2)
    async with _serving() as port:
        kept = [await asyncio.open_connection("127.0.0.1", port) for _number in range(2)]
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await _rest(reader) == b""
        kept[0][1].close()
        await asyncio.sleep(0.1)
        again, last = await asyncio.open_connection("127.0.0.1", port)
        last.write(HEAD + b"Connection: close\r\n\r\n")
        assert (await _rest(again)).endswith(b"here")
        for _reader, one in [*kept[1:], (reader, writer), (again, last)]:
            one.close()


async def test_the_answers_date_goes_on_and_an_answer_under_way_ends_before_the_server() -> None:
    """Though nothing wakes it ten times a second."""
    dates = set[bytes]()
    async with asyncio.timeout(10), _serving() as port:
        while len(dates) < 3:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD + b"Connection: close\r\n\r\n")
            dates |= {line for line in (await _rest(reader)).split(b"\r\n") if line.startswith(b"date: ")}
            writer.close()
            await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert (await _rest(reader)).endswith(b"1\r\nw\r\n0\r\n\r\n")
    writer.close()


def test_there_are_descriptors_for_all_listeners_when_they_are_full() -> None:
    """And as many as before for the store, the spool and the mail that leaves."""
    configuration = Configuration.model_validate({"gateway": {"connections": 1000}})
    listeners = list(GatewayTls.model_fields)
    wanted = daemon.descriptors_wanted(configuration)
    assert wanted - 1000 * len(listeners) - 2 * http_server.CONNECTIONS_LIMIT == daemon.OTHER_DESCRIPTORS
