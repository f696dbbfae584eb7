"""The folder whose files are sent: looked at every two seconds, which works where a network's file system tells nobody.

Theory of operation
-------------------
1. A file is taken when its size and time were the same at two looks, it has something in it, and its name is not one of a
   file that is still being written (``.part``, ``.tmp``, a dot in front). It is taken by renaming it into ``sending/``: who
   still has it open on a network folder makes that fail, and it is tried again. There it has a name of its own, by which its
   job is found: many devices call all their scans the same. The recipient sees the device's, which it has again afterwards.
2. When its job is in the mail queue it goes to ``done/``; when its job has failed, to ``failed/`` with a note beside it.
3. What a former process left in ``sending/``, or a look that broke off, is what its job says: one that got no further is put
   back.
4. Where several nodes share a store, one of them looks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from valija.domain.account import Actor, Presence
from valija.domain.clock import Clock
from valija.domain.errors import ValijaError
from valija.domain.job import Awaiting, Done, Failed, JobKind, JobWord, Noted, Sending, is_final
from valija.domain.scan import ScanSettings
from valija.domain.text import N_, Message, message
from valija.services.jobs import JobDesk
from valija.services.scan_settings import ScanSettingsDesk
from valija.services.scan_work import ScanFile
from valija.services.scanning import ScanDesk
from valija.store.jobs_port import StoredJob
from valija.store.port import Store

log: Final = logging.getLogger(__name__)
LOOK_S: Final = 2.0
HAVE_S: Final = 30.0
SUFFIXES: Final = (".pdf", ".tif", ".tiff", ".jpg", ".jpeg", ".png")
AT_ONCE: Final = 20  # files under way
SENDING, DONE, FAILED = "sending", "done", "failed"
ACTOR: Final = Actor("valija", "folder", Presence.AT_MACHINE)
NAME_OCTETS: Final = 240  # of a file: 255, less the number that it may get
_OWN: Final = re.compile(r"^[0-9]{8}T[0-9]{6}-[0-9a-f]{8} (?=.)")
Seen = tuple[int, int]


@dataclass(slots=True)
class HotFolder:
    """Run :meth:`run` as a task. ``say``: a sentence in the machine's language."""

    store: Store
    settings: ScanSettingsDesk
    scans: ScanDesk
    jobs: JobDesk
    clock: Clock
    say: Callable[[Message, str], str]
    _seen: dict[str, Seen] = field(default_factory=dict)
    _under_way: dict[int, Path] = field(default_factory=dict)
    _began: str = ""

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await self.look()
            except (ValijaError, OSError) as error:
                log.warning("folder_not_read", extra={"fields": {"why": str(error)}})
            await self.clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once. Raises store errors, OSError; the next look goes through what this one left in ``sending/``."""
        try:
            await self._look()
        except Exception:
            self._began = ""
            raise

    async def _look(self) -> None:
        settings = await self.settings.load()
        if not settings.folder or not await self.store.have_duty("hot folder", HAVE_S):
            return
        folder = Path(settings.folder)
        await asyncio.to_thread(_make_folders, folder)
        if self._began != settings.folder:
            await self._take_up(folder)
            self._began = settings.folder
        for number, path in list(self._under_way.items()):
            job = await self.store.jobs.load(number)
            try:
                away = await self._put_away(job, path)
            except FileNotFoundError:  # somebody took it
                away = True
            if away:
                del self._under_way[number]
        if not settings.folder_to:
            return
        for path in await asyncio.to_thread(self._ready, folder):
            if len(self._under_way) < AT_ONCE:
                await self._take(path, settings)

    def _ready(self, folder: Path) -> list[Path]:
        """Return the files that have not changed since the last look."""
        found = {path.name: (path, seen) for path, seen in _files(folder)}
        ready = [path for name, (path, seen) in found.items() if seen[0] and self._seen.get(name) == seen]
        self._seen = {name: seen for name, (_path, seen) in found.items()}
        return sorted(ready, key=lambda path: (self._seen[path.name][1], path.name))

    async def _take(self, path: Path, settings: ScanSettings) -> None:
        name = _readable(path.name)
        try:
            mine = await asyncio.to_thread(_move, path, path.parent / SENDING / self._own_name(name))
        except OSError:
            return  # it is in use: next time
        asked = {"to": list(settings.folder_to), "review": False}
        try:
            job = await self.scans.begin(asked, ACTOR, [ScanFile(mine, name)], where=f"folder {mine.name}")
        except ValijaError as error:
            await self._fail(mine, error.what)
            return
        self._under_way[job.id] = mine
        await self.jobs.apply(job.id, Noted(self.clock.now(), JobWord.TAKEN_FROM_FOLDER.value, name))

    def _own_name(self, name: str) -> str:
        """Return a name that no other file ever had, with the device's at its end, as much of it as a file system takes."""
        stem, suffix = Path(name).stem, Path(name).suffix
        own = f"{self.clock.now():%Y%m%dT%H%M%S}-{secrets.token_hex(4)} "
        room = NAME_OCTETS - len(own) - len(suffix.encode())
        return own + stem.encode()[:room].decode("utf-8", "ignore") + suffix

    async def _put_away(self, job: StoredJob | None, path: Path) -> bool:
        """Move a file whose job has got where it should, or never will; tell whether it was."""
        if job is None or isinstance(job.state, Sending | Awaiting | Done):
            await asyncio.to_thread(_move, path, path.parent.parent / DONE / given_name(path.name))
            return True
        if isinstance(job.state, Failed):
            explained = self.jobs.troubles.explainer.explain(job.state.trouble.reason)
            await self._fail(path, Message(explained.meaning), Message(explained.cure), job.state.trouble.server_words)
            return True
        if is_final(job.state):
            await self._fail(path, message(N_("Cancelled")))
            return True
        return False

    async def _fail(self, path: Path, *why: Message | str) -> None:
        language = (await self.store.load_preferences()).language or "en"
        note = "\n".join(self.say(w, language) if isinstance(w, Message) else w for w in why if w) + "\n"
        await asyncio.to_thread(_put_aside, path, note)

    async def _take_up(self, folder: Path) -> None:
        """See what became of the files that a former process had."""
        found = await asyncio.to_thread(lambda: [path for path, _seen in _files(folder / SENDING)])
        left = [path for path in found if path not in self._under_way.values()]
        jobs = await self.store.jobs.list_jobs(kind=JobKind.SCAN, state=None, limit=500) if left else []
        for path in left:
            job = next((j for j in jobs if j.card.where == f"folder {path.name}"), None)
            again = job is None or (isinstance(job.state, Failed) and job.state.trouble.reason == "job_interrupted")
            if again:
                await asyncio.to_thread(_move, path, folder / given_name(path.name))
            elif job is not None and not await self._put_away(job, path):
                self._under_way[job.id] = path


def given_name(name: str) -> str:
    """Return what the device called a file of ``sending/``."""
    return _OWN.sub("", name)


def _readable(name: str) -> str:
    """Return a file's name as text: what is not UTF-8 is what old devices write, a byte for each letter."""
    octets = os.fsencode(name)
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _files(folder: Path) -> Iterator[tuple[Path, Seen]]:
    """Return the files that are meant: no link, nothing that is still being written by its name."""
    for path in folder.iterdir():
        try:
            found = path.lstat()
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and path.suffix.lower() in SUFFIXES and not path.name.startswith((".", "~")):
            yield path, (found.st_size, found.st_mtime_ns)


def _make_folders(folder: Path) -> None:
    for name in (SENDING, DONE, FAILED):
        (folder / name).mkdir(exist_ok=True)


def _move(path: Path, to: Path) -> Path:
    """Rename a file; another one of that name stays, and this one gets a number."""
    target, number = to, 1
    while target.exists():
        number += 1
        target = to.with_name(f"{to.stem} ({number}){to.suffix}")
    return path.rename(target)


def _put_aside(path: Path, note: str) -> Any:
    moved = _move(path, path.parent.parent / FAILED / given_name(path.name))
    return moved.with_name(moved.name + ".txt").write_text(note, "utf-8")
