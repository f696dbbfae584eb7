"""A message that was accepted for delivery: what the envelope said, who handed it in, for whom. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from valija.domain.queue import RecipientState, RecipientStateName
from valija.domain.text import N_

STATE_LABELS: Final = {
    RecipientStateName.QUEUED: N_("Waiting"),
    RecipientStateName.IN_FLIGHT: N_("On its way"),
    RecipientStateName.DEFERRED: N_("Tried again later"),
    RecipientStateName.HELD: N_("Held"),
    RecipientStateName.DELIVERED: N_("Delivered"),
    RecipientStateName.FAILED: N_("Failed"),
}
STILL_SENT: Final = {  # what was asked for, of a message that is being sent
    "hold": N_("Message {number} is being sent already; it is held if this try fails."),
    "cancel": N_("Message {number} is being sent already; it is cancelled if this try fails."),
}


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """One recipient and its DSN parameters (RFC 3461), empty for none."""

    address: str
    notify: str = ""
    original: str = ""


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """What does not change about a message after its 250.

    ``account`` is whose mailbox it leaves from; ``device`` who handed it in, empty for the machine itself. ``size`` in octets.
    ``envelope_id`` and ``ret`` are DSN parameters. ``stopped`` is how long the account's gate had been closed altogether when
    the message was accepted: the time since then, less what was added, is its waiting time. ``report_to`` is who is told of
    trouble where that is not the reverse path (a sender that was rewritten); ``is_report``: nobody is told of its trouble.
    ``long_lines``: some are longer than a server must take (RFC 5322 section 2.1.1).
    ``address``, ``via`` (RFC 3848: ESMTPSA ...) and ``tls`` (version, empty for none) say how it was handed in.
    """

    account: str
    device: str
    reverse_path: str
    message_id: str
    size: int
    accepted_at: datetime
    recipients: tuple[QueuedRecipient, ...]
    subject: str = ""
    eight_bit: bool = False
    long_lines: bool = False
    envelope_id: str = ""
    ret: str = ""
    stopped: timedelta = timedelta()
    report_to: str = ""
    is_report: bool = False
    address: str = ""
    via: str = ""
    tls: str = ""


def mentions(message: QueuedMessage, text: str) -> bool:
    """Tell whether a text stands in a message's subject, its Message-ID or one of its addresses; large and small are one."""
    wanted = text.casefold()
    addresses = (message.reverse_path, message.report_to, *(recipient.address for recipient in message.recipients))
    return any(wanted in place.casefold() for place in (message.subject, message.message_id, *addresses))


@dataclass(frozen=True, slots=True)
class RecipientEntry:
    """One recipient of a stored message: its number, whose it is, and its state."""

    id: int
    message_id: int
    recipient: QueuedRecipient
    state: RecipientState
