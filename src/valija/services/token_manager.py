"""Tokens of accounts: given to whoever logs in, refreshed once for all who ask, deleted, watched.

Theory of operation
-------------------
A refresh is: due? → join the account's flight or start it → *still* due? → ask → persist → announce. There are two doors
to it, a log-in or a person that waits (:meth:`TokenManager.bearer`, :meth:`TokenManager.refresh`) and the background
(:meth:`TokenManager.refresh_if_due`); behind both is one room (``_ask``).

1. However many ask, one request goes out: an account has at most one flight, and all who come meanwhile share its end,
   good or bad. Where several nodes share the store, one of them flies, and the next one finds what it brought.
2. Nothing is used before it is on disk. What cannot be written is kept in memory and written before anything else is
   asked (``_unsaved``): a rotated refresh token exists nowhere else.
3. Every write is compare-and-swap. After a conflict the event is applied to the state that is there now; if that state
   has another grant (deleted or changed meanwhile), the event is stale, and the tokens that came too late are revoked.
4. A flight is finished even if all who asked have gone: the answer may hold the only valid refresh token.
5. Failures slow the next try of that account down: the background waits out the whole pause, a log-in a short one (or
   the provider's Retry-After), a person is never held up.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol

from valija.domain.account import MACHINE, Actor
from valija.domain.clock import Clock
from valija.domain.errors import StoreError, StoreFull
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.refresh_policy import due_at, is_due, is_usable, kept_retry_after, retry_delay
from valija.domain.token import (
    AccountAccepted,
    AccountRefused,
    AwaitingAuthorization,
    GrantEnded,
    Invalid,
    RefreshDeferred,
    Retrieved,
    TokenDeleted,
    TokenEvent,
    TokenRefreshed,
    TokenSet,
    TokenState,
    next_state,
    tokens_in_use,
    tokens_kept,
)
from valija.domain.trouble import Trouble, WhoActs
from valija.secret import Secret
from valija.services.events import EventBus, TokenChanged
from valija.services.token_words import consent_needed, details_of, notable, try_later
from valija.store.port import Store, VersionedToken

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The provider gave these tokens; ``discard`` revokes them there, for the case that nobody wants them any more."""

    tokens: TokenSet
    discard: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RefreshFailed:
    """The provider gave none. ``ends_grant`` only where it proved the grant's end; ``retry_after`` in seconds."""

    trouble: Trouble
    ends_grant: bool
    retry_after: float | None = None


class Refresher(Protocol):
    """What asks a provider for a new access token; takes bounded time, never raises for what a provider does."""

    async def refresh(self, account: str, tokens: TokenSet) -> Refreshed | RefreshFailed:
        """Ask once."""
        ...


@dataclass(frozen=True, slots=True)
class Bearer:
    """An access token to log in with, and the grant it belongs to (for :meth:`TokenManager.report_login`).

    ``in_favour``: no refusal is on record, so that an acceptance is no news.
    """

    token: Secret
    grant_id: str
    expires_at: datetime
    in_favour: bool = False


@dataclass(frozen=True, slots=True)
class _Pause:
    """After a failure: how many in a row, from when to when to wait, and what it was."""

    failures: int
    start: datetime
    end: datetime
    login_end: datetime
    failed: RefreshFailed
    tokens: TokenSet

    def holds(self, now: datetime, *, for_login: bool) -> bool:
        """Tell whether to wait still; a clock set back before ``start`` ends the pause."""
        return self.start <= now < (self.login_end if for_login else self.end)


LOGIN_PAUSE: Final = timedelta(seconds=30)
FLIGHTS: Final = 3  # a flight that was joined may have had another aim; then another one is needed


class TokenManager:
    """See the module's theory of operation."""

    def __init__(self, store: Store, refresher: Refresher, clock: Clock, events: EventBus, rng: random.Random) -> None:
        self._store = store
        self._refresher = refresher
        self._clock = clock
        self._events = events
        self._rng = rng
        self._flights: dict[str, asyncio.Task[RefreshFailed | None]] = {}
        self._pauses: dict[str, _Pause] = {}
        self._unsaved: dict[str, Refreshed] = {}

    # --- reading -----------------------------------------------------------------------------------------------------

    async def state(self, account: str) -> VersionedToken:
        """Return an account's token state and its version."""
        return await self._store.load_token(account)

    async def states(self) -> Mapping[str, VersionedToken]:
        """Return all states that were ever stored."""
        return await self._store.list_tokens()

    @property
    def unsaved(self) -> frozenset[str]:
        """Accounts whose new tokens could not be written yet."""
        return frozenset(self._unsaved)

    # --- first door: somebody waits -----------------------------------------------------------------------------------

    async def bearer(self, account: str, *, refused: Secret | None = None) -> Bearer:
        """Return a token that can be used now, refreshed first if it must be.

        ``refused`` is an access token that a server has just refused: it is refreshed unless that has happened meanwhile;
        where nothing can renew it, or the provider gives it once more, it is given once more: the refusal is the account's.
        Raises :class:`ConsentNeeded` if there is no token or it is invalid, :class:`TryLater` if the provider cannot be
        asked now and the token has expired.
        """
        stored = await self._store.load_token(account)
        tokens = tokens_in_use(stored.state)
        if tokens is None:
            raise consent_needed(stored.state)
        old = tokens if tokens.access_token == refused and tokens.can_be_renewed else None
        if not self._must_refresh(tokens, old):
            return _bearer(stored.state, tokens)
        pause = self._pauses.get(account)
        if pause is not None and pause.holds(self._clock.now(), for_login=True):
            raise try_later(pause.failed.trouble)
        failed: RefreshFailed | None = None
        for _flight in range(FLIGHTS):
            failed = await self._fly(
                account, lambda: self._refresh_unless(account, lambda t: not self._must_refresh(t, old))
            )
            state = (await self._store.load_token(account)).state
            tokens = tokens_in_use(state)
            if tokens is None:
                raise consent_needed(state)
            if not self._must_refresh(tokens, old):
                return _bearer(state, tokens)
            if failed is not None:
                break
        raise try_later(failed.trouble if failed else None)

    async def refresh(self, account: str) -> TokenState:
        """Refresh now because a person wants it, also what is Invalid; return the state it led to."""
        before = (await self._store.load_token(account)).state
        kept = tokens_kept(before)
        if kept is None:
            raise consent_needed(before)
        state, failed = before, None
        for _flight in range(FLIGHTS if kept.can_be_renewed else 0):
            failed = await self._fly(
                account, lambda: self._refresh_unless(account, lambda t: not t.is_same_answer(kept))
            )
            state = (await self._store.load_token(account)).state
            now_kept = tokens_kept(state)
            if failed is not None or now_kept is None or not now_kept.is_same_answer(kept):
                break
        return state

    # --- second door: the background ----------------------------------------------------------------------------------

    async def refresh_if_due(self, account: str) -> None:
        """Refresh if it is due and the account is not in a pause after a failure."""
        pause = self._pauses.get(account)
        if pause is None or not pause.holds(self._clock.now(), for_login=False):
            await self._fly(account, lambda: self._refresh_due(account))

    async def save_unsaved(self) -> None:
        """Write what could not be written; no pause holds that up. Raises store errors."""
        for account in list(self._unsaved):
            await self._fly(account, partial(self._refresh_unless, account, lambda _tokens: True))

    async def due_accounts(self, limit: int) -> list[str]:
        """Return accounts that the background should look at now."""
        return await self._store.tokens_due(self._clock.now(), limit)

    # --- what log-ins found -------------------------------------------------------------------------------------------

    async def report_login(self, account: str, grant_id: str, trouble: Trouble | None) -> None:
        """Note that a server took the token (``trouble`` None) or refused it right after a refresh."""
        event = AccountAccepted(grant_id) if trouble is None else AccountRefused(grant_id, trouble)
        await self.apply(account, event)

    # --- changing -----------------------------------------------------------------------------------------------------

    async def delete(self, account: str, actor: Actor) -> TokenSet | None:
        """Forget the token, also one that could not be written yet; return the latest, so that it can be revoked."""
        self.forget_pauses(account)
        before, _now = await self._apply(account, TokenDeleted(), actor, AuditAction.TOKEN_DELETED)
        kept, unsaved = tokens_kept(before.state), self._unsaved.pop(account, None)
        return unsaved.tokens if unsaved and kept and unsaved.tokens.grant_id == kept.grant_id else kept

    def forget_pauses(self, account: str) -> None:
        """Let the next try happen at once: something about the account was changed."""
        self._pauses.pop(account, None)

    async def hear_of(self, account: str) -> VersionedToken:
        """Return what another node made of a token; a pause ends, unless it is for these very tokens: they failed there too."""
        stored, pause = await self._store.load_token(account), self._pauses.get(account)
        kept = tokens_kept(stored.state)
        if pause is not None and (kept is None or not kept.is_same_answer(pause.tokens)):
            self.forget_pauses(account)
        return stored

    async def let_go(self, account: str) -> None:
        """After a change that deleted the token: forget pauses, and revoke what could not be written."""
        self.forget_pauses(account)
        found = self._unsaved.pop(account, None)
        if found is not None:
            await found.discard()

    async def apply(
        self,
        account: str,
        event: TokenEvent,
        *,
        actor: Actor = MACHINE,
        action: AuditAction | None = None,
    ) -> VersionedToken:
        """Bring an event to the stored state; on a conflict, to the state that is there then. Raises store errors."""
        _before, after = await self._apply(account, event, actor, action)
        return after

    async def _apply(
        self, account: str, event: TokenEvent, actor: Actor, action: AuditAction | None
    ) -> tuple[VersionedToken, VersionedToken]:
        """Do it; return the state before and after."""
        while True:
            stored = await self._store.load_token(account)
            after = next_state(stored.state, event)
            if after == stored.state and not _postpones(event, after):
                return stored, stored
            now = self._clock.now()
            said = action or notable(stored.state, after)
            record = AuditRecord(now, actor, said, account, details_of(after)) if said else None
            due = self._next_look(account, after, now)
            written = await self._store.replace_token(account, stored.version, after, due_at=due, audit=record)
            if written is not None:
                self._announce(account, stored.state, written, now)
                return stored, written

    def _announce(self, account: str, before: TokenState, written: VersionedToken, now: datetime) -> None:
        log.info(
            "token_changed",
            extra={"fields": {"account": account, "before": before.name.value, "after": written.state.name.value}},
        )
        self._events.publish(TokenChanged(account, written.version, before, written.state, now))

    # --- the room ------------------------------------------------------------------------------------------------------

    def _must_refresh(self, tokens: TokenSet, refused: TokenSet | None) -> bool:
        return (refused is not None and tokens.is_same_answer(refused)) or not is_usable(tokens, now=self._clock.now())

    async def _fly(
        self, account: str, work: Callable[[], Coroutine[Any, Any, RefreshFailed | None]]
    ) -> RefreshFailed | None:
        """Join the account's flight, or start one; who is cancelled meanwhile does not end it."""
        flight = self._flights.get(account)
        if flight is None:
            flight = self._flights[account] = asyncio.create_task(self._alone(account, work), name=f"refresh {account}")
            flight.add_done_callback(lambda _done: self._flights.pop(account, None))
        return await asyncio.shield(flight)

    async def _alone(
        self, account: str, work: Callable[[], Coroutine[Any, Any, RefreshFailed | None]]
    ) -> RefreshFailed | None:
        """Do it while no other node does; ``work`` reads the state after that."""
        async with self._store.refreshing(account):
            return await work()

    async def _refresh_unless(self, account: str, done: Callable[[TokenSet], bool]) -> RefreshFailed | None:
        tokens = tokens_kept(await self._saved_state(account))
        return None if tokens is None or done(tokens) else await self._ask(account, tokens)

    async def _refresh_due(self, account: str) -> RefreshFailed | None:
        state = await self._saved_state(account)
        tokens = tokens_kept(state)
        if tokens is None:
            return None
        current = state.before if isinstance(state, AwaitingAuthorization) else state
        still_due = isinstance(current, Invalid) or is_due(tokens, now=self._clock.now(), jitter=1.0)
        return await self._ask(account, tokens) if still_due or not tokens.can_be_renewed else None

    async def _saved_state(self, account: str) -> TokenState:
        """Write what could not be written before, then return the state."""
        found = self._unsaved.get(account)
        if found is not None:
            await self._keep(account, found)
            self._unsaved.pop(account, None)  # or it was deleted meanwhile
            self.forget_pauses(account)
        return (await self._store.load_token(account)).state

    async def _ask(self, account: str, tokens: TokenSet) -> RefreshFailed | None:
        if not tokens.can_be_renewed:
            return await self._end_if_expired(account, tokens)
        found = await self._refresher.refresh(account, tokens)
        if isinstance(found, Refreshed):
            return await self._save(account, found)
        kept = tokens_kept((await self._store.load_token(account)).state)
        if kept is not None and kept.grant_id == tokens.grant_id and not kept.is_same_answer(tokens):
            return None  # another node, which this one was to keep out, has refreshed them: the refusal is old news
        if found.ends_grant:
            await self.apply(account, GrantEnded(tokens.grant_id, found.trouble))
            return found
        self._pause(account, found, tokens)
        await self.apply(account, RefreshDeferred(tokens.grant_id, found.trouble))
        return found

    async def _end_if_expired(self, account: str, tokens: TokenSet) -> RefreshFailed | None:
        now = self._clock.now()
        if not tokens.is_expired(now):
            return None
        trouble = Trouble("no_refresh_token", WhoActs.USER, "", now)
        await self.apply(account, GrantEnded(tokens.grant_id, trouble))
        return RefreshFailed(trouble, ends_grant=True)

    async def _save(self, account: str, found: Refreshed) -> RefreshFailed | None:
        """Bring new tokens to disk; keep them in memory if that fails now."""
        self._pauses.pop(account, None)
        try:
            await self._keep(account, found)
        except (StoreFull, StoreError) as error:
            log.exception("token_not_saved", extra={"fields": {"account": account, "why": str(error)}})
            self._unsaved[account] = found
            failed = RefreshFailed(Trouble("store_failed", WhoActs.OPERATOR, "", self._clock.now()), ends_grant=False)
            self._pause(account, failed, found.tokens)
            return failed
        return None

    async def _keep(self, account: str, found: Refreshed) -> None:
        written = await self.apply(account, TokenRefreshed(found.tokens))
        kept = tokens_kept(written.state)
        if kept is None or kept.grant_id != found.tokens.grant_id:
            log.info("late_token_discarded", extra={"fields": {"account": account}})
            await found.discard()

    def _pause(self, account: str, failed: RefreshFailed, tokens: TokenSet) -> None:
        before = self._pauses.get(account)
        failures = before.failures + 1 if before else 1
        person = failed.trouble.who_acts is not WhoActs.NOBODY and failed.trouble.reason != "store_failed"
        after, jitter = failed.retry_after, self._rng.random()
        delay = timedelta(seconds=retry_delay(failures, retry_after=after, person_must_act=person, jitter=jitter))
        now = self._clock.now()
        login_end = now + min(delay, max(LOGIN_PAUSE, timedelta(seconds=kept_retry_after(after, jitter))))
        self._pauses[account] = _Pause(failures, now, now + delay, login_end, failed, tokens)

    def _next_look(self, account: str, state: TokenState, now: datetime) -> datetime | None:
        due = due_at(state, now=now, jitter=self._rng.random())
        pause = self._pauses.get(account)
        return max(due, pause.end) if due is not None and pause is not None else due

    async def close(self) -> None:
        """Wait for the requests that are in the air, each bounded by the refresher; try once more to write what is unsaved."""
        if self._flights:
            await asyncio.gather(*self._flights.values(), return_exceptions=True)
        for account in list(self._unsaved):
            try:
                await self._saved_state(account)
            except (StoreFull, StoreError) as error:
                log.error("token_lost", extra={"fields": {"account": account, "why": str(error)}})  # noqa: TRY400


def _postpones(event: TokenEvent, state: TokenState) -> bool:
    """Tell whether an event that changes no state is still written, because the next look at the account moves."""
    kept = tokens_kept(state)
    return isinstance(event, RefreshDeferred) and kept is not None and kept.grant_id == event.grant_id


def _bearer(state: TokenState, tokens: TokenSet) -> Bearer:
    in_favour = isinstance(state, Retrieved) and not state.refusals
    return Bearer(tokens.access_token, tokens.grant_id, tokens.expires_at, in_favour)
