"""What is said of a token: to a log-in that gets none, and in the record."""

from __future__ import annotations

from valija.domain.errors import ConsentNeeded, TryLater
from valija.domain.record import AuditAction
from valija.domain.text import N_, message
from valija.domain.token import AwaitingAuthorization, Invalid, NotRetrieved, Retrieved, TokenState
from valija.domain.trouble import Trouble


def consent_needed(state: TokenState) -> ConsentNeeded:
    """Return what a log-in is told that finds no token in ``state``."""
    current = state.before if isinstance(state, AwaitingAuthorization) else state
    if isinstance(current, Invalid):
        return ConsentNeeded(
            message(N_("Token update failed. Please delete the token and obtain it again.")),
            diagnostics=current.trouble.reason,
        )
    if isinstance(state, AwaitingAuthorization):
        return ConsentNeeded(
            message(N_("There is no token yet: the machine waits for authorization.")),
            message(N_("Sign in at the provider with the address and the code that are shown.")),
        )
    return ConsentNeeded(
        message(N_("There is no token.")),
        message(N_("Press Get Token at the machine, or run `valija token get` on it.")),
    )


def try_later(trouble: Trouble | None) -> TryLater:
    """Return what a log-in is told while the provider gives none."""
    return TryLater(
        message(N_("The token has expired and the provider cannot renew it at the moment.")),
        message(N_("It is tried again by itself; `valija token status` shows why it fails.")),
        diagnostics=trouble.reason if trouble else "",
    )


def notable(before: TokenState, after: TokenState) -> AuditAction | None:
    """Return the action that a change of state is on record as; None for one that is not."""
    was = before.before if isinstance(before, AwaitingAuthorization) else before
    is_now = after.before if isinstance(after, AwaitingAuthorization) else after
    if isinstance(is_now, Invalid) and not isinstance(was, Invalid):
        return AuditAction.TOKEN_INVALID
    if isinstance(was, Invalid) and isinstance(is_now, Retrieved) and not isinstance(before, AwaitingAuthorization):
        return AuditAction.TOKEN_VALID_AGAIN
    return None


def details_of(after: TokenState) -> dict[str, str]:
    """Return why a token is Invalid, for the record."""
    current = after.before if isinstance(after, AwaitingAuthorization) else after
    if isinstance(current, NotRetrieved) or not isinstance(current, Invalid):
        return {}
    return {"reason": current.trouble.reason}
