"""Lists of senders: addresses, or ``@domain`` for all of a domain. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from valija.domain.settings import BadValue
from valija.domain.text import N_, message

SENDERS_LIMIT: Final = 50
SENDER: Final = re.compile(r"[^\s@<>,;]{0,64}@[^\s@<>,;]{1,253}")


def parse_lines(value: Any, limit: int, *, lower: bool = False) -> tuple[str, ...]:
    """Read a list, or a text with an entry on each line, each once; ``lower``: in small letters. Raises :class:`BadValue`."""
    lines = re.split(r"[\n,;]", value) if isinstance(value, str) else value
    if not isinstance(lines, list | tuple) or not all(isinstance(item, str) for item in lines):
        raise BadValue(message(N_("must be a list of texts")))
    found = tuple(dict.fromkeys(item.strip().lower() if lower else item.strip() for item in lines if item.strip()))
    count = len(
        found if isinstance(value, str) else lines
    )  # who writes a list has counted; who types may leave lines empty
    if count > limit:
        raise BadValue(message(N_("has {count} entries; at most {limit} fit"), count=count, limit=limit))
    return found


def parse_senders(value: Any, *, everybody: str = "") -> tuple[str, ...]:
    """Read a list of senders; ``everybody``: a word that stands for all. Raises :class:`BadValue`."""
    found = parse_lines(value, SENDERS_LIMIT, lower=True)
    for item in found:
        if not SENDER.fullmatch(item) and item != (everybody or None):
            raise BadValue(
                message(N_("must be addresses or domains such as @example.com, not “{text}”"), text=item[:80])
            )
    return found


def matches(entry: str, sender: str) -> bool:
    """Tell whether a sender is meant by an entry."""
    sender = sender.strip().lower()
    return sender.endswith(entry) if entry.startswith("@") else sender == entry
