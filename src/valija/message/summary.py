"""What a received message says about itself, read leniently from its header block only.

Hostile headers cost time in Python's parsers (quadratic in places), so the block is cut at ``HEADER_LIMIT`` octets, each
value at ``VALUE_LIMIT`` characters, and only the two fields that are shown are decoded.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Final

HEADER_LIMIT: Final = 65536
VALUE_LIMIT: Final = 400
_RAW_LIMIT: Final = 2000
_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:[ \t]*(.*(?:\r?\n[ \t].*)*)", re.MULTILINE)
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Summary:
    """``From:`` and ``Subject:`` as text for people: one line each, without control characters."""

    sender: str
    subject: str


def summarise(beginning: bytes) -> Summary:
    """Read the summary from the first octets of a message (``HEADER_LIMIT`` are enough). Never fails."""
    block = re.split(rb"\r?\n\r?\n", beginning[:HEADER_LIMIT], maxsplit=1)[0]
    found: dict[bytes, str] = {}
    for match in _FIELD.finditer(block):
        name = match.group(1).lower()
        if name in (b"from", b"subject") and name not in found:
            found[name] = _decode(match.group(2)[:_RAW_LIMIT])
    return Summary(found.get(b"from", ""), found.get(b"subject", ""))


def _decode(raw: bytes) -> str:
    text = re.sub(r"\r?\n[ \t]+", " ", raw.decode("utf-8", "replace"))
    with suppress(HeaderParseError, LookupError, UnicodeError, ValueError):  # else it is shown as it came
        text = str(make_header(decode_header(text)))
    return _UNSAFE.sub(" ", text).strip()[:VALUE_LIMIT]
