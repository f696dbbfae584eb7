"""Taking mail apart as it streams in, leniently and within bounds, without I/O: parts, their heads, their decoded octets.

Theory of operation
-------------------
1. :class:`MimeReader` takes a message in pieces of any length and gives events: :class:`PartBegan` with its head,
   :class:`PartData` with decoded octets, :class:`PartEnded`. It keeps one line and one head, never a part.
2. Leaves only: a ``multipart/...`` of any kind (``multipart/fax-message`` too) is gone into; ``message/rfc822`` is a leaf: what
   a report returns is no mail for this machine.
3. Lenient as old fax gateways need it: line ends of any kind, Content-Type twice (the one with a boundary counts), parameters
   without quotes, base64 with anything in between, in several padded pieces or cut short, base64 that is not announced in an
   image's part, a missing end.
4. Bounds: ``Limits``. What breaks one ends the reading with :class:`BadMail`; what was given before it stays given. All work is
   linear in the octets that came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from valija.message.mime_fields import parse_parameters, readable
from valija.message.transfer_decoding import TransferDecoder

_FIELD: Final = re.compile(rb"([!-9;-~]{1,100})[ \t]*:[ \t]*(.*)", re.DOTALL)
_LINE_LIMIT: Final = 65_536


class BadMail(ValueError):
    """The message breaks a bound; the text says which, in English, for the record."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one message; sizes in octets. ``decoded`` is of all parts together."""

    parts: int = 200
    depth: int = 12
    head: int = 131_072
    head_lines: int = 4_000
    near_delimiters: int = 100_000
    decoded: int = 268_435_456


@dataclass(frozen=True, slots=True)
class PartHead:
    """What a part says about itself: names in small letters. ``fields`` of the part (of the message, for a single part)."""

    number: int
    depth: int
    media_type: str
    parameters: dict[str, str]
    disposition: str
    file_name: str
    encoding: str
    inside: str  # media type of what holds it; empty for the message itself
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class MessageHead:
    """The message's own fields: (name in small letters, raw value on one line), in order."""

    fields: tuple[tuple[str, str], ...]
    media_type: str
    parameters: dict[str, str]

    def all(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for key, value in self.fields if key == name]

    def first(self, name: str) -> str:
        """Return a field's first value; empty if there is none."""
        return next(iter(self.all(name)), "")

    def texts(self, name: str) -> list[str]:
        """Return every value of a field as text that can be stored and written: what is no UTF-8 in it is not kept."""
        return [value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for value in self.all(name)]

    def text(self, name: str) -> str:
        """Return a field's first value so; empty if there is none."""
        return next(iter(self.texts(name)), "")


@dataclass(frozen=True, slots=True)
class PartBegan:
    """A leaf begins."""

    head: PartHead


@dataclass(frozen=True, slots=True)
class PartData:
    """Decoded octets of the leaf that began last."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class PartEnded:
    """The leaf that began last has ended."""


Event = MessageHead | PartBegan | PartData | PartEnded


@dataclass(frozen=True, slots=True)
class _Multipart:
    delimiter: bytes
    media_type: str


class MimeReader:
    """Reads one message."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._kept = b""
        self._in_head = True
        self._head: list[bytes] = []
        self._head_size = 0
        self._head_lines = 0
        self._open: list[_Multipart] = []
        self._decoder: TransferDecoder | None = None
        self._parts = 0
        self._decoded = 0
        self._near = 0
        self._told = False
        self._at_start = True  # of a line
        self._line_end = b""  # kept back: it belongs to a delimiter that may follow

    def feed(self, octets: bytes) -> list[Event]:
        """Return what the next octets complete. Raises :class:`BadMail`."""
        data = self._kept + octets
        events: list[Event] = []
        at = 0
        while at < len(data):
            if self._in_head:
                end = data.find(b"\n", at)
                if end < 0:
                    if len(data) - at > self._limits.head:
                        raise BadMail("a head that does not end")
                    break
                self._head_line(data[at : end + 1], events)
                at = end + 1
            else:
                after = self._body(data, at, events, last=False)
                if after == at:
                    break
                at = after
        self._kept = data[at:]
        return events

    def end(self) -> list[Event]:
        """Return what the end completes. Raises :class:`BadMail`."""
        events: list[Event] = []
        data, self._kept = self._kept, b""
        at = 0
        if self._in_head:
            if data:
                self._head_line(data + b"\n", events)
            if self._in_head:
                self._head_line(b"\n", events)
            data = b""
        while at < len(data):
            at = self._body(data, at, events, last=True)
        self._line_end, left = b"", self._line_end
        if self._decoder is not None and left:
            self._give(left, events)
        self._end_part(events)
        return events

    # --- heads ------------------------------------------------------------------------------------------------------------

    def _head_line(self, line: bytes, events: list[Event]) -> None:
        line = line.rstrip(b"\r\n")
        self._head_size += len(line)
        self._head_lines += 1
        if self._head_size > self._limits.head or self._head_lines > self._limits.head_lines:
            raise BadMail("a head that is too large")
        if line[:1] in (b" ", b"\t") and self._head and line.strip():
            self._head[-1] += b" " + line.strip()
        elif _FIELD.match(line):
            self._head.append(line)
        elif not (self._head_lines == 1 and line.startswith((b"From ", b">From "))):
            self._end_head(events)
            if line:  # no field: the body has begun without an empty line
                self._body_line(line + b"\r\n", events)

    def _body_line(self, line: bytes, events: list[Event]) -> None:
        if not self._open:
            self._give(line, events)
        elif self._delimiter_of(line.rstrip()) is None:
            self._text(line, events)
        else:
            self._at_delimiter(line, events)

    def _end_head(self, events: list[Event]) -> None:
        fields = tuple(_field(line) for line in self._head)
        self._head, self._head_size, self._head_lines = [], 0, 0
        self._in_head, self._at_start = False, True
        inside = self._open[-1].media_type if self._open else ""
        media_type, parameters = _content_type(fields, inside)
        if not self._told:
            self._told = True
            events.append(MessageHead(fields, media_type, parameters))
        boundary = parameters.get("boundary", "")
        if media_type.startswith("multipart/") and boundary:
            if len(self._open) == self._limits.depth:
                raise BadMail("parts within parts without end")
            self._open.append(_Multipart(b"--" + boundary.encode("utf-8", "surrogateescape"), media_type))
            return
        self._parts += 1
        if self._parts > self._limits.parts:
            raise BadMail(f"more than {self._limits.parts} parts")
        values = dict(reversed(fields))
        disposition, others = parse_parameters(values.get("content-disposition", ""))
        encoding = values.get("content-transfer-encoding", "").split(";")[0].strip().lower()
        name = others.get("filename") or parameters.get("name", "")
        head = PartHead(
            self._parts,
            len(self._open),
            media_type,
            parameters,
            disposition,
            readable(name)[:255],
            encoding,
            inside,
            fields,
        )
        self._decoder = TransferDecoder(encoding, guess=media_type.startswith(("image/", "application/")))
        events.append(PartBegan(head))

    # --- bodies -----------------------------------------------------------------------------------------------------------

    def _body(self, data: bytes, at: int, events: list[Event], *, last: bool) -> int:
        """Take what is certain of ``data`` from ``at``; return how far. Body text up to where a delimiter may begin."""
        if not self._open:
            self._give(data[at:], events)
            return len(data)
        if self._at_start and data[at : at + 2] in (b"--", b"-", b""):
            return self._maybe_delimiter(data, at, events, last=last)
        found = data.find(b"\n--", at)
        end = found + 1 if found >= 0 else self._certain(data, at, last=last)
        if end == at:
            return at
        self._text(data[at:end], events)
        return end

    def _certain(self, data: bytes, at: int, *, last: bool) -> int:
        """Return the end of what holds no beginning of a delimiter: all but a last line end that a delimiter may follow."""
        if last:
            return len(data)
        if data.endswith(b"\n-"):
            return len(data) - 1
        return len(data)

    def _maybe_delimiter(self, data: bytes, at: int, events: list[Event], *, last: bool) -> int:
        end = data.find(b"\n", at)
        if end < 0 and not last and len(data) - at < _LINE_LIMIT:
            return at  # the line is not whole yet
        self._near += 1
        if self._near > self._limits.near_delimiters:
            raise BadMail("too many lines that look like the end of a part")
        after = len(data) if end < 0 else end + 1
        line = data[at:after]
        self._body_line(line, events)
        return after

    def _delimiter_of(self, line: bytes) -> int | None:
        """Return which open multipart a line delimits, the innermost first."""
        for place in range(len(self._open) - 1, -1, -1):
            delimiter = self._open[place].delimiter
            if line.startswith(delimiter) and line[len(delimiter) :].strip() in (b"", b"--"):
                return place
        return None

    def _at_delimiter(self, line: bytes, events: list[Event]) -> None:
        line = line.rstrip()
        place = self._delimiter_of(line)
        if place is None:
            return
        self._line_end = b""
        self._end_part(events)
        closes = line != self._open[place].delimiter
        del self._open[place + (0 if closes else 1) :]
        if not closes:
            self._in_head = True

    def _text(self, text: bytes, events: list[Event]) -> None:
        self._at_start = text.endswith(b"\n")
        if self._decoder is None:  # before, between and after parts
            return
        text = self._line_end + text
        kept = next(end for end in (b"\r\n", b"\n", b"\r", b"") if text.endswith(end))
        self._line_end = kept
        self._give(text[: len(text) - len(kept)], events)

    def _give(self, octets: bytes, events: list[Event]) -> None:
        if self._decoder is None or not octets:
            return
        self._count(self._decoder.feed(octets), events)

    def _end_part(self, events: list[Event]) -> None:
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            self._count(decoder.end(), events)
            events.append(PartEnded())

    def _count(self, decoded: bytes, events: list[Event]) -> None:
        self._decoded += len(decoded)
        if self._decoded > self._limits.decoded:
            raise BadMail(f"more than {self._limits.decoded} octets")
        if decoded:
            events.append(PartData(decoded))


def _field(line: bytes) -> tuple[str, str]:
    match = _FIELD.match(line)
    assert match is not None  # noqa: S101 - only such lines are kept
    return match[1].decode("ascii").lower(), match[2].decode("utf-8", "surrogateescape").strip()


def _content_type(fields: tuple[tuple[str, str], ...], inside: str) -> tuple[str, dict[str, str]]:
    """Return the media type and its parameters; of several fields the one with a boundary, else the first that is one."""
    found = [parse_parameters(value) for name, value in fields if name == "content-type"]
    found = [(kind, parameters) for kind, parameters in found if "/" in kind]
    for kind, parameters in found:
        if kind.startswith("multipart/") and parameters.get("boundary"):
            return kind, parameters
    if found:
        return found[0]
    return ("message/rfc822" if inside == "multipart/digest" else "text/plain"), {}
