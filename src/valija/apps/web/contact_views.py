"""The address book: list, add, change, delete, in and out as files."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import Response

from valija.apps.web.upload_form import demand_files, upload_form
from valija.apps.web.visit import Visit, redirect
from valija.domain.address_book import IMPORT_LIMIT
from valija.domain.errors import InvalidFields, ValijaError
from valija.domain.text import N_, message

BASE: Final = "/contacts"
TITLE: Final = N_("Address book")


async def show_list(visit: Visit) -> Response:
    """Show the address book, and the form for one more."""
    query = visit.request.query_params
    if "saved" in query:
        visit.notice("good", N_("Saved."))
    taken = query.get("taken", "")
    if taken.isascii() and taken.isdigit():
        visit.notice("good", message(N_("Taken from the file: {taken}."), taken=taken[:6]))
    return await _page(visit, {})


async def save(visit: Visit) -> Response:
    """Add a contact, or change one (``was``: its name until now)."""
    form = await visit.form()
    typed = {
        "name": form.get("name", ""),
        "addresses": form.get("addresses", ""),
        "favourite": form.get("favourite") == "on",
    }
    was = form.get("was", "")
    try:
        await visit.machine.contacts.save(was or str(typed["name"]), typed, visit.actor, new=not was)
    except InvalidFields as error:
        return await _page(visit, typed | {"was": was}, 422, error)
    return redirect(f"{BASE}?saved")


async def show_one(visit: Visit) -> Response:
    """Show the form for a contact that is there."""
    contact = await visit.machine.contacts.contact(visit.request.query_params.get("name", ""))
    typed = {
        "was": contact.name,
        "name": contact.name,
        "addresses": ", ".join(contact.addresses),
        "favourite": contact.favourite,
    }
    return await _page(visit, typed)


async def delete(visit: Visit) -> Response:
    """Delete a contact."""
    form = await visit.form()
    await visit.machine.contacts.delete(form.get("was", ""), visit.actor)
    return redirect(f"{BASE}?saved")


async def take_in(visit: Visit) -> Response:
    """Take contacts from a file."""
    try:
        async with upload_form(visit, {}) as form:
            demand_files(form)
            octets = await form.files[0].file.read(4 * IMPORT_LIMIT)
        found = await visit.machine.contacts.take_in(await asyncio.to_thread(_decode, octets), visit.actor)
    except InvalidFields as error:
        problem = visit.views.problem(error).problems[0]
        file = visit.text(N_("The file"))
        visit.notice("bad", f"{file} {problem.problem}.")
        return await _page(visit, {}, 422)
    return redirect(f"{BASE}?taken={len(found.contacts)}")


async def give_out(visit: Visit) -> Response:
    """Give the address book out as a file."""
    form = "vcard" if visit.request.path_params["form"] == "vcf" else "csv"
    text, media_type = await visit.machine.contacts.give_out(form)
    name = "valija.vcf" if form == "vcard" else "valija.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(text, media_type=f"{media_type}; charset=utf-8", headers=headers)


async def _page(visit: Visit, typed: dict[str, Any], status: int = 200, error: ValijaError | None = None) -> Response:
    problem = visit.views.problem(error) if error else None
    return await visit.render(
        "contacts.html",
        status,
        contacts=await visit.machine.contacts.all(),
        typed=typed,
        problems={p.field: p.problem for p in problem.problems} if problem else {},
    )


def _decode(octets: bytes) -> str:
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError:  # what spreadsheets on Windows write
        return octets.decode("cp1252", "replace")
