"""Where a fax goes: an e-mail address, or a telephone number at a gateway (RFC 3191, RFC 3192). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from valija.protocol.smtp_path import is_address

_NUMBER: Final = re.compile(r"\+?[0-9][0-9.\-]{0,39}")
_SUB: Final = re.compile(r"[0-9A-Za-z.*#-]{1,40}")
_LOCAL: Final = re.compile(r"FAX=(?P<number>\+?[0-9.\-]{1,40})(?:/T33S=(?P<sub>[^/@=]{1,40}))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FaxAddress:
    """Where a fax goes: ``mail`` is what SMTP says; ``number`` and ``sub_address`` are empty for a mailbox."""

    mail: str
    number: str = ""
    sub_address: str = ""

    def __str__(self) -> str:
        """Return what people read."""
        return f"{self.number} ({self.mail})" if self.number else self.mail


def parse_fax_address(text: str, gateway: str = "") -> FaxAddress | None:
    """Read ``ana@example.com``, ``FAX=+15551234567@gateway``, with ``/T33S=12`` behind the number, or a bare number.

    Spaces, brackets and dots that people write into numbers are dropped. A bare number, and one without a host, needs
    ``gateway`` (a host name). None for anything else.
    """
    text = text.strip()
    local, at, host = text.rpartition("@")
    if not at:
        local, host = text, gateway
    if not at and not local.upper().startswith("FAX="):
        local = f"FAX={re.sub(r'[ ()]', '', local)}"
    match = _LOCAL.fullmatch(local)
    if match is None:
        return FaxAddress(text) if at and is_address(text) and not local.upper().startswith("FAX=") else None
    return format_fax_address(match["number"], host, match["sub"] or "") if host else None


def format_fax_address(number: str, gateway: str, sub_address: str = "") -> FaxAddress | None:
    """Return the address of a number at a gateway; None if one of them cannot stand in it."""
    if not _NUMBER.fullmatch(number) or (sub_address and not _SUB.fullmatch(sub_address)):
        return None
    plain = re.sub(r"[.\-]", "", number)
    local = f"FAX={plain}" + (f"/T33S={sub_address}" if sub_address else "")
    mail = f"{local}@{gateway}"
    return FaxAddress(mail, plain, sub_address) if is_address(mail) else None
