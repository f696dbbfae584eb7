"""Header fields that go where only ASCII is taken, or whose lines are too long: written anew (RFC 2047, RFC 2231)."""

from __future__ import annotations

import re
from email.header import Header
from email.utils import formataddr
from typing import Final
from urllib.parse import quote

from valija.message.addresses import read_addresses
from valija.message.mime_fields import decode_words, parse_parameters
from valija.message.transfer_encoding import LINE_LIMIT

_ADDRESSES: Final = frozenset(
    {"from", "to", "cc", "bcc", "sender", "reply-to", "disposition-notification-to", "x-original-from"}
    | {f"resent-{name}" for name in ("from", "to", "cc", "bcc", "sender", "reply-to")}
)
_PARAMETERS: Final = frozenset({"content-type", "content-disposition"})
_STRUCTURED: Final = re.compile(
    r"(?i)(?:resent-)?(?:date|message-id)|received|references|in-reply-to|mime-version|content-.*|list-.*"
)
_TOKEN: Final = re.compile(r"[!#-'*+.0-9A-Z^-~-]+")
_FOLD_AT: Final = 900  # a long name may stand before it
_FOLD: Final = re.compile(rf"(.{{1,{_FOLD_AT}}})(?:[ \t]+|$)|(.{{{_FOLD_AT}}})")


def in_ascii(field: bytes) -> bytes:
    """Return a whole field (lines end with CRLF) in ASCII, its lines no longer than a server must take.

    A field that is so already stays as it is, octet for octet.
    """
    if field.isascii() and all(len(line) <= LINE_LIMIT for line in field.split(b"\r\n")):
        return field
    raw_name, _colon, raw = field.partition(b":")
    name = raw_name.strip().decode("ascii", "replace")
    value = re.sub(r"\r\n[ \t]+", " ", _text(raw)).strip()
    key = name.lower()
    if key in _ADDRESSES:
        lines = _addresses(value)
    elif key in _PARAMETERS:
        lines = _parameters(value)
    elif _STRUCTURED.fullmatch(key):
        lines = _folded(value.encode("ascii", "replace").decode("ascii"))
    elif value.isascii() and all(len(word) <= _FOLD_AT for word in value.split()):
        lines = _folded(value)
    else:
        lines = Header(decode_words(value), "utf-8", maxlinelen=75, header_name=name).encode(linesep="\n").split("\n ")
    lines = [short for line in lines for short in (_folded(line) if len(line) > _FOLD_AT else [line])]
    return (f"{name}: " + "\r\n ".join(lines) + "\r\n").encode("ascii", "replace")


def _text(octets: bytes) -> str:
    """Return what old devices mean: UTF-8, or else Windows' Western letters."""
    for charset in ("utf-8", "cp1252"):
        try:
            return octets.decode(charset)
        except UnicodeDecodeError:
            continue
    return octets.decode("latin-1")


def _addresses(value: str) -> list[str]:
    found = [(name, address) for name, address in read_addresses([value]) if address]
    if not found:
        return _folded(value.encode("ascii", "replace").decode("ascii"))
    mailboxes = [
        formataddr((decode_words(name), address.encode("ascii", "replace").decode("ascii"))) for name, address in found
    ]
    return [mailbox + "," for mailbox in mailboxes[:-1]] + mailboxes[-1:]


def _parameters(value: str) -> list[str]:
    kind, parameters = parse_parameters(value)
    lines = [kind.encode("ascii", "replace").decode("ascii")]
    for name, text in parameters.items():
        if not text.isascii():
            written = f"{name}*=utf-8''{quote(text, safe='')}"
        elif _TOKEN.fullmatch(text):
            written = f"{name}={text}"
        else:
            escaped = text.replace("\\", "\\\\").replace('"', '\\"')
            written = f'{name}="{escaped}"'
        lines[-1] += ";"
        lines.append(written)
    return lines


def _folded(value: str) -> list[str]:
    return [found[1] or found[2] for found in _FOLD.finditer(value)] or [""]
