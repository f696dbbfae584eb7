"""A message written anew for a server that takes 7-bit lines of 998 octets and no others, as it streams by, without I/O.

Theory of operation
-------------------
1. A message is read twice. :class:`Survey` finds which leaves hold octets or lines that may not go out as they are; then
   :class:`SevenBit` encodes those leaves (RFC 6152 section 3, RFC 6409 section 8.2) and leaves all others octet for octet, so
   that what is signed stays signed where it can.
2. Text becomes quoted-printable, anything else base64; what says that it is encoded but is not quite is put right. Heads with
   raw octets become encoded words (RFC 2047) and RFC 2231's parameters. Nothing that a reader sees is lost.
3. Parts inside parts and forwarded messages are gone into. Neither class keeps more than a line and a head.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from valija.message.header_rewriting import in_ascii
from valija.message.mime_fields import parse_parameters
from valija.message.submission import whole_fields
from valija.message.transfer_encoding import (
    AsItIs,
    Base64,
    Base64Again,
    LineLengths,
    QuotedAgain,
    QuotedPrintable,
    Scrubbed,
    TransferEncoder,
)

HEAD_LIMIT: Final = 262_144  # octets; what goes on longer is no head
DEPTH_LIMIT: Final = 20
_DELIMITER_LIMIT: Final = 1_000
_FIELD: Final = re.compile(rb"[!-9;-~]{1,200}[ \t]*:")
_IDENTITY: Final = frozenset({"", "7bit", "8bit", "binary"})


class _What(Enum):
    HEAD = auto()  # a whole head, without the empty line
    LEAF = auto()  # octets of the leaf that began last
    LEAF_END = auto()
    BETWEEN = auto()  # delimiters, empty lines after heads, text before and after parts


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a head says of what follows it."""

    media_type: str
    encoding: str
    boundary: bytes

    @property
    def is_leaf(self) -> bool:
        return not self.boundary and self.media_type != "message/rfc822"


class _Walk:
    """Takes a message apart without a change: what it gives, put together, is what it took."""

    def __init__(self) -> None:
        self._kept = b""
        self._in_head = True
        self._at_start = True
        self._head: list[bytes] = []
        self._head_size = 0
        self._open: list[bytes] = []
        self._delimiters: re.Pattern[bytes] | None = None  # of all that are open
        self._leaf = False
        self._messages = 0
        self._line_end = b""

    def feed(self, octets: bytes, *, last: bool = False) -> Iterator[tuple[_What, bytes]]:
        """Give what is certain."""
        data, at = self._kept + octets, 0
        while at < len(data):
            read = self._head_line if self._in_head else self._body
            after = yield from read(data, at, last)
            if after == at:
                break
            at = after
        self._kept = data[at:]

    def end(self) -> Iterator[tuple[_What, bytes]]:
        """Give the rest."""
        yield from self.feed(b"", last=True)
        if self._in_head:
            yield from self._end_head()
        if self._line_end and self._leaf:  # no delimiter has followed: it is the leaf's own
            yield _What.LEAF, self._line_end
        yield from self._end_leaf()

    # --- heads ------------------------------------------------------------------------------------------------------------

    def _head_line(self, data: bytes, at: int, last: bool) -> Generator[tuple[_What, bytes], None, int]:
        end = data.find(b"\r\n", at)
        if end < 0 and not last and len(data) - at <= HEAD_LIMIT:
            return at
        after = len(data) if end < 0 else end + 2
        line = data[at:after]
        goes_on = bool(self._head) and line[:1] in (b" ", b"\t")
        if (goes_on or _FIELD.match(line)) and end >= 0 and self._head_size + len(line) <= HEAD_LIMIT:
            self._head.append(line)
            self._head_size += len(line)
            return after
        yield from self._end_head()
        if line == b"\r\n":
            yield _What.BETWEEN, line
            return after
        return (yield from self._body(data, at, last))  # no field: the body has begun without an empty line

    def _end_head(self) -> Iterator[tuple[_What, bytes]]:
        head = b"".join(self._head)
        kind = _kind(whole_fields(head))
        yield _What.HEAD, head
        self._head, self._head_size = [], 0
        self._in_head, self._at_start = False, True
        if kind.boundary and len(self._open) < DEPTH_LIMIT:
            self._open.append(b"--" + kind.boundary)
            self._look_for()
        elif kind.media_type == "message/rfc822" and self._messages < DEPTH_LIMIT:
            self._messages += 1
            self._in_head = True
        else:
            self._leaf = True

    # --- bodies -----------------------------------------------------------------------------------------------------------

    def _body(self, data: bytes, at: int, last: bool) -> Generator[tuple[_What, bytes], None, int]:
        """Take text up to where a delimiter may begin, or a line that may be one."""
        if not self._open:
            yield from self._text(data[at:])
            return len(data)
        if self._at_start and self._may_begin(data[at : at + _DELIMITER_LIMIT]):
            end = data.find(b"\r\n", at)
            if end < 0 and not last and len(data) - at < _DELIMITER_LIMIT:
                return at
            after = len(data) if end < 0 else end + 2
            yield from self._maybe_delimiter(data[at:after])
            return after
        assert self._delimiters is not None  # noqa: S101 - something is open
        found = self._delimiters.search(data, at)
        end = found.start() + 2 if found else len(data)
        if found is None and not last:
            line = data.rfind(b"\r\n", at) + 2
            if line >= at + 2 and self._may_begin(data[line : line + _DELIMITER_LIMIT]):
                end = line
            elif data.endswith(b"\r"):
                end -= 1
        yield from self._text(data[at:end])
        return end

    def _may_begin(self, line: bytes) -> bool:
        """Tell whether a line, or the beginning of one, may be a delimiter."""
        return any(line.startswith(delimiter) or delimiter.startswith(line) for delimiter in self._open)

    def _look_for(self) -> None:
        self._delimiters = re.compile(b"\r\n(?:" + b"|".join(map(re.escape, self._open)) + b")") if self._open else None

    def _maybe_delimiter(self, line: bytes) -> Iterator[tuple[_What, bytes]]:
        bare = line.rstrip()
        for place in range(len(self._open) - 1, -1, -1):
            rest = bare.removeprefix(self._open[place])
            if len(rest) == len(bare) - len(self._open[place]) and rest in (b"", b"--"):
                line_end, self._line_end = self._line_end, b""
                yield from self._end_leaf()
                yield _What.BETWEEN, line_end + line
                self._in_head = not rest
                del self._open[place + (0 if rest else 1) :]
                self._look_for()
                self._at_start = True
                return
        yield from self._text(line)

    def _text(self, text: bytes) -> Iterator[tuple[_What, bytes]]:
        self._at_start = text.endswith(b"\r\n")
        if not self._leaf:
            yield _What.BETWEEN, text
            return
        text = self._line_end + text
        self._line_end = b"\r\n" if self._at_start else b""  # it belongs to a delimiter that may follow
        yield _What.LEAF, text.removesuffix(self._line_end)

    def _end_leaf(self) -> Iterator[tuple[_What, bytes]]:
        if self._leaf:
            self._leaf = False
            yield _What.LEAF_END, b""


def _kind(head: list[bytes]) -> _Kind:
    values: dict[str, str] = {}
    for field in head:
        name, _colon, value = field.partition(b":")
        text = value.decode("utf-8", "replace").replace("\r\n", "").strip()
        values.setdefault(name.strip().lower().decode("ascii", "replace"), text)
    media_type, parameters = parse_parameters(values.get("content-type", "text/plain"))
    boundary = parameters.get("boundary", "") if media_type.startswith("multipart/") else ""
    encoding = values.get("content-transfer-encoding", "").partition(";")[0].strip().lower()
    return _Kind(media_type if "/" in media_type else "text/plain", encoding, boundary.encode("utf-8", "replace"))


class Survey:
    """Finds which leaves (0 is the first) may not go out as they are."""

    def __init__(self) -> None:
        self.found: set[int] = set()
        self._walk = _Walk()
        self._leaf = 0
        self._lengths = LineLengths()

    def feed(self, octets: bytes) -> None:
        """Look at the next octets."""
        self._look(self._walk.feed(octets))

    def end(self) -> frozenset[int]:
        """Return what was found."""
        self._look(self._walk.end())
        return frozenset(self.found)

    def _look(self, pieces: Iterator[tuple[_What, bytes]]) -> None:
        for what, octets in pieces:
            if what is _What.LEAF:
                self._lengths.feed(octets)
                if self._lengths.any_long or not octets.isascii():
                    self.found.add(self._leaf)
            elif what is _What.LEAF_END:
                self._leaf += 1
                self._lengths = LineLengths()


class SevenBit:
    """Writes a message anew; ``leaves`` are what :class:`Survey` found in it."""

    def __init__(self, leaves: frozenset[int]) -> None:
        self._leaves = leaves
        self._walk = _Walk()
        self._leaf = 0
        self._first = True
        self._encoder: TransferEncoder = AsItIs()
        self._between = Scrubbed()

    def feed(self, octets: bytes) -> bytes:
        """Return what is certain."""
        return b"".join(map(self._write, self._walk.feed(octets)))

    def end(self) -> bytes:
        """Return the rest."""
        out = b"".join(map(self._write, self._walk.end())) + self._between.end()
        return out + b"\r\n" if self._leaves and out and not out.endswith(b"\r\n") else out

    def _write(self, piece: tuple[_What, bytes]) -> bytes:
        what, octets = piece
        if what is _What.BETWEEN:
            return self._between.feed(octets)
        before = self._between.end()
        if what is _What.HEAD:
            return before + self._head(octets)
        if what is _What.LEAF:
            return before + self._encoder.feed(octets)
        self._leaf += 1
        return before + self._encoder.end()

    def _head(self, octets: bytes) -> bytes:
        fields = whole_fields(octets)
        kind = _kind(fields)
        if not kind.is_leaf:
            encoding = "7bit" if kind.encoding in ("8bit", "binary") else ""
        elif self._leaf in self._leaves:
            self._encoder, encoding = _encoder_for(kind)
        else:
            self._encoder = AsItIs()
            encoding = "7bit" if kind.encoding in ("8bit", "binary") else ""
        first, self._first = self._first, False
        if encoding:
            fields = [field for field in fields if not _named(field, b"content-transfer-encoding")]
            fields.append(f"Content-Transfer-Encoding: {encoding}\r\n".encode())
            if first and not any(_named(field, b"mime-version") for field in fields):
                fields.append(b"MIME-Version: 1.0\r\n")
        return b"".join(map(in_ascii, fields))


def _encoder_for(kind: _Kind) -> tuple[TransferEncoder, str]:
    """Return what encodes a leaf, and the encoding's name if that is another than before."""
    if kind.encoding == "quoted-printable":
        return QuotedAgain(), ""
    if kind.encoding == "base64":
        return Base64Again(), ""
    if kind.encoding not in _IDENTITY:  # nobody knows what it is
        return Scrubbed(), ""
    if kind.media_type.startswith(("message/", "multipart/")):  # may not be encoded (RFC 2046 section 5.2)
        return Scrubbed(), "7bit"
    if kind.media_type.startswith("text/"):
        return QuotedPrintable(), "quoted-printable"
    return Base64(), "base64"


def _named(field: bytes, name: bytes) -> bool:
    return field.partition(b":")[0].strip().lower() == name
