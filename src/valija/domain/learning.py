"""Learning mode: for a while the machine looks closer at who is not known, so that a forgotten device can be let in. Pure.

Theory of operation
-------------------
1. It has an end, which is stored: a restart neither ends nor lengthens it.
2. Nothing is relayed for a stranger, then as ever. While it is on, a stranger's sender is listened to and each of its
   recipients is refused for now (450 4.7.1): what it wants to send is known then, nothing was taken, no test takes the
   machine for an open relay, and a device that tries again gets through once it is accepted.
3. What a stranger tried makes a device of it: by its address where it tried no log-in, else under the login it showed, with
   a password that is made for it. The password that it tried is never looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from valija.domain.device import LOGIN_PATTERN, TlsPolicy
from valija.domain.device_hints import is_too_old_for_tls
from valija.domain.sighting import Attempt, Sighting

MINUTES_RANGE: Final = (1, 24 * 60)
USUAL_MINUTES: Final = 30
_NO_NAME: Final = re.compile(r"(?:localhost|\[.*\]|[0-9.:]*)(?:\.localdomain)?", re.I)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True, slots=True)
class Learning:
    """From when to when, and who began it; no times: never. A clock that is set back before its beginning ends it too."""

    started_at: datetime | None = None
    ends_at: datetime | None = None
    started_by: str = ""

    def is_on(self, now: datetime) -> bool:
        """Tell whether it is on."""
        return self.started_at is not None and self.ends_at is not None and self.started_at <= now < self.ends_at


def begin(minutes: int, now: datetime, who: str) -> Learning:
    """Return learning mode from now on."""
    return Learning(now, now + timedelta(minutes=minutes), who)


def as_device(seen: Sighting) -> tuple[dict[str, Any], bool]:
    """Return the changes that make a device of a stranger (:func:`valija.domain.device.parse_device`); is a password made?

    Without ``login``, one is to be made from the name. Old TLS is for addresses that are named, so it is named then.
    """
    attempt = seen.attempt or Attempt()
    is_old = is_too_old_for_tls(seen.last_error)  # it never came as far as a log-in, but who has TLS has one
    logs_in = is_old or bool(attempt.mechanism or seen.tried)
    tls = TlsPolicy.LEGACY if is_old else _tls_for(seen.tls)
    changes: dict[str, Any] = {"name": _name_for(attempt.helo, seen.address), "tls": tls.value}
    if not logs_in or tls is TlsPolicy.LEGACY:
        changes["ranges"] = [seen.address]
    login = seen.tried.strip().lower().partition("@")[0]
    if logs_in and re.fullmatch(LOGIN_PATTERN, login):
        changes["login"] = login
    return changes, logs_in


def _name_for(helo: str, address: str) -> str:
    return helo if _NAME.fullmatch(helo) and not _NO_NAME.fullmatch(helo) else address


def _tls_for(version: str) -> TlsPolicy:
    if not version:
        return TlsPolicy.OFFERED
    return TlsPolicy.LEGACY if version in ("TLSv1", "TLSv1.1") else TlsPolicy.REQUIRED
