"""Internet fax: send one, fetch what came, see how they went; how they are sent and received."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from valija.apps.api.job_models import JobView
from valija.apps.api.job_operations import show_jobs
from valija.apps.web.job_views import may_see
from valija.apps.web.record_form import RecordForm
from valija.apps.web.upload_form import demand_files, status_of, upload_form
from valija.apps.web.visit import Visit, redirect
from valija.domain.account import Setting
from valija.domain.errors import InvalidFields, ValijaError
from valija.domain.fax import Confirmation, FaxSettings, Halftone, JunkRule
from valija.domain.job import JobKind
from valija.domain.text import N_, message
from valija.message.tiff_fax import FaxPaper, FaxProfile, FaxResolution
from valija.services.delivery import File
from valija.services.fax_sending import FaxOrder
from valija.services.login import LoginFailed

SHOWN: Final = 20
TITLE: Final = N_("Internet fax")
CHOICES: Final[dict[str, dict[Any, str]]] = {
    "profile": {FaxProfile.S: N_("S: read by every fax"), FaxProfile.F: N_("F: smaller, more sizes")},
    "resolution": {
        FaxResolution.STANDARD: N_("Standard (204x98)"),
        FaxResolution.FINE: N_("Fine (204x196)"),
        FaxResolution.SUPERFINE: N_("Superfine (204x391)"),
    },
    "paper": {FaxPaper.A4: N_("A4"), FaxPaper.B4: N_("B4"), FaxPaper.LETTER: N_("Letter")},
    "halftone": {Halftone.TEXT: N_("Text"), Halftone.PHOTO: N_("Photo")},
    "confirmation": {
        Confirmation.NONE: N_("None"),
        Confirmation.DELIVERY: N_("Delivery"),
        Confirmation.PROCESSING: N_("Processing"),
    },
    "junk": {
        JunkRule.OFF: N_("Off"),
        JunkRule.REJECT: N_("Reject these senders"),
        JunkRule.ALLOW: N_("Allow only these senders"),
    },
}


async def show_fax(visit: Visit) -> Response:
    """Show the form for a fax, and the last ones."""
    return await _page(visit, {})


async def send_fax(visit: Visit) -> Response:
    """Send files as a fax; what was typed is kept if something is wrong."""
    typed: dict[str, str] = {}
    try:
        async with upload_form(visit, typed) as form:
            demand_files(form)
            files = tuple(File(f.path, f.name, "") for f in form.files)
            to = [a.strip() for a in typed.get("to", "").replace(";", ",").split(",") if a.strip()]
            changes = {"cover": typed.get("cover") == "on"}
            order = FaxOrder(files, tuple(to), typed.get("subject", ""), typed.get("text", ""), changes)
            job = await visit.machine.fax.sender.send(order, visit.actor)
    except ValijaError as error:
        return await _page(visit, typed, status_of(error), error)
    return redirect(f"/jobs/{job.id}")


async def receive_now(visit: Visit) -> Response:
    """Fetch what is there."""
    await visit.form()
    try:
        report = await visit.machine.retrieval.check(Setting.INTERNET_FAX)
    except (ValijaError, LoginFailed) as error:
        return await _page(visit, {}, 409, error)
    if report.trouble is None:
        visit.notice("good", message(N_("Messages that came: {count}"), count=len(report.messages)))
    return await _page(visit, {}, trouble=visit.views.raw_trouble(report.trouble))


async def _page(
    visit: Visit,
    typed: dict[str, str],
    status: int = 200,
    error: ValijaError | LoginFailed | None = None,
    trouble: Any = None,
) -> Response:
    problem = visit.views.problem(error) if error else None
    by_field: dict[str, Any] = {p.field: p.problem for p in problem.problems} if problem else {}
    trouble = trouble or (problem.trouble if problem else None)
    if problem and not isinstance(error, InvalidFields) and trouble is None:
        visit.notice("bad", f"{problem.detail} {problem.cure}".strip())
    settings = await visit.machine.fax.settings.load()
    return await visit.render(
        "fax.html",
        status,
        typed=typed,
        problems=by_field,
        trouble=trouble,
        faxes=await _latest(visit),
        sees_all=visit.session is not None,
        cover=typed.get("cover") == "on" if typed else settings.cover,
    )


async def _latest(visit: Visit) -> list[JobView]:
    jobs = visit.machine.store.jobs
    found = [
        job
        for kind in (JobKind.FAX_SEND, JobKind.FAX_RECEIVE)
        for job in await jobs.list_jobs(kind=kind, state=None, limit=SHOWN)
        if may_see(visit, job)
    ]
    return await show_jobs(visit.machine, visit.views, sorted(found, key=lambda job: -job.id)[:SHOWN])


FORM: Final = RecordForm(
    template="fax_settings.html",
    action="/settings/fax",
    screen="image-send-internet-fax",
    names=frozenset(FaxSettings.__dataclass_fields__),
    choices=CHOICES,
    desk=lambda machine: machine.fax.settings,
    switches=frozenset({"cover", "answer"}),
)
