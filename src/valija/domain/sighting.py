"""What was seen of a device: when, from where, how, and with what result. Pure.

One record for each device, by its login, and one for each address that nobody knows: the list of those is where a device is
found that was forgotten. ``subject`` is the login, or ``@`` and the address.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

UNKNOWN_LIMIT: Final = 200  # addresses that nobody knows; the longest unseen go first
TEXT_LIMIT: Final = 120


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a stranger wanted to do while the machine was learning; never a password.

    ``listener`` by its name; ``mechanism`` of its log-in, empty if it tried none; ``recipients``: how many it named.
    """

    listener: str = ""
    helo: str = ""
    mechanism: str = ""
    sender: str = ""
    recipients: int = 0


@dataclass(frozen=True, slots=True)
class Sighting:
    """All that is kept. ``tls``: version of the last session, empty for one in clear; ``tried``: the login it last showed.

    ``attempt``: None where the machine was not learning when it tried.
    """

    subject: str
    first_at: datetime
    last_at: datetime
    address: str = ""
    protocol: str = ""
    tls: str = ""
    tried: str = ""
    accepted: int = 0
    accepted_at: datetime | None = None
    refused: int = 0
    refused_at: datetime | None = None
    last_error: str = ""
    attempt: Attempt | None = None

    @property
    def is_known(self) -> bool:
        """Tell whether it is a device's."""
        return not self.subject.startswith("@")


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that was seen: a message taken or a maildrop read (``error`` empty), or a refusal with its reply."""

    at: datetime
    address: str
    protocol: str
    tls: str
    tried: str = ""
    error: str = ""
    attempt: Attempt | None = None


def subject_of(login: str | None, address: str) -> str:
    """Return whose record it is."""
    return login if login is not None else f"@{address}"


def note(before: Sighting | None, subject: str, seen: Seen) -> Sighting:
    """Return the record after one more thing was seen."""
    record = before or Sighting(subject, seen.at, seen.at)
    failed = bool(seen.error)
    return Sighting(
        subject=record.subject,
        first_at=record.first_at,
        last_at=max(record.last_at, seen.at),
        address=seen.address[:TEXT_LIMIT],
        protocol=seen.protocol,
        tls=seen.tls,
        tried=printable(seen.tried) if seen.tried else record.tried,
        accepted=record.accepted + (not failed),
        accepted_at=record.accepted_at if failed else seen.at,
        refused=record.refused + failed,
        refused_at=seen.at if failed else record.refused_at,
        last_error=printable(seen.error) if failed else record.last_error,
        attempt=_merged(record.attempt, seen.attempt),
    )


def joined(there: Sighting, mine: Sighting, base: Sighting | None) -> Sighting:
    """Return what two nodes saw of one subject: ``there`` by another, ``mine`` here, since both knew ``base``."""
    later, earlier = (mine, there) if mine.last_at >= there.last_at else (there, mine)
    refusals = sorted((s for s in (there, mine) if s.refused_at is not None), key=lambda s: s.refused_at or s.last_at)
    return replace(
        later,
        first_at=min(there.first_at, mine.first_at),
        tried=later.tried or earlier.tried,
        accepted=there.accepted + mine.accepted - (base.accepted if base else 0),
        accepted_at=max(filter(None, (there.accepted_at, mine.accepted_at)), default=None),
        refused=there.refused + mine.refused - (base.refused if base else 0),
        refused_at=refusals[-1].refused_at if refusals else None,
        last_error=refusals[-1].last_error if refusals else "",
        attempt=_merged(earlier.attempt, later.attempt),
    )


def _merged(before: Attempt | None, now: Attempt | None) -> Attempt | None:
    """Return what was tried in all: a device that was refused at its log-in may try without the next time."""
    if now is None:
        return before
    old = before or Attempt()
    return Attempt(
        listener=now.listener or old.listener,
        helo=_name_of(now.helo, old.helo),
        mechanism=now.mechanism or old.mechanism,
        sender=printable(now.sender) or old.sender,
        recipients=now.recipients or old.recipients,
    )


def printable(text: str) -> str:
    """Return what a stranger said, short and fit to be shown."""
    return "".join(c if c.isprintable() else "?" for c in text[:TEXT_LIMIT])


def _name_of(now: str, before: str) -> str:
    """Return what it calls itself; an address in brackets says less than a name."""
    return before if before and (not now or now.startswith("[")) else printable(now)
