"""E-mail print: how the printer is, what came and how it went; where mail is printed and whose."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from starlette.responses import Response

from valija.apps.api.job_operations import show_jobs
from valija.apps.api.print_models import PrinterView
from valija.apps.api.print_operations import printer_view
from valija.apps.web.job_views import may_see
from valija.apps.web.live import Parts, live, stream_of
from valija.apps.web.record_form import RecordForm
from valija.apps.web.visit import Visit, lamps
from valija.domain.account import Setting
from valija.domain.errors import ValijaError
from valija.domain.job import JobKind
from valija.domain.print_job import Duplex, PrintColour, PrintConfirmation, PrintPaper, PrintSettings
from valija.domain.text import N_, message
from valija.services.events import JobChanged, PrinterChanged, SettingsChanged
from valija.services.login import LoginFailed

SHOWN: Final = 20
ASKED_S: Final = 3.0  # a page does not wait longer for a printer
PARTS: Final = ("lamps", "printer", "jobs")
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


async def watch_prints(visit: Visit) -> Response:
    """Stream the printer, and what came."""
    return live(visit, partial(_parts, visit), JobChanged, PrinterChanged, SettingsChanged)


async def _page(visit: Visit, status: int = 200, trouble: Any = None) -> Response:
    values = await _values(visit, asks=True)
    stream = stream_of("/print/events", _fragments(visit, values))
    return await visit.render("print.html", status, trouble=trouble, stream=stream, **values)


async def _parts(visit: Visit) -> Parts:
    return _fragments(visit, await _values(visit, asks=False))


async def _values(visit: Visit, *, asks: bool) -> dict[str, Any]:
    printer = await _printer(visit, asks=asks)
    found = await visit.machine.store.jobs.list_jobs(kind=JobKind.PRINT, state=None, limit=SHOWN)
    return {
        "printer": printer,
        "prints": await show_jobs(visit.machine, visit.views, [job for job in found if may_see(visit, job)]),
        "sees_all": visit.session is not None,
        "lamps": await lamps(visit),
    }


async def _printer(visit: Visit, *, asks: bool) -> PrinterView:
    """Show the printer as it says that it is; without ``asks`` as is known, so that no open page waits for it."""
    printing = visit.machine.printing
    settings, watch, state = await printing.settings.load(), printing.line.watch, None
    if settings.printer.uri:
        state = await watch.ask(settings.printer, ASKED_S) if asks else watch.known(settings.printer)
    return printer_view(visit.views, settings.target, state)


def _fragments(visit: Visit, values: dict[str, Any]) -> Parts:
    return {
        part: visit.pages.fragment(
            visit.language, "print_live.html", values | {"zone": visit.zone, "part": part}
        ).strip()
        for part in PARTS
    }
