"""The queue's table of transitions as a product: every state with every event."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valija.domain.queue import (
    TRANSITIONS,
    Accepted,
    CancelAsked,
    Deferred,
    Delivered,
    Failed,
    FailureCause,
    GivenBack,
    Held,
    HoldAsked,
    InDoubt,
    InFlight,
    Leased,
    LeaseEnded,
    Queued,
    RecipientState,
    Refused,
    ReleaseAsked,
    RetryAsked,
    TimeOver,
    TryFailed,
    Wish,
    due_at,
    is_final,
    next_state,
)
from valija.domain.trouble import Trouble, WhoActs

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
TROUBLE = Trouble("server_busy", WhoActs.NOBODY, "451 4.3.0 later", NOW)
FRESH, TRIED = Queued(NOW), Deferred(LATER, 2, TROUBLE)

STATES: dict[str, RecipientState] = {
    "queued": FRESH,
    "queued, later": Queued(LATER, 1, TROUBLE, in_doubt=True),
    "in flight": InFlight(7, FRESH),
    "in flight, tried": InFlight(7, TRIED),
    "in flight, to hold": InFlight(7, FRESH, Wish.HOLD),
    "in flight, to cancel": InFlight(7, TRIED, Wish.CANCEL),
    "deferred": TRIED,
    "held": Held(NOW, FRESH),
    "held, tried": Held(NOW, TRIED),
    "delivered": Delivered(NOW, "250 2.0.0 ok"),
    "refused": Failed(NOW, FailureCause.REFUSED, TROUBLE),
    "cancelled": Failed(NOW, FailureCause.CANCELLED),
}
EVENTS: dict[str, Any] = {
    "leased": Leased(8),
    "accepted": Accepted(LATER, "250 2.0.0 taken"),
    "try failed": TryFailed(7, LATER, TROUBLE),
    "try failed, stale": TryFailed(6, LATER, TROUBLE),
    "in doubt": InDoubt(7, LATER, TROUBLE),
    "in doubt, stale": InDoubt(6, LATER, TROUBLE),
    "refused": Refused(7, TROUBLE),
    "refused, stale": Refused(6, TROUBLE),
    "given back": GivenBack(7),
    "given back, stale": GivenBack(6),
    "lease ended": LeaseEnded(7, LATER),
    "lease ended, stale": LeaseEnded(6, LATER),
    "hold": HoldAsked(LATER),
    "release": ReleaseAsked(NOW),
    "retry": RetryAsked(LATER),
    "cancel": CancelAsked(LATER),
    "time over": TimeOver(LATER),
}


def test_the_table_has_a_row_for_every_pair() -> None:
    """Six states, all events: none is forgotten."""
    assert set(TRANSITIONS) == set(product({type(s) for s in STATES.values()}, {type(e) for e in EVENTS.values()}))


def test_each_row_leads_where_it_says_and_everything_it_says_is_reached() -> None:
    """The table is neither too narrow nor too wide."""
    reached: dict[tuple[type, type], set[type]] = {}
    for state, event in product(STATES.values(), EVENTS.values()):
        reached.setdefault((type(state), type(event)), set()).add(type(next_state(state, event)))
    assert reached == {pair: set(row.leads_to) for pair, row in TRANSITIONS.items()}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", [name for name in EVENTS if "stale" in name])
def test_a_stale_outcome_changes_nothing(state: str, event: str) -> None:
    """A worker whose lease is over cannot undo what another one did."""
    assert next_state(STATES[state], EVENTS[event]) is STATES[state]


@pytest.mark.parametrize("state", STATES)
def test_accepted_is_a_fact_whoever_says_it(state: str) -> None:
    """What was delivered is never sent again, also if the lease was over or somebody had cancelled it."""
    assert isinstance(next_state(STATES[state], EVENTS["accepted"]), Delivered)


@pytest.mark.parametrize("event", EVENTS)
def test_delivered_stays_delivered(event: str) -> None:
    """The very same object."""
    state = STATES["delivered"]
    assert next_state(state, EVENTS[event]) is state


def test_an_accounts_trouble_burns_no_try() -> None:
    """Given back is as if nobody had taken it: its place in the order, too."""
    for waiting in (FRESH, TRIED):
        assert next_state(next_state(waiting, Leased(7)), GivenBack(7)) is waiting


def test_a_worker_that_vanished_leaves_a_doubt_but_burns_no_try() -> None:
    """It may have reached the final dot."""
    state = next_state(InFlight(7, TRIED), LeaseEnded(7, LATER))
    assert state == replace(TRIED, due_at=LATER, in_doubt=True)


def test_a_doubt_is_remembered_until_the_end() -> None:
    """Through more tries, a hold and a failure: the report must not say that it surely did not arrive."""
    state: RecipientState = InFlight(7, FRESH)
    for event in (InDoubt(7, LATER, TROUBLE), Leased(8), TryFailed(8, LATER, TROUBLE), HoldAsked(NOW), RetryAsked(NOW)):
        state = next_state(state, event)
    assert state == Queued(NOW, 2, TROUBLE, in_doubt=True)
    assert next_state(state, TimeOver(LATER)) == Failed(LATER, FailureCause.EXPIRED, TROUBLE, in_doubt=True)


@pytest.mark.parametrize(
    "end", [TryFailed(7, LATER, TROUBLE), InDoubt(7, LATER, TROUBLE), GivenBack(7), LeaseEnded(7, LATER)]
)
def test_a_wish_comes_true_when_the_try_has_ended(end: Any) -> None:
    """The last one counts."""
    held = next_state(next_state(InFlight(7, FRESH, Wish.CANCEL), HoldAsked(NOW)), end)
    assert isinstance(held, Held)
    cancelled = next_state(next_state(InFlight(7, FRESH, Wish.HOLD), CancelAsked(NOW)), end)
    assert isinstance(cancelled, Failed)
    assert cancelled.cause is FailureCause.CANCELLED
    assert isinstance(next_state(next_state(InFlight(7, FRESH, Wish.HOLD), ReleaseAsked(NOW)), end), Queued | Deferred)


def test_what_is_held_neither_leaves_nor_expires() -> None:
    """Release gives back its place; retry puts it in front."""
    held = Held(NOW, TRIED)
    assert next_state(held, Leased(9)) is held
    assert next_state(held, TimeOver(LATER)) is held
    assert next_state(held, ReleaseAsked(NOW)) is TRIED
    assert next_state(held, RetryAsked(NOW)) == Queued(NOW, 2, TROUBLE)


def test_asking_again_for_what_is_due_changes_nothing() -> None:
    """An impatient operator does not lose a place in the order."""
    assert next_state(FRESH, RetryAsked(LATER)) is FRESH


@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=30))
def test_no_history_loses_a_message(history: list[str]) -> None:
    """It always waits, is with a worker, is held, or has ended; tries never go down; a worker always can give it back."""
    state: RecipientState = FRESH
    for name in history:
        state = next_state(state, EVENTS[name])
        waiting = isinstance(state, Queued | Deferred)
        assert waiting == (due_at(state) is not None)
        assert sum([waiting, isinstance(state, InFlight), isinstance(state, Held), is_final(state)]) == 1
        if isinstance(state, InFlight):
            assert not isinstance(next_state(state, GivenBack(state.lease)), InFlight)
