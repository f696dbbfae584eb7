"""The sandbox's grants and tokens: a small, strict authorization server without its HTTP part.

Device grant (RFC 8628), authorization code with PKCE S256 (RFC 7636), client credentials, refresh with rotation, where a
replayed refresh token ends the grant (RFC 9700 section 4.14.2), revocation (RFC 7009). Tokens are kept as SHA-256 digests.
Time and randomness are arguments of the constructor. Everything is bounded: what is past its time is dropped, and so is
the oldest when there is too much.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from valija.secret import Secret

PUBLIC_CLIENT: Final = "valija-sandbox"
CONFIDENTIAL_CLIENT: Final = "valija-sandbox-app"
CONFIDENTIAL_SECRET: Final = Secret("sandbox-secret")
ROBOT: Final = "robot@sandbox.test"
SCOPES: Final = ("smtp", "pop", "offline_access")
DEVICE_LIFE_S: Final = 600
DEVICE_INTERVAL_S: Final = 1
CODE_LIFE_S: Final = 60
ACCESS_LIFE_S: Final = 3600
REFRESH_LIFE_S: Final = 90 * 86400
GRANTS_LIMIT: Final = 500
PENDING_LIMIT: Final = 500
_ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A good access token: whose, for what, until when (seconds since 1970)."""

    mailbox: str
    scopes: tuple[str, ...]
    expires_at: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not a good access token; ``status`` as in the error challenge of RFC 7628."""

    status: str = "401"


class OAuthProblem(Exception):
    """An error answer (RFC 6749 section 5.2)."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


@dataclass(slots=True)
class Grant:
    """What somebody consented to, and the digests of the tokens that came of it."""

    mailbox: str
    client_id: str
    scopes: list[str]
    refresh: str = ""
    used_refresh: list[str] = field(default_factory=list)
    access: dict[str, float] = field(default_factory=dict)
    refreshed_at: float = 0.0


@dataclass(slots=True)
class Pending:
    """A permission that is being asked for: by device code, or by an authorization request."""

    client_id: str
    scopes: list[str]
    expires_at: float
    user_code: str = ""
    last_poll: float = 0.0
    interval: float = DEVICE_INTERVAL_S
    decision: str = ""  # a mailbox, or "denied"
    redirect_uri: str = ""
    challenge: str = ""
    state: str = ""
    used_by: str = ""  # the grant that its code was exchanged for


def digest(token: str) -> str:
    """Return a token's SHA-256 in hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Authorization:
    """All grants of the sandbox; ``save`` must be called after what changes refresh tokens."""

    def __init__(
        self,
        file: Path,
        now: Callable[[], float],
        new_token: Callable[[], str] = lambda: secrets.token_urlsafe(32),
        *,
        access_life_s: float = ACCESS_LIFE_S,
    ) -> None:
        self._file = file
        self._now = now
        self._new_token = new_token
        self.access_life_s = access_life_s
        self.grants: dict[str, Grant] = {}
        self.pending: dict[str, Pending] = {}
        if file.exists():
            raw = json.loads(file.read_text("utf-8"))
            self.grants = {name: Grant(**grant) for name, grant in raw.items()}

    def save(self) -> None:
        """Write the grants to disk, atomically; blocking."""
        temporary = self._file.with_suffix(".new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump({name: asdict(grant) for name, grant in self.grants.items()}, out)
            out.flush()
            os.fsync(out.fileno())
        temporary.rename(self._file)

    # --- asking for permission --------------------------------------------------------------------------------------------

    def start_device(self, client_id: str, scope: str) -> tuple[str, Pending]:
        """Return a device code and what is pending under it."""
        self._public(client_id)
        pending = Pending(client_id, _scopes(scope), self._now() + DEVICE_LIFE_S, user_code=self._user_code())
        return self._remember(pending), pending

    def start_code(self, client_id: str, scope: str, redirect_uri: str, challenge: str, method: str, state: str) -> str:
        """Return the name of an authorization request that waits for a person."""
        self._public(client_id)
        if method != "S256" or len(challenge) != 43:
            raise OAuthProblem("invalid_request", "PKCE with S256 is required")
        return self._remember(
            Pending(
                client_id,
                _scopes(scope),
                self._now() + DEVICE_LIFE_S,
                redirect_uri=redirect_uri,
                challenge=challenge,
                state=state,
            )
        )

    def _remember(self, pending: Pending) -> str:
        self._prune()
        while len(self.pending) >= PENDING_LIMIT:
            del self.pending[next(iter(self.pending))]
        code = self._new_token()
        self.pending[code] = pending
        return code

    def find_user_code(self, text: str) -> Pending | None:
        """Return what waits under a user code, however it was typed."""
        typed = "".join(c for c in text.upper() if c.isalpha())
        waiting = (p for p in self.pending.values() if p.user_code and not p.decision)
        return next((p for p in waiting if p.user_code == typed and p.expires_at > self._now()), None)

    def find_request(self, name: str) -> Pending | None:
        """Return an authorization request that waits for a person."""
        found = self.pending.get(name)
        return found if found and found.redirect_uri and not found.decision and found.expires_at > self._now() else None

    def decide(self, pending: Pending, mailbox: str | None) -> None:
        """Note what the person decided: the mailbox to give access to, or None to deny."""
        pending.decision = mailbox or "denied"
        if pending.redirect_uri:
            pending.expires_at = self._now() + CODE_LIFE_S

    # --- the token endpoint -------------------------------------------------------------------------------------------------

    def poll_device(self, client_id: str, device_code: str) -> dict[str, Any]:
        """Answer a poll (RFC 8628 section 3.5)."""
        pending = self.pending.get(device_code)
        if pending is None or pending.client_id != client_id or not pending.user_code:
            raise OAuthProblem("invalid_grant", "unknown device code")
        now = self._now()
        if now > pending.expires_at:
            raise OAuthProblem("expired_token", "the code is past its time")
        if pending.decision == "denied":
            del self.pending[device_code]
            raise OAuthProblem("access_denied", "the person said no")
        if pending.decision:
            del self.pending[device_code]
            return self._issue(Grant(pending.decision, client_id, pending.scopes))
        too_soon = pending.last_poll and now - pending.last_poll < pending.interval * 0.9
        pending.last_poll = now
        if too_soon:
            pending.interval += 5
            raise OAuthProblem("slow_down", "polled too soon")
        raise OAuthProblem("authorization_pending", "nobody has signed in yet")

    def exchange_code(self, client_id: str, code: str, redirect_uri: str, verifier: str) -> dict[str, Any]:
        """Exchange a code (RFC 6749 section 4.1.3); a second use ends what the first one gave."""
        pending = self.pending.get(code)
        if pending is not None and pending.used_by:
            self.grants.pop(pending.used_by, None)
            raise OAuthProblem("invalid_grant", "the code was used before")
        if pending is None or not pending.redirect_uri or pending.decision in ("", "denied"):
            raise OAuthProblem("invalid_grant", "unknown code")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        fits = pending.client_id == client_id and pending.redirect_uri == redirect_uri
        if not fits or not secrets.compare_digest(challenge, pending.challenge) or self._now() > pending.expires_at:
            raise OAuthProblem("invalid_grant", "the code is not for this client, address or verifier, or too old")
        answer = self._issue(Grant(pending.decision, client_id, pending.scopes))
        pending.used_by = next(reversed(self.grants))
        return answer

    def refresh(self, client_id: str, token: str) -> dict[str, Any]:
        """Give a new pair of tokens; a replayed refresh token ends the grant."""
        wanted = digest(token)
        for name, grant in self.grants.items():
            if wanted in grant.used_refresh:
                del self.grants[name]
                raise OAuthProblem("invalid_grant", "the refresh token was used before: the grant has ended")
            if grant.refresh == wanted and grant.client_id == client_id:
                if self._now() - grant.refreshed_at > REFRESH_LIFE_S:
                    break
                grant.used_refresh = [*grant.used_refresh[-20:], wanted]
                return self._give(grant)
        raise OAuthProblem("invalid_grant", "unknown refresh token")

    def client_credentials(self, client_id: str, scope: str) -> dict[str, Any]:
        """Give an access token for the robot's mailbox, without a refresh token."""
        if client_id != CONFIDENTIAL_CLIENT:
            raise OAuthProblem("unauthorized_client", "this client has no credentials")
        return self._issue(Grant(ROBOT, client_id, [s for s in _scopes(scope) if s != "offline_access"]))

    def revoke(self, client_id: str, token: str) -> None:
        """End the grant that a token belongs to."""
        wanted = digest(token)
        for name, grant in list(self.grants.items()):
            if grant.client_id == client_id and (grant.refresh == wanted or wanted in grant.access):
                del self.grants[name]

    def verify(self, token: Secret) -> TokenInfo | Refusal:
        """Tell whose an access token is; what the mail server asks."""
        wanted = digest(token.reveal())
        for grant in self.grants.values():
            expires_at = grant.access.get(wanted)
            if expires_at is not None:
                good = expires_at > self._now()
                return TokenInfo(grant.mailbox, tuple(grant.scopes), expires_at) if good else Refusal()
        return Refusal()

    def _issue(self, grant: Grant) -> dict[str, Any]:
        self._prune()
        while len(self.grants) >= GRANTS_LIMIT:
            del self.grants[next(iter(self.grants))]
        self.grants[self._new_token()] = grant
        return self._give(grant)

    def _give(self, grant: Grant) -> dict[str, Any]:
        now = self._now()
        access = self._new_token()
        grant.access = {d: at for d, at in grant.access.items() if at > now}
        grant.access[digest(access)] = now + self.access_life_s
        grant.refreshed_at = now
        answer: dict[str, Any] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": int(self.access_life_s),
            "scope": " ".join(grant.scopes),
        }
        if "offline_access" in grant.scopes:
            refresh = self._new_token()
            grant.refresh = digest(refresh)
            answer["refresh_token"] = refresh
        return answer

    def _user_code(self) -> str:
        taken = {p.user_code for p in self.pending.values()}
        while (code := "".join(secrets.choice(_ALPHABET) for _ in range(8))) in taken:
            pass
        return code

    def _public(self, client_id: str) -> None:
        if client_id != PUBLIC_CLIENT:
            raise OAuthProblem("invalid_client", f"unknown client; the sandbox's is {PUBLIC_CLIENT}", 401)

    def _prune(self) -> None:
        now = self._now()
        self.pending = {code: p for code, p in self.pending.items() if p.expires_at > now - 60}


def _scopes(scope: str) -> list[str]:
    asked = scope.split()
    unknown = [s for s in asked if s not in SCOPES]
    if unknown or not asked:
        raise OAuthProblem("invalid_scope", f"the sandbox's scopes are {' '.join(SCOPES)}")
    return list(dict.fromkeys(asked))


def show_user_code(code: str) -> str:
    """Return a user code as people read it."""
    return f"{code[:4]}-{code[4:]}"
