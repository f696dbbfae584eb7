"""The guided path of the first start: Initial Installation Settings → Network Quick Settings, one step a page.

Nothing is noted of how far somebody came: which step is due follows from what is set. Only its end is noted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.responses import Response

from valija.apps.web import machine_views, provider_views
from valija.apps.web.screens import FIRST_START, ROOT_LABEL
from valija.apps.web.settings_views import run_test, screen_values, token_stream
from valija.apps.web.visit import Visit, redirect
from valija.domain.account import Authentication, Setting
from valija.domain.errors import ConfirmationNeeded, InvalidFields, ValijaError
from valija.domain.preferences import Preferences
from valija.domain.settings import SmtpSettings
from valija.domain.text import N_, message
from valija.services.login import LoginFailed
from valija.services.providers import KINDS

STEPS: Final = ("password", "machine", "provider", "smtp", "token", "test", "mail")
TITLES: Final = {
    "machine": N_("This machine"),
    "provider": N_("Provider"),
    "smtp": N_("SMTP"),
    "token": N_("Token"),
    "test": N_("Connection test"),
    "mail": N_("First mail"),
}
SMTP_FIELDS: Final = ("provider", "server", "port", "sender_name", "sender_address", "account")
Typed = dict[str, str]


async def show_due(visit: Visit) -> Response:
    """Go to the step that is due."""
    return redirect(_address(await _due(visit)))


async def _due(visit: Visit) -> str:
    settings = await visit.machine.settings.load(Setting.SMTP)
    if visit.preferences == Preferences():
        return "machine"
    if not settings.server or not settings.provider:
        return "provider"
    token = await visit.token(Setting.SMTP)
    return "test" if token.state == "retrieved" else "token"


async def show_step(visit: Visit) -> Response:
    """Show a step."""
    step = str(visit.request.path_params["step"])
    return await _page(visit, step, {}) if step in TITLES else redirect(FIRST_START.base)


async def take_step(visit: Visit) -> Response:
    """Take what was typed at a step; go to the next one."""
    step = str(visit.request.path_params["step"])
    taker = TAKERS.get(step)
    if taker is None:
        return redirect(FIRST_START.base)
    form = await visit.form_or_pending()
    try:
        return await taker(visit, form)
    except InvalidFields as error:
        return await _page(visit, step, form, 422, error)
    except ConfirmationNeeded as error:
        values = {"title": visit.text(TITLES[step]), "crumbs": _crumbs(visit, step), "base": _address(step)}
        return await visit.ask_first(error, form, **values)


async def _take_machine(visit: Visit, form: Typed) -> Response:
    await machine_views.save(visit, form)
    return redirect(_address("provider"))


async def _take_provider(visit: Visit, form: Typed) -> Response:
    if form.get("kind") not in KINDS:
        return redirect(_address("provider"))
    name = form.get("name", "").strip()
    problem = await provider_views.taken(visit, name)
    if problem is not None:
        raise problem
    await provider_views.save(visit, name, form)
    return redirect(f"{_address('smtp')}?provider={name}")


async def _take_smtp(visit: Visit, form: Typed) -> Response:
    changes: dict[str, Any] = {name: form[name].strip() for name in SMTP_FIELDS if name in form}
    changes["account"] = changes.get("account") or changes.get("sender_address", "")
    changes |= {"auth": Authentication.OAUTH2.value, "tls": True}
    await visit.machine.settings.change(Setting.SMTP, changes, confirm=form.get("confirm") == "yes", actor=visit.actor)
    return redirect(_address("token"))


async def _take_test(visit: Visit, _form: Typed) -> Response:
    stages, passed = await run_test(visit, Setting.SMTP)
    return await _page(visit, "test", {}, stages=stages, passed=passed)


async def _take_mail(visit: Visit, form: Typed) -> Response:
    name = visit.preferences.name
    subject = visit.text(message(N_("{machine} can send"), machine=name))
    text = visit.text(N_("This is the first mail of this machine. Scans come the same way."))
    recipient = form.get("to", "").strip()
    try:
        report = await visit.machine.delivery.send([recipient] if recipient else [], subject, text, [])
    except InvalidFields:
        raise
    except (ValijaError, LoginFailed) as error:
        problem = visit.views.problem(error)
        if problem.trouble is None:
            visit.notice("bad", f"{problem.detail} {problem.cure}".strip())
        return await _page(visit, "mail", form, 422, trouble=problem.trouble)
    outcomes = [visit.views.delivered(outcome) for outcome in report.outcomes]
    return await _page(visit, "mail", form, outcomes=outcomes)


async def _take_end(visit: Visit, _form: Typed) -> Response:
    await visit.machine.preferences.change({"is_set_up": True}, actor=visit.actor)
    return redirect("/")


TAKERS: Final[dict[str, Callable[[Visit, Typed], Awaitable[Response]]]] = {
    "machine": _take_machine,
    "provider": _take_provider,
    "smtp": _take_smtp,
    "test": _take_test,
    "mail": _take_mail,
    "end": _take_end,
}


# --- what each step shows -------------------------------------------------------------------------------------------------


async def _page(
    visit: Visit, step: str, typed: Typed, status: int = 200, error: InvalidFields | None = None, **more: Any
) -> Response:
    number = STEPS.index(step)
    values = await SHOWN[step](visit, typed, error) | more
    return await visit.render(
        "first_start.html",
        status,
        step=step,
        at=number + 1,
        of=len(STEPS),
        step_title=visit.text(TITLES[step]),
        before=_address(STEPS[number - 1]) if number > 1 else "/settings",
        after=_address(STEPS[number + 1]) if number + 1 < len(STEPS) else "",
        action=_address(step),
        end=_address("end"),
        crumbs=_crumbs(visit, step),
        **values,
    )


async def _machine(visit: Visit, typed: Typed, error: InvalidFields | None) -> dict[str, Any]:
    form = await machine_views.form_values(visit, typed, error)
    return {"form": form | {"language": form["language"] or visit.language}}


async def _provider(visit: Visit, typed: Typed, error: InvalidFields | None) -> dict[str, Any]:
    kind = typed.get("kind") or visit.request.query_params.get("kind", "")
    there = await provider_views.provider_names(visit)
    if kind not in KINDS:
        return {"there": there, "kinds": provider_views.kinds(visit), "form": None}
    name = typed["name"] if "name" in typed else await provider_views.free_name(visit, kind)
    form = await provider_views.form_values(visit, name, kind, typed, error, new=True)
    return {"there": there, "kinds": (), "form": form}


async def _smtp(visit: Visit, typed: Typed, error: InvalidFields | None) -> dict[str, Any]:
    settings = await visit.machine.settings.load(Setting.SMTP)
    if not isinstance(settings, SmtpSettings):
        raise TypeError("the SMTP setting is of another kind")
    values: dict[str, Any] = {name: getattr(settings, name) for name in SMTP_FIELDS}
    names = await provider_views.provider_names(visit)
    chosen = visit.request.query_params.get("provider", "") or values["provider"] or (names[0][0] if names else "")
    if chosen in dict(names) and chosen != values["provider"]:
        values["provider"] = chosen
        profile = await visit.machine.providers.profile(chosen)
        if profile is not None and profile.smtp is not None:
            values |= {"server": profile.smtp.host, "port": profile.smtp.port}
    problems = visit.views.problem(error).problems if error else []
    return {
        "values": values | {k: v for k, v in typed.items() if k in SMTP_FIELDS},
        "providers": names,
        "problems": problems,
        "problem_of": {p.field: p.problem for p in problems},
    }


async def _token(visit: Visit, _typed: Typed, _error: InvalidFields | None) -> dict[str, Any]:
    own = await screen_values(visit, FIRST_START)
    return {"token": own["token"], "base": FIRST_START.base, "stream": token_stream(FIRST_START, own["token"])}


async def _test(_visit: Visit, _typed: Typed, _error: InvalidFields | None) -> dict[str, Any]:
    return {"stages": None, "passed": False}


async def _mail(visit: Visit, typed: Typed, error: InvalidFields | None) -> dict[str, Any]:
    settings = await visit.machine.settings.load(Setting.SMTP)
    to = typed.get("to", getattr(settings, "sender_address", ""))
    problems = visit.views.problem(error).problems if error else []
    return {"to": to, "problem": next((p.problem for p in problems), ""), "outcomes": (), "trouble": None}


SHOWN: Final[dict[str, Callable[[Visit, Typed, InvalidFields | None], Awaitable[dict[str, Any]]]]] = {
    "machine": _machine,
    "provider": _provider,
    "smtp": _smtp,
    "token": _token,
    "test": _test,
    "mail": _mail,
}


def _address(step: str) -> str:
    return "/login?next=/settings/first-start" if step == "password" else f"{FIRST_START.base}/step/{step}"


def _crumbs(visit: Visit, step: str) -> list[tuple[str, str]]:
    labels = [visit.text(ROOT_LABEL), *(visit.text(part) for part in FIRST_START.path)]
    return [
        (labels[0], "/settings"),
        (labels[1], "/settings"),
        (labels[2], FIRST_START.base),
        (visit.text(TITLES[step]), ""),
    ]
