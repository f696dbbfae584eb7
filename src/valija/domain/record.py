"""Records that stay: the audit trail, and mail received."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from valija.domain.account import SETTING_LABELS, Actor
from valija.domain.text import N_

# what the record calls its people and places, as people call them
AUDIT_WORDS: Final[Mapping[str, str]] = {
    "administrator": N_("administrator"),
    "visitor": N_("visitor"),
    "valija": N_("the machine itself"),
    "daemon": N_("machine"),
    "panel": N_("panel"),
    "web": N_("web page"),
    "cli": N_("command line"),
}
# what a record concerns, where it is a thing of the machine's and not one that somebody has named
AUDIT_SUBJECTS: Final[Mapping[str, str]] = {setting.value: label for setting, label in SETTING_LABELS.items()} | {
    "administrator": N_("administrator"),
    "machine": N_("This machine"),
    "scan": N_("Scan to e-mail"),
    "contacts": N_("Address book"),
    "fax": N_("Internet fax"),
    "print": N_("E-mail print"),
    "alerts": N_("Alert and status"),
    "devices": N_("Devices"),
}


class AuditAction(StrEnum):
    """What an audit record can say."""

    TOKEN_REQUESTED = "token_requested"
    TOKEN_OBTAINED = "token_obtained"
    TOKEN_AUTHORIZATION_FAILED = "token_authorization_failed"
    TOKEN_IMPORTED = "token_imported"
    TOKEN_DELETED = "token_deleted"
    TOKEN_INVALID = "token_invalid"
    TOKEN_VALID_AGAIN = "token_valid_again"
    SETTINGS_CHANGED = "settings_changed"
    PROVIDER_CHANGED = "provider_changed"
    PROVIDER_DELETED = "provider_deleted"
    LOGGED_IN = "logged_in"
    LOGIN_REFUSED = "login_refused"
    LOCKED_OUT = "locked_out"
    LOCKOUT_LIFTED = "lockout_lifted"
    PASSWORD_CHANGED = "password_changed"
    API_TOKEN_MADE = "api_token_made"
    API_TOKEN_DELETED = "api_token_deleted"
    DEVICE_ADDED = "device_added"
    DEVICE_CHANGED = "device_changed"
    DEVICE_PASSWORD_MADE = "device_password_made"
    DEVICE_DELETED = "device_deleted"
    DEVICE_LOCKED_OUT = "device_locked_out"
    LEARNING_STARTED = "learning_started"
    LEARNING_STOPPED = "learning_stopped"
    MAIL_HELD = "mail_held"
    MAIL_RELEASED = "mail_released"
    MAIL_RETRIED = "mail_retried"
    MAIL_CANCELLED = "mail_cancelled"
    JOB_CANCELLED = "job_cancelled"
    CONTACTS_CHANGED = "contacts_changed"


OF_NAMED_THINGS: Final = frozenset(
    {
        AuditAction.PROVIDER_CHANGED,
        AuditAction.PROVIDER_DELETED,
        AuditAction.API_TOKEN_MADE,
        AuditAction.API_TOKEN_DELETED,
        AuditAction.DEVICE_ADDED,
        AuditAction.DEVICE_CHANGED,
        AuditAction.DEVICE_PASSWORD_MADE,
        AuditAction.DEVICE_DELETED,
        AuditAction.DEVICE_LOCKED_OUT,
    }
)


def subject_label(action: AuditAction, subject: str) -> str | None:
    """Return what a record concerns as people call it; None for what has a name: a device may have the login ``fax``."""
    return None if action in OF_NAMED_THINGS else AUDIT_SUBJECTS.get(subject)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who did what, when, from where. ``details`` holds names and words, never a secret."""

    at: datetime
    actor: Actor
    action: AuditAction
    subject: str
    details: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One message fetched by POP3 and kept: where its bytes are, and what its header says.

    ``account`` is the setting's name, ``maildrop`` identifies the mailbox at its server (``user@host``), ``unique_id`` is
    the UIDL of RFC 1939 section 7, ``file`` is relative to the state directory, ``size`` is in octets as stored.
    """

    account: str
    maildrop: str
    unique_id: str
    received_at: datetime
    file: str
    size: int
    sender: str
    subject: str
