"""The store in memory: the same contract, nothing on disk. For trying and for tests of what stands on the port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

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
from valija.domain.refresh_policy import LATEST_DUE
from valija.domain.registration import Registration
from valija.domain.scan import ScanSettings
from valija.domain.settings import MailSettings, PopSettings, SmtpSettings
from valija.domain.sighting import Sighting
from valija.domain.token import NotRetrieved, TokenState
from valija.secret import Secret
from valija.store.memory_alerts import MemoryAlerts
from valija.store.memory_jobs import MemoryJobs
from valija.store.memory_queue import MemoryQueue
from valija.store.port import (
    Change,
    StoredAudit,
    StoredMessage,
    VersionedDevice,
    VersionedRegistration,
    VersionedSettings,
    VersionedToken,
)
from valija.store.spool import Spool
from valija.store.spool_port import BodySpool


class MemoryStore:
    """See :class:`valija.store.port.Store`; nothing here awaits, so every method is atomic."""

    shared = False
    clock_shift = timedelta()

    def __init__(self) -> None:
        self._tokens: dict[str, VersionedToken] = {}
        self._due: dict[str, datetime] = {}
        self._settings: dict[Setting, VersionedSettings] = {}
        self._registrations: dict[str, VersionedRegistration] = {}
        self._received: list[StoredMessage] = []
        self._seen: set[tuple[str, str, str]] = set()
        self._audit: list[StoredAudit] = []
        self._password_hash: Secret | None = None
        self._sessions: dict[str, Session] = {}
        self._lockout = Lockout()
        self._preferences = Preferences()
        self._learning = Learning()
        self._fax = FaxSettings()
        self._alerting = AlertSettings()
        self._print = PrintSettings()
        self._api_tokens: dict[str, ApiToken] = {}
        self._devices: dict[str, VersionedDevice] = {}
        self._sightings: dict[str, Sighting] = {}
        self._scan_settings = ScanSettings()
        self._contacts: dict[str, Contact] = {}
        self.queue = MemoryQueue()
        self.jobs = MemoryJobs()
        self.alerting = MemoryAlerts()

    def spool_in(self, state_dir: Path) -> BodySpool:
        return Spool(state_dir)

    async def changes(self) -> AsyncIterator[Change]:
        for nothing in list[Change]():  # there is no other node
            yield nothing

    def refreshing(self, account: str) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def have_duty(self, name: str, seconds: float) -> bool:
        return True

    async def load_token(self, account: str) -> VersionedToken:
        return self._tokens.get(account) or VersionedToken(0, NotRetrieved())

    async def replace_token(
        self,
        account: str,
        expected_version: int,
        state: TokenState,
        *,
        due_at: datetime | None,
        audit: AuditRecord | None = None,
    ) -> VersionedToken | None:
        stored = self._tokens.get(account)
        if (stored.version if stored else 0) != expected_version:
            return None
        self._put_token(account, VersionedToken(expected_version + 1, state), due_at)
        if audit is not None:
            self._add_audit(audit)
        return self._tokens[account]

    def _put_token(self, account: str, token: VersionedToken, due_at: datetime | None) -> None:
        self._tokens[account] = token
        self._due.pop(account, None)
        if due_at is not None:
            self._due[account] = due_at

    def _forget(self, accounts: Collection[str]) -> None:
        for account in accounts:
            if account in self._tokens:
                self._put_token(account, VersionedToken(self._tokens[account].version + 1, NotRetrieved()), None)

    async def list_tokens(self) -> Mapping[str, VersionedToken]:
        return dict(sorted(self._tokens.items()))

    async def tokens_due(self, now: datetime, limit: int) -> list[str]:
        due = sorted((at, account) for account, at in self._due.items() if at <= now or at > now + LATEST_DUE)
        return [account for _at, account in due[:limit]]

    async def next_due(self) -> datetime | None:
        return min(self._due.values(), default=None)

    async def load_settings(self, setting: Setting) -> VersionedSettings:
        default = PopSettings() if setting.is_pop else SmtpSettings()
        return self._settings.get(setting) or VersionedSettings(0, default)

    async def save_settings(
        self, setting: Setting, expected_version: int, value: MailSettings, audit: AuditRecord
    ) -> VersionedSettings | None:
        stored = await self.load_settings(setting)
        if stored.version != expected_version:
            return None
        self._settings[setting] = VersionedSettings(expected_version + 1, value)
        self._add_audit(audit)
        return self._settings[setting]

    async def save_settings_and_forget_token(
        self, setting: Setting, expected_version: int, value: MailSettings, audit: AuditRecord
    ) -> VersionedSettings | None:
        written = await self.save_settings(setting, expected_version, value, audit)
        if written is not None:
            self._forget([setting.value])
        return written

    async def load_registration(self, name: str) -> VersionedRegistration | None:
        return self._registrations.get(name)

    async def list_registrations(self) -> list[VersionedRegistration]:
        return [self._registrations[name] for name in sorted(self._registrations)]

    async def save_registration(
        self, expected_version: int, value: Registration, audit: AuditRecord, *, forget_tokens: Collection[str] = ()
    ) -> VersionedRegistration | None:
        stored = self._registrations.get(value.name)
        if (stored.version if stored else 0) != expected_version:
            return None
        self._registrations[value.name] = VersionedRegistration(expected_version + 1, value)
        self._forget(forget_tokens)
        self._add_audit(audit)
        return self._registrations[value.name]

    async def delete_registration(self, name: str, audit: AuditRecord, *, forget_tokens: Collection[str] = ()) -> bool:
        if self._registrations.pop(name, None) is None:
            return False
        self._forget(forget_tokens)
        self._add_audit(audit)
        return True

    async def known_unique_ids(self, account: str, maildrop: str, unique_ids: Sequence[str]) -> set[str]:
        return {uid for uid in unique_ids if (account, maildrop, uid) in self._seen}

    async def record_received(self, message: ReceivedMessage) -> StoredMessage | None:
        key = (message.account, message.maildrop, message.unique_id)
        if key in self._seen:
            return None
        self._seen.add(key)
        stored = StoredMessage(len(self._received) + 1, message)
        self._received.append(stored)
        return stored

    async def list_received(self, account: str | None, limit: int) -> list[StoredMessage]:
        wanted = [m for m in reversed(self._received) if account in (None, m.message.account)]
        return wanted[:limit]

    async def received_after(self, account: str, after: int, limit: int) -> list[StoredMessage]:
        return [m for m in self._received if m.id > after and m.message.account == account][:limit]

    async def load_received(self, message_id: int) -> StoredMessage | None:
        return next((m for m in self._received if m.id == message_id), None)

    async def load_password_hash(self) -> Secret | None:
        return self._password_hash

    async def save_password_hash(self, expected: Secret | None, new: Secret, record: AuditRecord | None) -> bool:
        if self._password_hash != expected:
            return False
        self._password_hash = new
        if record is not None:
            self._add_audit(record)
        return True

    async def add_session(self, session: Session, record: AuditRecord) -> None:
        self._sessions[session.key] = session
        self._add_audit(record)

    async def load_session(self, key: str) -> Session | None:
        return self._sessions.get(key)

    async def touch_session(self, key: str, last_seen_at: datetime) -> None:
        session = self._sessions.get(key)
        if session is not None and session.last_seen_at < last_seen_at:
            self._sessions[key] = replace(session, last_seen_at=last_seen_at)

    async def delete_session(self, key: str) -> None:
        self._sessions.pop(key, None)

    async def delete_sessions(self, except_key: str | None) -> None:
        self._sessions = {key: session for key, session in self._sessions.items() if key == except_key}

    async def delete_sessions_before(self, moment: datetime) -> None:
        self._sessions = {key: s for key, s in self._sessions.items() if s.last_seen_at >= moment}

    async def load_lockout(self) -> Lockout:
        return self._lockout

    async def save_lockout(self, expected: Lockout, new: Lockout, records: Sequence[AuditRecord] = ()) -> bool:
        if self._lockout != expected:
            return False
        self._lockout = new
        for record in records:
            self._add_audit(record)
        return True

    async def load_preferences(self) -> Preferences:
        return self._preferences

    async def save_preferences(self, expected: Preferences, new: Preferences, record: AuditRecord) -> bool:
        if self._preferences != expected:
            return False
        self._preferences = new
        self._add_audit(record)
        return True

    async def add_api_token(self, token: ApiToken, record: AuditRecord) -> bool:
        if token.name in self._api_tokens:
            return False
        self._api_tokens[token.name] = token
        self._add_audit(record)
        return True

    async def list_api_tokens(self) -> list[ApiToken]:
        return [self._api_tokens[name] for name in sorted(self._api_tokens)]

    async def load_api_token(self, digest: str) -> ApiToken | None:
        return next((token for token in self._api_tokens.values() if token.digest == digest), None)

    async def delete_api_token(self, name: str, record: AuditRecord) -> bool:
        if self._api_tokens.pop(name, None) is None:
            return False
        self._add_audit(record)
        return True

    async def note_api_token_use(self, digest: str, at: datetime) -> None:
        token = await self.load_api_token(digest)
        if token is not None and (token.last_used_at is None or token.last_used_at < at):
            self._api_tokens[token.name] = replace(token, last_used_at=at)

    async def append_audit(self, record: AuditRecord) -> None:
        self._add_audit(record)

    def _add_audit(self, record: AuditRecord) -> None:
        self._audit.append(StoredAudit(len(self._audit) + 1, record))

    async def list_audit(self, limit: int, before_id: int | None = None) -> list[StoredAudit]:
        wanted = [a for a in reversed(self._audit) if before_id is None or a.id < before_id]
        return wanted[:limit]

    async def close(self) -> None:
        pass

    async def list_devices(self) -> list[VersionedDevice]:
        return [self._devices[login] for login in sorted(self._devices)]

    async def save_device(self, expected_version: int, value: Device, audit: AuditRecord) -> VersionedDevice | None:
        stored = self._devices.get(value.login)
        if (stored.version if stored else 0) != expected_version:
            return None
        self._devices[value.login] = saved = VersionedDevice(expected_version + 1, value)
        await self.append_audit(audit)
        return saved

    async def delete_device(self, login: str, audit: AuditRecord) -> bool:
        if self._devices.pop(login, None) is None:
            return False
        self._sightings.pop(login, None)
        await self.append_audit(audit)
        return True

    async def load_fax(self) -> FaxSettings:
        return self._fax

    async def save_fax(self, expected: FaxSettings, new: FaxSettings, record: AuditRecord) -> bool:
        if self._fax != expected:
            return False
        self._fax = new
        await self.append_audit(record)
        return True

    async def load_print(self) -> PrintSettings:
        return self._print

    async def save_print(self, expected: PrintSettings, new: PrintSettings, record: AuditRecord) -> bool:
        if self._print != expected:
            return False
        self._print = new
        await self.append_audit(record)
        return True

    async def load_alerting(self) -> AlertSettings:
        return self._alerting

    async def save_alerting(self, expected: AlertSettings, new: AlertSettings, record: AuditRecord) -> bool:
        if self._alerting != expected:
            return False
        self._alerting = new
        self._add_audit(record)
        return True

    async def load_learning(self) -> Learning:
        return self._learning

    async def save_learning(self, expected: Learning, new: Learning, record: AuditRecord) -> bool:
        if self._learning != expected:
            return False
        self._learning = new
        self._add_audit(record)
        return True

    async def list_sightings(self) -> list[Sighting]:
        by_subject = sorted(self._sightings.values(), key=lambda s: s.subject)
        return sorted(by_subject, key=lambda s: s.last_at, reverse=True)

    async def save_sightings(self, sightings: Sequence[Sighting], forget: Collection[str] = ()) -> None:
        self._sightings |= {s.subject: s for s in sightings}
        for subject in forget:
            self._sightings.pop(subject, None)

    async def load_scan_settings(self) -> ScanSettings:
        return self._scan_settings

    async def save_scan_settings(self, expected: ScanSettings, new: ScanSettings, record: AuditRecord) -> bool:
        if self._scan_settings != expected:
            return False
        self._scan_settings = new
        self._add_audit(record)
        return True

    async def list_contacts(self) -> list[Contact]:
        return [self._contacts[key] for key in sorted(self._contacts)]

    async def save_contacts(
        self, contacts: Sequence[Contact], audit: AuditRecord, forget: Collection[str] = ()
    ) -> None:
        for key in forget:
            self._contacts.pop(key, None)
        self._contacts |= {contact.key: contact for contact in contacts}
        self._add_audit(audit)
