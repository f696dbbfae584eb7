"""What the machine itself is set to: its name, language, time zone, on-screen keyboard. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from valija.domain.settings import BadValue, one_line, parse_fields, switch
from valija.domain.text import N_, message

NAME_LIMIT: Final = 40
LANGUAGES: Final = ("es", "en")


@dataclass(frozen=True, slots=True)
class Preferences:
    """``name`` stands at the top of every page; an empty ``language`` is the browser's, an empty ``time_zone`` the system's.

    ``time_zone`` is a name of the IANA database. ``is_set_up`` notes that the guided path was walked to its end.
    """

    name: str = "Valija"
    language: str = ""
    time_zone: str = ""
    keyboard: bool = True
    is_set_up: bool = False


PREFERENCE_LABELS: Final[Mapping[str, str]] = {
    "name": N_("Name of the machine"),
    "language": N_("Language"),
    "time_zone": N_("Time zone"),
    "keyboard": N_("On-screen keyboard"),
}


def parse_preferences(current: Preferences, changes: Mapping[str, Any], time_zones: Collection[str]) -> Preferences:
    """Return ``current`` with ``changes`` applied. Raises :class:`~valija.domain.errors.InvalidFields`, and applies nothing."""

    def time_zone(value: Any) -> str:
        text = one_line(value, 64)
        if text and text not in time_zones:
            raise BadValue(message(N_("must be one of the time zones in the list, such as Europe/Madrid")))
        return text

    parsers = {
        "name": _name,
        "language": _language,
        "time_zone": time_zone,
        "keyboard": switch,
        "is_set_up": switch,
    }
    return replace(current, **parse_fields({field.name for field in fields(current)}, parsers, changes))


def _name(value: Any) -> str:
    text = one_line(value.strip() if isinstance(value, str) else value, NAME_LIMIT)
    if not text:
        raise BadValue(message(N_("must not be empty")))
    return text


def _language(value: Any) -> str:
    if value not in ("", *LANGUAGES):
        raise BadValue(message(N_("must be Spanish, English or as the browser asks")))
    return str(value)
