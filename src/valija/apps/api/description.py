"""The OpenAPI 3.1 description, from the table that serves."""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from valija import __version__
from valija.apps.api import models
from valija.apps.api.calls import Choice, Number, Route
from valija.apps.api.fields import PROVIDER_NAME_PATTERN
from valija.apps.api.routes import ROUTES
from valija.domain.account import POP_SETTINGS, Setting
from valija.domain.api_token import NAME_PATTERN, Scope
from valija.domain.device import LOGIN_PATTERN

PREFIX: Final = "/v1"
_MEANINGS: Final = {
    400: "The request cannot be read",
    401: "The API token is missing or wrong, was deleted or has ended",
    403: "The API token lacks the scope, or this can only be done at the machine",
    404: "There is nothing of that name",
    409: "Not in the present state: something is missing, or must be confirmed",
    413: "The body is too large",
    422: "Fields are out of their limits",
    500: "Something is wrong that a person must mend",
    502: "The server or provider at the other end said no",
    503: "It passes by itself; try later",
}
_SECURITY: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token made at the machine with `valija api-token add`. "
        f"Scopes: {', '.join(scope.value for scope in Scope)}; each operation names the one that it needs.",
    }
}
_REFUSED_HEADERS: Final = {
    "WWW-Authenticate": {"description": "The challenge (RFC 6750)", "required": True, "schema": {"type": "string"}}
}


def describe(*, over_network: bool = False) -> dict[str, Any]:
    """Return the description of all routes: as they are on the control socket, or over the network with API tokens."""
    components: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for route in ROUTES:
        described = _describe_route(route, components, over_network=over_network)
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = described
    schemas = {"schemas": dict(sorted(components.items()))}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Valija",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": schemas | ({"securitySchemes": _SECURITY} if over_network else {}),
    }


def operation_id(route: Route) -> str:
    """Return an operation's name."""
    return getattr(route.operation, "__name__", "operation")


def _describe_route(route: Route, components: dict[str, Any], *, over_network: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": _responses(route, components, over_network=over_network),
    }
    if over_network:
        described["security"] = [{"bearer": [route.scope.value]}] if route.scope else []
    if route.body is not None:
        content = {"application/json": {"schema": _schema(route.body, components)}}
        described["requestBody"] = {"required": _has_required(route.body), "content": content}
    if route.upload:
        described["requestBody"] = {"required": True, "content": {"multipart/form-data": _FORM}}
    return described


def _has_required(body: type[BaseModel]) -> bool:
    return any(field.is_required() for field in body.model_fields.values())


_FORM: Final = {
    "schema": {
        "type": "object",
        "required": ["about"],
        "properties": {
            "about": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {
                    "type": "object",
                    "required": ["to"],
                    "properties": {
                        "to": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                        "subject": {"type": "string"},
                        "text": {"type": "string"},
                    },
                },
            },
            "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
        },
    },
    "example": {"about": '{"to": ["luis@example.com"], "subject": "Contrato"}', "file": ["%PDF-1.7"]},
}
_NAME_EXAMPLES: Final = {"/providers": "microsoft", "/api-tokens": "backup", "/jobs": "fax.tif"}


def _responses(route: Route, components: dict[str, Any], *, over_network: bool) -> dict[str, Any]:
    done: dict[str, Any] = {
        "description": "Done",
        "content": {route.media_type: {"schema": _schema(route.answer, components)}},
    }
    if route.answer is models.TestReport:
        done["content"]["application/x-ndjson"] = {"schema": {"type": "string"}}
    problem = {"application/problem+json": {"schema": _schema(models.Problem, components)}}
    told: dict[str, Any] = {str(route.status): done}
    for status in sorted(_refusals(route, over_network=over_network)):
        told[str(status)] = {"description": f"{_MEANINGS[status]} (RFC 9457)", "content": problem}
        if status == 401:
            told["401"]["headers"] = _REFUSED_HEADERS
    return told


def _refusals(route: Route, *, over_network: bool) -> set[int]:
    """Return the statuses of problems: those that the row names, and those that follow from what it takes."""
    if over_network and route.scope is None:
        return {403}
    statuses = {500, 503, *route.refusals} | ({401, 403} if over_network else set())
    if "{" in route.path:
        statuses.add(404)
    if route.body is not None or route.upload:
        statuses |= {400, 413, 422}
    return statuses | ({422} if route.query else set())


def _parameters(route: Route) -> list[dict[str, Any]]:
    inside = [_path_parameter(route, name) for name in re.findall(r"\{(\w+)\}", route.path)]
    asked = []
    for row in route.query:
        schema: dict[str, Any] = {"type": "string"}
        if isinstance(row, Number):
            schema = {"type": "integer", "minimum": row.low, "maximum": row.high}
            schema |= {"default": row.default} if row.low <= row.default else {}
        elif isinstance(row, Choice):
            schema["enum"] = list(row.words)
        else:
            schema["pattern"] = f"^{row.pattern}$"
        asked.append(
            {"name": row.name, "in": "query", "required": False, "description": row.description, "schema": schema}
        )
    return inside + asked


def _path_parameter(route: Route, name: str) -> dict[str, Any]:
    example = {"example": _NAME_EXAMPLES["/" + route.path.split("/")[1]]} if name == "name" else {}
    return {"name": name, "in": "path", "required": True, "schema": _path_schema(route, name)} | example


def _path_schema(route: Route, name: str) -> dict[str, Any]:
    if name == "setting":
        return {"type": "string", "enum": [s.value for s in (POP_SETTINGS if route.pop_only else Setting)]}
    if name == "id":
        return {"type": "integer", "minimum": 1, "maximum": 10**15 - 1}
    if name == "login":
        return {"type": "string", "pattern": f"^{LOGIN_PATTERN}$"}
    pattern = NAME_PATTERN if route.path.startswith("/api-tokens") else PROVIDER_NAME_PATTERN
    return {"type": "string", "pattern": f"^{pattern}$"}


def _schema(answer: Any, components: dict[str, Any]) -> dict[str, Any]:
    if answer is None:
        return {"type": "string"}
    schema = TypeAdapter(answer).json_schema(ref_template="#/components/schemas/{model}")
    components.update(schema.pop("$defs", {}))
    if isinstance(answer, type) and issubclass(answer, BaseModel):
        components[answer.__name__] = schema
        return {"$ref": f"#/components/schemas/{answer.__name__}"}
    return schema
