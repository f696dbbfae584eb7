"""The HTTP driver for the OAuth engine: one shared client, bounded in time and size, no redirects."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import httpx2

from valija import __version__
from valija.oauth.http_messages import (
    FORM_TYPE,
    HttpFailed,
    HttpRequest,
    HttpResponse,
    HttpResult,
    HttpTrouble,
    encode_form,
    reveal,
)

BODY_LIMIT: Final = 1_000_000
_USER_AGENT: Final = f"valija/{__version__}"


class HttpDriver:
    """Performs requests; what goes wrong is a value. One for the whole program."""

    def __init__(self, tls: ssl.SSLContext, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._client = httpx2.AsyncClient(
            verify=tls,
            follow_redirects=False,
            timeout=timeout_s,
            trust_env=True,
            headers={"User-Agent": _USER_AGENT},
            limits=httpx2.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=15),
        )

    async def perform(self, request: HttpRequest) -> HttpResult:
        """Send a request, return the answer or why there is none; takes at most the time limit in all."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._perform(request)
        except TimeoutError:
            return HttpFailed(HttpTrouble.TIMED_OUT, f"no answer within {self._timeout_s:g} s")

    async def _perform(self, request: HttpRequest) -> HttpResult:
        headers = {name: reveal(value) for name, value in request.headers}
        headers.setdefault("Accept", "application/json")
        content = encode_form(request.form) if request.method == "POST" else None
        if content is not None:
            headers["Content-Type"] = FORM_TYPE
        try:
            async with self._client.stream(request.method, request.url, headers=headers, content=content) as answer:
                return await _read(answer)
        except httpx2.TimeoutException:
            return HttpFailed(HttpTrouble.TIMED_OUT, f"no answer within {self._timeout_s:g} s")
        except httpx2.HTTPError as error:
            return _failed(error)
        except (httpx2.InvalidURL, UnicodeError) as error:
            return HttpFailed(HttpTrouble.UNREACHABLE, str(error))

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self._client.aclose()


async def _read(answer: httpx2.Response) -> HttpResult:
    if 300 <= answer.status_code < 400:
        where = answer.headers.get("location", "")[:200]
        return HttpFailed(HttpTrouble.REDIRECTED, f"HTTP {answer.status_code} to {where}")
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > BODY_LIMIT:
            return HttpFailed(HttpTrouble.TOO_LARGE, f"HTTP {answer.status_code} with more than {BODY_LIMIT} octets")
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return HttpResponse(answer.status_code, headers, bytes(body))


def _failed(error: httpx2.HTTPError) -> HttpFailed:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return HttpFailed(HttpTrouble.TLS, str(cause))
        cause = cause.__cause__ or cause.__context__
    return HttpFailed(HttpTrouble.UNREACHABLE, str(error) or type(error).__name__)
