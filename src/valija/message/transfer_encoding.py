"""Encoders of a part's octets into lines that any server takes: 7 bit, 76 characters (RFC 2045 section 6), in pieces."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final, Protocol

_PIECE: Final = 8_208  # octets of a line without an end that are kept; a multiple of a base64 line's 57
_NO_BASE64: Final = bytes(
    sorted(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
)
_LINE: Final = 76
_HIGH: Final = re.compile(rb"[\x80-\xff]")
_QUOTED_PIECE: Final = re.compile(rb"(?:=[0-9A-Fa-f]{2}|[^=]|=(?![0-9A-Fa-f]{2})){1,25}")
LINE_LIMIT: Final = 998  # octets of a line without its end (RFC 5322 section 2.1.1)


class TransferEncoder(Protocol):
    """Takes a part's octets (lines end with CRLF), gives what is sent for them."""

    def feed(self, octets: bytes) -> bytes:
        """Return what is certain."""

    def end(self) -> bytes:
        """Return what was kept back."""


class QuotedPrintable:
    """Text as it is read: every line stays a line (RFC 2045 section 6.7)."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, octets: bytes) -> bytes:
        """Return whole lines; a very long one in pieces."""
        data = self._kept + octets
        end = data.rfind(b"\r\n") + 2 if b"\r\n" in data else 0
        out, self._kept = _quoted(data[:end]), data[end:]
        if len(self._kept) > _PIECE:
            keep = 1 if self._kept.endswith(b"\r") else 0
            cut = len(self._kept) - keep
            out += _quoted(self._kept[:cut]) + b"=\r\n"
            self._kept = self._kept[cut:]
        return out

    def end(self) -> bytes:
        """Return the last line, which has no end."""
        kept, self._kept = self._kept, b""
        return _quoted(kept)


def _quoted(text: bytes) -> bytes:
    return binascii.b2a_qp(text, istext=True).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class Base64:
    """Any octets (RFC 2045 section 6.8)."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, octets: bytes) -> bytes:
        """Return whole lines."""
        data = self._kept + octets
        end = len(data) - len(data) % 57
        self._kept = data[end:]
        return _base64(data[:end])

    def end(self) -> bytes:
        """Return the last line, without its end."""
        kept, self._kept = self._kept, b""
        return _base64(kept).removesuffix(b"\r\n")


def _base64(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


class Base64Again:
    """Base64 that holds what no base64 does, or lines that are too long: its letters alone, in lines."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, octets: bytes) -> bytes:
        """Return whole lines."""
        letters = self._kept + octets.translate(None, _NO_BASE64)
        end = len(letters) - len(letters) % _LINE
        self._kept = letters[end:]
        return b"".join(letters[at : at + _LINE] + b"\r\n" for at in range(0, end, _LINE))

    def end(self) -> bytes:
        """Return the last line, without its end."""
        kept, self._kept = self._kept, b""
        return kept


class _ByLine:
    """Mends line by line; a line that does not end, in pieces."""

    def __init__(self, mend: Callable[[bytes], bytes], joint: bytes) -> None:
        self._mend, self._joint = mend, joint
        self._kept = b""

    def feed(self, octets: bytes) -> bytes:
        """Return whole lines."""
        *lines, self._kept = (self._kept + octets).split(b"\r\n")
        out = b"".join(self._mend(line) + b"\r\n" for line in lines)
        if len(self._kept) > _PIECE:
            cut = len(self._kept) - 2  # an escape, or half a line end, may go on in the next piece
            escape = self._kept.rfind(b"=", cut - 2, cut)
            cut = cut if escape < 0 else escape
            out += self._mend(self._kept[:cut]) + self._joint
            self._kept = self._kept[cut:]
        return out

    def end(self) -> bytes:
        """Return the last line, which has no end."""
        kept, self._kept = self._kept, b""
        return self._mend(kept)


class QuotedAgain(_ByLine):
    """Quoted-printable with octets that should have been quoted, or lines that are too long."""

    def __init__(self) -> None:
        super().__init__(_quoted_line, b"=\r\n")


def _quoted_line(line: bytes) -> bytes:
    line = _HIGH.sub(lambda found: b"=%02X" % found[0][0], line)
    return line if len(line) <= _LINE else b"=\r\n".join(_QUOTED_PIECE.findall(line))


class Scrubbed(_ByLine):
    """What may not be encoded (RFC 2045 section 6.4), or belongs to no part: other octets become question marks."""

    def __init__(self) -> None:
        super().__init__(_scrubbed_line, b"\r\n")


def _scrubbed_line(line: bytes) -> bytes:
    line = _HIGH.sub(b"?", line)
    return b"\r\n".join(line[at : at + LINE_LIMIT] for at in range(0, max(len(line), 1), LINE_LIMIT))


class AsItIs:
    """Octets that need no encoding."""

    def feed(self, octets: bytes) -> bytes:
        """Return them."""
        return octets

    def end(self) -> bytes:
        """Return nothing."""
        return b""


class LineLengths:
    """Finds a line that is too long in a stream of CRLF lines, by leaps of a line's limit."""

    def __init__(self) -> None:
        self.any_long = False
        self._length = 0  # of the line that has not ended yet, its end included

    def feed(self, octets: bytes) -> None:
        """Look at the next octets."""
        if self.any_long:
            return
        at, allowed = 0, LINE_LIMIT + 2 - self._length
        while len(octets) - at >= allowed:
            end = octets.rfind(b"\n", at, at + allowed)
            if end < 0:
                self.any_long = True
                return
            at, allowed = end + 1, LINE_LIMIT + 2
        at = max(octets.rfind(b"\n", at) + 1, at)
        self._length = len(octets) - at + (0 if at else self._length)
