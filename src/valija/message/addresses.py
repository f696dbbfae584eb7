"""Addresses in header fields, read as old devices write them (RFC 5322 section 3.4), the same with every Python.

Later Pythons give nothing at all for a field that breaks a rule, such as an address that stands as a name without quotes, which
many devices send. Whoever decides by an address must look at how many are found.
"""

from __future__ import annotations

import email.utils
from collections.abc import Iterable
from typing import Any, Final

_AS_WRITTEN: Final[dict[str, Any]] = {"strict": False} if hasattr(email.utils, "supports_strict_parsing") else {}


def read_addresses(values: Iterable[str]) -> list[tuple[str, str]]:
    """Return (name, address) of each mailbox in the fields; an address that cannot be read is empty. Never fails."""
    try:
        return email.utils.getaddresses(list(values), **_AS_WRITTEN)
    except RecursionError:  # thousands of comments or groups, each inside the other
        return [("", "")]
