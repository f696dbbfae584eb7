"""The loopback address that a browser is sent back to (RFC 8252 section 7.3): one request, then nothing listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

REQUEST_LIMIT: Final = 32768
PATIENCE_S: Final = 10.0
REDIRECT_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Valija</title>"
    "<body style='font:1.2rem/1.5 system-ui,sans-serif;margin:4rem auto;max-width:32rem;padding:0 1rem'>"
    "<p lang=es>La máquina ha recibido la respuesta. Mire en la máquina cómo ha terminado; puede cerrar esta página.</p>"
    "<p>The machine has received the answer. Look at the machine how it ended; you can close this page.</p>"
)


class RedirectListener:
    """Listens on 127.0.0.1 and, if it can, ::1. ``take`` gets each request's target and gives the page to answer with."""

    def __init__(self, path: str, take: Callable[[str], str]) -> None:
        self._path = path or "/"
        self._take = take
        self._servers: list[asyncio.Server] = []
        self.port = 0

    async def start(self, port: int = 0) -> None:
        """Listen; read the port from ``port``. Raises OSError."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=REQUEST_LIMIT)
        self._servers.append(server)
        self.port = server.sockets[0].getsockname()[1]
        with contextlib.suppress(OSError):  # a machine without IPv6
            self._servers.append(await asyncio.start_server(self._serve, "::1", self.port, limit=REQUEST_LIMIT))

    async def stop(self) -> None:
        """Listen no more."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                line = await reader.readline()
                words = line.decode("latin-1").split(" ")
                while (await reader.readline()).strip():
                    pass  # the header says nothing that is needed
                fits = len(words) == 3 and words[0] == "GET" and words[1].partition("?")[0] == self._path
                page = self._take(words[1]) if fits else "404"
                writer.write(_response("404 Not Found" if page == "404" else "200 OK", page))
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # a browser's second thoughts; nothing was decided
        finally:
            writer.close()


def _response(status: str, page: str) -> bytes:
    body = page.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n"
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
