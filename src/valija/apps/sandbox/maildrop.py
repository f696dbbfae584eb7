"""Mailboxes on disk: a folder for each, a file for each message; written aside, synced, then renamed."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from valija.net.message_stream import stuffed
from valija.net.visits import Verdict
from valija.protocol.pop3_server_events import Entry

DOMAIN: Final = "sandbox.test"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._+=/-]{0,63}")
PIECE: Final = 262_144


def mailbox_name(address: str) -> str | None:
    """Return the folder's name for an address of the sandbox; None for any other address."""
    local, _at, domain = address.lower().rpartition("@")
    if domain != DOMAIN or _NAME.fullmatch(local) is None:
        return None
    return local.replace("/", "_")


class Maildrops:
    """All mailboxes of the sandbox under one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: set[str] = set()

    def folder(self, name: str) -> Path:
        """Return a mailbox's folder, made if it is new."""
        folder = self._directory / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def new_message(self, names: Sequence[str], reverse_path: str) -> IncomingMessage:
        """Begin a message for these mailboxes."""
        return IncomingMessage(self, names, reverse_path)

    async def open(self, name: str) -> SandboxMaildrop | None:
        """Open a mailbox for one session; None if another has it."""
        if name in self._open:
            return None
        self._open.add(name)
        files = await asyncio.to_thread(lambda: sorted(self.folder(name).glob("*.eml")))
        entries = [Entry(file.stem, file.stat().st_size) for file in files]
        return SandboxMaildrop(self, name, files, entries)

    def release(self, name: str) -> None:
        """Let another session have a mailbox."""
        self._open.discard(name)


class IncomingMessage:
    """A message that comes in; one copy is written, then linked into each mailbox."""

    def __init__(self, maildrops: Maildrops, names: Sequence[str], reverse_path: str) -> None:
        self._maildrops = maildrops
        self._names = tuple(dict.fromkeys(names))
        self._id = secrets.token_hex(12)
        self._temporary = maildrops.folder(self._names[0]) / f"{self._id}.tmp"
        handle = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._out: BinaryIO = os.fdopen(handle, "wb")
        self._out.write(f"Return-Path: <{reverse_path}>\r\n".encode())  # RFC 5321 section 4.4: final delivery

    async def write(self, data: bytes) -> None:
        """Take the next octets."""
        await asyncio.to_thread(self._out.write, data)

    def unheard(self) -> None:
        """Nothing follows from it here."""

    async def commit(self) -> Verdict:
        """Keep the message in every mailbox."""
        await asyncio.to_thread(self._keep)
        return Verdict(250, "2.0.0", f"Kept in the sandbox as {self._id}")

    def _keep(self) -> None:
        self._out.flush()
        os.fsync(self._out.fileno())
        self._out.close()
        arrived = self._temporary.stat().st_mtime_ns  # names sort by time of arrival
        for name in self._names:
            (self._maildrops.folder(name) / f"{arrived:020}-{self._id}.eml").hardlink_to(self._temporary)
        self._temporary.unlink()

    async def abandon(self) -> None:
        """Forget what came."""
        self._out.close()
        self._temporary.unlink(missing_ok=True)


class SandboxMaildrop:
    """A mailbox opened for one session."""

    def __init__(self, maildrops: Maildrops, name: str, files: list[Path], entries: list[Entry]) -> None:
        self._maildrops = maildrops
        self._name = name
        self._files = files
        self.entries: Sequence[Entry] = entries

    def read(self, index: int, lines: int | None) -> AsyncGenerator[bytes]:
        """Yield a message, stuffed."""
        return stuffed(self._octets(index), lines)

    async def _octets(self, index: int) -> AsyncIterator[bytes]:
        with self._files[index].open("rb") as source:
            while piece := await asyncio.to_thread(source.read, PIECE):
                yield piece

    async def delete(self, indexes: Sequence[int]) -> bool:
        """Delete messages."""
        for index in indexes:
            self._files[index].unlink(missing_ok=True)
        return True

    async def close(self) -> None:
        """Let another session have it."""
        self._maildrops.release(self._name)
