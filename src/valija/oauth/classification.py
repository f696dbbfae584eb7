"""What a provider's error means and who can end it: a data table (``error_table.toml``), read in a fixed order.

Order, from what is sure to what is a hint: no answer → HTTP status → ``error`` → ``suberror`` → AADSTS number. Entra's
numbers change, so they only refine what ``error`` says, never contradict it on whether a grant has ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

from valija.oauth.http_messages import HttpFailed, HttpResponse, HttpResult

WORDS_LIMIT: Final = 600
WORDS_OCTETS: Final = 120  # of an answer that is nonsense
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_AADSTS: Final = re.compile(r"AADSTS(\d{4,7})")


class Action(StrEnum):
    """What an error calls for."""

    POLL = "poll"
    RETRY = "retry"
    ASK_USER = "ask_user"
    ASK_ADMINISTRATOR = "ask_administrator"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One row: what it fits (empty: anything) and what it means."""

    errors: frozenset[str]
    suberrors: frozenset[str]
    codes: frozenset[int]
    statuses: frozenset[int]
    words: re.Pattern[str] | None
    reason: str
    action: Action
    ends_grant: bool
    meaning: str
    cure: str
    retry_after: float | None

    def fits(self, status: int, answer: OAuthError) -> bool:
        """Tell whether an error answer fits this row."""
        return (
            (not self.statuses or status in self.statuses)
            and (not self.errors or answer.error in self.errors)
            and (not self.suberrors or answer.suberror in self.suberrors)
            and (not self.codes or bool(self.codes.intersection(answer.codes)))
            and (self.words is None or self.words.search(answer.description) is not None)
        )


@dataclass(frozen=True, slots=True)
class OAuthError:
    """An error answer (RFC 6749 section 5.2), with Entra's additions."""

    error: str
    suberror: str = ""
    codes: tuple[int, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class GrantFailure:
    """Why the provider gave nothing. ``retry_after`` in seconds; ``server_words`` are safe to show."""

    reason: str
    action: Action
    ends_grant: bool = False
    retry_after: float | None = None
    server_words: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """The table, in order; the first row that fits wins."""

    rows: tuple[ErrorRow, ...]

    def classify(self, result: HttpResult, *, now_epoch: float = 0.0) -> GrantFailure:
        """Say what a failed answer means. ``now_epoch`` (seconds) is only for a Retry-After that is a date."""
        if isinstance(result, HttpFailed):
            return GrantFailure(result.trouble.value, Action.RETRY, server_words=safe_words(result.detail))
        after = parse_retry_after(result.headers.get("retry-after", ""), now_epoch)
        answer = parse_error(result)
        if answer is None or result.status == 429 or result.status >= 500:
            return _by_status(result, answer, after)
        for row in self.rows:
            if row.fits(result.status, answer):
                words = safe_words(f"{answer.error}: {answer.description}" if answer.description else answer.error)
                return GrantFailure(
                    row.reason, row.action, row.ends_grant, after or row.retry_after, words, answer.error
                )
        return nonsense(result)

    def classify_redirect(self, answer: OAuthError) -> GrantFailure:
        """Say what an error in an authorization response means (RFC 6749 section 4.1.2.1)."""
        return self.classify(HttpResponse(400, {}, json.dumps(_as_wire(answer)).encode()))


def _as_wire(answer: OAuthError) -> dict[str, Any]:
    return {"error": answer.error, "error_description": answer.description, "suberror": answer.suberror}


def _by_status(response: HttpResponse, answer: OAuthError | None, after: float | None) -> GrantFailure:
    words = safe_words(f"HTTP {response.status}" + (f" {answer.error}: {answer.description}" if answer else ""))
    if response.status == 429 or (answer and answer.error == "slow_down"):
        return GrantFailure("provider_throttling", Action.RETRY, False, after, words)
    if response.status >= 500:
        return GrantFailure("provider_down", Action.RETRY, False, after, words)
    return nonsense(response)


def nonsense(response: HttpResponse) -> GrantFailure:
    """Return the failure for an answer that is not what OAuth promises; it never ends a grant."""
    start = response.body[:WORDS_OCTETS].decode("utf-8", "replace")
    return GrantFailure("provider_nonsense", Action.RETRY, server_words=safe_words(f"HTTP {response.status}: {start}"))


def parse_error(response: HttpResponse) -> OAuthError | None:
    """Read an error answer; None if it is not one."""
    answer = parse_json_object(response.body)
    if answer is None or not isinstance(answer.get("error"), str) or not answer["error"]:
        return None
    raw = answer.get("error_description")
    description = raw if isinstance(raw, str) else ""
    suberror = answer.get("suberror")
    listed = answer.get("error_codes")
    codes = [c for c in listed if isinstance(c, int)] if isinstance(listed, list) else []
    codes += [int(number) for number in _AADSTS.findall(description[:2000])]
    return OAuthError(
        answer["error"][:100], suberror[:100] if isinstance(suberror, str) else "", tuple(codes), description
    )


def parse_json_object(body: bytes) -> dict[str, Any] | None:
    """Read a JSON object; None for anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def parse_retry_after(value: str, now_epoch: float) -> float | None:
    """Read a Retry-After field (RFC 9110 section 10.2.3), seconds or a date; None if there is none that makes sense."""
    value = value.strip()
    if value.isdigit() and len(value) < 10:
        return float(value)
    if not value or not now_epoch:
        return None
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now_epoch)
    except (ValueError, TypeError, OverflowError):
        return None


def safe_words(text: str) -> str:
    """Return the other side's words as one line without control characters, cut to a bearable length."""
    line = _UNSAFE.sub(" ", text).strip()
    return line if len(line) <= WORDS_LIMIT else line[: WORDS_LIMIT - 1] + "…"


def parse_error_table(table: Mapping[str, Any]) -> ErrorTable:
    """Read ``error_table.toml`` (parsed); raises ``KeyError`` or ``ValueError`` for a row that is not complete."""

    def row(raw: Mapping[str, Any]) -> ErrorRow:
        return ErrorRow(
            errors=frozenset(raw.get("error", ())),
            suberrors=frozenset(raw.get("suberror", ())),
            codes=frozenset(raw.get("codes", ())),
            statuses=frozenset(raw.get("status", ())),
            words=re.compile(raw["words"], re.IGNORECASE) if "words" in raw else None,
            reason=raw["reason"],
            action=Action(raw["action"]),
            ends_grant=bool(raw.get("ends_grant", False)),
            meaning=raw["meaning"],
            cure=raw["cure"],
            retry_after=raw.get("retry_after"),
        )

    return ErrorTable(tuple(row(raw) for raw in table["row"]))
