"""Devices that fetch mail, in a process of their own: ``python -m bench.pop_devices PORT JSON``; prints JSON.

The JSON object: ``users`` (name, secret, and whether the secret is a token), ``tls``, ``sessions`` at once, ``count`` in all,
and the number of the message that each ``fetch``es (0: STAT only).
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
import time
from typing import Any, Final

import uvloop

PIECE: Final = 262_144
END: Final = b"\r\n.\r\n"


class Device:
    """One connection after another."""

    def __init__(self, port: int, asked: dict[str, Any]) -> None:
        self._port = port
        self._tls = ssl._create_unverified_context() if asked["tls"] else None
        self._fetch = int(asked["fetch"])

    async def session(self, user: str, secret: str, is_token: bool) -> int:
        """Log in, look, fetch, leave; return the octets of the message."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
        try:
            await self._hear(reader)
            for line in _log_in(user, secret, is_token=is_token):
                writer.write(line)
                await self._hear(reader)
            writer.write(b"STAT\r\n")
            await self._hear(reader)
            octets = 0
            if self._fetch:
                writer.write(b"RETR %d\r\n" % self._fetch)
                await self._hear(reader)
                octets = await _message(reader)
            writer.write(b"QUIT\r\n")
            await self._hear(reader)
        finally:
            writer.close()
        return octets

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        line = await reader.readline()
        if not line.startswith(b"+"):
            raise ConnectionError(line.decode("latin-1"))


def _log_in(user: str, secret: str, *, is_token: bool) -> list[bytes]:
    if not is_token:
        return [f"USER {user}\r\n".encode(), f"PASS {secret}\r\n".encode()]
    shown = base64.b64encode(f"user={user}\x01auth=Bearer {secret}\x01\x01".encode())
    return [b"AUTH XOAUTH2\r\n", shown + b"\r\n"]


async def _message(reader: asyncio.StreamReader) -> int:
    octets, tail = 0, b""
    while tail != END:
        piece = await reader.read(PIECE)
        if not piece:
            raise ConnectionError("gone")
        octets += len(piece)
        tail = (tail + piece)[-len(END) :]
    return octets


async def _run(port: int, asked: dict[str, Any]) -> dict[str, Any]:
    device, taken = Device(port, asked), []

    async def one(number: int) -> int:
        octets = 0
        for _session in range(asked["count"] // asked["sessions"]):
            start = time.perf_counter()
            octets += await device.session(*asked["users"][number % len(asked["users"])])
            taken.append(time.perf_counter() - start)
        return octets

    start = time.perf_counter()
    octets = sum(await asyncio.gather(*(one(number) for number in range(asked["sessions"]))))
    seconds = time.perf_counter() - start
    taken.sort()
    return {"seconds": seconds, "sessions": len(taken), "octets": octets, "median": taken[len(taken) // 2]}


def main() -> None:
    """Do what is asked on the command line."""
    port, asked = int(sys.argv[1]), json.loads(sys.argv[2])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        json.dump(runner.run(_run(port, asked)), sys.stdout)


if __name__ == "__main__":
    main()
