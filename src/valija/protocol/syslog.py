"""Syslog messages (RFC 5424), and how they are told apart on a stream (RFC 6587 section 3.4.1: octet counting)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

FACILITY_DAEMON: Final = 3  # RFC 5424 section 6.2.1
LENGTH_LIMIT: Final = 2048  # octets that every receiver should take (section 6.1)
ENTERPRISE: Final = "valija@32473"  # RFC 5612: the number for examples; SD-IDs of our own need one
_NOT_PRINTABLE: Final = re.compile(r"[^!-~]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def format_message(severity: int, at: datetime, host: str, name: str, fields: Mapping[str, str], text: str) -> bytes:
    """Return one message: ``severity`` 0-7, ``name`` its MSGID, ``fields`` its structured data, ``text`` in UTF-8."""
    data = " ".join(f'{_word(key, 32)}="{_value(value)}"' for key, value in fields.items())
    stamp = at.isoformat(timespec="milliseconds")
    head = f"<{FACILITY_DAEMON * 8 + severity}>1 {stamp} {_word(host, 255)} valija - {_word(name, 32)}"
    line = f"{head} [{ENTERPRISE} {data}] \ufeff{_CONTROL.sub(' ', text)}".encode()
    return line[:LENGTH_LIMIT].decode("utf-8", "ignore").encode()


def frame(message: bytes) -> bytes:
    """Return a message as it goes into a stream."""
    return b"%d %s" % (len(message), message)


def _word(text: str, limit: int) -> str:
    return _NOT_PRINTABLE.sub("_", text)[:limit] or "-"


def _value(text: str) -> str:
    return re.sub(r'(["\\\]])', r"\\\1", _CONTROL.sub(" ", text)[:200])
