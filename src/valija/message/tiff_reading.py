"""Reading TIFF files from outside, strictly: which pages there are, what they hold, where their strips are. Pure.

Nothing is decoded here. A file is refused (:class:`BadTiff`) when an IFD comes twice (a loop), when there are too many pages
or entries, when a picture is larger than a page can be, and when a strip or a value lies outside the file. Values are read
through ``read(offset, size)``, so that a file of any size needs little memory. What is right may still hold nonsense: decode it
in a process of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from valija.message.tiff_fax import FaxProfile

PAGES_LIMIT: Final = 2_000
ENTRIES_LIMIT: Final = 256
STRIPS_LIMIT: Final = 20_000
SIDE_LIMIT: Final = 20_000  # pixels
PIXELS_LIMIT: Final = 120_000_000
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_WANTED: Final = frozenset({256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 282, 283, 292, 293, 296, 322, 324, 325})
_FAX_CODINGS: Final = frozenset({2, 3, 4})  # MH without EOLs, T.4, T.6
_S_LINES: Final = frozenset({98, 100, 196, 200})

Read = Callable[[int, int], bytes]


class BadTiff(ValueError):
    """The file is no TIFF that can be read; the text says why, in English, for the record."""


@dataclass(frozen=True, slots=True)
class TiffPage:
    """One page: size in pixels, how it is coded (TIFF's number), dots to the inch (0: not said), strips as (offset, octets)."""

    width: int
    height: int
    compression: int
    fill_order: int
    photometric: int
    bits: int
    samples: int
    rows_per_strip: int
    options: int
    cross: float
    lines: float
    strips: tuple[tuple[int, int], ...]

    @property
    def is_fax(self) -> bool:
        """Tell whether it is black and white in a fax coding: profile S or F."""
        return self.bits == 1 and self.samples == 1 and self.compression in _FAX_CODINGS and bool(self.strips)

    @property
    def profile(self) -> FaxProfile | None:
        """Return the least profile that allows it; None for another one (J, C, L, M) or no fax."""
        if not self.is_fax:
            return None
        one_dimensional = self.compression == 3 and not self.options & 3
        plain = self.width == 1728 and len(self.strips) == 1 and round(self.lines) in _S_LINES
        return FaxProfile.S if one_dimensional and plain else FaxProfile.F


def read_pages(read: Read, size: int) -> Iterator[TiffPage]:
    """Give the pages of a file of ``size`` octets, one after the other. Raises :class:`BadTiff`."""
    head = _read(read, size, 0, 8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    if order is None:
        raise BadTiff("it does not begin as a TIFF file does")
    at = int(struct.unpack(order + "I", head[4:])[0])
    seen: set[int] = set()
    while at:
        if at in seen:
            raise BadTiff("its pages go in a circle")
        if len(seen) == PAGES_LIMIT:
            raise BadTiff(f"it has more than {PAGES_LIMIT} pages")
        seen.add(at)
        tags, at = _tags(read, size, at, order)
        yield _page(tags, size)
    if not seen:
        raise BadTiff("it has no page")


def _read(read: Read, size: int, at: int, count: int) -> bytes:
    if at < 0 or count < 0 or at + count > size:
        raise BadTiff("it ends before it should")
    octets = read(at, count)
    if len(octets) != count:
        raise BadTiff("it ends before it should")
    return octets


def _tags(read: Read, size: int, at: int, order: str) -> tuple[dict[int, tuple[float, ...]], int]:
    (count,) = struct.unpack(order + "H", _read(read, size, at, 2))
    if not 1 <= count <= ENTRIES_LIMIT:
        raise BadTiff(f"a page has {count} fields")
    block = _read(read, size, at + 2, 12 * count + 4)
    tags: dict[int, tuple[float, ...]] = {}
    for place in range(count):
        entry = block[12 * place : 12 * place + 12]
        tag, kind, number = struct.unpack(order + "HHI", entry[:8])
        if tag in _WANTED and tag not in tags:
            tags[tag] = _values(read, size, entry[8:], kind, number, order)
    return tags, int(struct.unpack(order + "I", block[-4:])[0])


def _values(read: Read, size: int, place: bytes, kind: int, number: int, order: str) -> tuple[float, ...]:
    unit = _SIZES.get(kind)
    if unit is None or not 1 <= number <= STRIPS_LIMIT:
        raise BadTiff("a field has an unknown type or too many values")
    total = unit * number
    octets = place[:total] if total <= 4 else _read(read, size, struct.unpack(order + "I", place)[0], total)
    if kind in (5, 10):
        pairs = struct.unpack(f"{order}{2 * number}{'I' if kind == 5 else 'i'}", octets)
        return tuple(a / b if b else 0.0 for a, b in zip(pairs[::2], pairs[1::2], strict=True))
    letter = {1: "B", 3: "H", 4: "I", 13: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d"}.get(kind)
    if letter is None:
        raise BadTiff("a field that should hold numbers holds text")
    return struct.unpack(f"{order}{number}{letter}", octets)


def _page(tags: dict[int, tuple[float, ...]], size: int) -> TiffPage:
    def number(tag: int, default: int) -> int:
        value = tags.get(tag, (default,))[0]
        if not 0 <= value < 2**32:  # nor a NaN
            raise BadTiff("a field holds no such number")
        return int(value)

    width, height = number(256, 0), number(257, 0)
    if not (1 <= width <= SIDE_LIMIT and 1 <= height <= SIDE_LIMIT and width * height <= PIXELS_LIMIT):
        raise BadTiff(f"a page is {width} by {height} pixels")
    compression = number(259, 1)
    metric = 2.54 if number(296, 2) == 3 else 1.0
    return TiffPage(
        width,
        height,
        compression,
        number(266, 1),
        number(262, 0),
        number(258, 1),
        number(277, 1),
        number(278, height),
        number(292 if compression == 3 else 293, 0),
        tags.get(282, (0.0,))[0] * metric,
        tags.get(283, (0.0,))[0] * metric,
        _strips(tags, size),
    )


def _strips(tags: dict[int, tuple[float, ...]], size: int) -> tuple[tuple[int, int], ...]:
    """Return where the page's data is; nothing for a page of tiles, which the decoder reads by itself."""
    if 324 in tags:
        return ()
    offsets, counts = tags.get(273, ()), tags.get(279, ())
    if not offsets:
        raise BadTiff("a page has no picture")
    if not counts and len(offsets) == 1:  # old fax software leaves the only strip's size out
        counts = (size - offsets[0],)
    if len(offsets) != len(counts):
        raise BadTiff("a page's strips do not fit each other")
    strips: list[tuple[int, int]] = []
    for offset, count in zip(offsets, counts, strict=True):
        if not (0 <= offset < size and count >= 0 and offset + count <= size):
            raise BadTiff("a strip lies outside the file")
        strips.append((int(offset), int(count)))
    if sum(count for _offset, count in strips) > size:
        raise BadTiff("a page's strips lie over each other")
    return tuple(strips)


def alone(page: TiffPage, data: list[bytes]) -> bytes:
    """Return a fax page as a file of its own for a decoder that is shown nothing else; ``data`` are its strips."""
    strips = len(data)
    entries = [
        (256, 4, 1, page.width),
        (257, 4, 1, page.height),
        (258, 3, 1, 1),
        (259, 3, 1, page.compression),
        (262, 3, 1, min(page.photometric, 1)),
        (266, 3, 1, 2 if page.fill_order == 2 else 1),
        (273, 4, strips, 0),
        (277, 3, 1, 1),
        (278, 4, 1, min(page.rows_per_strip, page.height)),
        (279, 4, strips, 0),
    ]
    if page.compression in (3, 4):
        entries.append((292 if page.compression == 3 else 293, 4, 1, page.options & 7))
    at = 8 + 2 + 12 * len(entries) + 4
    tables = 8 * strips if strips > 1 else 0
    offsets, place = [], at + tables
    for strip in data:
        offsets.append(place)
        place += len(strip)
    sizes = [len(strip) for strip in data]
    found = {273: (offsets, at), 279: (sizes, at + 4 * strips)}
    out = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    for tag, kind, count, value in entries:
        if tag in found:
            numbers, table_at = found[tag]
            value = numbers[0] if strips == 1 else table_at
        out += struct.pack("<HHII", tag, kind, count, value)
    out += struct.pack("<I", 0)
    if strips > 1:
        out += struct.pack(f"<{2 * strips}I", *offsets, *sizes)
    return out + b"".join(data)
