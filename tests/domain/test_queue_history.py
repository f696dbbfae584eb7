"""What is written down of a message's life, as a product: every state with every event."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_queue_table import EVENTS, LATER, NOW, STATES, TROUBLE

from valija.domain import account_gate as gates
from valija.domain.account_gate import Gate
from valija.domain.queue import Accepted, GivenBack, Leased, next_state
from valija.domain.queue_history import (
    FIRST_LINES,
    LINES_LIMIT,
    GateWord,
    HistoryLine,
    HistoryWord,
    gate_line,
    gather,
    keep,
    line_of,
)

SILENT = (Leased, Accepted, GivenBack)


@pytest.mark.parametrize("event", EVENTS)
def test_a_change_is_a_line_unless_it_is_the_happy_path(event: str) -> None:
    """Nothing that changed nothing, nothing of leases, of what was given back, of delivery."""
    for state in STATES.values():
        after = next_state(state, EVENTS[event])
        line = line_of(state, EVENTS[event], after, 3)
        assert (line is not None) == (after is not state and not isinstance(EVENTS[event], SILENT))
        assert line is None or line.places == (3,)


def test_every_word_is_said() -> None:
    """By some state and event."""
    lines = [line_of(s, e, next_state(s, e), 0) for s, e in product(STATES.values(), EVENTS.values())]
    assert {line.word for line in lines if line} == set(HistoryWord)


def test_a_try_says_how_many_there_had_been_and_when_the_next_one_is_due() -> None:
    """With the trouble and the server's words."""
    state, event = STATES["in flight, tried"], EVENTS["try failed"]
    line = line_of(state, event, next_state(state, event), 0)
    assert line == HistoryLine(NOW, HistoryWord.TRY_FAILED, (0,), TROUBLE, 3, LATER)


def test_what_befell_recipients_alike_is_one_line() -> None:
    """Of the same message, the same words, the same number of tries."""
    line = HistoryLine(NOW, HistoryWord.TRY_FAILED, (0,), TROUBLE, 1, LATER)
    others = [
        replace(line, trouble=replace(TROUBLE, server_words="450 other"), places=(2,)),
        replace(line, tries=2, places=(3,)),
        replace(line, word=HistoryWord.IN_DOUBT, places=(4,)),
    ]
    alike = replace(line, places=(1,), at=LATER, next_at=NOW)
    found = [(7, line), (7, None), (7, alike), *((7, other) for other in others), (8, line)]
    assert gather(found) == [
        (7, replace(line, places=(0, 1), next_at=NOW)),
        *((7, other) for other in others),
        (8, line),
    ]


@given(st.integers(0, 300))
def test_the_beginning_and_the_end_are_kept(count: int) -> None:
    """In order, never more than the limit."""
    lines = [HistoryLine(NOW + timedelta(minutes=n), HistoryWord.HELD, (0,)) for n in range(count)]
    kept = keep(lines)
    assert len(kept) == min(count, LINES_LIMIT)
    assert kept == (lines if count <= LINES_LIMIT else lines[:FIRST_LINES] + lines[FIRST_LINES - LINES_LIMIT :])


def test_a_gate_tells_who_closed_it_and_that_it_opened() -> None:
    """The same trouble again, a probe asked for: no line."""
    other = replace(TROUBLE, reason="auth_disabled")
    blocked = gates.block(Gate(), TROUBLE, NOW, opens_with_token=False, jitter=0.5)
    again = gates.block(blocked, TROUBLE, NOW + timedelta(hours=1), opens_with_token=False, jitter=0.5)
    worse = gates.block(again, other, NOW + timedelta(hours=2), opens_with_token=False, jitter=0.5)
    held = gates.hold(worse, LATER)
    steps = [
        gate_line(Gate(), blocked, NOW),
        gate_line(blocked, again, NOW),
        gate_line(again, gates.probe_now(again, NOW), NOW),
        gate_line(again, worse, NOW),
        gate_line(worse, held, LATER, "ana"),
        gate_line(held, gates.release(held, LATER), LATER, "luis"),
        gate_line(worse, gates.account_works(worse, LATER), LATER),
        gate_line(Gate(), Gate(), NOW),
    ]
    assert [(s.word, s.trouble, s.who) if s else None for s in steps] == [
        (GateWord.BLOCKED, TROUBLE, ""),
        None,
        None,
        (GateWord.BLOCKED, other, ""),
        (GateWord.HELD, None, "ana"),
        (GateWord.RELEASED, None, "luis"),
        (GateWord.OPENED, None, ""),
        None,
    ]
