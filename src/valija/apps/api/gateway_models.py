"""What the API says of queue and devices."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from valija.apps.api.fields import CHANGES_LIMIT, DEVICE_FIELDS
from valija.apps.api.models import Answer, Body, QueueAccountView, TroubleView
from valija.domain.learning import MINUTES_RANGE, USUAL_MINUTES

StateName = Literal["queued", "in_flight", "deferred", "held", "delivered", "failed"]
LifeWordName = Literal[
    "accepted",
    "try_failed",
    "in_doubt",
    "refused",
    "lease_ended",
    "expired",
    "held",
    "hold_wished",
    "released",
    "retried",
    "cancelled",
    "cancel_wished",
    "delivered",
    "account_blocked",
    "account_opened",
    "account_held",
    "account_released",
]
QueueAction = Literal["hold", "release", "retry", "cancel"]
AccountAction = Literal["hold", "release", "retry"]


class QueuedRecipientView(Answer):
    """What became of a message for one recipient. ``due_at``: when it is tried (again); ``ended_at``: delivered or failed."""

    address: str
    state: StateName
    state_label: str
    tries: int
    in_doubt: bool
    due_at: datetime | None
    ended_at: datetime | None
    cause: str
    server_words: str
    trouble: TroubleView | None


class QueuedMessageView(Answer):
    """A message of the queue; ``device`` is empty for the machine's own.

    ``address``, ``via`` (RFC 3848) and ``tls`` (version, empty for none) say how it was handed in.
    """

    id: int
    account: str
    device: str
    sender: str
    named_sender: str
    message_id: str
    subject: str
    size: int
    accepted_at: datetime
    address: str
    via: str
    tls: str
    recipients: list[QueuedRecipientView]


class LifeEventView(Answer):
    """One thing in a message's life; ``recipients`` are those that it concerned, empty for the message as a whole.

    ``event`` is a word for programs, ``text`` for people; ``who`` asked for it; ``next_at``: when it is tried again.
    """

    at: datetime
    event: LifeWordName
    text: str
    recipients: list[str]
    who: str
    tries: int
    next_at: datetime | None
    server_words: str
    trouble: TroubleView | None


class MessageLifeView(QueuedMessageView):
    """A message of the queue with its ``life``, in order."""

    life: list[LifeEventView]


class QueueView(Answer):
    """The accounts that have mail, and the latest messages."""

    accounts: list[QueueAccountView]
    messages: list[QueuedMessageView]


class TrafficSlotView(Answer):
    """One slot from ``at``: recipients accepted, delivered and failed in it; how many waited at its end."""

    at: datetime
    accepted: int
    delivered: int
    failed: int
    waiting: int


class TrafficView(Answer):
    """How much mail passed, in slots of ``slot_seconds``, the present one last."""

    slot_seconds: int
    slots: list[TrafficSlotView]


class ActOnMessages(Body):
    """Messages by their numbers."""

    action: QueueAction
    ids: list[int] = Field(min_length=1, max_length=500)


class ActOnAccount(Body):
    """All mail of an account."""

    action: AccountAction


class DeviceView(Answer):
    """A device and what was seen of it; never its password."""

    login: str
    name: str
    account: str
    mailbox: str
    has_password: bool
    ranges: list[str]
    senders: list[str]
    rewriting: str
    tls: str
    language: str
    lf_ends_message: bool
    enabled: bool
    created_at: datetime | None
    created_by: str
    last_seen_at: datetime | None
    last_accepted_at: datetime | None
    last_refused_at: datetime | None
    last_error: str
    last_error_cure: str
    last_address: str
    last_tls: str
    accepted: int
    refused: int


class AttemptView(Answer):
    """What a stranger wanted while the machine was learning; ``mechanism`` is empty where it tried no log-in."""

    listener: str
    helo: str
    mechanism: str
    sender: str
    recipients: int


class LearningView(Answer):
    """Learning mode: on until ``ends_at``, or off."""

    on: bool
    ends_at: datetime | None
    started_by: str


class StartLearning(Body):
    """For how long the machine learns."""

    minutes: int = Field(
        default=USUAL_MINUTES, json_schema_extra={"minimum": MINUTES_RANGE[0], "maximum": MINUTES_RANGE[1]}
    )


class StrangerView(Answer):
    """An address that nobody knows, and what it tried."""

    address: str
    protocol: str
    tls: str
    tried: str
    last_error: str
    last_error_cure: str
    tries: int
    first_seen_at: datetime
    last_seen_at: datetime
    attempt: AttemptView | None


class DevicesView(Answer):
    """All devices, and who else tried; ``addresses`` of this machine in the local network, ``ports`` by the listener's name.

    ``sender`` is the mailbox that mail goes out as, empty while none is set; ``authority`` the file that a device may
    import to check the gateway's certificate, empty where another authority made it.
    """

    host: str
    addresses: list[str]
    sender: str
    authority: str
    warnings: list[str]
    learning: LearningView
    ports: dict[str, int]
    devices: list[DeviceView]
    strangers: list[StrangerView]


class MadeDeviceView(DeviceView):
    """A device with its new ``password``, which is shown this once; null for one that is known by its address alone."""

    password: str | None


class NewDevice(Body):
    """Fields of a new device. ``with_password``: null makes one unless it has ranges."""

    changes: Annotated[dict[str, Any], WithJsonSchema(DEVICE_FIELDS)] = Field(max_length=CHANGES_LIMIT)
    with_password: bool | None = None


class AcceptStranger(Body):
    """A stranger's address; ``changes`` are fields that go before what it tried."""

    address: str = Field(max_length=60)
    changes: Annotated[dict[str, Any], WithJsonSchema(DEVICE_FIELDS)] = Field(default={}, max_length=CHANGES_LIMIT)


class DeviceChanges(Body):
    """Fields to set; the others stay as they are."""

    changes: Annotated[dict[str, Any], WithJsonSchema(DEVICE_FIELDS)] = Field(max_length=CHANGES_LIMIT)
