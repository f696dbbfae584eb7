"""A provider's server that is its own program: it shares no line with ours, keeps every octet, and fails where it is told to.

With ``tls`` it offers STARTTLS, and inside of it a log-in that takes anything. The ``fault`` of a test is asked at each step
of each session, ``before`` a reply and ``after`` it; it says what happens: nothing, ``"close"``, ``"reset"``, ``"silence"``,
``"half"`` (the first octets of the reply, then the end), or another reply.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

STEPS: Final = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "body", "QUIT")
_REPLIES: Final = {
    "greeting": b"220 up.test ESMTP\r\n",
    "EHLO": b"250-up.test\r\n250-PIPELINING\r\n250-SIZE 200000000\r\n250-DSN\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n",
    "EHLO inside": b"250-up.test\r\n250-PIPELINING\r\n250-AUTH PLAIN\r\n250 8BITMIME\r\n",
    "HELO": b"250 up.test\r\n",
    "STARTTLS": b"220 2.0.0 Go on\r\n",
    "AUTH": b"334 \r\n",
    "credentials": b"235 2.7.0 Welcome\r\n",
    "MAIL": b"250 2.1.0 OK\r\n",
    "RCPT": b"250 2.1.5 OK\r\n",
    "DATA": b"354 Go on\r\n",
    "body": b"250 2.0.0 Taken\r\n",
    "RSET": b"250 2.0.0 OK\r\n",
    "NOOP": b"250 2.0.0 OK\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}
_MESSAGE_ID: Final = re.compile(rb"^Message-ID:\s*(\S+)", re.I | re.M)


@dataclass
class Copy:
    """A message that was taken; ``acknowledged``: the client went on after the reply, so it has read it."""

    sender: str
    recipients: tuple[str, ...]
    wire: bytes  # as it came, dots and all, without the end
    said: bytes = b""
    acknowledged: bool = False

    @property
    def message_id(self) -> str:
        """What ties copies together."""
        found = _MESSAGE_ID.search(self.wire)
        return found[1].decode() if found else ""

    @property
    def is_taken(self) -> bool:
        """Tell whether it was said (or would have been) to be taken."""
        return self.said.startswith(b"2")


@dataclass
class Visit:
    """One session as it is seen by ``fault``; ``number`` counts sessions from 1, ``messages`` those before in this one."""

    number: int
    messages: int = 0
    commands: list[bytes] = field(default_factory=list)


Fault = Callable[[Visit, str, str], str | bytes | None]


class Gone(Exception):
    """The fault ended the session."""


class Upstream:
    """The server."""

    def __init__(
        self, fault: Fault | None = None, *, pipelining: bool = True, tls: ssl.SSLContext | None = None
    ) -> None:
        self.fault: Fault = fault or (lambda _visit, _step, _when: None)
        self.copies: list[Copy] = []
        self.visits: list[Visit] = []
        self.delay_s = 0.0
        self.port = 0
        self._replies = dict(_REPLIES)
        if not pipelining:
            self._replies["EHLO"] = b"250-up.test\r\n250 8BITMIME\r\n"
        self._tls = tls
        if tls is not None:
            self._replies["EHLO"] = b"250-up.test\r\n250 STARTTLS\r\n"
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Upstream:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """End all."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open(self) -> int:
        """Return how many sessions there are now."""
        return len(self._tasks)

    def taken(self, message_id: str = "") -> list[Copy]:
        """Return the copies that were taken, of one message or of all."""
        return [copy for copy in self.copies if copy.is_taken and message_id in ("", copy.message_id)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        visit = Visit(len(self.visits) + 1)
        self.visits.append(visit)
        try:
            await self._talk(reader, writer, visit)
        except (Gone, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # a task of asyncio's servers that was cancelled is logged as an error
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, visit: Visit) -> None:
        await self._say(writer, visit, "greeting")
        sender: str | None = None
        recipients: list[str] = []
        last: Copy | None = None
        while line := await reader.readline():
            visit.commands.append(line)
            if last is not None:
                last.acknowledged, last = True, None
            verb = line.split(b" ")[0].split(b":")[0].strip().upper().decode("latin-1")
            if (verb == "RCPT" and sender is None) or (verb == "DATA" and not recipients):
                writer.write(b"503 5.5.1 Not now\r\n")
                continue
            if verb == "EHLO" and writer.get_extra_info("ssl_object") is not None:
                verb = "EHLO inside"
            said = await self._say(writer, visit, verb if verb in self._replies else "NOOP")
            await self._secure_or_log_in(reader, writer, visit, verb)
            if verb in ("MAIL", "RSET"):
                sender, recipients = (_path(line) if verb == "MAIL" and said.startswith(b"2") else None), []
            elif verb == "RCPT" and said.startswith(b"2"):
                recipients.append(_path(line))
            elif verb == "DATA" and said.startswith(b"3"):
                last = Copy(sender or "", tuple(recipients), await self._body(reader, visit, writer))
                await self._answer_body(writer, visit, last)
                sender, recipients = None, []
                visit.messages += 1
            elif verb == "QUIT":
                return

    async def _secure_or_log_in(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, visit: Visit, verb: str
    ) -> None:
        if verb == "STARTTLS" and self._tls is not None:
            self._act(writer, self.fault(visit, "handshake", "before"), b"")
            await writer.start_tls(self._tls)
        elif verb == "AUTH":
            visit.commands.append(await reader.readline())
            await self._say(writer, visit, "credentials")

    async def _body(self, reader: asyncio.StreamReader, visit: Visit, writer: asyncio.StreamWriter) -> bytes:
        self._act(writer, self.fault(visit, "body", "during"), b"")
        kept = bytearray(b"\r\n")
        while not kept.endswith(b"\r\n.\r\n"):
            kept += await reader.readline() or _gone()
        return bytes(kept[2:-3])

    async def _answer_body(self, writer: asyncio.StreamWriter, visit: Visit, copy: Copy) -> None:
        """Keep what came before anything else can happen: from now on it is there, whatever the client hears."""
        copy.said = self._replies["body"]
        self.copies.append(copy)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        copy.said = await self._say(writer, visit, "body")

    async def _say(self, writer: asyncio.StreamWriter, visit: Visit, step: str) -> bytes:
        reply = self._replies[step]
        said = self.fault(visit, step, "before")
        if said == "silence":
            await asyncio.sleep(3600)
        reply = self._act(writer, said, reply)
        writer.write(reply)
        await writer.drain()
        self._act(writer, self.fault(visit, step, "after"), reply)
        return reply

    def _act(self, writer: asyncio.StreamWriter, said: str | bytes | None, reply: bytes) -> bytes:
        match said:
            case None:
                return reply
            case bytes():
                return said
            case "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            case "half":
                writer.write(reply[:2])
        raise Gone


def _gone() -> bytes:
    raise Gone


def _path(line: bytes) -> str:
    return line.partition(b"<")[2].rpartition(b">")[0].decode()
