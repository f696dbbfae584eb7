"""Transparency of message data (RFC 5321 section 4.5.2, RFC 1939 section 3), in pieces of any length.

Only CRLF "." CRLF ends a message: the forms with a bare CR or LF, by which mail is smuggled, are data.

Most of what passes, base64 above all, has no dot: to look for that one octet first costs next to nothing.
"""

from __future__ import annotations

import re
from typing import Final

TERMINATOR: Final = b"\r\n.\r\n"
_LOOSE_END: Final = re.compile(rb"(\r?\n)\.\r?\n")
_LOOSE_START: Final = re.compile(rb"(?:\r?\n(?:\.\r?)?|\r)\Z")


class DotStuffer:
    """Prepares a body for the wire: line ends become CRLF, lines that begin with a dot get one more."""

    __slots__ = ("_held_cr", "_line_start")

    def __init__(self) -> None:
        self._held_cr = False
        self._line_start = True

    def feed(self, piece: bytes) -> bytes:
        """Return what can be sent of ``piece``; a CR at its end waits for the next one."""
        if self._held_cr:
            piece = b"\r" + piece
        self._held_cr = piece.endswith(b"\r")
        if self._held_cr:
            piece = piece[:-1]
        if not piece:
            return b""
        pairs = piece.count(b"\r\n")
        if piece.count(b"\n") != pairs or piece.count(b"\r") != pairs:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        out = piece.replace(b"\r\n.", b"\r\n..") if b"." in piece else piece
        if self._line_start and piece.startswith(b"."):
            out = b"." + out
        self._line_start = piece.endswith(b"\r\n")
        return out

    def finish(self) -> bytes:
        """Return what ends the data: the last line's end if it is missing, and the line with one dot."""
        end = b"\r\n" if self._held_cr or not self._line_start else b""
        self._held_cr, self._line_start = False, True
        return end + b".\r\n"


class DotUnstuffer:
    """Takes a body from the wire: extra dots go, the line with one dot ends it."""

    __slots__ = ("_skip", "_tail", "done")
    ended_bare = False

    def __init__(self) -> None:
        # as if the line end before the data were part of it; these two octets are never given out
        self._tail = b"\r\n"
        self._skip = 2
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the body's next octets and, once it has ended (``done``), what follows the terminator."""
        data = self._tail + data
        dot = data.find(b".")
        end = data.find(TERMINATOR, max(dot - 2, 0)) if dot >= 0 else -1
        if end >= 0:
            self.done = True
            return self._give(data[: end + 2]), data[end + len(TERMINATOR) :]
        keep = _length_of_started_terminator(data)
        self._tail = data[len(data) - keep :]
        return self._give(data[: len(data) - keep]), b""

    def _give(self, data: bytes) -> bytes:
        if not data:
            return b""
        body = data.replace(b"\r\n.", b"\r\n") if b"." in data else data
        if self._skip:
            body, self._skip = body[self._skip :], 0
        return body


class LooseDotUnstuffer:
    """The same for a device that ends lines with LF alone: LF "." LF ends its body too, and ``ended_bare`` tells so.

    Only for who is known to need it: what follows such an end may have been smuggled in, and must be dropped.
    """

    __slots__ = ("_skip", "_tail", "done", "ended_bare")

    def __init__(self) -> None:
        self._tail = b"\r\n"
        self._skip = 2
        self.done = self.ended_bare = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the body's next octets and, once it has ended (``done``), what follows the terminator."""
        data = self._tail + data
        found = _LOOSE_END.search(data)
        if found is not None:
            self.done, self.ended_bare = True, found[0] != TERMINATOR
            return self._give(data[: found.end(1)]), data[found.end() :]
        started = _LOOSE_START.search(data)
        keep = started.start() if started is not None else len(data)
        self._tail = data[keep:]
        return self._give(data[:keep]), b""

    def _give(self, data: bytes) -> bytes:
        body = data.replace(b"\n.", b"\n")
        if self._skip and body:
            body, self._skip = body[self._skip :], 0
        return body


class TerminatorWatch:
    """Watches a stuffed body pass by, untouched, until its terminator has passed."""

    __slots__ = ("_tail", "done")

    def __init__(self) -> None:
        self._tail = b"\r\n"  # as if the line end before the data were part of it
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what belongs to the body, its terminator included, and once ``done`` what follows it."""
        end = (self._tail + data[:4]).find(TERMINATOR) - len(self._tail)  # over the seam; then inside
        if end < -len(self._tail):
            end = data.find(TERMINATOR)
            if end < 0:
                self._tail = (self._tail + data[-4:])[-4:]
                return data, b""
        self.done = True
        end += len(TERMINATOR)
        return data[:end], data[end:]


class MessageTop:
    """Lets the header, the empty line and so many lines of a body through (TOP, RFC 1939 section 7), before stuffing."""

    __slots__ = ("_blank", "_in_header", "_left")

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._in_header = True
        self._blank = True  # the line so far

    @property
    def full(self) -> bool:
        """Tell whether nothing more will come through."""
        return not self._in_header and self._left <= 0

    def feed(self, piece: bytes) -> bytes:
        """Return what comes through of the next octets."""
        start = 0
        while not self.full:
            end = piece.find(b"\n", start)
            if end < 0:
                self._blank = self._blank and piece[start:].strip(b"\r") == b""
                return piece
            if not self._in_header:
                self._left -= 1
            elif self._blank and piece[start:end].strip(b"\r") == b"":
                self._in_header = False
            self._blank = True
            start = end + 1
        return piece[:start]


def _length_of_started_terminator(data: bytes) -> int:
    for length in (4, 3, 2, 1):
        if data.endswith(TERMINATOR[:length]):
            return length
    return 0
