"""TIFF for fax (RFC 3949, profiles S and F): the container of black-and-white pages, written page by page. Pure.

Theory of operation
-------------------
1. A file is ``II``, then for each page its IFD, the IFD's long values, and one strip (RFC 3949 section 3: the order in which a
   machine with little memory reads it). The first IFD is at octet 8.
2. :class:`TiffFaxWriter` is told how many pages there will be, and gives the octets of one page at a time: no page is kept.
3. Strips come coded from elsewhere: MH (T.4, one-dimensional, EOLs that end on octets, no return to control at the end) for
   profile S, MMR (T.6) for profile F; white is zero, the least significant bit is first.
4. Profile S is what every Internet fax can read: 1728 pixels wide, 98 or 196 lines to the inch. All else is profile F.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

PAGES_LIMIT: Final = 65_535  # PageNumber is a SHORT
_HEAD: Final = b"II*\0" + struct.pack("<I", 8)
_SHORT, _LONG, _ASCII, _RATIONAL = 3, 4, 2, 5
_CROSS: Final = 204  # pixels to the inch across, the same for all resolutions here


class FaxProfile(StrEnum):
    """Which black-and-white profile (RFC 3949 sections 3 and 4)."""

    S = "s"
    F = "f"


class FaxResolution(StrEnum):
    """How fine a page is, by the names on a fax machine's keys."""

    STANDARD = "standard"  # 204x98
    FINE = "fine"  # 204x196
    SUPERFINE = "superfine"  # 204x391

    @property
    def lines(self) -> int:
        """Return lines to the inch, down the page."""
        return {"standard": 98, "fine": 196, "superfine": 391}[self.value]


class FaxPaper(StrEnum):
    """The paper that a page is for."""

    A4 = "a4"
    B4 = "b4"
    LETTER = "letter"

    @property
    def width(self) -> int:
        """Return pixels across (T.4: 1728 for A4 and Letter, 2048 for B4)."""
        return 2048 if self is FaxPaper.B4 else 1728

    def height(self, resolution: FaxResolution) -> int:
        """Return lines down the page."""
        return round({"a4": 297.0, "b4": 353.0, "letter": 279.4}[self.value] / 25.4 * resolution.lines)


@dataclass(frozen=True, slots=True)
class FaxGeometry:
    """How pages are drawn."""

    profile: FaxProfile
    resolution: FaxResolution
    paper: FaxPaper

    @property
    def width(self) -> int:
        """Return pixels across."""
        return self.paper.width

    @property
    def height(self) -> int:
        """Return lines down."""
        return self.paper.height(self.resolution)

    @property
    def aspect(self) -> float:
        """Return how many pixels across stand for one line down."""
        return _CROSS / self.resolution.lines


def is_possible(geometry: FaxGeometry) -> bool:
    """Tell whether a profile has this geometry: S is 1728 pixels wide and at most fine."""
    if geometry.profile is FaxProfile.F:
        return True
    return geometry.width == 1728 and geometry.resolution is not FaxResolution.SUPERFINE


@dataclass(frozen=True, slots=True)
class FaxDescription:
    """What a file says about itself; texts become ASCII. ``date`` is local time, as TIFF has it."""

    software: str
    date: datetime
    description: str = ""


class TiffFaxWriter:
    """Gives the octets of a file, one page after the other."""

    def __init__(self, geometry: FaxGeometry, pages: int, about: FaxDescription) -> None:
        """``pages`` in all, 1 to ``PAGES_LIMIT``. Raises ValueError for a geometry that the profile has not."""
        if not is_possible(geometry):
            raise ValueError("profile S is 1728 pixels wide and at most 196 lines to the inch")
        if not 1 <= pages <= PAGES_LIMIT:
            raise ValueError("a fax has 1 to 65,535 pages")
        self._geometry = geometry
        self._pages = pages
        self._about = about
        self._written = 0
        self._at = 0

    def page(self, strip: bytes, height: int) -> bytes:
        """Return what to append for the next page: ``strip`` as coded, ``height`` its lines.

        Raises ValueError for one page too many, for an empty page, and for a file of 4 GiB.
        """
        if self._written == self._pages or not strip or height < 1:
            raise ValueError("a page too many, or an empty one")
        start = _HEAD if self._written == 0 else b""
        ifd_at = self._at + len(start)
        self._written += 1
        ifd = self._ifd(ifd_at, len(strip), height)
        octets = start + ifd + strip + b"\0" * (len(strip) % 2)  # an IFD begins on a word
        if self._at + len(octets) >= 2**32:
            raise ValueError("a TIFF file has less than 4 GiB")
        self._at += len(octets)
        return octets

    @property
    def complete(self) -> bool:
        """Tell whether all pages were written."""
        return self._written == self._pages

    def _ifd(self, at: int, strip_size: int, height: int) -> bytes:
        entries = sorted(self._entries(height, strip_size))
        long_at = at + 2 + 12 * len(entries) + 4
        longs = b""
        packed: list[bytes] = []
        for tag, kind, count, value in entries:
            if len(value) > 4:
                packed.append(struct.pack("<HHII", tag, kind, count, long_at + len(longs)))
                longs += value + b"\0" * (len(value) % 2)
            else:
                packed.append(struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0"))
        strip_at = long_at + len(longs)
        place = next(i for i, entry in enumerate(entries) if entry[0] == 273)
        packed[place] = struct.pack("<HHII", 273, _LONG, 1, strip_at)
        after = strip_at + strip_size + strip_size % 2
        last = self._written == self._pages
        return struct.pack("<H", len(entries)) + b"".join(packed) + struct.pack("<I", 0 if last else after) + longs

    def _entries(self, height: int, strip_size: int) -> list[tuple[int, int, int, bytes]]:
        profile_s = self._geometry.profile is FaxProfile.S
        entries = [
            _long(254, 2),  # NewSubfileType: one page of several
            _long(256, self._geometry.width),
            _long(257, height),
            _short(258, 1),
            _short(259, 3 if profile_s else 4),  # T.4 or T.6
            _short(262, 0),  # white is zero
            _short(266, 2),  # least significant bit first
            _long(273, 0),  # StripOffsets: filled in later
            _short(274, 1),
            _short(277, 1),
            _long(278, height),  # one strip
            _long(279, strip_size),
            (282, _RATIONAL, 1, struct.pack("<II", _CROSS, 1)),
            (283, _RATIONAL, 1, struct.pack("<II", self._geometry.resolution.lines, 1)),
            _long(292, 4) if profile_s else _long(293, 0),  # T4Options: EOLs end on octets; T6Options
            _short(296, 2),  # inches
            (297, _SHORT, 2, struct.pack("<HH", self._written - 1, self._pages)),
            _text(305, self._about.software),
            _text(306, self._about.date.strftime("%Y:%m:%d %H:%M:%S")),
        ]
        if self._about.description:
            entries.append(_text(270, self._about.description[:500]))
        return entries


def _short(tag: int, value: int) -> tuple[int, int, int, bytes]:
    return tag, _SHORT, 1, struct.pack("<H", value)


def _long(tag: int, value: int) -> tuple[int, int, int, bytes]:
    return tag, _LONG, 1, struct.pack("<I", value)


def _text(tag: int, text: str) -> tuple[int, int, int, bytes]:
    octets = text.encode("ascii", "replace").replace(b"\0", b"?") + b"\0"
    return tag, _ASCII, len(octets), octets
