"""Content-Transfer-Encoding (RFC 2045 section 6), undone in pieces and leniently."""

from __future__ import annotations

import binascii
import re
from typing import Final

_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/=]+")
_TIFF_IN_BASE64: Final = (b"SUkqA", b"TU0AK")
_LINE_LIMIT: Final = 65_536
_GUESSED: Final = 256


class TransferDecoder:
    """Content-Transfer-Encoding, in pieces."""

    def __init__(self, encoding: str, *, guess: bool) -> None:
        self._encoding = encoding
        self._guess = guess and encoding not in ("base64", "quoted-printable")
        self._kept = b""

    def feed(self, octets: bytes) -> bytes:
        """Return what can be decoded."""
        data = self._kept + octets if self._kept else octets
        self._kept = b""
        if self._guess:
            start = data[:_GUESSED].lstrip()[:5]
            if len(start) < 5 and len(data) < _GUESSED:
                self._kept = data
                return b""
            self._guess = False
            if start in _TIFF_IN_BASE64:
                self._encoding = "base64"
        if self._encoding == "base64":
            return self._base64(data, last=False)
        if self._encoding == "quoted-printable":
            return self._quoted(data)
        return data

    def end(self) -> bytes:
        """Return the rest."""
        data, self._kept = self._kept, b""
        if self._encoding == "base64":
            return self._base64(data, last=True)
        return binascii.a2b_qp(data) if self._encoding == "quoted-printable" else data

    def _base64(self, data: bytes, *, last: bool) -> bytes:
        letters = _NOT_BASE64.sub(b"", data)
        *whole, rest = re.split(rb"=+", letters) if b"=" in letters else [letters]
        if not last:
            self._kept = rest[len(rest) - len(rest) % 4 :]
            rest = rest[: len(rest) - len(rest) % 4]
        return b"".join([_unpadded(piece) for piece in (*whole, rest)])

    def _quoted(self, data: bytes) -> bytes:
        end = data.rfind(b"\n") + 1
        if not end and len(data) > _LINE_LIMIT:
            end = len(data)
        self._kept = data[end:]
        return binascii.a2b_qp(data[:end])


def _unpadded(letters: bytes) -> bytes:
    """Decode base64 without padding; one letter over is nothing."""
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))
