"""What the machine itself can be set to."""

from __future__ import annotations

from typing import Any

import pytest

from valija.domain.errors import InvalidFields
from valija.domain.preferences import Preferences, parse_preferences

ZONES = ("Europe/Madrid", "UTC")


def test_all_fields_can_be_changed() -> None:
    """And what is not named stays."""
    changes = {"name": " Ricoh ", "language": "es", "time_zone": "UTC", "keyboard": False}
    assert parse_preferences(Preferences(), changes, ZONES) == Preferences("Ricoh", "es", "UTC", keyboard=False)
    assert parse_preferences(Preferences("x"), {"language": ""}, ZONES) == Preferences("x")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 41),
        ("name", "a\nb"),
        ("name", None),
        ("language", "de"),
        ("language", None),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "../../etc/passwd"),
        ("keyboard", "on"),
        ("colour", "red"),
    ],
)
def test_what_does_not_fit_is_named(field: str, value: Any) -> None:
    """Nothing is applied then."""
    with pytest.raises(InvalidFields) as refused:
        parse_preferences(Preferences(), {field: value, "keyboard": False} | {field: value}, ZONES)
    assert [p.field for p in refused.value.problems] == [field]
