"""Senders that are left alone for a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from valija.domain.bad_senders import ENTRIES_LIMIT, OF_DEVICE, BadSenders, Sender

NOW = datetime(2026, 11, 26, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_sender_is_left_alone_until_its_time_has_passed() -> None:
    """The others are not."""
    bad = BadSenders()
    bad.note(Sender("fax@example.org"), NOW + HOUR)
    assert bad.until(Sender("fax@example.org"), NOW) == NOW + HOUR
    assert bad.until(Sender("ricoh@example.org"), NOW) is None
    assert bad.until(Sender("fax@example.org"), NOW + HOUR) is None
    assert bad.until(Sender("fax@example.org"), NOW) is None, "what is over is forgotten"


def test_of_too_many_the_one_that_was_refused_longest_ago_is_forgotten() -> None:
    """A device that makes up a sender for each mail fills no memory."""
    bad = BadSenders()
    bad.note(Sender("first@example.org"), NOW + HOUR)
    bad.note(Sender("second@example.org"), NOW + HOUR)
    bad.note(Sender("first@example.org"), NOW + HOUR)
    for number in range(ENTRIES_LIMIT - 1):
        bad.note(Sender(f"{number}@example.org"), NOW + HOUR)
    assert bad.until(Sender("second@example.org"), NOW) is None
    assert bad.until(Sender("first@example.org"), NOW) is not None


def test_a_device_that_names_one_bad_sender_after_the_other_has_to_wait() -> None:
    """Until the first of its last five may be tried again; the others are not concerned."""
    bad = BadSenders()
    for minute in range(OF_DEVICE):
        assert bad.device_until("copier", NOW) is None
        bad.note(Sender(f"{minute}@example.org"), NOW + HOUR + timedelta(minutes=minute), "copier")
    assert bad.device_until("copier", NOW) == NOW + HOUR
    assert bad.device_until("copier", NOW + HOUR) is None
    assert bad.device_until("ricoh", NOW) is None
