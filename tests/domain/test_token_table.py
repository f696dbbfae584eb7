"""The table of transitions as a product: every state with every event."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from valija.domain.account import GrantKind
from valija.domain.token import (
    REFUSALS_BEFORE_INVALID,
    TRANSITIONS,
    AccountAccepted,
    AccountRefused,
    Authorization,
    AuthorizationFailed,
    AuthorizationStarted,
    AwaitingAuthorization,
    GrantEnded,
    Invalid,
    InvalidCause,
    NotRetrieved,
    RefreshDeferred,
    Retrieved,
    TokenDeleted,
    TokenObtained,
    TokenRefreshed,
    TokenSet,
    TokenState,
    next_state,
    tokens_in_use,
    tokens_kept,
    trouble_of,
)
from valija.domain.trouble import Trouble, WhoActs
from valija.secret import Secret

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TROUBLE = Trouble("provider_down", WhoActs.NOBODY, "HTTP 503", NOW)
TOKENS = TokenSet("grant-1", GrantKind.DEVICE, Secret("a"), NOW + timedelta(hours=1), Secret("r"), ("smtp",), NOW, NOW)
FRESH = replace(TOKENS, access_token=Secret("b"), refreshed_at=NOW + timedelta(minutes=50))
OTHER = replace(TOKENS, grant_id="grant-2")
ASKED = Authorization("asked-1", GrantKind.DEVICE, NOW, NOW + timedelta(minutes=15))

STATES: dict[str, TokenState] = {
    "not retrieved": NotRetrieved(),
    "not retrieved, tried": NotRetrieved(TROUBLE),
    "awaiting, nothing before": AwaitingAuthorization(ASKED, NotRetrieved()),
    "awaiting, token in use": AwaitingAuthorization(ASKED, Retrieved(TOKENS)),
    "awaiting, invalid before": AwaitingAuthorization(ASKED, Invalid(TOKENS, TROUBLE, NOW, InvalidCause.GRANT_ENDED)),
    "retrieved": Retrieved(TOKENS),
    "retrieved, in trouble": Retrieved(TOKENS, TROUBLE),
    "invalid, grant ended": Invalid(TOKENS, TROUBLE, NOW, InvalidCause.GRANT_ENDED),
    "invalid, account refused": Invalid(TOKENS, TROUBLE, NOW, InvalidCause.ACCOUNT_REFUSED),
}
EVENTS: dict[str, Any] = {
    "started": AuthorizationStarted(replace(ASKED, authorization_id="asked-2")),
    "failed": AuthorizationFailed("asked-1", TROUBLE),
    "cancelled": AuthorizationFailed("asked-1", None),
    "failed, another": AuthorizationFailed("asked-0", TROUBLE),
    "obtained": TokenObtained("asked-1", OTHER),
    "obtained, another": TokenObtained("asked-0", OTHER),
    "refreshed": TokenRefreshed(FRESH),
    "refreshed, another grant": TokenRefreshed(OTHER),
    "deferred": RefreshDeferred("grant-1", TROUBLE),
    "ended": GrantEnded("grant-1", TROUBLE),
    "ended, another grant": GrantEnded("grant-0", TROUBLE),
    "refused": AccountRefused("grant-1", TROUBLE),
    "accepted": AccountAccepted("grant-1"),
    "deleted": TokenDeleted(),
}


def test_the_table_has_a_row_for_every_pair() -> None:
    """Four states, all events: none is forgotten."""
    assert set(TRANSITIONS) == set(product({type(s) for s in STATES.values()}, {type(e) for e in EVENTS.values()}))


@pytest.mark.parametrize(("state", "event"), list(product(STATES, EVENTS)))
def test_every_state_with_every_event_leads_where_the_table_says(state: str, event: str) -> None:
    """No pair raises; a refresh token is lost only by deletion or by a new token."""
    before, happened = STATES[state], EVENTS[event]
    after = next_state(before, happened)
    assert type(after) in TRANSITIONS[type(before), type(happened)].leads_to
    kept = tokens_kept(before)
    if kept is not None and event not in ("deleted", "obtained"):
        assert tokens_kept(after) is not None, "nothing but deletion or a new token forgets one"


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    "event", ["failed, another", "obtained, another", "refreshed, another grant", "ended, another grant"]
)
def test_a_stale_event_changes_nothing(state: str, event: str) -> None:
    """The very same object: nothing is written."""
    assert next_state(STATES[state], EVENTS[event]) is STATES[state]


@pytest.mark.parametrize("state", STATES)
def test_deletion_always_ends_at_not_retrieved(state: str) -> None:
    """Row 22."""
    assert next_state(STATES[state], TokenDeleted()) == NotRetrieved()


def test_a_token_stays_in_use_while_a_new_one_is_waited_for() -> None:
    """And what happens to it meanwhile goes through."""
    waiting = STATES["awaiting, token in use"]
    assert tokens_in_use(waiting) == TOKENS
    refreshed = next_state(waiting, TokenRefreshed(FRESH))
    assert isinstance(refreshed, AwaitingAuthorization)
    assert tokens_in_use(refreshed) == FRESH
    cancelled = next_state(refreshed, AuthorizationFailed("asked-1", None))
    assert cancelled == Retrieved(FRESH)


def test_a_passing_trouble_never_makes_a_token_invalid() -> None:
    """However often."""
    state: TokenState = Retrieved(TOKENS)
    for _time in range(1000):
        state = next_state(state, RefreshDeferred("grant-1", TROUBLE))
    assert isinstance(state, Retrieved)
    assert trouble_of(state) == TROUBLE
    assert next_state(state, TokenRefreshed(FRESH)) == Retrieved(FRESH)


def test_a_refused_account_is_invalid_only_after_several_refusals_over_a_minute() -> None:
    """A burst of refusals within a moment proves nothing; acceptance starts the count anew."""
    state: TokenState = Retrieved(TOKENS)
    for _time in range(REFUSALS_BEFORE_INVALID + 5):
        state = next_state(state, AccountRefused("grant-1", TROUBLE))
    assert isinstance(state, Retrieved)
    assert isinstance(
        next_state(state, AccountRefused("grant-1", replace(TROUBLE, at=NOW + timedelta(minutes=2)))), Invalid
    )
    state = next_state(state, AccountAccepted("grant-1"))
    assert state == Retrieved(TOKENS)


def test_a_refused_account_may_go_on_trying_and_recovers_by_itself() -> None:
    """Its token is still used for log-ins; an ended grant's is not."""
    refused = STATES["invalid, account refused"]
    assert tokens_in_use(refused) == TOKENS
    assert next_state(refused, AccountAccepted("grant-1")) == Retrieved(TOKENS)
    ended = STATES["invalid, grant ended"]
    assert tokens_in_use(ended) is None
    assert next_state(ended, TokenRefreshed(FRESH)) == Retrieved(FRESH)


def test_a_failed_try_for_a_new_token_is_told_and_costs_nothing() -> None:
    """Invalid stays Invalid with both troubles; the last one is shown."""
    denied = Trouble("access_denied", WhoActs.USER, "", NOW + timedelta(minutes=1))
    after = next_state(STATES["awaiting, invalid before"], AuthorizationFailed("asked-1", denied))
    assert isinstance(after, Invalid)
    assert trouble_of(after) == denied
    assert after.trouble == TROUBLE
