"""Plain clients of the panel and of the web page: connections that are kept, cookies, forms; no browser."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import ssl
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driver import Daemon

PASSWORD = "correct horse 7"


@dataclass
class Answer:
    """What a page's request was answered with."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Client:
    """One visitor: its cookies, and the connections that it keeps."""

    port: int
    tls: ssl.SSLContext | None = None
    cookies: dict[str, str] = field(default_factory=dict)
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)
    opened: int = 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        self.opened += 1
        name = "localhost" if self.tls else None
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls, server_hostname=name)

    async def get(self, path: str) -> Answer:
        """Fetch a page on a connection that is free."""
        return await self._exchange("GET", path, b"")

    async def post(self, path: str, **fields: str) -> Answer:
        """Send a form."""
        return await self._exchange("POST", path, urllib.parse.urlencode(fields).encode())

    async def _exchange(self, method: str, path: str, body: bytes) -> Answer:
        reader, writer = self.free.pop() if self.free else await self.connect()
        writer.write(self._head(method, path, body) + body)
        answer = await _answer(reader)
        self.free.append((reader, writer))
        for name, value in answer.headers:
            if name == "set-cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0]
        return answer

    def _head(self, method: str, path: str, body: bytes) -> bytes:
        cookies = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: localhost:{self.port}",
            f"Cookie: {cookies}",
            "Accept-Language: en",
        ]
        if method == "POST":
            lines += [f"Content-Length: {len(body)}", "Content-Type: application/x-www-form-urlencoded"]
        return "\r\n".join([*lines, "", ""]).encode()

    async def follow(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a page's stream of events; return when the machine has begun to answer."""
        reader, writer = await self.connect()
        writer.write(self._head("GET", path, b""))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.partition(b"\r\n")[0], head
        await reader.readuntil(b": ok\n\n\r\n")
        return reader, writer

    async def log_in(self) -> None:
        """Log in; at the panel of a new machine, set the first password."""
        page = (await self.get("/login")).body.decode()
        word = re.search(r'name="csrf" value="([^"]+)"', page)
        assert word is not None, page
        form = {"csrf": word[1], "password": PASSWORD, "again": PASSWORD, "next": "/settings"}
        answer = await self.post("/login", **form)
        assert answer.status == 303, answer

    async def close(self) -> None:
        """Close what is kept."""
        for _reader, writer in self.free:
            await hang_up(writer)
        self.free.clear()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection."""
    writer.close()
    with suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in head[1:] if line)]
    length = int(dict(headers).get("content-length", "0"))
    return Answer(int(head[0].split()[1]), headers, await reader.readexactly(length))


async def visitors(daemon: Daemon) -> tuple[Client, Client]:
    """Return somebody at the panel and somebody at the web page, both logged in."""
    address = urllib.parse.urlsplit(await asyncio.to_thread(lambda: daemon.json("panel")["url"]))
    panel = Client(address.port or 0)
    assert (await panel.get(f"{address.path}?{address.query}")).status == 200
    await panel.log_in()
    web_address = await asyncio.to_thread(lambda: daemon.json("status")["web_address"])
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # the certificate that the machine made for itself
    web = Client(urllib.parse.urlsplit(web_address).port or 0, tls)
    await web.log_in()
    return panel, web


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = str(path)

    def connect(self) -> None:
        """Reach the control socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def call_machine(served: Daemon, method: str, path: str, body: Any = None) -> None:
    """Call the API on the control socket."""
    connection = _Connection(served.state_dir / "control.sock")
    payload = None if body is None else json.dumps(body)
    connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status < 300, (answer.status, text)
