"""What a form had shown is known again when it comes back, so that only what was changed in it is stored.

Two administrators may have the same page open. Who changes one field must not take back what the other has changed since: a
device that was switched off, above all, stays off. The form carries one word with a mark of each value, not the values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

FIELD: Final = "shown"
MARK_LENGTH: Final = 12


def as_shown(values: Mapping[str, Any]) -> str:
    """Return the word for values that a form shows (``kit.shown``)."""
    return " ".join(f"{name}={_mark(value)}" for name, value in values.items())


def shown_before(form: Mapping[str, str]) -> str:
    """Return the word of a form that was sent, for the page that shows it again."""
    return form.get(FIELD, "")


def only_changed(form: Mapping[str, str], typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return of what was typed what is not as it was shown; a form that does not say what it had shown is taken whole."""
    before = {name: mark for name, _equals, mark in (word.partition("=") for word in shown_before(form).split())}
    return {name: value for name, value in typed.items() if before.get(name) != _mark(value)}


def _mark(value: Any) -> str:
    said = ("on" if value else "") if isinstance(value, bool) else str(value).replace("\r\n", "\n").strip()
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:MARK_LENGTH]
