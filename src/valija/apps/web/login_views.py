"""The administrator's door: first password, log-in, lock, a new password."""

from __future__ import annotations

import re
from typing import Final

from starlette.responses import Response

from valija.apps.web.screens import FIRST_START
from valija.apps.web.visit import SESSION_COOKIE, Visit, redirect
from valija.domain.errors import InvalidFields, RequestError
from valija.domain.text import N_, message
from valija.secret import Secret
from valija.services.administrator import Locked, LoggedIn, PasswordChanged, WrongPassword


async def show_login(visit: Visit) -> Response:
    """Ask for the password; where none is set yet, for the first one."""
    return await _page(visit, _next_of(visit))


async def log_in(visit: Visit) -> Response:
    """Check the password."""
    form = await visit.form()
    target = _safe(form.get("next", ""))
    if not await visit.administrator.is_set():
        return await _first(visit, form, target)
    found = await visit.administrator.log_in(Secret(form.get("password", "")), visit.face.name, visit.actor)
    if isinstance(found, LoggedIn):
        response = redirect(target)
        visit.set_cookie(response, SESSION_COOKIE, found.session_token.reveal())
        return response
    return await _page(visit, target, 403, found)


async def _first(visit: Visit, form: dict[str, str], target: str) -> Response:
    """Set the first password: only at the machine."""
    new = form.get("password", "")
    problem = ""
    if visit.face.at_machine and new != form.get("again", ""):
        problem = visit.text(N_("The two passwords differ."))
    else:
        try:
            await visit.administrator.set_first_password(Secret(new), visit.actor)
        except InvalidFields as error:
            problem = visit.text(error.problems[0].problem)
        except RequestError as error:
            problem = visit.text(error.what)
    if problem:
        return await _page(visit, target, 422, problem=problem)
    found = await visit.administrator.log_in(Secret(new), visit.face.name, visit.actor)
    response = redirect(target)
    if isinstance(found, LoggedIn):
        visit.set_cookie(response, SESSION_COOKIE, found.session_token.reveal())
    return response


async def log_out(visit: Visit) -> Response:
    """End the session."""
    await visit.form()
    await visit.administrator.log_out(visit.request.cookies.get(visit.face.cookie(SESSION_COOKIE), ""))
    response = redirect("/")
    visit.drop_cookie(response, SESSION_COOKIE)
    return response


async def lift(visit: Visit) -> Response:
    """Lift the lock, at the machine: whoever stands there may try again."""
    await visit.form()
    await visit.administrator.lift_lockout(visit.actor)
    return redirect("/login")


async def show_password(visit: Visit) -> Response:
    """Show the form for a new password."""
    return await visit.render("password.html", problems={})


async def change_password(visit: Visit) -> Response:
    """Change the password."""
    form = await visit.form()
    problems: dict[str, str] = {}
    if form.get("new", "") != form.get("again", ""):
        problems["again"] = visit.text(N_("The two passwords differ."))
    else:
        token = visit.request.cookies.get(visit.face.cookie(SESSION_COOKIE), "")
        old, new = Secret(form.get("old", "")), Secret(form.get("new", ""))
        try:
            found = await visit.administrator.change_password(old, new, visit.actor, token)
        except InvalidFields as error:
            problems["new"] = visit.text(error.problems[0].problem)
        else:
            if isinstance(found, PasswordChanged):
                visit.notice("good", N_("The password was changed. All other sessions have ended."))
            else:
                problems["old"] = _why(visit, found)
    return await visit.render("password.html", 422 if problems else 200, problems=problems)


async def _page(
    visit: Visit, target: str, status: int = 200, found: WrongPassword | Locked | None = None, problem: str = ""
) -> Response:
    if found is not None:
        problem = _why(visit, found)
    return await visit.render(
        "login.html",
        status,
        target=target,
        first_path=target.startswith(FIRST_START.base),
        problem=problem,
        locked=isinstance(found, Locked),
        is_set=await visit.administrator.is_set(),
    )


def _why(visit: Visit, found: WrongPassword | Locked) -> str:
    if isinstance(found, Locked):
        until = f"{found.until.astimezone(visit.zone):%H:%M:%S}"
        return visit.text(message(N_("Too many wrong passwords. None is looked at before {time}."), time=until))
    return visit.text(message(N_("The password is wrong. Tries left: {left}."), left=found.left))


def _next_of(visit: Visit) -> str:
    return _safe(visit.request.query_params.get("next", ""))


def _safe(target: str) -> str:
    """Return where to go after the log-in: a page of ours."""
    return target if _OURS.match(target) and "\\" not in target else "/settings"


_OURS: Final = re.compile(r"/(?:settings|queue|devices|new-device|status|send|contacts|jobs|scan|fax|print)(?=[/?]|$)")
