"""Large jobs never hold up small ones, and never wait for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from valija.domain.fair_line import LARGE, SMALL_FIRST, FairLine


def filled(sizes: list[int]) -> FairLine[int]:
    """Return a line of jobs by number."""
    line: FairLine[int] = FairLine()
    for number, size in enumerate(sizes):
        line.put(number, size)
    return line


def test_a_small_one_finds_a_place_beside_large_ones() -> None:
    """Of two places, large jobs get one."""
    line = filled([2 * LARGE, 2 * LARGE, 10, 20])
    assert [line.take(2), line.take(2), line.take(2), line.take(2)] == [(0, True), (2, False), (3, False), None]
    line.done()
    assert line.take(2) == (1, True)


def test_with_one_place_a_large_one_comes_after_a_few_small_ones() -> None:
    """And at once if there is nothing else."""
    line = filled([2 * LARGE, *[10] * 10])
    order = []
    for _turn in range(11):
        taken = line.take(1)
        assert taken is not None
        order.append(taken[0])
        if taken[1]:
            line.done()
    assert order.index(0) == SMALL_FIRST
    assert filled([2 * LARGE]).take(1) == (0, True)


@given(st.lists(st.sampled_from([10, 2 * LARGE]), max_size=60), st.integers(1, 5))
def test_every_job_is_taken_once_and_each_kind_in_order(sizes: list[int], places: int) -> None:
    """Whatever comes, however many work."""
    line, order, busy = filled(sizes), [], 0
    while len(line):
        taken = line.take(places)
        if taken is None:
            assert busy > 0
            line.done()
            busy -= 1
            continue
        order.append(taken[0])
        busy += taken[1]
        assert busy <= max(places - 1, 1)
    assert sorted(order) == list(range(len(sizes)))
    for kind in (10, 2 * LARGE):
        same = [number for number in order if sizes[number] == kind]
        assert same == sorted(same)


@given(st.lists(st.sampled_from([10, 2 * LARGE]), max_size=12), st.sets(st.integers(0, 11)))
def test_what_is_taken_out_is_gone_and_the_others_keep_their_order(sizes: list[int], wanted: set[int]) -> None:
    """Of either size, wherever it stood."""
    line, other = filled(sizes), filled(sizes)
    assert sorted(line.take_out(lambda job: job in wanted)) == sorted(wanted & set(range(len(sizes))))
    assert line.clear() == [job for job in other.clear() if job not in wanted]
