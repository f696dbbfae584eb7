"""Jobs: the list, and one with its pages, its progress and its history, as it goes.

Who stands at the panel without having logged in sees what was begun there, and nothing else: titles and addresses of others
are nobody's business.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from starlette.responses import FileResponse, Response

from valija.apps.api.fax_operations import kept_file, kept_files
from valija.apps.api.job_operations import job_history, picture_of, show_jobs
from valija.apps.web.live import Parts, live, stream_of
from valija.apps.web.visit import Visit, lamps, redirect
from valija.domain.administrator import PANEL
from valija.domain.errors import UnknownName
from valija.domain.job import Awaited, Awaiting, JobKind, is_final
from valija.domain.text import N_, message
from valija.services.events import JobChanged
from valija.store.jobs_port import StoredJob

BASE: Final = "/jobs"
TITLE: Final = N_("Jobs")
SHOWN: Final = 30
SEARCHED: Final = 300  # of all, for those that were begun at the panel
NUMBER_DIGITS: Final = 9
ACTIONS: Final = ("left", "right", "up", "down", "delete")
LIST_PARTS: Final = ("lamps", "jobs")
JOB_PARTS: Final = ("lamps", "job")
# what the record calls people and places, as people call them
WHO_WORDS: Final = {
    "administrator": N_("administrator"),
    "visitor": N_("visitor"),
    "valija": N_("the machine itself"),
    "panel": N_("panel"),
    "web": N_("web page"),
    "cli": N_("command line"),
    "folder": N_("Folder to watch"),
}


async def show_list(visit: Visit) -> Response:
    """Show the latest jobs."""
    values = await _list_values(visit)
    stream = stream_of(f"{BASE}/events", _fragments(visit, values, *LIST_PARTS))
    return await visit.render("jobs.html", crumbs=crumbs(visit), stream=stream, **values)


async def watch_list(visit: Visit) -> Response:
    """Stream the list."""
    return live(visit, partial(_list_parts, visit), JobChanged)


async def _list_values(visit: Visit) -> dict[str, Any]:
    limit = SHOWN if visit.session else SEARCHED
    found = await visit.machine.store.jobs.list_jobs(kind=None, state=None, limit=limit)
    shown = [job for job in found if may_see(visit, job)][:SHOWN]
    return {
        "jobs": await show_jobs(visit.machine, visit.views, shown),
        "sees_all": visit.session is not None,
        "lamps": await lamps(visit),
    }


async def _list_parts(visit: Visit) -> Parts:
    return _fragments(visit, await _list_values(visit), *LIST_PARTS)


async def show_one(visit: Visit) -> Response:
    """Show a job."""
    number = job_number(visit)
    values = await _values(visit, number)
    stream = "" if values["ended"] else stream_of(f"{BASE}/{number}/events", _fragments(visit, values, *JOB_PARTS))
    return await visit.render("job.html", crumbs=crumbs(visit, values["job"].title), stream=stream, **values)


async def watch_one(visit: Visit) -> Response:
    """Stream a job."""
    number = (await _job(visit)).id
    return live(visit, partial(_parts, visit, number), JobChanged)


async def _parts(visit: Visit, number: int) -> Parts:
    return _fragments(visit, await _values(visit, number), *JOB_PARTS)


async def _values(visit: Visit, number: int) -> dict[str, Any]:
    job = await _job(visit)
    looks = isinstance(job.state, Awaiting) and job.state.what is Awaited.PERSON
    pages = (await visit.machine.scans.pages(number))[1].pages if job.card.kind is JobKind.SCAN and looks else ()
    return {
        "job": await job_history(visit.machine, visit.views, job),
        "pages": pages,
        "looks": looks,
        "ended": is_final(job.state),
        "files": []
        if visit.face.at_machine
        else await kept_files(visit.machine, number),  # a panel has no place for them
        "base": f"{BASE}/{number}",
        "who": {word: visit.text(text) for word, text in WHO_WORDS.items()},
        "lamps": await lamps(visit),
    }


async def picture(visit: Visit) -> Response:
    """Show the picture of a job's first page."""
    return await picture_of(visit.machine, (await _job(visit)).id)


async def file(visit: Visit) -> Response:
    """Give out a file that a job keeps, to be saved."""
    return await kept_file(visit.machine, (await _job(visit)).id, visit.request.path_params["name"])


async def page_picture(visit: Visit) -> Response:
    """Show the small picture of a page; its address changes when the page is turned."""
    page = visit.request.path_params["page"]
    path = await visit.machine.scans.picture(
        (await _job(visit)).id, int(page) if page.isascii() and page.isdigit() else 0
    )
    return FileResponse(path, media_type="image/png", headers={"Cache-Control": "private, max-age=600"})


async def change_page(visit: Visit) -> Response:
    """Turn, move or delete a page."""
    form = await visit.form()
    number, wanted = (await _job(visit)).id, form.get("page", "")
    found = (await visit.machine.scans.pages(number))[1]
    order = [page.number for page in found.pages]
    page = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < NUMBER_DIGITS else 0
    action = form.get("action", "")
    if page not in order or action not in ACTIONS:
        raise UnknownName(message(N_("There is no such page.")))
    place = order.index(page)
    order.remove(page)
    if action != "delete":
        moved = {"up": place - 1, "down": place + 1}.get(action, place)
        order.insert(max(moved, 0), page)
    turns = {page: {"left": 270, "right": 90}[action]} if action in ("left", "right") else {}
    await visit.machine.scans.change_pages(number, order, turns)
    return redirect(f"{BASE}/{number}#pages")


async def send(visit: Visit) -> Response:
    """Send the pages that were looked at."""
    await visit.form()
    number = (await _job(visit)).id
    await visit.machine.scans.send(number)
    return redirect(f"{BASE}/{number}")


async def ask_cancel(visit: Visit) -> Response:
    """Ask whether a job should be cancelled."""
    number = job_number(visit)
    values = await _values(visit, number)
    return await visit.render("cancel_job.html", crumbs=crumbs(visit, values["job"].title), **values)


async def cancel(visit: Visit) -> Response:
    """Cancel a job."""
    await visit.form()
    number = (await _job(visit)).id
    await visit.machine.jobs.cancel(number, visit.actor)
    return redirect(f"{BASE}/{number}")


async def _job(visit: Visit) -> StoredJob:
    """Return the job in the path, if the visitor may see it. Raises :class:`UnknownName`."""
    job = await visit.machine.jobs.job(job_number(visit))
    if not may_see(visit, job):
        raise UnknownName(message(N_("There is no job {number}."), number=job.id))
    return job


def may_see(visit: Visit, job: StoredJob) -> bool:
    """Tell whether a job is the visitor's business."""
    return visit.session is not None or job.card.where == PANEL


def _fragments(visit: Visit, values: dict[str, Any], *names: str) -> Parts:
    common = {"zone": visit.zone, "csrf_token": visit.csrf, "at_machine": visit.face.at_machine}
    return {
        name: visit.pages.fragment(visit.language, "job_live.html", common | values | {"part": name}).strip()
        for name in names
    }


def job_number(visit: Visit) -> int:
    """Return the job's number in the path. Raises :class:`UnknownName`."""
    text = str(visit.request.path_params["id"])
    if not (text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS):
        raise UnknownName(message(N_("There is no job {number}."), number=text[:20]))
    return int(text)


def crumbs(visit: Visit, *last: str) -> list[tuple[str, str]]:
    """Return the way to a page of jobs."""
    return [(visit.text(N_("Home")), "/"), (visit.text(TITLE), BASE), *((text, "") for text in last)]
