"""IPP/1.1 and 2.0 messages (RFC 8010) and the few operations that printing needs (RFC 8011), without I/O.

A message is a header, groups of attributes, and the document's octets, which never come through here. What comes from a
printer is read leniently, within bounds: values of unknown syntaxes stay octets, collections are stepped over.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from valija.protocol.errors import LocalProtocolError, RemoteProtocolError

ANSWER_LIMIT: Final = 1_000_000  # octets; printers that name every medium they know need some 60,000
VALUES_LIMIT: Final = 20_000
SYNTAX_LIMIT: Final = 1023  # octets of a uri, a text (RFC 8011 section 5.1); 255 of a name
CONTENT_TYPE: Final = "application/ipp"


class Operation(IntEnum):
    """RFC 8011 section 5.4.15."""

    PRINT_JOB = 0x0002
    CANCEL_JOB = 0x0008
    GET_JOB_ATTRIBUTES = 0x0009
    GET_JOBS = 0x000A
    GET_PRINTER_ATTRIBUTES = 0x000B


class Tag(IntEnum):
    """Delimiters and value syntaxes (RFC 8010 section 3.5)."""

    OPERATION = 0x01
    JOB = 0x02
    END = 0x03
    PRINTER = 0x04
    UNSUPPORTED = 0x05
    INTEGER = 0x21
    BOOLEAN = 0x22
    ENUM = 0x23
    RANGE = 0x33
    COLLECTION = 0x34
    TEXT_LANGUAGE = 0x35
    NAME_LANGUAGE = 0x36
    END_COLLECTION = 0x37
    TEXT = 0x41
    NAME = 0x42
    KEYWORD = 0x44
    URI = 0x45
    CHARSET = 0x47
    LANGUAGE = 0x48
    MIME_TYPE = 0x49
    MEMBER = 0x4A


Value = int | bool | str | bytes | tuple[int, int]
Member = tuple["Tag", str, "int | str | Sequence[Member]"]
_HEADER: Final = struct.Struct(">BBHI")
_STRINGS: Final = range(0x40, 0x60)
_INTEGERS: Final = (Tag.INTEGER, Tag.ENUM)
_FIRST_VALUE_TAG: Final = 0x10


@dataclass(frozen=True, slots=True)
class IppAnswer:
    """A printer's answer: ``status`` (RFC 8011 appendix B), groups in order as (tag, attributes by name)."""

    status: int
    groups: tuple[tuple[int, Mapping[str, tuple[Value, ...]]], ...]

    @property
    def ok(self) -> bool:
        """Tell whether it was done; perhaps with attributes left out."""
        return self.status < 0x0100

    def all(self, tag: Tag) -> list[Mapping[str, tuple[Value, ...]]]:
        """Return every group of a kind."""
        return [attributes for found, attributes in self.groups if found == tag]

    def first(self, tag: Tag) -> Mapping[str, tuple[Value, ...]]:
        """Return the first group of a kind; an empty one if there is none."""
        return next(iter(self.all(tag)), {})

    @property
    def words(self) -> str:
        """Return what the printer says, for people; empty if nothing."""
        return text_of(self.first(Tag.OPERATION), "status-message")


def text_of(attributes: Mapping[str, tuple[Value, ...]], name: str) -> str:
    """Return an attribute's first value if it is a text, or else an empty one."""
    value = next(iter(attributes.get(name, ())), "")
    return value if isinstance(value, str) else ""


def number_of(attributes: Mapping[str, tuple[Value, ...]], name: str) -> int | None:
    """Return an attribute's first value if it is a number."""
    value = next(iter(attributes.get(name, ())), None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(slots=True)
class IppRequest:
    """A request; attributes are added in the order in which they are sent. ``printer``: its URI; ``user``: who asks."""

    operation: Operation
    printer: str
    user: str = "valija"
    _octets: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        """Begin with what every request begins with (RFC 8011 section 4.1.4 and 4.1.5)."""
        self._octets += _HEADER.pack(1, 1, self.operation, 1)
        self.group(Tag.OPERATION)
        self.add(Tag.CHARSET, "attributes-charset", "utf-8")
        self.add(Tag.LANGUAGE, "attributes-natural-language", "en")
        self.add(Tag.URI, "printer-uri", self.printer)

    def group(self, tag: Tag) -> None:
        """Begin a group."""
        self._octets.append(tag)

    def add(self, tag: Tag, name: str, *values: int | str) -> None:
        """Add an attribute. Raises :class:`LocalProtocolError` for one that cannot be said."""
        for place, value in enumerate(values):
            self._one(tag, "" if place else name, value)

    def add_user(self) -> None:
        """Say who asks; it stands behind what names the job."""
        self.add(Tag.NAME, "requesting-user-name", self.user)

    def add_collection(self, name: str, members: Sequence[Member]) -> None:
        """Add a collection (RFC 8010 section 3.1.6): members are (syntax, name, value), a value may be a list of members."""
        self._raw(Tag.COLLECTION, name, b"")
        for tag, member, value in members:
            self._raw(Tag.MEMBER, "", member.encode())
            if isinstance(value, int | str):
                self._one(tag, "", value)
            else:
                self.add_collection("", value)
        self._raw(Tag.END_COLLECTION, "", b"")

    def octets(self) -> bytes:
        """Return the message; a document's octets follow it."""
        return bytes(self._octets) + bytes([Tag.END])

    def _one(self, tag: Tag, name: str, value: int | str) -> None:
        if isinstance(value, str):
            self._raw(tag, name, value.encode("utf-8", "replace"))
        elif tag is Tag.BOOLEAN:
            self._raw(tag, name, bytes([bool(value)]))
        else:
            self._raw(tag, name, struct.pack(">i", value))

    def _raw(self, tag: Tag, name: str, octets: bytes) -> None:
        if len(octets) > SYNTAX_LIMIT:
            raise LocalProtocolError(f"{name} has {len(octets)} octets")
        self._octets += struct.pack(">BH", tag, len(name)) + name.encode("ascii")
        self._octets += struct.pack(">H", len(octets)) + octets


def parse_answer(octets: bytes) -> IppAnswer:
    """Read a printer's answer. Raises :class:`RemoteProtocolError` for what is none."""
    try:
        return _parse(octets)
    except (struct.error, IndexError):
        raise RemoteProtocolError("an IPP answer that ends too early") from None


def _parse(octets: bytes) -> IppAnswer:
    major, _minor, status, _request = _HEADER.unpack_from(octets, 0)
    if major not in (1, 2):
        raise RemoteProtocolError("no IPP answer")
    groups: list[tuple[int, dict[str, list[Value]]]] = []
    at, name, depth, count = _HEADER.size, "", 0, 0
    while octets[at] != Tag.END:
        tag, at = octets[at], at + 1
        if tag < _FIRST_VALUE_TAG:
            groups.append((tag, {}))
            continue
        said, at = _sized(octets, at)
        value, at = _sized(octets, at)
        count += 1
        if not groups or count > VALUES_LIMIT:
            raise RemoteProtocolError(
                "an IPP answer that is out of order" if groups else "an IPP answer without a group"
            )
        if depth == 0 and said:
            name = said.decode("ascii", "replace")
        depth += (tag == Tag.COLLECTION) - (tag == Tag.END_COLLECTION)
        if depth == 0 and tag != Tag.END_COLLECTION:
            groups[-1][1].setdefault(name, []).append(_value(tag, value))
    return IppAnswer(status, tuple((tag, {name: tuple(said) for name, said in of.items()}) for tag, of in groups))


def _sized(octets: bytes, at: int) -> tuple[bytes, int]:
    (size,) = struct.unpack_from(">H", octets, at)
    end = at + 2 + size
    if end > len(octets):
        raise IndexError
    return octets[at + 2 : end], end


def _value(tag: int, octets: bytes) -> Value:
    if tag in _INTEGERS and len(octets) == 4:
        return int.from_bytes(octets, "big", signed=True)
    if tag == Tag.BOOLEAN and len(octets) == 1:
        return octets != b"\0"
    if tag == Tag.RANGE and len(octets) == 8:
        low, high = struct.unpack(">ii", octets)
        return low, high
    if tag in (Tag.TEXT_LANGUAGE, Tag.NAME_LANGUAGE):
        _language, at = _sized(octets, 0)
        return _sized(octets, at)[0].decode("utf-8", "replace")
    return octets.decode("utf-8", "replace") if tag in _STRINGS else octets
