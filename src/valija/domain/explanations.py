"""What a reason means, who must act, and what to do: one table for all faces.

Reasons come from three data files: this machine's own (``explanations.toml``), servers' replies (``reply_table.toml``)
and providers' errors (``oauth/error_table.toml``). Sentences are English message ids, translated by the faces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from valija.domain.trouble import WhoActs


@dataclass(frozen=True, slots=True)
class Explanation:
    """A reason, for people: ``meaning`` and ``cure`` are whole English sentences."""

    reason: str
    meaning: str
    cure: str
    who_acts: WhoActs


class Effect(StrEnum):
    """What a server's reply calls for."""

    REFRESH = "refresh"
    ACCOUNT = "account"
    RETRY = "retry"
    RECIPIENT = "recipient"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class ReplyRow:
    """One row of the reply table; None fits anything."""

    protocol: str
    stage: str | None
    code: re.Pattern[str] | None
    enhanced: re.Pattern[str] | None
    text: re.Pattern[str] | None
    effect: Effect
    explanation: Explanation

    def fits(self, protocol: str, stage: str, code: str, enhanced: str, text: str) -> bool:
        """Tell whether a reply fits this row."""
        return (
            protocol == self.protocol
            and self.stage in (None, stage)
            and (self.code is None or self.code.fullmatch(code) is not None)
            and (self.enhanced is None or self.enhanced.fullmatch(enhanced) is not None)
            and (self.text is None or self.text.search(text) is not None)
        )


def parse_explanation(reason: str, row: Mapping[str, Any]) -> Explanation:
    """Read one explanation; raises ``KeyError`` or ``ValueError`` if the row is not complete."""
    return Explanation(reason, str(row["meaning"]), str(row["cure"]), WhoActs(row["who_acts"]))


def parse_reply_rows(table: Mapping[str, Any]) -> tuple[ReplyRow, ...]:
    """Read the reply table (``reply_table.toml`` parsed), in its order."""

    def pattern(row: Mapping[str, Any], key: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str] | None:
        return re.compile(row[key], flags) if key in row else None

    return tuple(
        ReplyRow(
            protocol=row["protocol"],
            stage=row.get("stage"),
            code=pattern(row, "code"),
            enhanced=pattern(row, "enhanced"),
            text=pattern(row, "text", re.IGNORECASE),
            effect=Effect(row["effect"]),
            explanation=parse_explanation(row["reason"], row),
        )
        for row in table["reply"]
    )


@dataclass(frozen=True, slots=True)
class Explainer:
    """Looks up reasons and classifies replies."""

    by_reason: Mapping[str, Explanation]
    rows: tuple[ReplyRow, ...]

    def explain(self, reason: str) -> Explanation:
        """Return the explanation of a reason; raises ``KeyError`` for one that no table has."""
        return self.by_reason[reason]

    def classify(self, protocol: str, stage: str, code: str, enhanced: str, text: str) -> ReplyRow:
        """Return the first row that fits a refusal; the tables end with rows that fit every refusal of a protocol."""
        for row in self.rows:
            if row.fits(protocol, stage, code, enhanced, text):
                return row
        raise LookupError(f"no row for {protocol} {stage} {code} {enhanced}")


def build_explainer(
    own: Mapping[str, Any], replies: Mapping[str, Any], provider_errors: Iterable[Explanation]
) -> Explainer:
    """Join the three tables; a reason may stand in several rows of one table, the first is its explanation."""
    rows = parse_reply_rows(replies)
    by_reason: dict[str, Explanation] = {}
    for explanation in (
        *(parse_explanation(reason, row) for reason, row in own.items()),
        *(row.explanation for row in rows),
        *provider_errors,
    ):
        by_reason.setdefault(explanation.reason, explanation)
    return Explainer(by_reason, rows)
