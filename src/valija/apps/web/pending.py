"""Forms that wait for a yes: kept here, so that a password that was typed does not travel back in the page that asks."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from valija.domain.clock import Clock

LIFE: Final = timedelta(minutes=5)
LIMIT: Final = 32


@dataclass(frozen=True, slots=True)
class _Waiting:
    session: str
    form: dict[str, str]
    until: datetime


class PendingForms:
    """Each is given back once, to the session that sent it, within five minutes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}

    def keep(self, session: str, form: dict[str, str]) -> str:
        """Keep a form; return the word that gives it back."""
        now = self._clock.now()
        self._waiting = {k: w for k, w in self._waiting.items() if w.until > now}
        while len(self._waiting) >= LIMIT:
            del self._waiting[next(iter(self._waiting))]
        key = secrets.token_urlsafe(16)
        self._waiting[key] = _Waiting(session, form, now + LIFE)
        return key

    def take(self, session: str, key: str) -> dict[str, str] | None:
        """Return the form, once; None if there is none of that word for this session."""
        found = self._waiting.get(key)
        if found is None or found.session != session:
            return None
        del self._waiting[key]
        return found.form if found.until > self._clock.now() else None
