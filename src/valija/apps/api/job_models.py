"""What the API says of the machine's jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from valija.apps.api.models import Answer, TroubleView

JobKindName = Literal["scan", "fax_send", "fax_receive", "print", "status_request"]
JobStateValue = Literal["preparing", "sending", "awaiting", "done", "failed", "cancelled"]


class JobView(Answer):
    """A job; ``done`` pages of ``of`` (0: nobody knows yet). ``where`` it came from: a face, a folder, a sender.

    ``since`` is when its state began, ``messages`` are its numbers in the mail queue, ``until`` is how long it waits at most.
    """

    id: int
    kind: JobKindName
    kind_label: str
    title: str
    who: str
    where: str
    created_at: datetime
    recipients: list[str]
    state: JobStateValue
    state_label: str
    since: datetime
    until: datetime | None
    done: int
    of: int
    messages: list[int]
    trouble: TroubleView | None
    words: str
    has_picture: bool


class JobLineView(Answer):
    """One thing that befell a job: ``word`` for programs, ``text`` for people; ``about`` is what it names."""

    at: datetime
    word: str
    text: str
    about: str
    who: str
    trouble: TroubleView | None


class JobHistoryView(JobView):
    """A job with its ``details``, by names of its kind, and all that befell it."""

    details: dict[str, str]
    history: list[JobLineView]
