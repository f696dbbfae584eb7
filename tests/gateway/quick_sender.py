"""A device's side of SMTP without mercy: raw octets, sockets that end when the test says so, replies as they came."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import struct
from collections.abc import Iterable
from typing import Self


class Client:
    """One session; each wait has an end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience_s: float = 20.0) -> None:
        self.reader = reader
        self.writer = writer
        self.patience_s = patience_s

    @classmethod
    async def connect(cls, port: int, *, patience_s: float = 20.0) -> Client:
        """Connect, and do not wait for the greeting."""
        async with asyncio.timeout(patience_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(reader, writer, patience_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def reply(self) -> bytes:
        """Return the next whole reply, or what there was before the end of the connection."""
        lines = b""
        async with asyncio.timeout(self.patience_s):
            while True:
                line = await self.reader.readline()
                lines += line
                if not line or line[3:4] == b" ":
                    return lines

    async def say(self, line: bytes) -> int:
        """Say a command, return the code of its reply; 0 if the connection has ended."""
        await self.send(line + b"\r\n")
        return code(await self.reply())

    async def send(self, data: bytes) -> None:
        """Send octets."""
        self.writer.write(data)
        async with asyncio.timeout(self.patience_s):
            await self.writer.drain()

    async def rest(self) -> bytes:
        """Return all that comes until the server closes."""
        async with asyncio.timeout(self.patience_s):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""

    def reset(self) -> None:
        """End the connection as a power cut does."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def start_tls(self) -> None:
        """Shake hands, whoever the server is."""
        async with asyncio.timeout(self.patience_s):
            await self.writer.start_tls(ssl._create_unverified_context())

    async def log_in(self, login: str, password: str) -> int:
        """Secure the session and log in; return the code."""
        assert await self.say(b"STARTTLS") == 220
        await self.start_tls()
        await self.say(b"EHLO x")
        return await self.say(b"AUTH PLAIN " + plain(login, password))

    async def hand_in(self, sender: str, recipients: Iterable[str], message: bytes) -> bytes:
        """Greet and hand in a message (dots stuffed, CRLF at its end); return the reply to the final dot."""
        await self.reply()
        await self.say(b"EHLO x")
        commands = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{r}>" for r in recipients), "DATA"]
        await self.send("".join(f"{command}\r\n" for command in commands).encode())
        for _command in commands:
            said = await self.reply()
        if code(said) != 354:
            return said
        await self.send(message + b".\r\n")
        return await self.reply()


def plain(login: str, password: str, authorized: str = "") -> bytes:
    """Return the response of AUTH PLAIN (RFC 4616)."""
    return base64.b64encode(f"{authorized}\0{login}\0{password}".encode())


def code(reply: bytes) -> int:
    """Return the code of a reply; 0 for none."""
    last = reply.splitlines()[-1] if reply else b""
    return int(last[:3]) if last[:3].isdigit() else 0


def codes(replies: bytes) -> list[int]:
    """Return the codes of several replies."""
    return [int(line[:3]) for line in replies.splitlines() if line[3:4] == b" "]
