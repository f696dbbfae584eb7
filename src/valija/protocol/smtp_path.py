"""Reverse-paths and forward-paths with their parameters (RFC 5321 section 4.1.2, RFC 6531 section 3.3, RFC 3461)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from valija.protocol.errors import LocalProtocolError

PATH_LIMIT: Final = 254  # octets of an address in a path (RFC 5321 section 4.5.3.1.3, without the brackets)
_UNSEEN: Final = r"\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"  # controls, line ends, changes of direction
_LOCAL: Final = rf'(?:[^\x00-\x20{_UNSEEN}"(),:;<>@\[\\\]]+|"(?:[^\x00-\x1f{_UNSEEN}"\\]|\\[\x20-\x7e])*")'
_DOMAIN: Final = rf"(?:\[[0-9A-Za-z:.-]{{2,80}}\]|[^\x00-\x2c\x2f\x3a-\x40\x5b-\x60\x7b-\x7e{_UNSEEN}]{{1,253}})"
_ADDRESS: Final = re.compile(rf"{_LOCAL}@{_DOMAIN}")
_PARAMETER: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9-]{0,62}(?:=[\x21-\x3c\x3e-\x7e\u0080-\ud7ff\ue000-\U0010ffff]{1,500})?"
)


def is_address(address: str) -> bool:
    """Tell whether ``address`` can stand in a path: local part, @, domain or literal; nothing that cannot be seen."""
    try:
        length = len(address.encode("utf-8"))
    except UnicodeEncodeError:  # octets that were no UTF-8
        return False
    if length > PATH_LIMIT or _ADDRESS.fullmatch(address) is None:
        return False
    domain = address.rpartition("@")[2]
    return not (domain.startswith((".", "-")) or ".." in domain)


@dataclass(frozen=True, slots=True)
class Path:
    """An address (empty: the null reverse-path) and its ESMTP parameters, keywords in upper case."""

    address: str
    parameters: Mapping[str, str]


def format_path(address: str, parameters: Mapping[str, str | None] | None = None) -> bytes:
    """Return ``<address>`` and parameters for a MAIL or RCPT command.

    Raises :class:`LocalProtocolError` if the address cannot stand there, so nothing can be injected.
    """
    if address and not is_address(address):
        raise LocalProtocolError("not an address that SMTP can carry")
    words = [f"<{address}>"]
    for name, value in (parameters or {}).items():
        word = name if value is None else f"{name}={value}"
        if _PARAMETER.fullmatch(word) is None:
            raise LocalProtocolError(f"the parameter {name} cannot be sent")
        words.append(word)
    return " ".join(words).encode("utf-8")


def parse_path(argument: str) -> Path | None:
    """Read what follows ``MAIL FROM:`` or ``RCPT TO:``; odd forms of old devices are understood; None: not a path.

    Spaces after the colon, missing brackets, a display name before the brackets and a source route are accepted.
    """
    text = argument.strip()
    start = text.find("<")
    if start >= 0:
        end = text.find(">", start)
        if end < 0:
            return None
        address, rest = text[start + 1 : end].strip(), text[end + 1 :]
        if address.startswith("@") and ":" in address:
            address = address.partition(":")[2]
    else:
        address, _space, rest = text.partition(" ")
    if address and not is_address(address) and not is_address(f"{address}@x.y"):
        return None
    parameters: dict[str, str] = {}
    for word in rest.split():
        if _PARAMETER.fullmatch(word) is None or len(parameters) >= 20:
            return None
        name, _equals, value = word.partition("=")
        parameters[name.upper()] = value
    return Path(address, parameters)


def decode_xtext(text: str) -> str:
    """Decode xtext (RFC 3461 section 4); what is no xtext stays as it is."""
    octets = _XTEXT_HEX.sub(lambda match: bytes([int(match[1], 16)]), text.encode("utf-8", "replace"))
    return octets.decode("utf-8", "replace")


_XTEXT_HEX: Final = re.compile(rb"\+([0-9A-F]{2})")


def encode_xtext(text: str) -> str:
    """Encode a value for ENVID and ORCPT (RFC 3461 section 4); what is not ASCII, as its octets in UTF-8."""
    octets = text.encode("utf-8", "replace")
    return "".join(chr(o) if 33 <= o <= 126 and o not in b"+=" else f"+{o:02X}" for o in octets)
