"""The jobs' table of transitions as a product: every state with every event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args

import pytest

from valija.domain.job import (
    TRANSITIONS,
    Awaited,
    Awaiting,
    CancelAsked,
    Cancelled,
    Done,
    Failed,
    Finished,
    HandedOn,
    JobEvent,
    JobState,
    JobWord,
    Noted,
    Preparing,
    Resumed,
    Sending,
    TroubleCame,
    Waits,
    is_final,
    line_of,
    next_state,
)
from valija.domain.trouble import Trouble, WhoActs

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
TROUBLE = Trouble("scanner_jam", WhoActs.OPERATOR, "feeder jammed", LATER)
STATES: dict[str, JobState] = {
    "preparing": Preparing(NOW),
    "sending": Sending(NOW, (7, 8)),
    "awaiting": Awaiting(NOW, Awaited.CONFIRMATION, LATER, (7, 8)),
    "done": Done(NOW),
    "failed": Failed(NOW, TROUBLE),
    "cancelled": Cancelled(NOW, "ana"),
}
EVENTS: dict[str, Any] = {
    "handed on": HandedOn(LATER, (9,)),
    "waits": Waits(LATER, Awaited.PRINTER),
    "resumed": Resumed(LATER),
    "finished": Finished(LATER, "printed"),
    "trouble": TroubleCame(LATER, TROUBLE),
    "cancel": CancelAsked(LATER, "luis"),
    "noted": Noted(LATER, "blank_dropped", "3"),
}
PAIRS = list(product(STATES, EVENTS))
AFTER: dict[tuple[str, str], JobState] = {
    **{(state, "handed on"): Sending(LATER, (9,)) for state in ("preparing", "sending", "awaiting")},
    ("preparing", "waits"): Awaiting(LATER, Awaited.PRINTER),
    ("sending", "waits"): Awaiting(LATER, Awaited.PRINTER, None, (7, 8)),
    ("awaiting", "waits"): Awaiting(LATER, Awaited.PRINTER, None, (7, 8)),
    **{(state, "resumed"): Preparing(LATER) for state in ("sending", "awaiting")},
    **{(state, "finished"): Done(LATER, "printed") for state in ("preparing", "sending", "awaiting")},
    **{(state, "trouble"): Failed(LATER, TROUBLE) for state in ("preparing", "sending", "awaiting")},
    **{(state, "cancel"): Cancelled(LATER, "luis") for state in ("preparing", "sending", "awaiting")},
}


def test_the_table_has_a_row_for_every_pair_and_no_other() -> None:
    assert set(TRANSITIONS) == set(product(get_args(JobState), get_args(JobEvent)))


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_every_event_in_every_state_leads_where_it_should(state: str, event: str) -> None:
    """What is not named above stays the very same object, and what the row says of it is true."""
    before = STATES[state]
    after = next_state(before, EVENTS[event])
    expected = AFTER.get((state, event))
    if expected is None:
        assert after is before
    else:
        assert after == expected
    assert type(after) is TRANSITIONS[type(before), type(EVENTS[event])].leads_to
    assert not is_final(before) or is_final(after)


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_a_line_is_written_of_what_changed_something_and_of_notes(state: str, event: str) -> None:
    before = STATES[state]
    after = next_state(before, EVENTS[event])
    line = line_of(before, EVENTS[event], after)
    assert (line is not None) == (after is not before or event == "noted")
    if line is not None:
        assert line.at == LATER
        assert line.word in JobWord
