"""Reports that somebody gets in an hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from valija.domain.report_limit import ADDRESSES_LIMIT, AN_HOUR, ReportLimit

NOW = datetime(2026, 11, 26, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_so_many_an_hour_and_no_more() -> None:
    """The next one when the first is an hour ago; others are not concerned."""
    limit = ReportLimit()
    for second in range(AN_HOUR):
        assert limit.take("Ana@x.org", NOW + timedelta(seconds=second))
    assert not limit.take("ANA@x.org", NOW + 59 * MINUTE)
    assert limit.take("luis@x.org", NOW)
    assert limit.take("ana@x.org", NOW + 60 * MINUTE)
    assert not limit.take("ana@x.org", NOW + 60 * MINUTE)


def test_one_that_could_not_be_sent_counts_for_nothing() -> None:
    """However often it is tried."""
    limit = ReportLimit()
    for _try in range(2 * AN_HOUR):
        assert limit.take("ana@x.org", NOW)
        limit.give_back("Ana@x.org")
    limit.give_back("nobody@x.org")


def test_a_clock_that_was_set_back_keeps_nobody_waiting_and_memory_is_bounded() -> None:
    """Whoever was told longest ago is forgotten."""
    limit = ReportLimit()
    for _report in range(AN_HOUR):
        assert limit.take("ana@x.org", NOW)
    assert limit.take("ana@x.org", NOW - MINUTE)
    assert not limit.take("ana@x.org", NOW)
    for number in range(ADDRESSES_LIMIT):
        limit.take(f"{number}@x.org", NOW)
    assert limit.take("ana@x.org", NOW)
