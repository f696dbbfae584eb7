"""The token endpoint misbehaves over real sockets: every wait ends, every answer is bounded, nothing is followed."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator

import pytest
import trustme
from hostile import http_answer, serving, silence

from valija.net.http import HttpDriver
from valija.net.tls import client_context
from valija.oauth.http_messages import HttpFailed, HttpRequest, HttpResponse, HttpResult, HttpTrouble
from valija.secret import Secret

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
async def driver() -> AsyncIterator[HttpDriver]:
    """A driver with a short patience."""
    made = HttpDriver(client_context(), timeout_s=0.5)
    yield made
    await made.close()


async def _ask(driver: HttpDriver, port: int, scheme: str = "http") -> HttpResult:
    form = (("grant_type", "refresh_token"), ("refresh_token", Secret("planted")))
    return await driver.perform(HttpRequest("POST", f"{scheme}://localhost:{port}/token", form))


async def test_an_answer_comes_with_headers_in_lower_case(driver: HttpDriver) -> None:
    """The normal case."""
    async with serving(http_answer(OK)) as port:
        answer = await _ask(driver, port)
    assert isinstance(answer, HttpResponse)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"{}", "application/json")


async def test_a_provider_that_is_down_is_a_value(driver: HttpDriver) -> None:
    """Nobody listens."""
    async with serving(silence) as port:
        pass
    answer = await _ask(driver, port)
    assert isinstance(answer, HttpFailed)
    assert answer.trouble is HttpTrouble.UNREACHABLE


async def test_a_silent_provider_is_waited_for_a_bounded_time(driver: HttpDriver) -> None:
    """No octet ever comes."""
    async with serving(silence) as port:
        begun = time.monotonic()
        answer = await _ask(driver, port)
    assert isinstance(answer, HttpFailed)
    assert answer.trouble is HttpTrouble.TIMED_OUT
    assert time.monotonic() - begun < 3


async def test_a_provider_that_drips_is_waited_for_a_bounded_time(driver: HttpDriver) -> None:
    """One octet at a time would outlive any time-out for a single read."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for octet in OK * 100:
            writer.write(bytes([octet]))
            await asyncio.sleep(0.05)

    async with serving(drip) as port:
        begun = time.monotonic()
        answer = await _ask(driver, port)
    assert isinstance(answer, HttpFailed)
    assert answer.trouble is HttpTrouble.TIMED_OUT
    assert time.monotonic() - begun < 3


async def test_a_body_of_100_mb_is_cut_off(driver: HttpDriver) -> None:
    """Its length is announced; not more than the limit is read."""
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _piece in range(100):
            writer.write(b"x" * 1_000_000)
            await writer.drain()
            sent += 1_000_000

    async with serving(flood) as port:
        answer = await _ask(driver, port)
    assert isinstance(answer, HttpFailed)
    assert answer.trouble is HttpTrouble.TOO_LARGE
    assert sent < 20_000_000


async def test_a_compressed_bomb_is_cut_off(driver: HttpDriver) -> None:
    """The limit counts what comes out of the decoder."""
    import gzip

    bomb = gzip.compress(b"\0" * 50_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with serving(http_answer(head + bomb)) as port:
        answer = await _ask(driver, port)
    assert isinstance(answer, HttpFailed)
    assert answer.trouble is HttpTrouble.TOO_LARGE


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_on_post_is_not_followed(driver: HttpDriver, status: int) -> None:
    """A secret goes nowhere but to the address that was set."""
    reached = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)

    async with serving(elsewhere) as other:
        raw = f"HTTP/1.1 {status} Moved\r\nLocation: http://localhost:{other}/\r\nContent-Length: 0\r\n\r\n"
        async with serving(http_answer(raw.encode())) as port:
            answer = await _ask(driver, port)
    assert isinstance(answer, HttpFailed)
    assert answer.trouble is HttpTrouble.REDIRECTED
    assert reached == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        b"HTTP/9.9 abc\r\n\r\n",
        b"\x00" * 5000,
    ],
)
async def test_garbage_and_half_answers_are_values(driver: HttpDriver, raw: bytes) -> None:
    """Not HTTP, or not all of it."""
    async with serving(http_answer(raw)) as port:
        answer = await _ask(driver, port)
    assert isinstance(answer, HttpFailed)


async def test_an_untrusted_certificate_is_said_so(driver: HttpDriver) -> None:
    """TLS trouble has its own explanation."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    async with serving(silence, tls) as port:
        answer = await _ask(driver, port, "https")
    assert isinstance(answer, HttpFailed)
    assert answer.trouble is HttpTrouble.TLS
