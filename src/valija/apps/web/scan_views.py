"""Scan: the form, one key for the usual recipients, and the machine's own choices."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from valija.apps.api.scan_operations import settings_fields
from valija.apps.web.shown import as_shown, only_changed, shown_before
from valija.apps.web.upload_form import demand_files, status_of, upload_form
from valija.apps.web.visit import Visit, redirect
from valija.domain.errors import InvalidFields, ValijaError
from valija.domain.scan import COLOUR_LABELS, FORMAT_LABELS, SCAN_LABELS, SIZE_LABELS, SOURCE_LABELS
from valija.domain.text import N_
from valija.services.scan_work import ScanFile

CONTACTS_SHOWN: Final = 60
RESOLUTIONS: Final = (100, 150, 200, 300, 400, 600)
SWITCHES: Final = ("duplex", "drop_blank", "review")
CHOSEN: Final = ("format", "colour", "resolution", "source", "subject", "text", "file_name", "size_choice")
SET: Final = (*CHOSEN, "scanner", "bcc", "signature", "size_limit_mb", "ocr_language", "folder", "folder_to")


async def show_scan(visit: Visit) -> Response:
    """Show the form."""
    values = settings_fields(await visit.machine.scan_settings.load())
    return await _scan_page(visit, values | {"to": "", "from": "scanner"}, [])


async def begin(visit: Visit) -> Response:
    """Begin a scan; what was typed is kept if something is wrong."""
    typed: dict[str, Any] = {}
    chosen: list[str] = []
    try:
        async with upload_form(visit, typed, fields=200) as form:
            chosen = form.chosen("contact")
            from_file = typed.get("from") == "file"
            if from_file:
                demand_files(form)
            files = [ScanFile(f.path, f.name) for f in form.files] if from_file else []
            job = await visit.machine.scans.begin(_asked(typed, chosen), visit.actor, files)
    except ValijaError as error:
        return await _scan_page(visit, await _with_defaults(visit, typed), chosen, status_of(error), error)
    return redirect(f"/jobs/{job.id}")


def _asked(typed: dict[str, Any], chosen: list[str]) -> dict[str, Any]:
    written = [part for part in typed.get("to", "").replace(";", ",").replace(" ", ",").split(",") if part]
    asked: dict[str, Any] = {name: typed[name] for name in CHOSEN if name in typed}
    return asked | {name: typed.get(name) == "on" for name in SWITCHES} | {"to": [*chosen, *written]}


async def _with_defaults(visit: Visit, typed: dict[str, Any]) -> dict[str, Any]:
    switches = {name: typed.get(name) == "on" for name in SWITCHES}
    return settings_fields(await visit.machine.scan_settings.load()) | {"to": "", "from": "scanner"} | typed | switches


async def scan_again(visit: Visit) -> Response:
    """Scan with the machine's choices to the usual recipients: one key."""
    await visit.form()
    to = await visit.machine.scans.usual_recipients()
    if not to:
        return redirect("/scan")
    job = await visit.machine.scans.begin({"to": list(to), "review": False}, visit.actor)
    return redirect(f"/jobs/{job.id}")


async def _scan_page(
    visit: Visit, values: dict[str, Any], chosen: list[str], status: int = 200, error: ValijaError | None = None
) -> Response:
    problem = visit.views.problem(error) if error else None
    if isinstance(error, InvalidFields):
        visit.notice("bad", N_("Nothing was scanned: what is wrong is said below."))
    elif problem:
        visit.notice("bad", f"{problem.detail} {problem.cure}".strip())
    contacts = (await visit.machine.contacts.all())[:CONTACTS_SHOWN]
    return await visit.render(
        "scan.html",
        status,
        values=values,
        chosen=chosen,
        contacts=contacts,
        problems={p.field: p.problem for p in problem.problems} if problem else {},
        **_options(visit),
    )


def _options(visit: Visit) -> dict[str, Any]:
    def words(labels: Any) -> list[tuple[str, str]]:
        return [(value.value, visit.text(label)) for value, label in labels.items()]

    return {
        "formats": words(FORMAT_LABELS),
        "colours": words(COLOUR_LABELS),
        "sources": words(SOURCE_LABELS),
        "sizes": words(SIZE_LABELS),
        "resolutions": [(str(dpi), f"{dpi} dpi") for dpi in RESOLUTIONS],
        "labels": {name: visit.text(label) for name, label in SCAN_LABELS.items()},
    }


# --- the machine's own choices --------------------------------------------------------------------------------------------


async def show_settings(visit: Visit) -> Response:
    """Show them."""
    if "saved" in visit.request.query_params:
        visit.notice("good", N_("Saved."))
    values = settings_fields(await visit.machine.scan_settings.load())
    return await _settings_page(visit, values | {k: ", ".join(values[k]) for k in ("bcc", "folder_to")})


async def change_settings(visit: Visit) -> Response:
    """Store what was typed, all or nothing."""
    form = await visit.form()
    typed: dict[str, Any] = {name: form[name] for name in SET if name in form}
    typed |= {name: form.get(name) == "on" for name in SWITCHES}
    try:
        await visit.machine.scan_settings.change(only_changed(form, typed), actor=visit.actor)
    except InvalidFields as error:
        return await _settings_page(visit, typed, 422, visit.views.problem(error).problems, shown_before(form))
    return redirect("/settings/scan?saved")


async def _settings_page(
    visit: Visit, values: dict[str, Any], status: int = 200, problems: Any = (), was: str | None = None
) -> Response:
    stored = settings_fields(await visit.machine.scan_settings.load())
    shown = {name: value for name, value in (stored | values).items() if name in (*SET, *SWITCHES)}
    return await visit.render(
        "scan_settings.html",
        status,
        values=stored | values,
        shown=as_shown(shown) if was is None else was,
        problems=problems,
        problem_of={p.field: p.problem for p in problems},
        **_options(visit),
    )
