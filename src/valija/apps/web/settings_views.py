"""The tree of settings and its screens: show, change, test."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from valija.apps.api.models import StageView, TokenView
from valija.apps.web.live import digest
from valija.apps.web.provider_views import provider_names
from valija.apps.web.screens import FIRST_START, ROOT_LABEL, SCREENS, Screen, tree
from valija.apps.web.shown import as_shown, only_changed, shown_before
from valija.apps.web.visit import Visit, redirect
from valija.domain.account import Authentication, Setting
from valija.domain.errors import ConfirmationNeeded, InvalidFields, ValijaError
from valija.domain.text import N_
from valija.services.connection_test import StageOutcome

NUMBERS = ("port", "timeout", "check_interval")
TEXTS = ("server", "sender_name", "sender_address", "account")
SHOWN = (*NUMBERS, *TEXTS, "provider", "auth", "tls")


async def show_tree(visit: Visit) -> Response:
    """Show the first level of the settings."""
    items = [
        {"label": " · ".join(visit.text(part) for part in screen.path), "href": screen.base, "screen": screen}
        for screen in SCREENS
    ]
    for item, screen in zip(items, SCREENS, strict=True):
        token = await visit.token(screen.setting)
        item |= {"state": token.state, "state_label": token.state_label}
    others = [
        {"label": visit.text(N_("Guided set-up")), "href": FIRST_START.base, "icon": "onward"},
        {"label": visit.text(N_("Internet fax: sending and receiving")), "href": "/settings/fax", "icon": "fax"},
        {"label": visit.text(N_("E-mail print: printer and senders")), "href": "/settings/print", "icon": "print"},
        {"label": visit.text(N_("Alert and status")), "href": "/settings/alerts", "icon": "warning"},
        {"label": visit.text(N_("This machine")), "href": "/settings/machine", "icon": "server"},
        {"label": visit.text(N_("Devices")), "href": "/devices", "icon": "print"},
        {"label": visit.text(N_("Mail queue")), "href": "/queue", "icon": "mail"},
        {"label": visit.text(N_("Scan to e-mail")), "href": "/settings/scan", "icon": "scan"},
        {"label": visit.text(N_("Address book")), "href": "/contacts", "icon": "user"},
        {"label": visit.text(N_("Providers")), "href": "/settings/providers", "icon": "network"},
        {"label": visit.text(N_("Administrator's password")), "href": "/settings/password", "icon": "lock"},
        {"label": visit.text(N_("Who did what")), "href": "/settings/audit", "icon": "list"},
    ]
    return await visit.render("settings.html", items=items, others=others)


async def show_screen(visit: Visit, screen: Screen) -> Response:
    """Show a screen with its values and its token."""
    if "saved" in visit.request.query_params:
        visit.notice("good", N_("Saved."))
    return await _screen_page(visit, screen, await _values(visit, screen))


async def change_screen(visit: Visit, screen: Screen) -> Response:
    """Store what was typed, all or nothing; ask first if it would delete a token."""
    form = await visit.form_or_pending()
    typed, was = _typed(form, is_pop=screen.setting.is_pop), shown_before(form)
    changes = _changes(form, typed)
    try:
        await visit.machine.settings.change(
            screen.setting, changes, confirm=form.get("confirm") == "yes", actor=visit.actor
        )
    except InvalidFields as error:
        problem = visit.views.problem(error)
        return await _screen_page(visit, screen, typed, 422, problem.problems, was)
    except ConfirmationNeeded as error:
        return await visit.ask_first(error, form, **await screen_values(visit, screen))
    except ValijaError as error:
        visit.notice("bad", error.what)
        return await _screen_page(visit, screen, typed, error.http_status, was=was)
    return redirect(f"{screen.base}?saved")


async def test_screen(visit: Visit, screen: Screen) -> Response:
    """Test the connection, stage by stage; what was typed and not saved stays in the form, and is not tested."""
    form = await visit.form()
    typed, was = _typed(form, is_pop=screen.setting.is_pop), shown_before(form)
    if was and _changes(form, typed):
        visit.notice("bad", N_("The test is made with what is saved: save what you have typed first."))
        return await _screen_page(visit, screen, typed, 409, was=was)
    stages, passed = await run_test(visit, screen.setting)
    values = await screen_values(visit, screen)
    return await visit.render("test.html", stages=stages, passed=passed, **values)


async def run_test(visit: Visit, setting: Setting) -> tuple[list[StageView], bool]:
    """Return the stages of a connection test, and whether it passed."""
    stages, passed = [], True
    async for report in visit.machine.test.run(setting):
        stages.append(visit.views.stage(report))
        passed = passed and report.outcome is not StageOutcome.FAILED
    return stages, passed


def _typed(form: dict[str, str], *, is_pop: bool) -> dict[str, Any]:
    """Return the fields of a screen as they were typed."""
    names = {n for n in (*NUMBERS, *TEXTS) if n in form}
    typed: dict[str, Any] = {name: form[name].strip() for name in names}
    if is_pop:
        typed = {k: v for k, v in typed.items() if k not in ("sender_name", "sender_address")}
    if "provider" in form:
        typed["provider"] = form["provider"]
    if "auth" in form:
        typed["auth"] = form["auth"]
    typed["tls"] = form.get("tls") == "on"
    typed["password"] = form.get("password", "")
    return typed


def _changes(form: dict[str, str], typed: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be stored of it; an empty password stays as it is."""
    return only_changed(form, {k: v for k, v in typed.items() if k != "password" or v})


async def _values(visit: Visit, screen: Screen) -> dict[str, Any]:
    settings = await visit.machine.settings.load(screen.setting)
    return visit.views.setting(screen.setting, settings, await visit.token_report(screen.setting)).fields


async def _screen_page(
    visit: Visit,
    screen: Screen,
    values: dict[str, Any],
    status: int = 200,
    problems: list[Any] | None = None,
    was: str | None = None,
) -> Response:
    shown = {name: value for name, value in values.items() if name in SHOWN}
    providers = await provider_names(visit)
    own = await screen_values(visit, screen)
    return await visit.render(
        "screen.html",
        status,
        values=values,
        shown=as_shown(shown) if was is None else was,
        problems=problems or [],
        problem_of={p.field: p.problem for p in problems or []},
        providers=[("", "—"), *providers],
        authentications=[
            (Authentication.NONE.value, visit.text(N_("None"))),
            (Authentication.PASSWORD.value, visit.text(N_("Password"))),
            (Authentication.OAUTH2.value, "OAuth 2.0"),
        ],
        stream=token_stream(screen, own["token"]),
        **own,
    )


def token_digest(token: TokenView) -> str:
    """Return what stands for a token as a page shows it."""
    return digest({"token": token.model_dump_json()})


def token_stream(screen: Screen, token: TokenView) -> str:
    """Return the address of the stream of a page that shows ``token``: what is another by then is told at once."""
    return f"{screen.base}/events?seen={token_digest(token)}{'&waits=1' if token.authorization else ''}"


async def screen_values(visit: Visit, screen: Screen) -> dict[str, Any]:
    """Return what every page of a screen needs."""
    labels = [visit.text(part) for part in screen.path]
    crumbs = [(visit.text(ROOT_LABEL), "/settings"), *((label, "/settings") for label in labels[:-1])]
    return {
        "screen": screen,
        "base": screen.base,
        "title": labels[-1],
        "crumbs": [*crumbs, (labels[-1], screen.base)],
        "nodes": _translated(visit, tree()),
        "token": await visit.token(screen.setting),
        "is_pop": screen.setting.is_pop,
    }


def _translated(visit: Visit, nodes: Any) -> list[dict[str, Any]]:
    return [n | {"label": visit.text(n["label"]), "nodes": _translated(visit, n["nodes"])} for n in nodes]
