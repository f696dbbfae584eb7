"""A form with files, read in one way for every page that has one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from valija.apps.api.mail_operations import path_of
from valija.apps.web.visit import Visit, demand_utf8
from valija.domain.errors import RequestError
from valija.domain.text import N_, message

FILES_LIMIT: Final = 100
VALUE_LIMIT: Final = 65_536  # octets


class UnreadableForm(RequestError):
    """What was sent is no form, or too large a one: nothing of it is known."""


class Upload(NamedTuple):
    """A file that was sent: where its octets are until the form is closed, what it is called and said to be."""

    path: Path
    name: str
    media_type: str
    file: UploadFile


class UploadForm(NamedTuple):
    """What was sent; ``chosen`` gives all values of a field that may have several."""

    files: list[Upload]
    chosen: Callable[[str], list[str]]


@asynccontextmanager
async def upload_form(visit: Visit, typed: dict[str, Any], *, fields: int = 20) -> AsyncIterator[UploadForm]:
    """Read a form, what was typed into ``typed``: it is there whatever is refused afterwards.

    Raises :class:`UnreadableForm`; :class:`RequestError`: it is not one of ours.
    """
    demand_utf8(visit)
    if not visit.request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise _unreadable("multipart/form-data")
    try:
        form = await visit.request.form(max_files=FILES_LIMIT, max_fields=fields, max_part_size=VALUE_LIMIT)
    except HTTPException as error:
        raise _unreadable(error.detail) from None
    try:
        typed |= {name: value for name, value in form.items() if isinstance(value, str)}
        visit.check_csrf(typed.get("csrf", ""))
        files = [await _upload(u) for u in form.getlist("file") if not isinstance(u, str) and u.filename]
        yield UploadForm(files, lambda field: [value for value in form.getlist(field) if isinstance(value, str)])
    finally:
        await form.close()


def demand_files(form: UploadForm) -> None:
    """Raise :class:`RequestError` where no file was chosen."""
    if not form.files:
        raise RequestError(message(N_("Choose a file.")))


async def _upload(upload: UploadFile) -> Upload:
    path = await asyncio.to_thread(path_of, upload)
    return Upload(path, upload.filename or "file", upload.content_type or "", upload)


def status_of(error: Exception) -> int:
    """Return the status of the page that says why a form was refused."""
    return 400 if isinstance(error, UnreadableForm) else 422


def _unreadable(why: str) -> UnreadableForm:
    return UnreadableForm(message(N_("The form cannot be read: {why}."), why=why))
