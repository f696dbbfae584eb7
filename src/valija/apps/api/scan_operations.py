"""The API's operations on scans and on the address book."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from typing import Any, Final, cast

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from valija.apps.api import scan_models as models
from valija.apps.api.calls import JSON_LIMIT, Call
from valija.apps.api.job_models import JobHistoryView
from valija.apps.api.job_operations import job_history, job_number
from valija.apps.api.mail_operations import FILES_LIMIT, about_of, path_of
from valija.apps.api.models import Deleted
from valija.domain.address_book import Contact
from valija.domain.errors import RequestError
from valija.domain.scan import ScanSettings
from valija.domain.text import N_, message
from valija.services.scan_pages import PageList
from valija.services.scan_work import ScanFile

FORMS: Final = ("csv", "vcard")


async def list_scanners(call: Call) -> list[models.ScannerView]:
    return [models.ScannerView(name=s.name, label=s.label) for s in await call.machine.scans.scanners()]


async def begin_scan(call: Call) -> JobHistoryView:
    body: models.NewScan = await call.body(models.NewScan)
    job = await call.machine.scans.begin({"review": False, **body.asked}, call.actor)
    return await job_history(call.machine, call.views, job)


async def send_files(call: Call) -> JobHistoryView:
    try:
        async with call.request.form(max_files=FILES_LIMIT, max_fields=10, max_part_size=JSON_LIMIT) as form:
            about = about_of(form.get("about"))
            files = [
                ScanFile(path_of(item), item.filename or "file")
                for item in form.getlist("file")
                if not isinstance(item, str)
            ]
            if not files:
                raise RequestError(message(N_("Choose a file.")))
            job = await call.machine.scans.begin({"review": False, **about}, call.actor, files)
    except HTTPException as error:  # what the reader of forms makes of one that is broken
        raise RequestError(message(N_("The form cannot be read: {why}."), why=error.detail)) from None
    return await job_history(call.machine, call.views, job)


async def list_pages(call: Call) -> list[models.ScanPageView]:
    _job, found = await call.machine.scans.pages(job_number(call))
    return _pages(found)


async def change_pages(call: Call) -> list[models.ScanPageView]:
    body: models.ScanPages = await call.body(models.ScanPages)
    turns = {turn.number: turn.degrees for turn in body.turns}
    return _pages(await call.machine.scans.change_pages(job_number(call), body.order, turns))


async def show_page(call: Call) -> Response:
    path = await call.machine.scans.picture(job_number(call), call.number("page"))
    return FileResponse(path, media_type="image/png", headers={"Cache-Control": "no-store"})


async def send_scan(call: Call) -> JobHistoryView:
    job = await call.machine.scans.send(job_number(call))
    return await job_history(call.machine, call.views, job)


def _pages(found: PageList) -> list[models.ScanPageView]:
    return [
        models.ScanPageView(number=p.number, width=p.width, height=p.height, octets=p.octets, turned=p.turned)
        for p in found.pages
    ]


async def show_settings(call: Call) -> models.ScanSettingsView:
    return models.ScanSettingsView(fields=settings_fields(await call.machine.scan_settings.load()))


async def change_settings(call: Call) -> models.ScanSettingsView:
    body: models.ScanSettingsChanges = await call.body(models.ScanSettingsChanges)
    changed = await call.machine.scan_settings.change(body.changes, actor=call.actor)
    return models.ScanSettingsView(fields=settings_fields(changed))


def settings_fields(settings: ScanSettings) -> dict[str, Any]:
    """Return settings as JSON's values."""
    return {
        name: value.value if isinstance(value, Enum) else list(value) if isinstance(value, tuple) else value
        for name, value in asdict(settings).items()
    }


# --- the address book -----------------------------------------------------------------------------------------------------


async def list_contacts(call: Call) -> list[models.ContactView]:
    return [_contact(contact) for contact in await call.machine.contacts.all()]


async def save_contact(call: Call) -> models.ContactView:
    body: models.ContactChanges = await call.body(models.ContactChanges)
    changes: dict[str, Any] = {}
    if body.addresses is not None:
        changes["addresses"] = body.addresses
    if body.favourite is not None:
        changes["favourite"] = body.favourite
    if body.rename is not None:
        changes["name"] = body.rename
    return _contact(await call.machine.contacts.save(body.name, changes, call.actor))


async def delete_contact(call: Call) -> Deleted:
    body: models.ContactNamed = await call.body(models.ContactNamed)
    await call.machine.contacts.delete(body.name, call.actor)
    return Deleted()


async def take_in_contacts(call: Call) -> models.ContactsTakenIn:
    body: models.ContactFile = await call.body(models.ContactFile)
    found = await call.machine.contacts.take_in(body.text, call.actor)
    return models.ContactsTakenIn(taken=len(found.contacts), left_out=found.left_out)


async def give_out_contacts(call: Call) -> models.ContactsGivenOut:
    form = call.choice("form") or FORMS[0]
    text, _media_type = await call.machine.contacts.give_out(form)
    return models.ContactsGivenOut(form=cast(Any, form), text=text)


def _contact(contact: Contact) -> models.ContactView:
    return models.ContactView(name=contact.name, addresses=list(contact.addresses), favourite=contact.favourite)
