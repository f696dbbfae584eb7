"""Tokens for programs: made and deleted at the machine, looked up for each request from the network."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from valija.domain.account import Actor, Presence
from valija.domain.api_token import ApiToken, has_ended, new_api_token, use_due
from valija.domain.clock import Clock
from valija.domain.errors import FieldProblem, InvalidFields, NotAtTheMachine, StoreFull, UnknownName
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.text import N_, message
from valija.secret import Secret
from valija.services.events import EventBus, SettingsChanged
from valija.store.port import Store

PREFIX: Final = "valija_"
TOKEN_OCTETS: Final = 32
BEARER_LIMIT: Final = 200  # characters; more is not looked at


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A new token; ``secret`` is what the program sends, and is shown this once."""

    token: ApiToken
    secret: Secret


class ApiAccess:
    """All API tokens."""

    def __init__(self, store: Store, clock: Clock, events: EventBus) -> None:
        self._store = store
        self._clock = clock
        self._events = events

    async def make(self, name: str, scopes: Sequence[str], days: int, actor: Actor) -> MadeToken:
        """Make a token. Raises :class:`NotAtTheMachine`, :class:`InvalidFields`."""
        demand_presence(actor)
        secret, now = Secret(PREFIX + secrets.token_urlsafe(TOKEN_OCTETS)), self._clock.now()
        token = new_api_token(name, scopes, days, digest=_digest(secret.reveal()), now=now, created_by=actor.who)
        details = {"scopes": " ".join(token.scopes), "expires_at": token.expires_at.isoformat(timespec="seconds")}
        if not await self._store.add_api_token(
            token, AuditRecord(now, actor, AuditAction.API_TOKEN_MADE, name, details)
        ):
            problem = message(N_("is taken: delete that token first, or choose another name"))
            raise InvalidFields((FieldProblem("name", problem),))
        self._announce(name)
        return MadeToken(token, secret)

    async def all(self) -> list[ApiToken]:
        """Return all tokens by name, also those that have ended."""
        return await self._store.list_api_tokens()

    async def delete(self, name: str, actor: Actor) -> None:
        """Delete a token: it opens nothing from now on. Raises :class:`NotAtTheMachine`, :class:`UnknownName`."""
        demand_presence(actor)
        record = AuditRecord(self._clock.now(), actor, AuditAction.API_TOKEN_DELETED, name)
        if not await self._store.delete_api_token(name, record):
            raise UnknownName(
                message(N_("There is no API token {name}."), name=name[:40]),
                message(N_("`valija api-token list` shows those that exist.")),
            )
        self._announce(name)

    async def find(self, bearer: str) -> ApiToken | None:
        """Return the token that a program sent, and note its use; None if there is none or it has ended."""
        if not bearer.startswith(PREFIX) or len(bearer) > BEARER_LIMIT:
            return None
        token, now = await self._store.load_api_token(_digest(bearer)), self._clock.now()
        if token is None or has_ended(token, now):
            return None
        if use_due(token, now):
            with suppress(StoreFull):  # noting it is no must
                await self._store.note_api_token_use(token.digest, now)
        return token

    def _announce(self, name: str) -> None:
        self._events.publish(SettingsChanged(f"api-token {name}", self._clock.now()))


def demand_presence(actor: Actor) -> None:
    """Raise :class:`NotAtTheMachine` for whoever is not there."""
    if actor.presence is not Presence.AT_MACHINE:
        raise NotAtTheMachine(
            message(N_("API tokens are made, listed and deleted at the machine only.")),
            message(N_("Use `valija api-token` at the machine.")),
        )


def _digest(bearer: str) -> str:
    return hashlib.sha256(bearer.encode("utf-8", "surrogatepass")).hexdigest()
