"""A client of SMTP as old devices are: no more than it is told, everything written down, credentials blanked."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from valija.net.tls import OLD
from valija.protocol.smtp_reply import ReplyReader, SmtpReply

PIECE: Final = 65_536
BLANK: Final = "********"


def unchecked_context() -> ssl.SSLContext:
    """Return a client's context that checks no certificate, as most devices do not, and can do old TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(OLD)
    return context


class PlayedDevice:
    """One session; raises OSError, :class:`~valija.protocol.errors.RemoteProtocolError`. The caller limits the time."""

    def __init__(self) -> None:
        self.transcript: list[str] = []
        self.tls_version = ""
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._replies = ReplyReader()

    async def connect(self, host: str, port: int, *, tls: bool, ready: Callable[[str, int], None]) -> None:
        """Open the connection, with TLS at once if ``tls``; ``ready`` hears before where it will come from."""
        self.transcript.append(f"= connect {host}:{port}")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.bind((host, 0))
            ready(*sock.getsockname()[:2])
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except OSError:
            sock.close()
            raise
        context, name = (unchecked_context(), host) if tls else (None, None)
        self._reader, self._writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
        self._note_tls()

    async def start_tls(self) -> None:
        """Begin with TLS."""
        if self._writer is not None:
            self._replies = ReplyReader()
            await self._writer.start_tls(unchecked_context())
            self._note_tls()

    async def say(self, line: str, *, secret: bool = False) -> SmtpReply:
        """Say a command, return the reply; a ``secret`` one is blanked in the transcript."""
        self.transcript.append("C: " + (BLANK if secret else line))
        await self.send(line.encode("utf-8") + b"\r\n")
        return await self.reply()

    async def send(self, data: bytes) -> None:
        """Send octets."""
        if self._writer is None:
            raise ConnectionError("not connected")
        self._writer.write(data)
        await self._writer.drain()

    async def reply(self) -> SmtpReply:
        """Return the next reply."""
        while (found := self._replies.next_reply()) is None:
            data = await self._reader.read(PIECE)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._replies.feed(data)
        for number, text in enumerate(found.lines):
            mark = "-" if number < len(found.lines) - 1 else " "
            self.transcript.append(f"S: {found.code}{mark}{text}")
        return found

    def close(self) -> None:
        """End the connection."""
        if self._writer is not None:
            self._writer.close()

    def _note_tls(self) -> None:
        inside = self._writer.get_extra_info("ssl_object") if self._writer is not None else None
        if inside is not None:
            self.tls_version = inside.version() or ""
            self.transcript.append(f"= {self.tls_version} {(inside.cipher() or ('',))[0]}")
