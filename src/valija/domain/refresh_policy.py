"""When a token is refreshed: ahead of its end, spread out, at least weekly, and with patience after a failure.

All pure: ``now`` and ``jitter`` (0 ≤ jitter < 1, fresh for each call) are arguments.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from valija.domain.token import AwaitingAuthorization, Invalid, InvalidCause, NotRetrieved, TokenSet, TokenState

LIFE_SHARE: Final = 0.8  # refresh at 80 % of the access token's life at the latest
LIFE_JITTER: Final = 0.1  # ... spread over the 10 % before that
END_MARGIN: Final = timedelta(minutes=5)  # ... and never later than this before its end, if it lives long enough
WEEK: Final = timedelta(days=7)  # keeps idle limits of 90 days and 6 months far away
WEEK_JITTER: Final = timedelta(hours=12)
CLOCK_TOLERANCE: Final = timedelta(minutes=5)

FIRST_RETRY: Final = 5.0  # seconds: 5, 10, 20, 40, 80, 160, 320, 640, then 900 each
LONGEST_RETRY: Final = 900.0
LONGEST_RETRY_AFTER: Final = 6 * 3600.0
PERSON_RETRY: Final = 1800.0  # when somebody must act, asking often is of no use
RECHECK_INVALID: Final = timedelta(hours=6)
LATEST_DUE: Final = timedelta(days=32)  # a later moment was written while the clock was ahead
USABLE_MARGIN: Final = timedelta(seconds=60)  # a log-in needs this much life left


def refresh_due_at(tokens: TokenSet, *, jitter: float) -> datetime:
    """Return when to refresh ``tokens``."""
    life = max(tokens.expires_at - tokens.refreshed_at, timedelta(seconds=1))
    due = tokens.refreshed_at + life * (LIFE_SHARE - LIFE_JITTER * jitter)
    if life > 4 * END_MARGIN:
        due = min(due, tokens.expires_at - END_MARGIN)
    return min(due, tokens.refreshed_at + WEEK - WEEK_JITTER * jitter)


def due_at(state: TokenState, *, now: datetime, jitter: float) -> datetime | None:
    """Return when the refresher should next look at an account in ``state``; None for never."""
    current = state.before if isinstance(state, AwaitingAuthorization) else state
    if isinstance(current, NotRetrieved):
        return None
    tokens = current.tokens
    if isinstance(current, Invalid) and current.cause is InvalidCause.GRANT_ENDED:
        if not tokens.can_be_renewed or current.trouble.reason in NEVER_AGAIN:
            return None
        return now + RECHECK_INVALID * (1 + 0.1 * jitter)
    if not tokens.can_be_renewed:
        return tokens.expires_at
    return refresh_due_at(tokens, jitter=jitter)


NEVER_AGAIN: Final = frozenset({"refresh_token_unusable"})


def is_due(tokens: TokenSet, *, now: datetime, jitter: float) -> bool:
    """Tell whether ``tokens`` should be refreshed now; also after the clock was set back past the last refresh."""
    return now >= refresh_due_at(tokens, jitter=jitter) or now < tokens.refreshed_at - CLOCK_TOLERANCE


def is_usable(tokens: TokenSet, *, now: datetime) -> bool:
    """Tell whether the access token lives long enough for a log-in."""
    life = tokens.expires_at - tokens.refreshed_at
    return now < tokens.expires_at - min(USABLE_MARGIN, life / 4) and now >= tokens.refreshed_at - CLOCK_TOLERANCE


def retry_delay(failures: int, *, retry_after: float | None, person_must_act: bool, jitter: float) -> float:
    """Return seconds to wait after the ``failures``-th failure in a row (1 is the first).

    The provider's Retry-After is kept, up to six hours; the rest doubles from five seconds to fifteen minutes. Between
    half and the whole of it is waited, so that many accounts do not come back at one moment.
    """
    base = min(FIRST_RETRY * 2.0 ** min(failures - 1, 30), LONGEST_RETRY)
    if person_must_act:
        base = max(base, PERSON_RETRY)
    return max(base * (0.5 + 0.5 * jitter), kept_retry_after(retry_after, jitter))


def kept_retry_after(seconds: float | None, jitter: float) -> float:
    """Return for how long a provider's Retry-After is kept, in seconds."""
    return min(seconds or 0.0, LONGEST_RETRY_AFTER) * (1 + 0.1 * jitter)


def idle_limit_at(tokens: TokenSet, idle_days: int | None) -> datetime | None:
    """Return when the provider forgets the refresh token if it is not used; None if there is no such limit."""
    limits = [tokens.refresh_token_expires_at] if tokens.refresh_token_expires_at else []
    if tokens.refresh_token is not None and idle_days is not None:
        limits.append(tokens.refreshed_at + timedelta(days=idle_days))
    return min(limits, default=None)
