"""The API's operations on the machine's jobs."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import FileResponse, Response

from valija.apps.api import job_models as models
from valija.apps.api.calls import Call
from valija.apps.api.print_operations import said_by_printer
from valija.apps.api.views import Views
from valija.apps.machine import Machine
from valija.domain.errors import UnknownName
from valija.domain.fax import AnswerKind
from valija.domain.job import (
    Awaited,
    Awaiting,
    Cancelled,
    Done,
    Failed,
    JobKind,
    JobLine,
    JobStateName,
    JobWord,
    Sending,
)
from valija.domain.text import N_, Message, message
from valija.services.fax_names import parse_line
from valija.services.job_run import PICTURE
from valija.store.jobs_port import StoredJob

KIND_LABELS: Final = {
    JobKind.SCAN: N_("Scan to e-mail"),
    JobKind.FAX_SEND: N_("Internet fax, sent"),
    JobKind.FAX_RECEIVE: N_("Internet fax, received"),
    JobKind.PRINT: N_("E-mail print"),
    JobKind.STATUS_REQUEST: N_("Status request"),
}
STATE_LABELS: Final = {
    JobStateName.PREPARING: N_("Being prepared"),
    JobStateName.SENDING: N_("Being sent"),
    JobStateName.AWAITING: N_("Waiting for an answer"),
    JobStateName.DONE: N_("Done"),
    JobStateName.FAILED: N_("Failed"),
    JobStateName.CANCELLED: N_("Cancelled"),
}
AWAITED_LABELS: Final = {
    Awaited.PERSON: N_("Waiting for you to look at the pages"),
    Awaited.CONFIRMATION: N_("Waiting for a confirmation"),
    Awaited.PRINTER: N_("Waiting for the printer"),
    Awaited.RETRY: N_("Waiting to try again"),
}
LINE_LABELS: Final = {
    JobWord.BEGAN: N_("Begun"),
    JobWord.HANDED_ON: N_("Put into the mail queue as message {about}"),
    JobWord.RESUMED: N_("Taken up again"),
    JobWord.FINISHED: N_("Done"),
    JobWord.FAILED: N_("Failed"),
    JobWord.CANCELLED: N_("Cancelled"),
    JobWord.BLANK_DROPPED: N_("Blank page {about} was left out"),
    JobWord.SHRUNK: N_("Made smaller, to fit the size limit: {about}"),
    JobWord.SPLIT: N_("Divided into {about} messages, to fit the size limit"),
    JobWord.TAKEN_FROM_FOLDER: N_("Taken from the folder: {about}"),
    JobWord.NOT_SHOWN: N_("Kept, but it cannot be shown as pages: {about}"),
    JobWord.ANSWERED: N_("An answer came: {about}"),
    JobWord.CONFIRMED: N_("A confirmation was sent to {about}"),
    JobWord.SENT_AGAIN: N_("Sent again: {about}"),
    JobWord.PRINTED: N_("Printed: {about}"),
    JobWord.FILED: N_("Filed: {about}"),
    JobWord.NOT_FILED: N_("Not filed yet: {about}"),
    JobWord.FORWARDED: N_("Forwarded to {about}"),
    JobWord.LEFT_OUT: N_("Not understood, and left out: {about}"),
    JobWord.AT_PRINTER: N_("The printer has it: {about}"),
}


ANSWER_LABELS: Final = {
    AnswerKind.DELAYED: N_("delayed"),
    AnswerKind.HANDED_ON: N_("handed on, no confirmation will come"),
    AnswerKind.DELIVERED: N_("delivered"),
    AnswerKind.PROCESSED: N_("processed"),
    AnswerKind.NOT_DELIVERED: N_("not delivered"),
    AnswerKind.REFUSED: N_("refused"),
}


async def list_jobs(call: Call) -> list[models.JobView]:
    kind, state = call.choice("kind"), call.choice("state")
    found = await call.machine.store.jobs.list_jobs(
        kind=JobKind(kind) if kind else None,
        state=JobStateName(state) if state else None,
        limit=call.number("limit"),
        before_id=call.number("before") or None,
    )
    return await show_jobs(call.machine, call.views, found)


async def show_jobs(machine: Machine, views: Views, found: list[StoredJob]) -> list[models.JobView]:
    """Show jobs of a list."""
    jobs = [machine.jobs.present(job) for job in found]
    pictures = await asyncio.to_thread(lambda: [_picture_is_there(machine, job.id) for job in jobs])
    return [models.JobView(**_job(views, job, there)) for job, there in zip(jobs, pictures, strict=True)]


async def show_job(call: Call) -> models.JobHistoryView:
    return await job_history(call.machine, call.views, await call.machine.jobs.job(job_number(call)))


async def job_history(machine: Machine, views: Views, job: StoredJob) -> models.JobHistoryView:
    """Show a job with all that befell it."""
    lines = await machine.store.jobs.history(job.id)
    there = await asyncio.to_thread(_picture_is_there, machine, job.id)
    return models.JobHistoryView(
        **_job(views, job, there),
        details={detail.name: detail.value for detail in job.card.details},
        history=[_line(views, line) for line in lines],
    )


async def cancel_job(call: Call) -> models.JobHistoryView:
    job = await call.machine.jobs.cancel(job_number(call), call.actor)
    return await job_history(call.machine, call.views, job)


async def show_picture(call: Call) -> Response:
    return await picture_of(call.machine, job_number(call))


async def picture_of(machine: Machine, number: int) -> Response:
    """Return the picture of a job's first page. Raises :class:`UnknownName`."""
    job = await machine.jobs.job(number)
    if not await asyncio.to_thread(_picture_is_there, machine, job.id):
        raise UnknownName(message(N_("Job {number} has no picture."), number=job.id))
    headers = {"Cache-Control": "private, max-age=60"}
    return FileResponse(machine.jobs.folder(job.id) / PICTURE, media_type="image/png", headers=headers)


def job_number(call: Call) -> int:
    """Return the number in the path. Raises :class:`UnknownName`."""
    text = call.request.path_params["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UnknownName(message(N_("There is no job {number}."), number=text[:20]))
    return int(text)


def _picture_is_there(machine: Machine, number: int) -> bool:
    return (machine.jobs.folder(number) / PICTURE).is_file()


def _job(views: Views, job: StoredJob, has_picture: bool) -> dict[str, Any]:
    card, state = job.card, job.state
    label = AWAITED_LABELS[state.what] if isinstance(state, Awaiting) else STATE_LABELS[state.name]
    return {
        "id": job.id,
        "kind": card.kind.value,
        "kind_label": views.text(KIND_LABELS[card.kind]),
        "title": card.title,
        "who": card.who,
        "where": card.where.partition(" ")[0],  # a folder's is followed by the name that the file has there
        "created_at": card.created_at,
        "recipients": list(card.recipients),
        "state": state.name.value,
        "state_label": views.text(label),
        "since": state.at if isinstance(state, Done | Failed | Cancelled) else state.since,
        "until": state.until if isinstance(state, Awaiting) else None,
        "done": job.progress.done,
        "of": job.progress.of,
        "messages": list(state.messages) if isinstance(state, Sending | Awaiting) else [],
        "trouble": views.raw_trouble(state.trouble) if isinstance(state, Failed) else None,
        "words": _words(views, state.words) if isinstance(state, Done) else "",
        "has_picture": has_picture,
    }


def _words(views: Views, words: str) -> str:
    return views.text(ANSWER_LABELS[AnswerKind(words)]) if words in list(AnswerKind) else words


def _line(views: Views, line: JobLine) -> models.JobLineView:
    text: str | Message
    if line.word is JobWord.WAITS:
        text = AWAITED_LABELS[Awaited(line.about)]
    elif line.word is JobWord.ANSWERED and (answer := parse_line(line.about)):
        said = message("{who}: {kind}", who=answer.recipient, kind=message(ANSWER_LABELS[answer.kind]))
        text = message(LINE_LABELS[line.word], about=said)
        if answer.words:
            text = message("{line} · {words}", line=text, words=answer.words)
    elif line.word is JobWord.PRINTER_SAYS:
        text = said_by_printer(views, line.about)
    else:
        text = message(LINE_LABELS[line.word], about=line.about)
    return models.JobLineView(
        at=line.at,
        word=line.word.value,
        text=views.text(text),
        about=line.about,
        who=line.who,
        trouble=views.raw_trouble(line.trouble),
    )
