"""A face as an ASGI application: the table of its pages, and who may see them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, cast

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from valija.apps.machine import Machine
from valija.apps.web import (
    alert_views,
    contact_views,
    device_test_views,
    device_views,
    fax_views,
    first_start_views,
    home_views,
    job_views,
    login_views,
    machine_views,
    print_views,
    provider_views,
    queue_views,
    scan_views,
    settings_views,
    token_views,
)
from valija.apps.web.launch import COOKIE
from valija.apps.web.pages import Pages
from valija.apps.web.pending import PendingForms
from valija.apps.web.screens import BY_SLUG
from valija.apps.web.visit import Face, Handler, ScreenHandler, Visit, make_visit, redirect
from valija.domain.errors import ValijaError
from valija.domain.text import N_
from valija.services.administrator import AdministratorDesk

log: Final = logging.getLogger(__name__)

OPEN: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/", home_views.home),
    ("POST", "/language", home_views.set_language),
    ("GET", "/login", login_views.show_login),
    ("POST", "/login", login_views.log_in),
    ("POST", "/logout", login_views.log_out),
    ("POST", "/lift", login_views.lift),
)
AT_MACHINE_OR_SIGNED_IN: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/events", queue_views.watch_home),
    ("GET", "/status", home_views.status),
    ("GET", "/send", home_views.show_send),
    ("POST", "/send", home_views.send),
    ("GET", "/fax", fax_views.show_fax),
    ("POST", "/fax", fax_views.send_fax),
    ("POST", "/fax/receive", fax_views.receive_now),
    ("GET", "/print", print_views.show_prints),
    ("GET", "/print/events", print_views.watch_prints),
    ("POST", "/print/receive", print_views.receive_now),
    ("GET", "/scan", scan_views.show_scan),
    ("POST", "/scan", scan_views.begin),
    ("POST", "/scan/again", scan_views.scan_again),
    ("GET", "/jobs", job_views.show_list),
    ("GET", "/jobs/events", job_views.watch_list),
    ("GET", "/jobs/{id}", job_views.show_one),
    ("GET", "/jobs/{id}/events", job_views.watch_one),
    ("GET", "/jobs/{id}/picture", job_views.picture),
    ("GET", "/jobs/{id}/files/{name}", job_views.file),
    ("GET", "/jobs/{id}/pages/{page}", job_views.page_picture),
    ("POST", "/jobs/{id}/pages", job_views.change_page),
    ("POST", "/jobs/{id}/send", job_views.send),
    ("GET", "/jobs/{id}/cancel", job_views.ask_cancel),
    ("POST", "/jobs/{id}/cancel", job_views.cancel),
)
SIGNED_IN: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/queue", queue_views.show_queue),
    ("GET", "/queue/events", queue_views.watch_queue),
    ("POST", "/queue/accounts/{account}/{action}", queue_views.act_on_account),
    ("GET", "/queue/{id}", queue_views.show_one),
    ("GET", "/queue/{id}/events", queue_views.watch_one),
    ("GET", "/queue/{id}/cancel", queue_views.ask_cancel),
    ("POST", "/queue/{id}/cancel", queue_views.cancel),
    ("POST", "/queue/{id}/{action}", queue_views.act_on_one),
    ("GET", "/devices", device_views.show_list),
    ("POST", "/devices", device_views.add),
    ("GET", "/events/devices", device_views.watch_list),
    ("GET", "/new-device", device_views.show_new),
    ("GET", "/valija-ca.crt", device_views.give_authority),
    ("POST", "/learning", device_views.learn),
    ("POST", "/accept-device", device_views.accept),
    ("GET", "/devices/{login}", device_views.show_one),
    ("POST", "/devices/{login}", device_views.change),
    ("GET", "/devices/{login}/events", device_views.watch_one),
    ("POST", "/devices/{login}/test", device_test_views.test_device),
    ("GET", "/devices/{login}/credentials", device_views.show_credentials),
    ("GET", "/devices/{login}/password", device_views.ask_password),
    ("POST", "/devices/{login}/password", device_views.make_password),
    ("GET", "/devices/{login}/delete", device_views.ask_delete),
    ("POST", "/devices/{login}/delete", device_views.delete),
    ("GET", "/contacts", contact_views.show_list),
    ("POST", "/contacts", contact_views.save),
    ("GET", "/contacts/one", contact_views.show_one),
    ("POST", "/contacts/delete", contact_views.delete),
    ("POST", "/contacts/file", contact_views.take_in),
    ("GET", "/contacts/valija.{form}", contact_views.give_out),
    ("GET", "/settings", settings_views.show_tree),
    ("GET", "/settings/scan", scan_views.show_settings),
    ("POST", "/settings/scan", scan_views.change_settings),
    ("GET", "/settings/password", login_views.show_password),
    ("POST", "/settings/password", login_views.change_password),
    ("GET", "/settings/audit", home_views.audit),
    ("GET", "/settings/fax", fax_views.FORM.show),
    ("POST", "/settings/fax", fax_views.FORM.change),
    ("GET", "/settings/print", print_views.FORM.show),
    ("POST", "/settings/print", print_views.FORM.change),
    ("GET", "/settings/alerts", alert_views.FORM.show),
    ("POST", "/settings/alerts", alert_views.FORM.change),
    ("GET", "/settings/alerts/list", alert_views.show_list),
    ("POST", "/settings/alerts/test", alert_views.test),
    ("GET", "/settings/machine", machine_views.show_machine),
    ("POST", "/settings/machine", machine_views.change_machine),
    ("GET", "/settings/providers", provider_views.show_list),
    ("POST", "/settings/providers", provider_views.add),
    ("GET", "/settings/new-provider", provider_views.show_new),
    ("GET", "/settings/providers/{name}", provider_views.show_one),
    ("POST", "/settings/providers/{name}", provider_views.change),
    ("GET", "/settings/providers/{name}/delete", provider_views.ask_delete),
    ("POST", "/settings/providers/{name}/delete", provider_views.delete),
    ("GET", "/settings/first-start", first_start_views.show_due),
    ("GET", "/settings/first-start/step/{step}", first_start_views.show_step),
    ("POST", "/settings/first-start/step/{step}", first_start_views.take_step),
)
SCREEN: Final[tuple[tuple[str, str, ScreenHandler], ...]] = (
    ("GET", "", settings_views.show_screen),
    ("POST", "", settings_views.change_screen),
    ("POST", "/test", settings_views.test_screen),
    ("GET", "/get-token", token_views.ask_get),
    ("POST", "/get-token", token_views.get_token),
    ("GET", "/authorization", token_views.show_authorization),
    ("POST", "/authorization/cancel", token_views.cancel),
    ("GET", "/authorization/picture.svg", token_views.picture),
    ("GET", "/delete-token", token_views.ask_delete),
    ("POST", "/delete-token", token_views.delete),
    ("GET", "/events", token_views.events),
)


class _Server:
    """Turns handlers into endpoints of one face."""

    def __init__(self, machine: Machine, administrator: AdministratorDesk, pages: Pages, face: Face) -> None:
        self._machine = machine
        self._administrator = administrator
        self._pages = pages
        self._face = face
        self._pending = PendingForms(machine.clock)

    async def visit(self, request: Request) -> Visit:
        return await make_visit(request, self._machine, self._administrator, self._pages, self._face, self._pending)

    def page(self, handler: Handler, allowed: Callable[[Visit], bool]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            visit = await self.visit(request)
            launch = self._face.launch
            if launch is not None and not launch.knows(request.cookies.get(COOKIE, "")):
                return await visit.render("entrance.html", 403)
            if not allowed(visit):
                return redirect(f"/login?next={request.url.path}")
            return await _answer(handler, visit)

        return answer

    def screen(self, handler: ScreenHandler) -> Callable[[Request], Any]:
        async def answer(visit: Visit) -> Response:
            screen = BY_SLUG.get(visit.request.path_params["slug"])
            if screen is None:
                return await _nowhere(visit)
            return await handler(visit, screen)

        return self.page(answer, _signed_in)


async def _nowhere(visit: Visit) -> Response:
    """There is no such page."""
    visit.notice("bad", N_("There is no such page."))
    return await visit.render("problem.html", 404)


async def _only_a_form(visit: Visit) -> Response:
    """Only a form is sent there: lead to the page that has the form, one step up."""
    return redirect(visit.request.url.path.rpartition("/")[0] or "/")


async def _answer(handler: Handler, visit: Visit) -> Response:
    try:
        return await handler(visit)
    except ValijaError as error:
        problem = visit.views.problem(error)
        visit.notice("bad", f"{problem.detail} {problem.cure}".strip())
        return await visit.render("problem.html", error.http_status)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is there to read it


def _anybody(_visit: Visit) -> bool:
    return True


def _at_machine_or_signed_in(visit: Visit) -> bool:
    return visit.face.at_machine or visit.session is not None


def _signed_in(visit: Visit) -> bool:
    return visit.session is not None


def make_face(machine: Machine, administrator: AdministratorDesk, pages: Pages, face: Face) -> Starlette:
    """Return the application of a face."""
    server = _Server(machine, administrator, pages, face)
    tables = ((OPEN, _anybody), (AT_MACHINE_OR_SIGNED_IN, _at_machine_or_signed_in), (SIGNED_IN, _signed_in))
    routes = [
        Route(path, server.page(handler, allowed), methods=[method])
        for table, allowed in tables
        for method, path, handler in table
    ]
    routes += [Route("/settings/{slug}" + path, server.screen(h), methods=[method]) for method, path, h in SCREEN]
    routes += [Route("/static/{version}/{name}", pages.static)]
    if face.launch is not None:
        routes += [Route("/launch", _launch(face), methods=["GET"])]
    nowhere, only_a_form = server.page(_nowhere, _anybody), server.page(_only_a_form, _anybody)

    async def not_found(request: Request, _error: Exception) -> Response:
        return cast("Response", await nowhere(request))

    async def wrong_method(request: Request, _error: Exception) -> Response:
        return cast("Response", await (only_a_form if request.method in ("GET", "HEAD") else nowhere)(request))

    return Starlette(routes=routes, exception_handlers={Exception: _broken, 404: not_found, 405: wrong_method})


def _launch(face: Face) -> Callable[[Request], Any]:
    """Return the page that takes a launch key: once, for a cookie."""

    async def answer(request: Request) -> Response:
        cookie = face.launch.spend(request.query_params.get("key", "")) if face.launch else None
        if cookie is None:
            return redirect("/")
        # a page that leads on, not a redirection: a strict cookie would not go with one that began elsewhere
        page = (
            '<!doctype html><html lang="en"><title>Valija</title><meta http-equiv="refresh" content="0; url=/"></html>'
        )
        response = Response(page, headers={"Cache-Control": "no-store"}, media_type="text/html")
        response.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", path="/")
        return response

    return answer


async def _broken(request: Request, error: Exception) -> Response:
    log.error("page_broke", exc_info=error, extra={"fields": {"path": request.url.path}})
    return Response("500\n", 500, media_type="text/plain")
