"""A provider's POP3 server that does what a test says: goes away, denies, waits, or gives what is asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

LONG = b"Subject: long\r\n\r\n" + b"x" * 10_000 + b"\r\n..dots\r\n"
CAPABILITIES = b"USER\r\nUIDL\r\nTOP\r\nPIPELINING\r\n"


@dataclass
class Maildrop:
    """A POP3 server with messages; ``breaks`` names the command at which it goes away, ``refuses`` what it denies.

    It gives nothing before ``together`` messages have been asked for.
    """

    messages: dict[str, bytes] = field(default_factory=lambda: {"u1": b"Subject: one\r\n\r\n1\r\n", "u2": LONG})
    breaks: str = ""
    refuses: str = ""
    refusal: bytes = b"-ERR no"
    capabilities: bytes = b"USER\r\nUIDL\r\n"
    together: int = 1
    goes_on: asyncio.Event | None = None  # with CAPA it waits for this
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    commands: list[str] = field(default_factory=list)
    sessions: int = 0
    octets_taken: int = 0

    async def session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.sessions += 1
        try:
            await self._serve(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        marked: list[str] = []
        asked: list[str] = []
        writer.write(b"+OK hi\r\n")
        while line := (await reader.readline()).decode().strip():
            self.commands.append(line)
            verb = line.split()[0]
            if verb == "CAPA" and self.goes_on is not None:
                self.waits.set()
                await self.goes_on.wait()
            if self.breaks and self.breaks in (line, verb):
                writer.write(b"+OK half of\r\nSubject: ha" if verb == "RETR" else b"")
                return
            if self.refuses in (verb, line):
                writer.write(self.refusal + b"\r\n")
                continue
            asked.append(line)
            if verb == "RETR" and len(asked) < self.together:
                continue
            answers, asked = b"".join(self._answer(one, marked) for one in asked), []
            for piece in _pieces(answers):
                writer.write(piece)
                await writer.drain()
                self.octets_taken += len(piece)
            if verb == "QUIT":
                for unique_id in marked:
                    del self.messages[unique_id]
                return

    def _answer(self, line: str, marked: list[str]) -> bytes:
        verb, *rest = line.split()
        ids = list(self.messages)
        numbered = list(enumerate(ids, 1))
        match verb:
            case "CAPA":
                return b"+OK\r\n" + self.capabilities + b".\r\n"
            case "UIDL":
                return b"+OK\r\n" + b"".join(b"%d %s\r\n" % (n, u.encode()) for n, u in numbered) + b".\r\n"
            case "LIST":
                sizes = b"".join(b"%d %d\r\n" % (n, len(self.messages[u])) for n, u in numbered)
                return b"+OK\r\n" + sizes + b".\r\n"
            case "RETR":
                return b"+OK\r\n" + _stuffed(self.messages[ids[int(rest[0]) - 1]]) + b".\r\n"
            case "TOP":
                head, blank, body = self.messages[ids[int(rest[0]) - 1]].partition(b"\r\n\r\n")
                some = b"".join(body.splitlines(keepends=True)[: int(rest[1])])
                return b"+OK\r\n" + _stuffed(head + blank + some) + b".\r\n"
            case "DELE":
                marked.append(ids[int(rest[0]) - 1])
        return b"+OK\r\n"


def _stuffed(message: bytes) -> bytes:
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _pieces(answer: bytes) -> list[bytes]:
    return [answer[start : start + 65536] for start in range(0, len(answer), 65536)]
