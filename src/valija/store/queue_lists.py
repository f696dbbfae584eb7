"""Statements that list messages, latest first, quickly also where a hundred thousand wait.

A state is looked for in the index of what waits, of what has ended or of what is held, none of which is in the way of a message
that leaves at once. The plus keeps SQLite from walking all messages instead, which is right for delivered ones only.
"""

# ruff: noqa: S608 - a statement is put together of words of this file alone
from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Final

from valija.domain.queue import RecipientStateName
from valija.store.work import Row

SEARCH_DEPTH: Final = 5000  # messages, the latest that fit otherwise, in which a text is looked for
_WAITS: Final = "due_at IS NOT NULL"
_ENDED: Final = "ended_at IS NOT NULL"
HELD: Final = "due_at IS NULL AND lease_until IS NULL AND ended_at IS NULL"
_WHERE: Final = {
    RecipientStateName.QUEUED: _WAITS,
    RecipientStateName.DEFERRED: _WAITS,
    RecipientStateName.IN_FLIGHT: "lease_until IS NOT NULL",
    RecipientStateName.HELD: HELD,
    RecipientStateName.DELIVERED: _ENDED,
    RecipientStateName.FAILED: _ENDED,
}
_MESSAGE: Final = "SELECT id, envelope, account, device, accepted_at FROM queue_messages"
_WHOSE: Final = "(account = ? OR ? = '')"
_BY_DEVICE: Final = f"SELECT id FROM queue_messages WHERE device = ? AND id < ? AND {_WHOSE}"
_ALL: Final = f"SELECT id FROM queue_messages WHERE id < ? AND {_WHOSE}"


@cache
def _numbers(state: RecipientStateName | None, *, of_device: bool) -> str:
    if state is None:
        return f"{_BY_DEVICE if of_device else _ALL} ORDER BY id DESC LIMIT ?"
    number = "message_id" if state is RecipientStateName.DELIVERED else "+message_id"
    in_state = (
        f"SELECT {number} AS id FROM queue_recipients WHERE {_WHERE[state]} AND state = ? AND {number} < ? AND {_WHOSE} "
        f"GROUP BY {number}"
    )
    if of_device:
        return f"SELECT id FROM ({in_state}) AS found INTERSECT {_BY_DEVICE} ORDER BY 1 DESC LIMIT ?"
    return f"{in_state} ORDER BY {number} DESC LIMIT ?"


def list_query(
    account: str | None, state: RecipientStateName | None, device: str | None, below: int, limit: int
) -> tuple[str, list[object]]:
    """Return the statement that lists (number, envelope, account, device, accepted at), and its values."""
    whose = account or ""
    values: list[object] = [] if state is None else [state.value, below, whose, whose]
    if device is not None:
        values += [device, below, whose, whose]
    elif state is None:
        values += [below, whose, whose]
    inner = _numbers(state, of_device=device is not None)
    return f"{_MESSAGE} WHERE id IN ({inner}) ORDER BY id DESC", [*values, limit]


def may_mention(found: Sequence[Row], text: str) -> list[Row]:
    """Return the rows whose envelope may have the text in it, without reading them as values."""
    wanted = json.dumps(text, ensure_ascii=False)[1:-1].casefold()
    return [row for row in found if wanted in bytes(row[1]).decode("utf-8", "replace").casefold()]


def _count(where: str) -> str:
    return f"SELECT account, state, count(*), '', 0 FROM queue_recipients WHERE {where} GROUP BY account, state"


def _sum(state: RecipientStateName) -> str:
    return f"'{state.value}', sum(CASE WHEN state = '{state.value}' THEN 1 ELSE 0 END)"


# what waits in the order of its index, in one pass; the rest is counted by state
OLDEST: Final = (
    "SELECT w.account, m.accepted_at FROM (SELECT account, min(message_id) AS first FROM queue_recipients "
    "WHERE due_at IS NOT NULL GROUP BY account) w JOIN queue_messages m ON m.id = w.first"
)
COUNTS: Final = " UNION ALL ".join(
    [
        f"SELECT account, {_sum(RecipientStateName.QUEUED)}, {_sum(RecipientStateName.DEFERRED)} "
        f"FROM queue_recipients WHERE {_WAITS} GROUP BY account",
        *(_count(where) for where in ("lease_until IS NOT NULL", HELD, _ENDED)),
    ]
)
