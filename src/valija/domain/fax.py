"""Internet fax: how faxes are sent and received (its settings), whom they are taken from, what an answer means. Pure.

Limits are those of the machine's manual: resend 0-15 times, every 1-15 minutes; up to 50 addresses or @domains that are
rejected or allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from valija.domain.errors import FieldProblem, InvalidFields
from valija.domain.senders import SENDER, matches, parse_lines, parse_senders
from valija.domain.settings import BadValue, number, one_line, one_of, parse_fields, switch
from valija.domain.text import N_, message
from valija.message.tiff_fax import FaxGeometry, FaxPaper, FaxProfile, FaxResolution, is_possible

RULES_LIMIT: Final = 50
FOLDER_LIMIT: Final = 250
RESEND_RANGE: Final = (0, 15)
RESEND_RANGE_MIN: Final = (1, 15)
WAIT_RANGE_H: Final = (1, 240)
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


class Confirmation(StrEnum):
    """What is asked for when a fax is sent."""

    NONE = "none"
    DELIVERY = "delivery"  # a DSN: it is in the mailbox
    PROCESSING = "processing"  # a DSN, and an MDN: it was printed


class JunkRule(StrEnum):
    """What the list of senders is for."""

    OFF = "off"
    REJECT = "reject"
    ALLOW = "allow"


class Halftone(StrEnum):
    """How grey becomes black and white."""

    TEXT = "text"  # a threshold: sharp, small
    PHOTO = "photo"  # dithered


@dataclass(frozen=True, slots=True)
class FaxSettings:
    """How faxes are sent, received and handed on.

    ``gateway`` is the host that telephone numbers are sent to. ``own_number`` stands on the cover page. ``resend_every`` in
    minutes, ``wait`` (for a confirmation) in hours. ``senders`` are addresses or ``@domain``; ``forward`` are rules like
    ``@office.example: ana@example.com`` (who it came from, empty for all; where it goes: an address, or a folder's path).
    """

    profile: FaxProfile = FaxProfile.S
    resolution: FaxResolution = FaxResolution.FINE
    paper: FaxPaper = FaxPaper.A4
    halftone: Halftone = Halftone.TEXT
    gateway: str = ""
    own_number: str = ""
    cover: bool = False
    confirmation: Confirmation = Confirmation.PROCESSING
    wait: int = 24
    resend: int = 2
    resend_every: int = 3
    junk: JunkRule = JunkRule.OFF
    senders: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()
    answer: bool = True

    @property
    def geometry(self) -> FaxGeometry:
        """Return how pages are drawn."""
        return FaxGeometry(self.profile, self.resolution, self.paper)


FAX_LABELS: Final[Mapping[str, str]] = {
    "profile": N_("Profile"),
    "resolution": N_("Resolution"),
    "paper": N_("Paper"),
    "halftone": N_("Original"),
    "gateway": N_("Fax gateway"),
    "own_number": N_("Own number"),
    "cover": N_("Cover page"),
    "confirmation": N_("Confirmation"),
    "wait": N_("Wait for confirmation"),
    "resend": N_("Number of resends"),
    "resend_every": N_("Resend interval"),
    "junk": N_("Anti-junk list"),
    "senders": N_("Senders in the list"),
    "forward": N_("Forwarding"),
    "answer": N_("Answer confirmations"),
}


def parse_fax_settings(current: FaxSettings, changes: Mapping[str, Any]) -> FaxSettings:
    """Return ``current`` with ``changes`` applied. Raises :class:`~valija.domain.errors.InvalidFields`, and applies nothing."""
    new = replace(current, **parse_fields({field.name for field in fields(current)}, _PARSERS, changes, FAX_LABELS))
    if not is_possible(new.geometry):
        problem = message(N_("S has 1728 pixels a line and standard or fine lines; for more, choose profile F"))
        raise InvalidFields((FieldProblem("profile", problem),))
    return new


def _host(value: Any) -> str:
    text = one_line(value, 253).strip().lower()
    if text and not _HOST.fullmatch(text):
        raise BadValue(message(N_("must be a host name or an IP address, without http:// and without a port")))
    return text


def _phone(value: Any) -> str:
    text = one_line(value, 40).strip()
    if text and not re.fullmatch(r"\+?[0-9 ()./-]{1,40}", text):
        raise BadValue(message(N_("must be a telephone number such as +34 600 000 000")))
    return text


def _forward(value: Any) -> tuple[str, ...]:
    found = parse_lines(value, RULES_LIMIT)
    for item in found:
        sender, colon, to = (part.strip() for part in item.partition(":"))
        if not colon or (sender and not SENDER.fullmatch(sender)) or not (_is_mailbox(to) or _is_folder(to)):
            raise BadValue(
                message(
                    N_("must be rules such as @office.example: ana@example.com or : /srv/faxes, not “{text}”"),
                    text=item[:80],
                )
            )
    return found


def _is_mailbox(to: str) -> bool:
    return SENDER.fullmatch(to) is not None and not to.startswith(("@", "/"))


def _is_folder(to: str) -> bool:
    return to.startswith("/") and len(to) <= FOLDER_LIMIT and to.isprintable() and ".." not in to.split("/")


_PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "profile": one_of(FaxProfile),
    "resolution": one_of(FaxResolution),
    "paper": one_of(FaxPaper),
    "halftone": one_of(Halftone),
    "gateway": _host,
    "own_number": _phone,
    "cover": switch,
    "confirmation": one_of(Confirmation),
    "wait": number(*WAIT_RANGE_H),
    "resend": number(*RESEND_RANGE),
    "resend_every": number(*RESEND_RANGE_MIN),
    "junk": one_of(JunkRule),
    "senders": parse_senders,
    "forward": _forward,
    "answer": switch,
}


def is_wanted(settings: FaxSettings, sender: str) -> bool:
    """Tell whether a fax from ``sender`` is taken. Who says no sender is on no list."""
    if settings.junk is JunkRule.OFF:
        return True
    listed = any(matches(entry, sender) for entry in settings.senders)
    return listed if settings.junk is JunkRule.ALLOW else not listed


def forward_to(settings: FaxSettings, sender: str) -> tuple[str, ...]:
    """Return whom a fax from ``sender`` is handed on to, each once; never back to where it came from."""
    return tuple(to for to in _targets(settings, sender) if not _is_folder(to) and to.lower() != sender.lower())


def file_to(settings: FaxSettings, sender: str) -> tuple[str, ...]:
    """Return the folders that a fax from ``sender`` is filed in, each once."""
    return tuple(filter(_is_folder, _targets(settings, sender)))


def _targets(settings: FaxSettings, sender: str) -> dict[str, None]:
    rules = ([part.strip() for part in rule.partition(":")] for rule in settings.forward)
    return {to: None for who, _colon, to in rules if not who or matches(who.lower(), sender)}


# --- answers --------------------------------------------------------------------------------------------------------------


class AnswerKind(StrEnum):
    """What an answer to a fax says of a recipient, from the least to the most that can be known."""

    DELAYED = "delayed"
    HANDED_ON = "handed_on"  # to a server that sends no reports
    DELIVERED = "delivered"  # it is in the mailbox
    PROCESSED = "processed"  # it was printed, filed or read
    NOT_DELIVERED = "not_delivered"
    REFUSED = "refused"  # it arrived, and could not be processed or was not wanted


@dataclass(frozen=True, slots=True)
class FaxAnswer:
    """One answer: who from, what it says, the other side's words."""

    recipient: str
    kind: AnswerKind
    words: str = ""


def settles(kind: AnswerKind, confirmation: Confirmation) -> bool:
    """Tell whether nothing better is waited for after such an answer."""
    if kind in (AnswerKind.PROCESSED, AnswerKind.NOT_DELIVERED, AnswerKind.REFUSED):
        return True
    return kind is not AnswerKind.DELAYED and confirmation is not Confirmation.PROCESSING


def sum_up(recipients: Collection[str], answers: Collection[FaxAnswer]) -> dict[str, FaxAnswer]:
    """Return the answer that counts for each recipient: the last of those that say most."""
    order = dict(zip(AnswerKind, (0, 1, 2, 4, 3, 3), strict=True))
    found: dict[str, FaxAnswer] = {}
    for answer in answers:
        for recipient in (
            recipients if len(recipients) == 1 else [r for r in recipients if same_mailbox(r, answer.recipient)]
        ):
            best = found.get(recipient)
            if best is None or order[answer.kind] >= order[best.kind]:
                found[recipient] = answer
    return found


def same_mailbox(one: str, other: str) -> bool:
    """Tell whether two addresses are the same, large and small letters being one."""
    return one.strip().lower() == other.strip().lower()
