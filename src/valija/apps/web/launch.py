"""Who may open the panel over loopback TCP: a browser that shows a key which only this machine's operator was given.

A key is good once, for a minute. It buys a cookie that lasts as long as the daemon runs. The panel's Unix socket needs none:
the kernel says who connects.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from valija.domain.clock import Clock

KEY_LIFE: Final = timedelta(seconds=60)
KEYS_LIMIT: Final = 16
BROWSERS_LIMIT: Final = 64
COOKIE: Final = "valija_panel"


class LaunchKeys:
    """Keys that were given out, and browsers that came with one. Only digests are kept."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: dict[str, datetime] = {}
        self._browsers: dict[str, None] = {}

    def new_key(self) -> str:
        """Return a key to open the panel with."""
        now = self._clock.now()
        self._keys = {key: end for key, end in self._keys.items() if end > now}
        while len(self._keys) >= KEYS_LIMIT:
            del self._keys[next(iter(self._keys))]
        key = secrets.token_urlsafe(32)
        self._keys[_digest(key)] = now + KEY_LIFE
        return key

    def spend(self, key: str) -> str | None:
        """Return a cookie for a good key, and make the key worthless; None for any other."""
        end = self._keys.pop(_digest(key), None)
        if end is None or end <= self._clock.now():
            return None
        while len(self._browsers) >= BROWSERS_LIMIT:
            del self._browsers[next(iter(self._browsers))]
        cookie = secrets.token_urlsafe(32)
        self._browsers[_digest(cookie)] = None
        return cookie

    def knows(self, cookie: str) -> bool:
        """Tell whether a browser came with a good key."""
        return bool(cookie) and _digest(cookie) in self._browsers


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
