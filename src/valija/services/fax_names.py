"""What a fax's mail is called, by which an answer finds its job, and the line that stands in a history for an answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from valija.domain.fax import AnswerKind, FaxAnswer

_NAME: Final = re.compile(r"valija-fax\.([0-9]{1,12})\.([0-9]{1,3})\.([0-9a-f]{16})(?:@|$)")


@dataclass(frozen=True, slots=True)
class FaxName:
    """What a fax's mail is called: the job's number, which try, the job's token."""

    job: int
    attempt: int
    token: str


def name_of(name: FaxName) -> str:
    """Return ENVID, and what stands before the @ of the Message-ID."""
    return f"valija-fax.{name.job}.{name.attempt}.{name.token}"


def parse_name(text: str) -> FaxName | None:
    """Read an ENVID or a Message-ID; None if it is no fax's."""
    match = _NAME.match(text.strip("<> "))
    return FaxName(int(match[1]), int(match[2]), match[3]) if match else None


def format_line(answer: FaxAnswer) -> str:
    """Return what stands in the history of an answer."""
    return f"{answer.recipient}: {answer.kind.value}" + (f": {answer.words}" if answer.words else "")


def parse_line(line: str) -> FaxAnswer | None:
    """Read what :func:`format_line` wrote; None for anything else."""
    recipient, colon, rest = line.partition(": ")
    kind, _colon, words = rest.partition(": ")
    return FaxAnswer(recipient, AnswerKind(kind), words) if colon and kind in list(AnswerKind) else None
