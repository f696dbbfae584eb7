"""What the queue's rows hold. One that cannot be read costs only itself: what its columns say is known, the rest is not."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Final, cast

from valija.domain.account_gate import Gate
from valija.domain.queue import (
    Deferred,
    Delivered,
    Failed,
    FailureCause,
    Held,
    InFlight,
    Queued,
    RecipientState,
    RecipientStateName,
)
from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.domain.trouble import Trouble, WhoActs
from valija.store.codec import NotReadable, decode_value
from valija.store.sql_rows import moment
from valija.store.work import Row

log: Final = logging.getLogger(__name__)
NO_LEASE: Final = 0  # never given
UNKNOWN: Final = QueuedRecipient("?")
_STATE_CLASSES: Final = (Queued, InFlight, Deferred, Held, Delivered, Failed)


def state_of(row: Row) -> RecipientState:
    """Return the state that a row of a recipient holds."""
    number, _message_id, _place, due, _lease_until, payload, *_columns = row
    if not payload and due is not None:
        return Queued(moment(due))
    try:
        return cast("RecipientState", decode_value(payload, *_STATE_CLASSES))
    except NotReadable as error:
        _tell("queue_recipients", number, error)
        return _by_columns(row)


def _by_columns(row: Row) -> RecipientState:
    """Return where a recipient stands; what it has been through is not known, so that it may have been delivered."""
    _number, _message_id, _place, due, lease_until, _payload, name, ended = row
    if due is not None:
        return Queued(moment(due), in_doubt=True)
    if lease_until is not None:
        return InFlight(NO_LEASE, Queued(moment(lease_until), in_doubt=True))
    if ended is None:
        return Held(moment(0), Queued(moment(0), in_doubt=True))
    if name == RecipientStateName.DELIVERED:
        return Delivered(moment(ended), "")
    return Failed(moment(ended), FailureCause.REFUSED, in_doubt=True)


def read_message(number: int, envelope: bytes) -> QueuedMessage | None:
    """Return what an envelope holds; None if it cannot be read."""
    try:
        return decode_value(envelope, QueuedMessage)
    except NotReadable as error:
        _tell("queue_messages", number, error)
        return None


def message_of(row: Row) -> QueuedMessage:
    """Return the message of a row (number, envelope, account, device, accepted at), as far as it is known."""
    number, envelope, account, device, accepted_at = row
    return read_message(number, envelope) or QueuedMessage(account, device, "", "", 0, moment(accepted_at), ())


def recipient_at(message: QueuedMessage, place: int) -> QueuedRecipient:
    """Return a message's recipient, as far as it is known."""
    return message.recipients[place] if place < len(message.recipients) else UNKNOWN


def unreadable_trouble(at: datetime) -> Trouble:
    """Return the trouble of a message that cannot be sent because nobody knows what it was."""
    return Trouble("entry_unreadable", WhoActs.OPERATOR, "", at)


def gate_in(account: str, version: int, payload: bytes) -> Gate:
    """Return a gate; one that cannot be read is held, since it may have been, and somebody who sees that can release it."""
    try:
        return decode_value(payload, Gate)
    except NotReadable as error:
        _tell("queue_gates", account, error)
        now = datetime.now(UTC)
        return Gate(held_at=now, closed_at=now, version=version)


def _tell(table: str, row: int | str, error: NotReadable) -> None:
    log.warning("entry_unreadable", extra={"fields": {"table": table, "row": row, "why": str(error)}})
