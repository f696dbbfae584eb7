"""Values of a mail's header fields, read leniently: parameters (RFC 2045, RFC 2231), encoded words (RFC 2047), charsets."""

from __future__ import annotations

import binascii
import codecs
import re
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Final
from urllib.parse import unquote_to_bytes

_NAME: Final = re.compile(r"[^\x00-\x20;=\"]{1,100}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_WORD: Final = re.compile(r"=\?([\w.:-]{1,40})(?:\*[\w-]*)?\?([bBqQ])\?([^?\s]*)\?=")
_BETWEEN_WORDS: Final = re.compile(r"(\?=)\s+(?==\?)")
_VALUE_LIMIT: Final = 4_000
# Python decodes these too, but no mail is in them; the first two take minutes for a text of some size
_NO_CHARSETS: Final = frozenset({"punycode", "idna", "unicode-escape", "raw-unicode-escape", "undefined"})


def parse_parameters(value: str) -> tuple[str, dict[str, str]]:
    """Return a structured field's value (small letters) and its parameters; RFC 2231's forms are joined and decoded."""
    value = value[:_VALUE_LIMIT]
    kind, _semicolon, rest = value.partition(";")
    raw: dict[str, str] = {}
    at = 0
    while at < len(rest) and len(raw) < 64:
        match = _NAME.match(rest, at)
        if match is None:
            at += 1
            continue
        name, at = match[0].lower(), match.end()
        equals = re.compile(r"\s*=\s*").match(rest, at)
        if equals is None:
            continue
        text, at = _parameter_value(rest, equals.end())
        raw.setdefault(name, text)
    return kind.strip().lower(), _joined(raw)


def _parameter_value(rest: str, at: int) -> tuple[str, int]:
    if rest[at : at + 1] != '"':
        end = rest.find(";", at)
        end = len(rest) if end < 0 else end
        return rest[at:end].strip(), end
    out: list[str] = []
    at += 1
    while at < len(rest) and rest[at] != '"':
        if rest[at] == "\\" and at + 1 < len(rest):
            at += 1
        out.append(rest[at])
        at += 1
    return "".join(out), at + 1


def _joined(raw: dict[str, str]) -> dict[str, str]:
    """Return parameters with RFC 2231's pieces put together."""
    joined = {name: value for name, value in raw.items() if "*" not in name}
    pieces: dict[str, list[tuple[int, bool, str]]] = {}
    for name, value in raw.items():
        base, star, tail = name.partition("*")
        if star:
            number = tail.rstrip("*")
            place = int(number) if re.fullmatch(r"[0-9]{1,2}", number) else 0
            pieces.setdefault(base, []).append((place, tail.endswith("*") or not tail, value))
    for base, parts in pieces.items():
        octets, charset = b"", "utf-8"
        for place, is_encoded, value in sorted(parts):
            if is_encoded and place == 0 and value.count("'") >= 2:
                charset, _language, value = value.split("'", 2)
            octets += unquote_to_bytes(value) if is_encoded else value.encode("utf-8", "replace")
        joined[base] = decode_text(octets, charset)
    return joined


def decode_text(octets: bytes, charset: str) -> str:
    """Return text that is UTF-8 whatever it was; an unknown charset or what is not of it never fails."""
    try:
        usual = codecs.lookup(charset or "utf-8").name not in _NO_CHARSETS
        text = octets.decode(charset or "utf-8", "replace") if usual else ""
    except (LookupError, ValueError, UnicodeError):
        usual = False
    if not usual:
        text = octets.decode("utf-8", "replace")
    return text.encode("utf-8", "replace").decode()  # some charsets make halves of characters, which nothing can store


def decode_words(value: str) -> str:
    """Return a text with its encoded words decoded (RFC 2047 section 6.2); what cannot be decoded stays as it is."""
    return _WORD.sub(_decoded_word, _BETWEEN_WORDS.sub(r"\1", value))


def _decoded_word(found: re.Match[str]) -> str:
    charset, how, text = found[1], found[2].lower(), found[3]
    try:
        octets = binascii.a2b_base64(text) if how == "b" else binascii.a2b_qp(text, header=True)
        return _CONTROL.sub(" ", octets.decode(charset))  # no line end comes into a field that way
    except (LookupError, ValueError):
        return found[0]


def readable(value: str) -> str:
    """Return a raw value as one line for people, encoded words (RFC 2047) decoded. Never fails."""
    text = value[:_VALUE_LIMIT].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if "=?" in text:
        with suppress(HeaderParseError, LookupError, UnicodeError, ValueError):
            text = str(make_header(decode_header(text)))
    return _CONTROL.sub(" ", text).strip()
