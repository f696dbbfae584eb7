"""The store's port: what every engine does, with the same meaning (the contract suite in tests/store holds them to it).

All writes are durable when they return. Writes to something that has a version are compare-and-swap: they return None if
the stored version is not the expected one, and nothing was changed. Every method may raise the errors below
:class:`valija.domain.errors.StoreError` and :class:`valija.domain.errors.StoreFull`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

from valija.domain.account import Setting
from valija.domain.address_book import Contact
from valija.domain.administrator import Lockout, Session
from valija.domain.alert_settings import AlertSettings
from valija.domain.api_token import ApiToken
from valija.domain.device import Device
from valija.domain.fax import FaxSettings
from valija.domain.learning import Learning
from valija.domain.preferences import Preferences
from valija.domain.print_job import PrintSettings
from valija.domain.record import AuditRecord, ReceivedMessage
from valija.domain.registration import Registration
from valija.domain.scan import ScanSettings
from valija.domain.settings import MailSettings
from valija.domain.sighting import Sighting
from valija.domain.token import TokenState
from valija.secret import Secret
from valija.store.alerts_port import AlertStore
from valija.store.jobs_port import JobStore
from valija.store.queue_port import QueueStore
from valija.store.spool_port import BodySpool


@dataclass(frozen=True, slots=True)
class VersionedToken:
    """A token state; version 0 was never stored."""

    version: int
    state: TokenState


@dataclass(frozen=True, slots=True)
class VersionedSettings:
    """A mail setting; version 0 was never stored and has the defaults."""

    version: int
    value: MailSettings


@dataclass(frozen=True, slots=True)
class VersionedRegistration:
    """A client registration."""

    version: int
    value: Registration


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A received message and its number."""

    id: int
    message: ReceivedMessage


@dataclass(frozen=True, slots=True)
class StoredAudit:
    """An audit record and its number; later records have higher ones."""

    id: int
    record: AuditRecord


@dataclass(frozen=True, slots=True)
class VersionedDevice:
    """A device of the local network."""

    version: int
    value: Device


class ChangeKind(StrEnum):
    """What another node changed."""

    ANYTHING = "anything"  # news may have been missed: read all anew
    MAIL = "mail"
    STOPPED = "stopped"  # mail that somebody has in hand
    GATE = "gate"
    LANE = "lane"
    SETTINGS = "settings"
    TOKEN = "token"
    DEVICES = "devices"


class Change(NamedTuple):
    """A change by another node; ``name`` is an account's, a setting's, or empty."""

    kind: ChangeKind
    name: str = ""


class Store(Protocol):
    """Durable state of the machine; :attr:`queue` is that of its mail, :attr:`jobs` that of its jobs."""

    @property
    def queue(self) -> QueueStore:
        """Return the queue, in the same database."""
        ...

    @property
    def jobs(self) -> JobStore:
        """Return the jobs, in the same database."""
        ...

    @property
    def alerting(self) -> AlertStore:
        """Return the alerts, in the same database."""
        ...

    @property
    def clock_shift(self) -> timedelta:
        """Return how far the clock that all nodes go by is ahead of this machine's."""
        ...

    @property
    def shared(self) -> bool:
        """Tell whether other nodes may have the same store."""
        ...

    def spool_in(self, state_dir: Path) -> BodySpool:
        """Return where bodies go that are too large for a row: in ``state_dir``, unless the database keeps them."""
        ...

    def changes(self) -> AsyncIterator[Change]:
        """Yield what other nodes change, until the store is closed; ends at once where there are none."""
        ...

    def refreshing(self, account: str) -> AbstractAsyncContextManager[None]:
        """Be the only node that refreshes an account's token; waits for another one. What was read before is old then."""
        ...

    async def have_duty(self, name: str, seconds: float) -> bool:
        """Have a duty for so long, or longer if this node has it already; False while another node has it.

        A duty is what one of several nodes does for all, such as the check of a mailbox.
        """
        ...

    async def load_token(self, account: str) -> VersionedToken:
        """Return an account's token state; version 0 and NotRetrieved if there is none."""
        ...

    async def replace_token(
        self,
        account: str,
        expected_version: int,
        state: TokenState,
        *,
        due_at: datetime | None,
        audit: AuditRecord | None = None,
    ) -> VersionedToken | None:
        """Store a token state, when the refresher should look at it next, and an audit record, all or none."""
        ...

    async def list_tokens(self) -> Mapping[str, VersionedToken]:
        """Return all token states by account."""
        ...

    async def tokens_due(self, now: datetime, limit: int) -> list[str]:
        """Return accounts whose ``due_at`` is not after ``now``, longest due first, then those after ``now + LATEST_DUE``."""
        ...

    async def next_due(self) -> datetime | None:
        """Return the earliest ``due_at``."""
        ...

    async def load_settings(self, setting: Setting) -> VersionedSettings:
        """Return a mail setting."""
        ...

    async def save_settings(
        self, setting: Setting, expected_version: int, value: MailSettings, audit: AuditRecord
    ) -> VersionedSettings | None:
        """Store a mail setting."""
        ...

    async def save_settings_and_forget_token(
        self, setting: Setting, expected_version: int, value: MailSettings, audit: AuditRecord
    ) -> VersionedSettings | None:
        """Store a mail setting and make its token NotRetrieved, all or none."""
        ...

    async def load_registration(self, name: str) -> VersionedRegistration | None:
        """Return a client registration; None if there is none of that name."""
        ...

    async def list_registrations(self) -> list[VersionedRegistration]:
        """Return all client registrations by name."""
        ...

    async def save_registration(
        self, expected_version: int, value: Registration, audit: AuditRecord, *, forget_tokens: Collection[str] = ()
    ) -> VersionedRegistration | None:
        """Store a registration (version 0: a new one) and make these accounts' tokens NotRetrieved, all or none."""
        ...

    async def delete_registration(self, name: str, audit: AuditRecord, *, forget_tokens: Collection[str] = ()) -> bool:
        """Delete a registration and make these accounts' tokens NotRetrieved; False if there is none of that name."""
        ...

    async def known_unique_ids(self, account: str, maildrop: str, unique_ids: Sequence[str]) -> set[str]:
        """Return which of these messages were received before."""
        ...

    async def record_received(self, message: ReceivedMessage) -> StoredMessage | None:
        """Note a message as received; None if it was before."""
        ...

    async def list_received(self, account: str | None, limit: int) -> list[StoredMessage]:
        """Return received messages, latest first."""
        ...

    async def received_after(self, account: str, after: int, limit: int) -> list[StoredMessage]:
        """Return an account's received messages with numbers above ``after``, in order.

        Numbers are seen in order: none that is below one that was returned is seen later.
        """
        ...

    async def load_received(self, message_id: int) -> StoredMessage | None:
        """Return one received message."""
        ...

    async def load_password_hash(self) -> Secret | None:
        """Return the hash of the administrator's password; None if none was ever set."""
        ...

    async def save_password_hash(self, expected: Secret | None, new: Secret, record: AuditRecord | None) -> bool:
        """Store a hash in place of ``expected`` (None: the first one) and an audit record, all or none.

        False if another one is stored. ``record`` is None where the same password only gets another hash.
        """
        ...

    async def add_session(self, session: Session, record: AuditRecord) -> None:
        """Store a new session and an audit record, all or none."""
        ...

    async def load_session(self, key: str) -> Session | None:
        """Return a session, ended or not; None if there is none of that key."""
        ...

    async def touch_session(self, key: str, last_seen_at: datetime) -> None:
        """Note when a session was used last; never earlier than noted before, and nothing if it is gone."""
        ...

    async def delete_session(self, key: str) -> None:
        """Delete a session, if it is there."""
        ...

    async def delete_sessions(self, except_key: str | None) -> None:
        """Delete all sessions but one."""
        ...

    async def delete_sessions_before(self, moment: datetime) -> None:
        """Delete the sessions that were used last before ``moment``."""
        ...

    async def load_lockout(self) -> Lockout:
        """Return the count of wrong passwords; nothing counted if none was ever stored."""
        ...

    async def save_lockout(self, expected: Lockout, new: Lockout, records: Sequence[AuditRecord] = ()) -> bool:
        """Store the count in place of ``expected`` and audit records, all or none; False if another one is stored."""
        ...

    async def load_preferences(self) -> Preferences:
        """Return what the machine itself is set to; the defaults if it was never stored."""
        ...

    async def save_preferences(self, expected: Preferences, new: Preferences, record: AuditRecord) -> bool:
        """Store preferences in place of ``expected`` and an audit record, all or none; False if others are stored."""
        ...

    async def add_api_token(self, token: ApiToken, record: AuditRecord) -> bool:
        """Store a new API token and an audit record, all or none; False if there is one of that name."""
        ...

    async def list_api_tokens(self) -> list[ApiToken]:
        """Return all API tokens by name, ended or not."""
        ...

    async def load_api_token(self, digest: str) -> ApiToken | None:
        """Return the API token with this digest, ended or not."""
        ...

    async def delete_api_token(self, name: str, record: AuditRecord) -> bool:
        """Delete an API token and store an audit record, all or none; False if there is none of that name."""
        ...

    async def note_api_token_use(self, digest: str, at: datetime) -> None:
        """Note when an API token was used last; never earlier than noted before, and nothing if it is gone."""
        ...

    async def append_audit(self, record: AuditRecord) -> None:
        """Add to the audit trail."""
        ...

    async def list_audit(self, limit: int, before_id: int | None = None) -> list[StoredAudit]:
        """Return audit records, latest first."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, then let go of the files."""
        ...

    async def list_devices(self) -> list[VersionedDevice]:
        """Return all devices by login."""
        ...

    async def save_device(self, expected_version: int, value: Device, audit: AuditRecord) -> VersionedDevice | None:
        """Store a device (version 0: a new one)."""
        ...

    async def delete_device(self, login: str, audit: AuditRecord) -> bool:
        """Delete a device and what was seen of it; False if there is none of that login."""
        ...

    async def load_fax(self) -> FaxSettings:
        """Return how faxes are sent and received; the defaults if it was never stored."""
        ...

    async def save_fax(self, expected: FaxSettings, new: FaxSettings, record: AuditRecord) -> bool:
        """Store it in place of ``expected`` and an audit record, all or none; False if another one is stored."""
        ...

    async def load_print(self) -> PrintSettings:
        """Return where mail is printed and whose; the defaults if it was never stored."""
        ...

    async def save_print(self, expected: PrintSettings, new: PrintSettings, record: AuditRecord) -> bool:
        """Store it in place of ``expected`` and an audit record, all or none; False if another one is stored."""
        ...

    async def load_alerting(self) -> AlertSettings:
        """Return who is told what the machine tells of itself; the defaults if it was never stored."""
        ...

    async def save_alerting(self, expected: AlertSettings, new: AlertSettings, record: AuditRecord) -> bool:
        """Store it in place of ``expected`` and an audit record, all or none; False if another one is stored."""
        ...

    async def load_learning(self) -> Learning:
        """Return when the machine learns; never if it was never stored."""
        ...

    async def save_learning(self, expected: Learning, new: Learning, record: AuditRecord) -> bool:
        """Store it in place of ``expected`` and an audit record, all or none; False if another one is stored."""
        ...

    async def list_sightings(self) -> list[Sighting]:
        """Return what was seen, latest first."""
        ...

    async def save_sightings(self, sightings: Sequence[Sighting], forget: Collection[str] = ()) -> None:
        """Store what was seen, in place of what was stored for the same subjects; forget others."""
        ...

    async def load_scan_settings(self) -> ScanSettings:
        """Return what the machine chooses for scans; the defaults if it was never stored."""
        ...

    async def save_scan_settings(self, expected: ScanSettings, new: ScanSettings, record: AuditRecord) -> bool:
        """Store it in place of ``expected`` and an audit record, all or none; False if another one is stored."""
        ...

    async def list_contacts(self) -> list[Contact]:
        """Return the address book by name."""
        ...

    async def save_contacts(
        self, contacts: Sequence[Contact], audit: AuditRecord, forget: Collection[str] = ()
    ) -> None:
        """Store contacts, in place of those with the same key; delete those with the keys ``forget``; all or none."""
        ...
