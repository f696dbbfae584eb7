"""Values that the store's tests put in, and look for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from valija.domain.account import Actor, Authentication, GrantKind, Presence
from valija.domain.record import AuditAction, AuditRecord, ReceivedMessage
from valija.domain.registration import Registration
from valija.domain.settings import PopSettings, SmtpSettings
from valija.domain.token import (
    Authorization,
    AwaitingAuthorization,
    Invalid,
    InvalidCause,
    NotRetrieved,
    Retrieved,
    TokenSet,
    TokenState,
)
from valija.domain.trouble import Trouble, WhoActs
from valija.secret import Secret

NOW: Final = datetime(2031, 5, 17, 8, 30, 15, 250_000, tzinfo=UTC)
ANA: Final = Actor("ana", "cli", Presence.AT_MACHINE)
TROUBLE: Final = Trouble("provider_down", WhoActs.NOBODY, "HTTP 503: ¡más tarde!", NOW)
PLANTED: Final = {
    name: f"planted-{name}-9f3c71"
    for name in (
        "access-token",
        "refresh-token",
        "device-code",
        "state",
        "code-verifier",
        "password",
        "client-secret",
        "private-key",
        "service-account",
    )
}


def planted(name: str) -> Secret:
    """Return a secret that is easy to find again."""
    return Secret(PLANTED[name])


def token_set(text: str = "1", *, grant: GrantKind = GrantKind.DEVICE) -> TokenSet:
    """Return tokens that live an hour from ``NOW``."""
    return TokenSet(
        grant_id=f"grant-{text}",
        grant=grant,
        access_token=Secret(f"access-{text}"),
        expires_at=NOW + timedelta(hours=1),
        refresh_token=Secret(f"refresh-{text}"),
        scopes=("offline_access", "smtp"),
        obtained_at=NOW - timedelta(days=3),
        refreshed_at=NOW,
        refresh_token_expires_at=NOW + timedelta(days=90),
    )


def planted_tokens() -> TokenSet:
    """Return tokens with secrets that are looked for in the files."""
    bare = token_set()
    return TokenSet(
        bare.grant_id,
        bare.grant,
        planted("access-token"),
        bare.expires_at,
        planted("refresh-token"),
        bare.scopes,
        bare.obtained_at,
        bare.refreshed_at,
    )


def authorization() -> Authorization:
    """Return a permission that is being asked for, with every field set."""
    return Authorization(
        authorization_id="a1",
        grant=GrantKind.CODE,
        started_at=NOW,
        expires_at=NOW + timedelta(minutes=15),
        verification_uri="https://login.example/device",
        verification_uri_complete="https://login.example/device?code=ABCD",
        user_code="ABCD-EFGH",
        device_code=planted("device-code"),
        interval=7.5,
        authorization_url="https://login.example/authorize?x=1",
        redirect_uri="http://127.0.0.1:8400/callback",
        state=planted("state"),
        code_verifier=planted("code-verifier"),
    )


def every_state() -> list[TokenState]:
    """Return one of each state, and each state that can wait behind an authorization."""
    held = Retrieved(token_set(), TROUBLE, 2, NOW - timedelta(seconds=30))
    ended = Invalid(token_set("2"), TROUBLE, NOW, InvalidCause.GRANT_ENDED, attempt=TROUBLE)
    bare = TokenSet("g", GrantKind.CLIENT_CREDENTIALS, Secret("a"), NOW, None, (), NOW, NOW)
    return [
        NotRetrieved(),
        NotRetrieved(TROUBLE),
        held,
        Retrieved(bare),
        ended,
        *(AwaitingAuthorization(authorization(), before) for before in (NotRetrieved(), held, ended)),
    ]


def smtp_settings(account: str = "ana@example.com") -> SmtpSettings:
    """Return SMTP settings with every field set."""
    return SmtpSettings(
        server="smtp.example.com",
        port=465,
        timeout=33,
        sender_name="Escáner · 2.º piso",
        sender_address="scan@example.com",
        tls=True,
        auth=Authentication.OAUTH2,
        provider="work",
        account=account,
        password=planted("password"),
    )


def pop_settings() -> PopSettings:
    """Return POP settings."""
    return PopSettings(server="pop.example.com", check_interval=0, tls=False, account="fax@example.com")


def registration(name: str = "work", client_id: str = "client-1") -> Registration:
    """Return a registration with every field set."""
    return Registration(
        name=name,
        kind="custom",
        cloud="",
        issuer="https://login.example",
        tenant="t",
        client_id=client_id,
        client_secret=planted("client-secret"),
        certificate="-----BEGIN CERTIFICATE-----",
        private_key=planted("private-key"),
        service_account=planted("service-account"),
        grant=GrantKind.CODE,
        scopes=("mail", "offline_access"),
    )


def audit_record(subject: str = "smtp", action: AuditAction = AuditAction.SETTINGS_CHANGED) -> AuditRecord:
    """Return an audit record."""
    return AuditRecord(NOW, ANA, action, subject, {"fields": "server, port", "why": "«mudanza»"})


def received(unique_id: str, account: str = "internet-fax", maildrop: str = "fax@pop.example.com") -> ReceivedMessage:
    """Return a received message."""
    return ReceivedMessage(
        account, maildrop, unique_id, NOW, f"mail/{unique_id}.eml", 5_000_000_000, "á@b", "Subjeción"
    )
