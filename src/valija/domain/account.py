"""The machine's four mail settings, and the accounts whose tokens they use.

The SMTP setting is one, shown on four screens; the three POP settings are independent of it and of each other: each has
its own provider, account and token. An account is one mailbox log-in, one client registration and one token.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from valija.domain.text import N_


class Setting(StrEnum):
    """The machine's mail settings, by the names that scripts use."""

    SMTP = "smtp"
    INTERNET_FAX = "internet-fax"
    EMAIL_PRINT = "email-print"
    EMAIL_STATUS = "email-status"

    @property
    def is_pop(self) -> bool:
        """Tell whether the setting receives by POP3 (otherwise it sends by SMTP)."""
        return self is not Setting.SMTP


SETTING_LABELS: Final = {
    Setting.SMTP: N_("SMTP"),
    Setting.INTERNET_FAX: N_("Internet Fax"),
    Setting.EMAIL_PRINT: N_("E-mail Print"),
    Setting.EMAIL_STATUS: N_("E-mail Status"),
}
POP_SETTINGS: Final = (Setting.INTERNET_FAX, Setting.EMAIL_PRINT, Setting.EMAIL_STATUS)


class Authentication(StrEnum):
    """Authentication Option: none, password, OAuth 2.0."""

    NONE = "none"
    PASSWORD = "password"
    OAUTH2 = "oauth2"


class GrantKind(StrEnum):
    """How a token is got."""

    DEVICE = "device"  # RFC 8628
    CODE = "code"  # RFC 6749 section 4.1 with RFC 7636, on loopback (RFC 8252)
    CLIENT_CREDENTIALS = "client-credentials"  # RFC 6749 section 4.4
    SERVICE_ACCOUNT = "service-account"  # RFC 7523 section 2.1

    @property
    def needs_a_person(self) -> bool:
        """Tell whether somebody must sign in and consent."""
        return self in (GrantKind.DEVICE, GrantKind.CODE)

    @property
    def asks_anew(self) -> bool:
        """Tell whether an expired token is replaced by asking again instead of by a refresh token."""
        return not self.needs_a_person


class Presence(StrEnum):
    """Where a request comes from: a property of the listener it came in by, never of the request."""

    AT_MACHINE = "at_machine"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something, for the record: ``who`` (a user id, an account name), ``where`` (the face), presence."""

    who: str
    where: str
    presence: Presence


MACHINE: Final = Actor(who="valija", where="daemon", presence=Presence.AT_MACHINE)
