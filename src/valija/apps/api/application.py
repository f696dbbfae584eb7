"""The API as an ASGI application, and its OpenAPI description, both from the table of routes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as StarletteRoute

from valija import __version__
from valija.apps.api import models
from valija.apps.api.calls import Route, make_call
from valija.apps.api.routes import ROUTES
from valija.apps.machine import Machine
from valija.domain.account import Actor
from valija.domain.errors import ValijaError
from valija.services.login import LoginFailed

PREFIX: Final = "/v1"
log: Final = logging.getLogger(__name__)


def make_application(machine: Machine, actor_of: Callable[[Request], Actor]) -> Starlette:
    """Return the application for one listener; ``actor_of`` says who asks, and from where (presence)."""

    def endpoint(route: Route) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Response:
            call = make_call(machine, request, actor_of(request))
            try:
                return _respond(await route.operation(call))
            except (ValijaError, LoginFailed) as error:
                return _problem(call.views.problem(error))

        return handle

    rows = [StarletteRoute(PREFIX + r.path, endpoint(r), methods=[r.method], name=_operation_id(r)) for r in ROUTES]
    description = describe()

    async def openapi(_request: Request) -> Response:
        return JSONResponse(description)

    return Starlette(
        routes=[*rows, StarletteRoute(PREFIX + "/openapi.json", openapi)],
        exception_handlers={HTTPException: _http_problem, Exception: _broken},
    )


def _respond(answer: Any) -> Response:
    if isinstance(answer, Response):
        return answer
    return Response(_ANY.dump_json(answer), media_type="application/json", headers={"Cache-Control": "no-store"})


_ANY: Final = TypeAdapter(Any)


def _problem(problem: models.Problem) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(problem.model_dump_json(), problem.status, headers, "application/problem+json")


async def _http_problem(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "error"
    return _problem(models.Problem(title=detail, status=status, detail=detail, code="http", exit_status=2))


async def _broken(request: Request, error: Exception) -> Response:
    log.error("request_broke", exc_info=error, extra={"fields": {"path": request.url.path}})
    text = "Something broke inside; the log has the details."
    return _problem(models.Problem(title=text, status=500, detail=text, code="internal", exit_status=4))


# --- OpenAPI ----------------------------------------------------------------------------------------------------------------


def describe() -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of all routes."""
    components: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _describe_route(route, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Valija",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": dict(sorted(components.items()))},
    }


def _describe_route(route: Route, components: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {
            "200": {
                "description": "Done",
                "content": {route.media_type: {"schema": _schema(route.answer, components)}},
            },
            "default": {
                "description": "Why not (RFC 9457)",
                "content": {"application/problem+json": {"schema": _schema(models.Problem, components)}},
            },
        },
    }
    if route.body is not None:
        content = {"application/json": {"schema": _schema(route.body, components)}}
        described["requestBody"] = {"required": True, "content": content}
    if route.upload:
        form = {
            "type": "object",
            "required": ["about"],
            "properties": {
                "about": {"type": "string", "description": "JSON with to (a list), subject, text"},
                "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
            },
        }
        described["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    return described


def _parameters(route: Route) -> list[dict[str, Any]]:
    inside = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    asked = [
        {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in route.query
    ]
    return inside + asked


def _schema(answer: Any, components: dict[str, Any]) -> dict[str, Any]:
    if answer is None:
        return {"type": "string"}
    schema = TypeAdapter(answer).json_schema(ref_template="#/components/schemas/{model}")
    components.update(schema.pop("$defs", {}))
    if isinstance(answer, type) and issubclass(answer, BaseModel):
        components[answer.__name__] = schema
        return {"$ref": f"#/components/schemas/{answer.__name__}"}
    return schema


def _operation_id(route: Route) -> str:
    return getattr(route.operation, "__name__", "operation")
