"""Tokens for programs that use the API over the network: what they may do, and until when. Pure.

The token itself is nowhere here: what is kept is its SHA-256, which is enough to know it again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from valija.domain.errors import FieldProblem, InvalidFields
from valija.domain.text import N_, message

NAME_PATTERN: Final = "[a-z0-9][a-z0-9.-]{0,62}"
DAYS_RANGE: Final = (1, 366)
DAYS: Final = 90
USE_SPAN: Final = timedelta(minutes=1)


class Scope(StrEnum):
    """What a token may do."""

    READ = "read"
    SETTINGS = "settings"
    TOKENS = "tokens"
    MAIL = "mail"


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token by its ``digest`` (SHA-256, hex). ``created_by`` is who made it; ``last_used_at`` is right to a minute."""

    name: str
    digest: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    created_by: str
    last_used_at: datetime | None = None


def check_api_token(name: Any, scopes: Any, days: Any) -> tuple[Scope, ...]:
    """Return the scopes, each once, in their own order. Raises :class:`InvalidFields` that names all that is wrong."""
    problems = []
    if not (isinstance(name, str) and re.fullmatch(NAME_PATTERN, name)):
        problems.append(FieldProblem("name", message(N_("must be a name of small letters, digits, dots and hyphens"))))
    known = [scope.value for scope in Scope]
    if not scopes or not all(scope in known for scope in scopes):
        names = ", ".join(known)
        problems.append(FieldProblem("scopes", message(N_("must be one or more of {names}"), names=names)))
    low, high = DAYS_RANGE
    if not isinstance(days, int) or isinstance(days, bool) or not low <= days <= high:
        problem = message(N_("must be a whole number from {low} to {high}"), low=low, high=high)
        problems.append(FieldProblem("days", problem))
    if problems:
        raise InvalidFields(tuple(problems))
    return tuple(scope for scope in Scope if scope in scopes)


def new_api_token(
    name: str, scopes: Sequence[str], days: int, *, digest: str, now: datetime, created_by: str
) -> ApiToken:
    """Return a token that ends ``days`` from ``now``. Raises :class:`InvalidFields`."""
    checked = check_api_token(name, scopes, days)
    return ApiToken(name, digest, tuple(s.value for s in checked), now, now + timedelta(days=days), created_by)


def has_ended(token: ApiToken, now: datetime) -> bool:
    """Tell whether the token's time is over."""
    return now >= token.expires_at


def use_due(token: ApiToken, now: datetime) -> bool:
    """Tell whether the token's last use should be noted again."""
    return token.last_used_at is None or now - token.last_used_at >= USE_SPAN
