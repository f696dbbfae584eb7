"""Home, language, the state of the machine, sending a file."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from valija.apps.language import LANGUAGES
from valija.apps.web.live import stream_of
from valija.apps.web.queue_views import HALF_DAY, home_parts, home_values, mail_now
from valija.apps.web.screens import FIRST_START
from valija.apps.web.upload_form import demand_files, status_of, upload_form
from valija.apps.web.visit import LANGUAGE_COOKIE, Visit, lamps, redirect
from valija.domain.account import SETTING_LABELS, Setting
from valija.domain.errors import InvalidFields, ValijaError
from valija.domain.record import AUDIT_WORDS
from valija.services.delivery import File
from valija.services.login import LoginFailed

AUDIT_SHOWN: Final = 100


async def home(visit: Visit) -> Response:
    """Show what a person wants."""
    is_set = await visit.administrator.is_set()
    new = not is_set or not (visit.preferences.is_set_up or (await lamps(visit))["send"]["ok"])
    begin = FIRST_START.base if is_set else f"/login?next={FIRST_START.base}"
    sees = visit.face.at_machine or visit.session is not None
    now = await home_values(visit) if sees else None
    usual = await visit.machine.scans.usual_recipients() if sees else ()
    return await visit.render(
        "home.html",
        first_start=new,
        begin=begin,
        mail=now,
        usual=usual,
        lamps=now and now["lamps"],
        stream=stream_of("/events", home_parts(visit, now)) if now else "",
    )


async def set_language(visit: Visit) -> Response:
    """Change the language of this browser, and stay where one was."""
    form = await visit.form()
    here = form.get("here", "/")
    response = redirect(here if here.startswith("/") and not here.startswith(("//", "/\\")) else "/")
    if form.get("language") in LANGUAGES:
        visit.set_cookie(response, LANGUAGE_COOKIE, form["language"], lasting=True)
    return response


async def status(visit: Visit) -> Response:
    """Show whether the machine can send and receive, since when, and why not."""
    tokens = [await visit.token(setting) for setting in Setting]
    settings = {s.value: await visit.machine.settings.load(s) for s in Setting}
    names = {s.value: visit.text(SETTING_LABELS[s]) for s in Setting}
    mail = await mail_now(visit, HALF_DAY)
    return await visit.render(
        "status.html", tokens=tokens, settings=settings, names=names, mail=mail, started_at=visit.machine.started_at
    )


async def audit(visit: Visit) -> Response:
    """Show who did what."""
    records = [visit.views.audit(record) for record in await visit.machine.store.list_audit(AUDIT_SHOWN, None)]
    words = {word: visit.text(label) for word, label in AUDIT_WORDS.items()}
    return await visit.render("audit.html", records=records, words=words)


async def show_send(visit: Visit) -> Response:
    """Show the form for a file."""
    return await _send_page(visit, {})


async def send(visit: Visit) -> Response:
    """Send files to an address; what was typed is kept if something is wrong."""
    typed: dict[str, str] = {}
    try:
        async with upload_form(visit, typed) as form:
            demand_files(form)
            files = [File(f.path, f.name, f.media_type or "application/octet-stream") for f in form.files]
            recipients = [a for a in typed.get("to", "").replace(";", ",").replace(",", " ").split() if a]
            report = await visit.machine.delivery.send(
                recipients, typed.get("subject", ""), typed.get("text", ""), files
            )
    except (ValijaError, LoginFailed) as error:
        return await _send_page(visit, typed, status_of(error), error)
    outcomes = [visit.views.delivered(outcome) for outcome in report.outcomes]
    return await visit.render("sent.html", outcomes=outcomes)


async def _send_page(
    visit: Visit, typed: dict[str, str], status_code: int = 200, error: ValijaError | LoginFailed | None = None
) -> Response:
    problem = visit.views.problem(error) if error else None
    trouble = problem.trouble if problem else None
    by_field: dict[str, Any] = {p.field: p.problem for p in problem.problems} if problem else {}
    if problem and not isinstance(error, InvalidFields) and trouble is None:
        visit.notice("bad", f"{problem.detail} {problem.cure}".strip())
    return await visit.render("send.html", status_code, typed=typed, problems=by_field, trouble=trouble)
