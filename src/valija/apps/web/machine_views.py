"""The machine itself: its name, language, time zone, on-screen keyboard."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import Response

from valija.apps.web.screens import ROOT_LABEL
from valija.apps.web.shown import as_shown, only_changed, shown_before
from valija.apps.web.visit import Visit, redirect
from valija.domain.errors import InvalidFields
from valija.domain.text import N_
from valija.services.preferences import time_zones

BASE: Final = "/settings/machine"
TITLE: Final = N_("This machine")


async def show_machine(visit: Visit) -> Response:
    """Show the machine's preferences."""
    if "saved" in visit.request.query_params:
        visit.notice("good", N_("Saved."))
    return await _page(visit, {})


async def change_machine(visit: Visit) -> Response:
    """Store them, all or none."""
    form = await visit.form()
    try:
        await save(visit, form)
    except InvalidFields as error:
        return await _page(visit, form, 422, error)
    return redirect(f"{BASE}?saved")


async def save(visit: Visit, form: dict[str, str]) -> None:
    """Store what was typed. Raises :class:`InvalidFields`."""
    changes: dict[str, Any] = {k: form[k] for k in ("name", "language", "time_zone") if k in form}
    changes["keyboard"] = form.get("keyboard") == "on"
    await visit.machine.preferences.change(only_changed(form, changes), actor=visit.actor)


async def form_values(visit: Visit, typed: dict[str, str], error: InvalidFields | None = None) -> dict[str, Any]:
    """Return what the template's form needs."""
    now = visit.preferences
    problems = visit.views.problem(error).problems if error else []
    zones = await asyncio.to_thread(time_zones)
    return {
        "name": typed.get("name", now.name),
        "language": typed.get("language", now.language),
        "time_zone": typed.get("time_zone", now.time_zone),
        "keyboard": typed.get("keyboard") == "on" if typed else now.keyboard,
        "languages": [("es", "Español"), ("en", "English"), ("", visit.text(N_("As the browser asks")))],
        "time_zones": [("", visit.text(N_("As the system"))), *((z, z.replace("_", " ")) for z in zones)],
        "problems": problems,
        "problem_of": {p.field: p.problem for p in problems},
    }


async def _page(visit: Visit, typed: dict[str, str], status: int = 200, error: InvalidFields | None = None) -> Response:
    crumbs = [(visit.text(ROOT_LABEL), "/settings"), (visit.text(TITLE), BASE)]
    form = await form_values(visit, typed, error)
    shown = {name: form[name] for name in ("name", "language", "time_zone", "keyboard")}
    word = shown_before(typed) if typed else as_shown(shown)
    return await visit.render("machine.html", status, form=form, shown=word, action=BASE, crumbs=crumbs)
