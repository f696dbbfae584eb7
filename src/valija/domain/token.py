"""The life of an account's token: four states, their events, one table.

Theory of operation
-------------------
A token is in exactly one of four states, each a type with only its own fields:

=====================  =====================================================================================
NotRetrieved           no token was got
AwaitingAuthorization  the provider gave leave to get one; what was there before stays in use meanwhile
Retrieved              got and active
Invalid                got, but the grant has ended or the account refuses it again and again
=====================  =====================================================================================

Rules:

1. Everything that changes a state is an event, and every (state, event) pair has a row in ``TRANSITIONS``.
2. An event names the grant or the authorization it speaks of. If the state has another one, the event is stale: the very
   same state object comes back. So a slow answer can never overwrite what came after it.
3. Only ``GrantEnded`` (a *proven* end) and ``AccountRefused`` repeated over a time lead to Invalid. What passes by itself
   is ``RefreshDeferred`` and leaves the state as it is.
4. A refresh token is kept until a new one replaces it or the token is deleted: Invalid keeps it too.
5. "Expired" is never stored: it follows from ``expires_at`` and ``now``.
6. While an authorization waits, events about the token that is still in use go through to it (``before``).

Storing, locking and asking are not done here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from valija.domain.account import GrantKind
from valija.domain.trouble import Trouble
from valija.secret import Secret

REFUSALS_BEFORE_INVALID: Final = 3
REFUSALS_SPAN: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What the provider gave.

    ``grant_id`` is ours: made when the token is got, kept through refreshes. ``refreshed_at`` is when the provider last
    gave an access token; ``refresh_token`` is None where the grant has none.
    """

    grant_id: str
    grant: GrantKind
    access_token: Secret
    expires_at: datetime
    refresh_token: Secret | None
    scopes: tuple[str, ...]
    obtained_at: datetime
    refreshed_at: datetime
    refresh_token_expires_at: datetime | None = None

    def is_expired(self, now: datetime) -> bool:
        """Tell whether the access token is past its end."""
        return now >= self.expires_at

    def is_same_answer(self, other: TokenSet) -> bool:
        """Tell whether the provider has given nothing in between; some give one access token more than once."""
        return (self.access_token, self.refreshed_at) == (other.access_token, other.refreshed_at)

    @property
    def can_be_renewed(self) -> bool:
        """Tell whether a new access token can be had without a person."""
        return self.refresh_token is not None or self.grant.asks_anew


@dataclass(frozen=True, slots=True)
class Authorization:
    """A permission being asked for: what the person needs, and what is needed to go on after a restart.

    Device grant: ``verification_uri``, ``user_code``, perhaps ``verification_uri_complete``; ``device_code`` and
    ``interval`` (seconds) to poll. Code grant: ``authorization_url``; ``redirect_uri``, ``state`` and ``code_verifier``
    to check and exchange what comes back. The grants without a person have none of these.
    """

    authorization_id: str
    grant: GrantKind
    started_at: datetime
    expires_at: datetime
    verification_uri: str | None = None
    verification_uri_complete: str | None = None
    user_code: str | None = None
    device_code: Secret | None = None
    interval: float = 5.0
    authorization_url: str | None = None
    redirect_uri: str | None = None
    state: Secret | None = None
    code_verifier: Secret | None = None


# --- states ----------------------------------------------------------------------------------------------------------


class StateName(StrEnum):
    """The states by the names that programs use."""

    NOT_RETRIEVED = "not_retrieved"
    AWAITING_AUTHORIZATION = "awaiting_authorization"
    RETRIEVED = "retrieved"
    INVALID = "invalid"


class InvalidCause(StrEnum):
    """Why a token is Invalid."""

    GRANT_ENDED = "grant_ended"
    ACCOUNT_REFUSED = "account_refused"


@dataclass(frozen=True, slots=True)
class NotRetrieved:
    """No token was got; ``trouble`` is why the last try did not succeed, if there was one."""

    trouble: Trouble | None = None
    name = StateName.NOT_RETRIEVED


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Got and active; ``trouble`` is the last refresh or log-in that did not work, ``refusals`` how many in a row."""

    tokens: TokenSet
    trouble: Trouble | None = None
    refusals: int = 0
    first_refused_at: datetime | None = None
    name = StateName.RETRIEVED


@dataclass(frozen=True, slots=True)
class Invalid:
    """Got, but of no use now; the refresh token is kept. ``attempt`` is why the last try to get a new one failed."""

    tokens: TokenSet
    trouble: Trouble
    since: datetime
    cause: InvalidCause
    attempt: Trouble | None = None
    name = StateName.INVALID


@dataclass(frozen=True, slots=True)
class AwaitingAuthorization:
    """The provider gave leave to get a token; ``before`` is the state that stays in force until it comes."""

    authorization: Authorization
    before: NotRetrieved | Retrieved | Invalid
    name = StateName.AWAITING_AUTHORIZATION


TokenState = NotRetrieved | AwaitingAuthorization | Retrieved | Invalid


# --- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuthorizationStarted:
    """The provider gave leave to get a token."""

    authorization: Authorization


@dataclass(frozen=True, slots=True)
class AuthorizationFailed:
    """Denied, expired, abandoned or cancelled."""

    authorization_id: str
    trouble: Trouble | None


@dataclass(frozen=True, slots=True)
class TokenObtained:
    """The token of this authorization has come."""

    authorization_id: str
    tokens: TokenSet


@dataclass(frozen=True, slots=True)
class TokenRefreshed:
    """The provider gave a new access token, and perhaps a new refresh token."""

    tokens: TokenSet


@dataclass(frozen=True, slots=True)
class RefreshDeferred:
    """A refresh did not work for a reason that passes or that somebody mends; nothing proves the grant's end."""

    grant_id: str
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class GrantEnded:
    """The provider said that this grant is over, or the only access token has expired and nothing can renew it."""

    grant_id: str
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class AccountRefused:
    """The mail server refused a token that had just been refreshed."""

    grant_id: str
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class AccountAccepted:
    """The mail server took the token."""

    grant_id: str


@dataclass(frozen=True, slots=True)
class TokenDeleted:
    """Somebody deleted the token, or changed what it belonged to."""


TokenEvent = (
    AuthorizationStarted
    | AuthorizationFailed
    | TokenObtained
    | TokenRefreshed
    | RefreshDeferred
    | GrantEnded
    | AccountRefused
    | AccountAccepted
    | TokenDeleted
)


# --- transitions -----------------------------------------------------------------------------------------------------


def _start(state: NotRetrieved | Retrieved | Invalid, event: AuthorizationStarted) -> TokenState:
    return AwaitingAuthorization(event.authorization, before=state)


def _start_again(state: AwaitingAuthorization, event: AuthorizationStarted) -> TokenState:
    return replace(state, authorization=event.authorization)


def _fail(state: AwaitingAuthorization, event: AuthorizationFailed) -> TokenState:
    if event.authorization_id != state.authorization.authorization_id:
        return state
    if event.trouble is None:
        return state.before
    if isinstance(state.before, Invalid):
        return replace(state.before, attempt=event.trouble)
    return replace(state.before, trouble=event.trouble)


def _obtain(state: AwaitingAuthorization, event: TokenObtained) -> TokenState:
    if event.authorization_id != state.authorization.authorization_id:
        return state
    return Retrieved(event.tokens)


def _refresh(state: Retrieved | Invalid, event: TokenRefreshed) -> TokenState:
    if event.tokens.grant_id != state.tokens.grant_id:
        return state
    if isinstance(state, Retrieved):
        return Retrieved(event.tokens, _login_trouble(state), state.refusals, state.first_refused_at)
    if state.cause is InvalidCause.ACCOUNT_REFUSED:
        return replace(state, tokens=event.tokens)  # only the account's acceptance ends its refusal
    return Retrieved(event.tokens)


def _login_trouble(state: Retrieved) -> Trouble | None:
    return state.trouble if state.refusals else None


def _defer(state: Retrieved, event: RefreshDeferred) -> TokenState:
    return replace(state, trouble=event.trouble) if event.grant_id == state.tokens.grant_id else state


def _end(state: Retrieved | Invalid, event: GrantEnded) -> TokenState:
    if event.grant_id != state.tokens.grant_id:
        return state
    since = state.since if isinstance(state, Invalid) else event.trouble.at
    return Invalid(state.tokens, event.trouble, since, InvalidCause.GRANT_ENDED)


def _refuse(state: Retrieved, event: AccountRefused) -> TokenState:
    if event.grant_id != state.tokens.grant_id:
        return state
    refusals, first = state.refusals + 1, state.first_refused_at or event.trouble.at
    if refusals >= REFUSALS_BEFORE_INVALID and event.trouble.at - first >= REFUSALS_SPAN:
        return Invalid(state.tokens, event.trouble, event.trouble.at, InvalidCause.ACCOUNT_REFUSED)
    return Retrieved(state.tokens, event.trouble, refusals, first)


def _refuse_again(state: Invalid, event: AccountRefused) -> TokenState:
    if event.grant_id != state.tokens.grant_id or state.cause is InvalidCause.GRANT_ENDED:
        return state
    return replace(state, trouble=event.trouble)


def _accept(state: Retrieved, event: AccountAccepted) -> TokenState:
    if event.grant_id != state.tokens.grant_id or not state.refusals:
        return state
    return Retrieved(state.tokens)


def _accept_again(state: Invalid, event: AccountAccepted) -> TokenState:
    if event.grant_id != state.tokens.grant_id or state.cause is InvalidCause.GRANT_ENDED:
        return state
    return Retrieved(state.tokens)


def _delete(_state: TokenState, _event: TokenDeleted) -> TokenState:
    return NotRetrieved()


def _stay(state: TokenState, _event: TokenEvent) -> TokenState:
    return state


def _pass_on(state: AwaitingAuthorization, event: TokenEvent) -> TokenState:
    before = next_state(state.before, event)
    if before is state.before:
        return state
    if isinstance(before, AwaitingAuthorization):  # no event passed on starts an authorization
        raise TypeError("an authorization inside an authorization")
    return replace(state, before=before)


@dataclass(frozen=True, slots=True)
class Transition:
    """One row: what computes the next state, and which states that can be."""

    next: Callable[[Any, Any], TokenState]
    leads_to: frozenset[type]


def _row(function: Callable[[Any, Any], TokenState], *leads_to: type) -> Transition:
    return Transition(function, frozenset(leads_to))


_N, _A, _R, _I = NotRetrieved, AwaitingAuthorization, Retrieved, Invalid

TRANSITIONS: Final[dict[tuple[type, type], Transition]] = {
    (_N, AuthorizationStarted): _row(_start, _A),
    (_A, AuthorizationStarted): _row(_start_again, _A),
    (_R, AuthorizationStarted): _row(_start, _A),
    (_I, AuthorizationStarted): _row(_start, _A),
    (_N, AuthorizationFailed): _row(_stay, _N),
    (_A, AuthorizationFailed): _row(_fail, _A, _N, _R, _I),
    (_R, AuthorizationFailed): _row(_stay, _R),
    (_I, AuthorizationFailed): _row(_stay, _I),
    (_N, TokenObtained): _row(_stay, _N),
    (_A, TokenObtained): _row(_obtain, _A, _R),
    (_R, TokenObtained): _row(_stay, _R),
    (_I, TokenObtained): _row(_stay, _I),
    (_N, TokenRefreshed): _row(_stay, _N),
    (_A, TokenRefreshed): _row(_pass_on, _A),
    (_R, TokenRefreshed): _row(_refresh, _R),
    (_I, TokenRefreshed): _row(_refresh, _R, _I),
    (_N, RefreshDeferred): _row(_stay, _N),
    (_A, RefreshDeferred): _row(_pass_on, _A),
    (_R, RefreshDeferred): _row(_defer, _R),
    (_I, RefreshDeferred): _row(_stay, _I),
    (_N, GrantEnded): _row(_stay, _N),
    (_A, GrantEnded): _row(_pass_on, _A),
    (_R, GrantEnded): _row(_end, _R, _I),
    (_I, GrantEnded): _row(_end, _I),
    (_N, AccountRefused): _row(_stay, _N),
    (_A, AccountRefused): _row(_pass_on, _A),
    (_R, AccountRefused): _row(_refuse, _R, _I),
    (_I, AccountRefused): _row(_refuse_again, _I),
    (_N, AccountAccepted): _row(_stay, _N),
    (_A, AccountAccepted): _row(_pass_on, _A),
    (_R, AccountAccepted): _row(_accept, _R),
    (_I, AccountAccepted): _row(_accept_again, _R, _I),
    (_N, TokenDeleted): _row(_delete, _N),
    (_A, TokenDeleted): _row(_delete, _N),
    (_R, TokenDeleted): _row(_delete, _N),
    (_I, TokenDeleted): _row(_delete, _N),
}


def next_state(state: TokenState, event: TokenEvent) -> TokenState:
    """Return the state after ``event``; the very same object if the event is stale or changes nothing."""
    return TRANSITIONS[type(state), type(event)].next(state, event)


def tokens_in_use(state: TokenState) -> TokenSet | None:
    """Return the tokens that log-ins may use: active ones, or refused ones that are tried again; None if there are none."""
    current = state.before if isinstance(state, AwaitingAuthorization) else state
    match current:
        case Retrieved():
            return current.tokens
        case Invalid(cause=InvalidCause.ACCOUNT_REFUSED):
            return current.tokens
        case _:
            return None


def tokens_kept(state: TokenState) -> TokenSet | None:
    """Return the tokens that are stored, of use or not; None if there are none."""
    current = state.before if isinstance(state, AwaitingAuthorization) else state
    return None if isinstance(current, NotRetrieved) else current.tokens


def trouble_of(state: TokenState) -> Trouble | None:
    """Return the trouble that a person should see with this state: the latest."""
    current = state.before if isinstance(state, AwaitingAuthorization) else state
    if isinstance(current, Invalid) and current.attempt is not None:
        return current.attempt
    return current.trouble
