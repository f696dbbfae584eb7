"""The API as an ASGI application: at the machine for whoever reaches the listener, over the network with API tokens."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp

from valija.apps.api import models
from valija.apps.api.access import BearerRefused, Door, by_listener, by_token, limit_bodies
from valija.apps.api.calls import Route, make_call, make_views
from valija.apps.api.description import PREFIX, describe
from valija.apps.api.routes import ROUTES
from valija.apps.machine import Machine
from valija.domain.account import Actor
from valija.domain.errors import ValijaError
from valija.domain.text import N_
from valija.services.login import LoginFailed

UPLOAD_LIMIT: Final = 150_000_000  # octets of a request from the network
NO_STORE: Final = {"Cache-Control": "no-store"}
Endpoint = Callable[[Request], Awaitable[Response]]
log: Final = logging.getLogger(__name__)
_SENTENCES: Final = {
    400: ("bad_request", N_("The request cannot be read.")),
    404: ("unknown_address", N_("There is nothing at this address.")),
    405: ("wrong_method", N_("This address does not take this method.")),
}
_OTHER: Final = ("http", N_("The request is refused."))


def make_application(machine: Machine, actor_of: Callable[[Request], Actor]) -> Starlette:
    """Return the application for one listener; ``actor_of`` says who asks, and from where (presence)."""
    return _make(machine, by_listener(actor_of), over_network=False)


def make_network_application(machine: Machine) -> ASGIApp:
    """Return the application for programs in the network, which send API tokens."""
    return limit_bodies(_make(machine, by_token(machine.api_access), over_network=True), UPLOAD_LIMIT)


@cache
def _description(*, over_network: bool) -> bytes:
    """Return the description as it is sent: made when somebody asks, for it takes longer than all else at a start."""
    return json.dumps(describe(over_network=over_network), ensure_ascii=False, separators=(",", ":")).encode()


def _make(machine: Machine, door: Door, *, over_network: bool) -> Starlette:
    by_path: dict[str, dict[str, Endpoint]] = {}
    for route in ROUTES:
        by_path.setdefault(route.path, {})[route.method] = _endpoint(machine, door, route)

    async def openapi(_request: Request) -> Response:
        octets = await asyncio.to_thread(_description, over_network=over_network)
        return Response(octets, media_type="application/json")

    async def refused(request: Request, error: Exception) -> Response:
        return _http_problem(machine, request, error)

    async def broken(request: Request, error: Exception) -> Response:
        return _broken(machine, request, error)

    rows = [_row(path, methods) for path, methods in by_path.items()]
    app = Starlette(
        routes=[*rows, _row("/openapi.json", {"GET": openapi})],
        exception_handlers={HTTPException: refused, Exception: broken},
    )
    app.router.redirect_slashes = False
    return app


def _row(path: str, endpoints: dict[str, Endpoint]) -> StarletteRoute:
    """Return one path with all its methods: so that a wrong one is told the right ones."""

    async def choose(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return StarletteRoute(PREFIX + path, choose, methods=[*endpoints])


def _endpoint(machine: Machine, door: Door, route: Route) -> Endpoint:
    async def handle(request: Request) -> Response:
        try:
            call = await make_call(machine, request, route, lambda: door(request, route))
            return _respond(await route.operation(call), route.status)
        except (ValijaError, LoginFailed) as error:
            challenge = {"WWW-Authenticate": error.challenge} if isinstance(error, BearerRefused) else {}
            return _problem(make_views(machine, request).problem(error), challenge)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it

    return handle


def _respond(answer: Any, status: int) -> Response:
    if isinstance(answer, Response):
        return answer
    return Response(_ANY.dump_json(answer), status, NO_STORE, "application/json")


_ANY: Final = TypeAdapter(Any)


def _problem(problem: models.Problem, headers: dict[str, str]) -> Response:
    return Response(problem.model_dump_json(), problem.status, NO_STORE | headers, "application/problem+json")


def _http_problem(machine: Machine, request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code, sentence = _SENTENCES.get(status, _OTHER)
    text = make_views(machine, request).text(sentence)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return _problem(models.Problem(title=text, status=status, detail=text, code=code, exit_status=2), headers)


def _broken(machine: Machine, request: Request, error: Exception) -> Response:
    log.error("request_broke", exc_info=error, extra={"fields": {"path": request.url.path}})
    text = make_views(machine, request).text(N_("Something broke inside; the log has the details."))
    return _problem(models.Problem(title=text, status=500, detail=text, code="internal", exit_status=4), {})
