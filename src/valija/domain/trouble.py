"""What went wrong, kept for people: a reason with a meaning, who must act, and the other side's own words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class WhoActs(StrEnum):
    """Who can end a trouble."""

    NOBODY = "nobody"  # it passes by itself: wait
    USER = "user"  # the owner of the mailbox signs in again
    ADMINISTRATOR = "administrator"  # of the tenant, at the provider
    OPERATOR = "operator"  # of this machine: a setting is wrong


@dataclass(frozen=True, slots=True)
class Trouble:
    """One trouble with an account.

    ``reason`` is a key of the explanations (:mod:`valija.domain.explanations`); ``server_words`` is what the provider or
    server said, made safe, without secrets, or empty; ``at`` is when.
    """

    reason: str
    who_acts: WhoActs
    server_words: str
    at: datetime
