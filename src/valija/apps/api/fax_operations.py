"""The API's operations on Internet fax."""

from __future__ import annotations

import asyncio
import mimetypes
from dataclasses import fields
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from valija.apps.api import fax_models as models
from valija.apps.api import job_models
from valija.apps.api.calls import JSON_LIMIT, Call
from valija.apps.api.job_operations import job_history, job_number
from valija.apps.api.mail_operations import FILES_LIMIT, about_of, path_of
from valija.apps.machine import Machine
from valija.domain.errors import RequestError, UnknownName
from valija.domain.fax import FaxSettings
from valija.domain.text import N_, message
from valija.services.delivery import File
from valija.services.fax_sending import FaxOrder
from valija.services.job_run import KEPT


async def show_fax_settings(call: Call) -> models.FaxSettingsView:
    return settings_view(await call.machine.fax.settings.load())


async def change_fax_settings(call: Call) -> models.FaxSettingsView:
    body: models.FaxSettingsChanges = await call.body(models.FaxSettingsChanges)
    return settings_view(await call.machine.fax.settings.change(body.changes, actor=call.actor))


def settings_view(settings: FaxSettings) -> models.FaxSettingsView:
    """Show the settings."""
    return models.FaxSettingsView.model_validate({f.name: _shown(getattr(settings, f.name)) for f in fields(settings)})


def _shown(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


async def send_fax(call: Call) -> job_models.JobHistoryView:
    try:
        form_context = call.request.form(max_files=FILES_LIMIT, max_fields=10, max_part_size=JSON_LIMIT)
        async with form_context as form:
            about = about_of(form.get("about"))
            changes = about.get("changes", {})
            if not isinstance(changes, dict):
                raise RequestError(message(N_("The form needs a field about: JSON with to, subject and text.")))
            uploads = [item for item in form.getlist("file") if not isinstance(item, str)]
            files = tuple(File(path_of(u), u.filename or "file", u.content_type or "") for u in uploads)
            order = FaxOrder(files, tuple(about["to"]), about.get("subject", ""), about.get("text", ""), changes)
            job = await call.machine.fax.sender.send(order, call.actor)
    except HTTPException as error:  # what the reader of forms makes of one that is broken
        raise RequestError(message(N_("The form cannot be read: {why}."), why=error.detail)) from None
    return await job_history(call.machine, call.views, job)


async def list_job_files(call: Call) -> list[models.JobFileView]:
    job = await call.machine.jobs.job(job_number(call))
    return await kept_files(call.machine, job.id)


async def kept_files(machine: Machine, number: int) -> list[models.JobFileView]:
    """Show the files that a job keeps."""
    folder = machine.jobs.folder(number) / KEPT
    return [models.JobFileView(name=name, size=size) for name, size in await asyncio.to_thread(_kept, folder)]


async def download_job_file(call: Call) -> Response:
    job = await call.machine.jobs.job(job_number(call))
    return await kept_file(call.machine, job.id, call.request.path_params["name"])


async def kept_file(machine: Machine, number: int, name: str) -> Response:
    """Return a file that a job keeps, to be saved. Raises :class:`UnknownName`."""
    folder = machine.jobs.folder(number) / KEPT
    if name not in {kept for kept, _size in await asyncio.to_thread(_kept, folder)}:
        raise UnknownName(message(N_("Job {number} keeps no file of that name."), number=number))
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return FileResponse(folder / name, media_type=kind, filename=name, headers={"X-Content-Type-Options": "nosniff"})


def _kept(folder: Path) -> list[tuple[str, int]]:
    """Return the files that a job keeps; there is no path in a name that is listed."""
    found = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return sorted((path.name, path.stat().st_size) for path in found)
