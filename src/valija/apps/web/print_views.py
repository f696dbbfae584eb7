"""E-mail print: how the printer is, what came and how it went; where mail is printed and whose."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import Response

from valija.apps.api.job_operations import show_jobs
from valija.apps.api.print_models import PrinterView
from valija.apps.api.print_operations import printer_view
from valija.apps.web.job_views import may_see
from valija.apps.web.record_form import RecordForm
from valija.apps.web.visit import Visit
from valija.domain.account import Setting
from valija.domain.errors import ValijaError
from valija.domain.job import JobKind
from valija.domain.print_job import Duplex, PrintColour, PrintConfirmation, PrintPaper, PrintSettings
from valija.domain.printer import PrinterState, PrinterStateName
from valija.domain.text import N_, message
from valija.services.login import LoginFailed

SHOWN: Final = 20
ASKED_S: Final = 3.0  # a page does not wait longer for a printer
CHOICES: Final[dict[str, dict[Any, str]]] = {
    "duplex": {Duplex.OFF: N_("One side"), Duplex.LONG: N_("Long edge"), Duplex.SHORT: N_("Short edge")},
    "colour": {
        PrintColour.AUTO: N_("As the printer decides"),
        PrintColour.COLOUR: N_("Colour"),
        PrintColour.MONO: N_("Black and white"),
    },
    "paper": {
        PrintPaper.A3: N_("A3"),
        PrintPaper.A4: N_("A4"),
        PrintPaper.A5: N_("A5"),
        PrintPaper.LETTER: N_("Letter"),
        PrintPaper.LEGAL: N_("Legal"),
    },
    "confirmation": {
        PrintConfirmation.OFF: N_("Never"),
        PrintConfirmation.ERRORS: N_("If something was not printed"),
        PrintConfirmation.ALWAYS: N_("Always"),
    },
}
FORM: Final = RecordForm(
    template="print_settings.html",
    action="/settings/print",
    screen="printer-email-print",
    names=frozenset(PrintSettings.__dataclass_fields__),
    choices=CHOICES,
    desk=lambda machine: machine.printing.settings,
    switches=frozenset({"bodies"}),
    secrets=frozenset({"password"}),
)


async def show_prints(visit: Visit) -> Response:
    """Show the printer, and what came."""
    return await _page(visit)


async def receive_now(visit: Visit) -> Response:
    """Fetch what is there."""
    await visit.form()
    try:
        report = await visit.machine.retrieval.check(Setting.EMAIL_PRINT)
    except (ValijaError, LoginFailed) as error:
        problem = visit.views.problem(error)
        if problem.trouble is None:
            visit.notice("bad", f"{problem.detail} {problem.cure}".strip())
        return await _page(visit, 409, problem.trouble)
    if report.trouble is None:
        visit.notice("good", message(N_("Messages that came: {count}"), count=len(report.messages)))
    return await _page(visit, trouble=visit.views.raw_trouble(report.trouble))


async def _page(visit: Visit, status: int = 200, trouble: Any = None) -> Response:
    found = await visit.machine.store.jobs.list_jobs(kind=JobKind.PRINT, state=None, limit=SHOWN)
    return await visit.render(
        "print.html",
        status,
        trouble=trouble,
        printer=await _printer(visit),
        prints=await show_jobs(visit.machine, visit.views, [job for job in found if may_see(visit, job)]),
        sees_all=visit.session is not None,
    )


async def _printer(visit: Visit) -> PrinterView:
    printing = visit.machine.printing
    state: PrinterState | None
    try:
        async with asyncio.timeout(ASKED_S):
            state = await printing.printer_state()
    except TimeoutError:
        state = PrinterState(PrinterStateName.UNREACHABLE, accepting=False, trouble="timed_out")
    return printer_view(visit.views, (await printing.settings.load()).target, state)
