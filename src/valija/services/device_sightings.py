"""What was seen of devices and of strangers: kept in memory, written down every few seconds, one record on all nodes.

Theory of operation
-------------------
1. ``saw`` costs no I/O. ``flush`` writes down what is new; what could not be written is written the next time.
2. Of several nodes that share the store, each sees a part. So before it writes, and now and then in any case, a node reads what
   the others have written, and adds to that what it has counted itself. Two that write at the very same moment may lose a
   count; nothing hangs on it.
3. Strangers are bounded: the longest unseen go. Of those that go, the ones that were written down are struck off there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from valija.domain.clock import Clock
from valija.domain.sighting import UNKNOWN_LIMIT, Seen, Sighting, joined, note, subject_of
from valija.store.port import Store

LOOK_S: Final = 15.0  # at what other nodes have seen, where nothing was seen here


class DeviceSightings:
    """All records, by subject. ``is_device`` tells whether a login is one's still."""

    def __init__(self, store: Store, clock: Clock, is_device: Callable[[str], bool]) -> None:
        self._store = store
        self._clock = clock
        self._is_device = is_device
        self._seen: dict[str, Sighting] = {}
        self._stored: dict[str, Sighting] = {}  # as it was read or written last
        self._unsaved: set[str] = set()
        self._writing: set[str] = set()  # just now
        self._forgotten: set[str] = set()
        self._look_at = float("-inf")

    async def start(self) -> list[Sighting]:
        """Read what is stored; return it."""
        self._stored = {sighting.subject: sighting for sighting in await self._store.list_sightings()}
        self._seen = dict(self._stored)
        return list(self._seen.values())

    def of(self, subject: str) -> Sighting | None:
        """Return a record."""
        return self._seen.get(subject)

    def strangers(self) -> list[Sighting]:
        """Return the addresses that tried and are nobody's, latest first."""
        return sorted((s for s in self._seen.values() if not s.is_known), key=lambda s: s.last_at, reverse=True)

    def saw(self, login: str | None, seen: Seen) -> None:
        """Note what a device did, or a stranger (None)."""
        if login is not None and not self._is_device(login):
            return  # deleted while its session went on
        subject = subject_of(login, seen.address)
        self._seen[subject] = note(self._seen.get(subject), subject, seen)
        self._unsaved.add(subject)
        self._forgotten.discard(subject)
        if login is None:
            self._bound()

    def forget_stranger(self, address: str) -> None:
        """Drop what was seen of an address: it is somebody's now."""
        if subject_of(None, address) in self._seen:
            self._forget(subject_of(None, address))

    def device_gone(self, login: str) -> None:
        """Drop a device's record; the store has dropped its own."""
        self._seen.pop(login, None)
        self._stored.pop(login, None)

    async def flush(self) -> bool:
        """Write down what is new; tell whether anything is. Raises store errors; nothing is lost then."""
        news = bool(self._unsaved or self._forgotten)
        if self._store.shared and (news or self._clock.monotonic() >= self._look_at):
            news = await self._join() or news
            self._look_at = self._clock.monotonic() + LOOK_S
        subjects, self._unsaved = self._unsaved, set()
        forgotten, self._forgotten = self._forgotten, set()
        if subjects or forgotten:
            found = [self._seen[subject] for subject in subjects if subject in self._seen]
            self._writing = subjects
            try:
                await self._store.save_sightings(found, forgotten)
            except BaseException:
                self._unsaved |= subjects & self._seen.keys()
                self._forgotten |= forgotten - self._seen.keys()
                raise
            finally:
                self._writing = set()
            self._stored = {s: one for s, one in self._stored.items() if s not in forgotten}
            self._stored |= {one.subject: one for one in found}
        return news

    async def _join(self) -> bool:
        """Take in what other nodes have written; tell whether anything is new."""
        found = {sighting.subject: sighting for sighting in await self._store.list_sightings()}
        before = self._stored
        for subject, there in found.items():
            mine = self._seen.get(subject)
            if mine is None and subject not in self._forgotten:
                self._seen[subject] = there
            elif mine is not None and there != before.get(subject):
                self._seen[subject] = joined(there, mine, before.get(subject))
        for subject in before.keys() - found.keys() - self._unsaved:  # accepted or deleted elsewhere
            self._seen.pop(subject, None)
        self._stored = found
        self._bound()
        return found != before

    def _bound(self) -> None:
        for old in self.strangers()[UNKNOWN_LIMIT:] if len(self._seen) > UNKNOWN_LIMIT else ():
            self._forget(old.subject, was_written=old.subject in self._stored or old.subject in self._writing)

    def _forget(self, subject: str, *, was_written: bool = True) -> None:
        del self._seen[subject]
        self._unsaved.discard(subject)
        if was_written:
            self._forgotten.add(subject)
