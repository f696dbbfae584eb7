"""One request to the API, with what an operation needs of it, and one row of the table of routes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from valija.apps.api import models
from valija.apps.api.views import Views
from valija.apps.language import from_accept_language
from valija.apps.machine import Machine
from valija.domain.account import Actor, Presence, Setting
from valija.domain.api_token import Scope
from valija.domain.errors import FieldProblem, InvalidFields, RequestError, UnknownName
from valija.domain.text import N_, message
from valija.services.status import TokenReport

JSON_LIMIT: Final = 1_000_000
WAIT_LIMIT_S: Final = 25
NUMBER_LIMIT: Final = 999_999_999
PROBLEMS_LIMIT: Final = 20  # of a body, named at once
NAME_LIMIT: Final = 40  # characters of a field's name that are said again
# what opens the provider's door for whoever has it: not for those who may only look on from afar
_AT_MACHINE_ONLY: Final = ("verification_uri", "verification_uri_complete", "user_code", "authorization_url")


class BodyTooLarge(RequestError):
    """The body has more octets than are taken."""

    code = "body_too_large"
    http_status = 413

    def __init__(self) -> None:
        super().__init__(message(N_("The body is too large.")))


_PROBLEMS: Final = {
    "missing": N_("is missing"),
    "extra_forbidden": N_("is not known here"),
    "json_invalid": N_("is not JSON"),
    "model_type": N_("must be a JSON object"),
    "model_attributes_type": N_("must be a JSON object"),
    "dict_type": N_("must be a JSON object"),
    "list_type": N_("must be a list"),
    "string_type": N_("must be text"),
    "int_type": N_("must be a whole number"),
    "bool_type": N_("must be true or false"),
    "string_too_long": N_("is too long"),
    "too_long": N_("is too long"),
}


def _field_problem(error: ErrorDetails) -> FieldProblem:
    """Return what is wrong with a field of a body, as a sentence that can be translated."""
    where = ".".join(str(part)[:NAME_LIMIT] for part in error["loc"]) or "body"
    if error["type"] == "literal_error":
        names = ", ".join(re.findall(r"'([^']*)'", error["ctx"]["expected"]))
        return FieldProblem(where, message(N_("must be one of {names}"), names=names))
    return FieldProblem(where, message(_PROBLEMS.get(error["type"], N_("does not fit"))))


@dataclass(frozen=True, slots=True)
class Number:
    """A number in the query, from ``low`` to ``high``; ``default`` where there is none."""

    name: str
    description: str
    low: int
    high: int
    default: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words in the query; an empty text where there is none."""

    name: str
    description: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A text in the query that fits a pattern; None where there is none."""

    name: str
    description: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request, with what an operation needs of it. ``admit`` looks again at whether the caller may be here."""

    machine: Machine
    request: Request
    actor: Actor
    views: Views
    route: Route
    admit: Callable[[], Awaitable[Actor]]

    @property
    def setting(self) -> Setting:
        """Return the setting named in the path. Raises :class:`UnknownName`."""
        name = self.request.path_params["setting"]
        try:
            return Setting(name)
        except ValueError:
            raise UnknownName(
                message(N_("There is no setting {name}."), name=name[:40]),
                message(N_("The settings are: {names}."), names=", ".join(s.value for s in Setting)),
            ) from None

    def number(self, name: str) -> int:
        """Return a number of the query. Raises :class:`InvalidFields`."""
        row = next(q for q in self.route.query if isinstance(q, Number) and q.name == name)
        text = self.request.query_params.get(name)
        if text is None:
            return row.default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and row.low <= int(text) <= row.high):
            problem = message(N_("must be a whole number from {low} to {high}"), low=row.low, high=row.high)
            raise InvalidFields((FieldProblem(name, problem),))
        return int(text)

    def choice(self, name: str) -> str:
        """Return a word of the query. Raises :class:`InvalidFields`."""
        row = next(q for q in self.route.query if isinstance(q, Choice) and q.name == name)
        text = self.request.query_params.get(name)
        if text is not None and text not in row.words:
            names = ", ".join(row.words)
            raise InvalidFields((FieldProblem(name, message(N_("must be one of {names}"), names=names)),))
        return text or ""

    def text(self, name: str) -> str | None:
        """Return a text of the query. Raises :class:`InvalidFields`."""
        row = next(q for q in self.route.query if isinstance(q, Text) and q.name == name)
        text = self.request.query_params.get(name)
        if text is not None and not re.fullmatch(row.pattern, text):
            raise InvalidFields((FieldProblem(name, message(N_("must fit {pattern}"), pattern=row.pattern)),))
        return text

    async def body(self, model: type[BaseModel]) -> Any:
        """Return the body, checked. Raises :class:`InvalidFields` or :class:`BodyTooLarge`."""
        raw = b""
        async for piece in self.request.stream():
            raw += piece
            if len(raw) > JSON_LIMIT:
                raise BodyTooLarge
        try:
            return model.model_validate_json(raw or b"{}")
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)[:PROBLEMS_LIMIT]
            raise InvalidFields(tuple(map(_field_problem, found))) from None

    async def token_report(self, setting: Setting | None = None) -> TokenReport:
        """Report a setting's token."""
        return await self.machine.status.report(setting or self.setting, unsaved=self.machine.tokens.unsaved)

    async def token(self, setting: Setting | None = None) -> models.TokenView:
        """Show a token; the codes with which a token is got only at the machine."""
        view = self.views.token(await self.token_report(setting))
        if view.authorization is None or self.actor.presence is Presence.AT_MACHINE:
            return view
        bare = view.authorization.model_copy(update=dict.fromkeys(_AT_MACHINE_ONLY))
        return view.model_copy(update={"authorization": bare})


Operation = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the API: what it takes and gives is what the OpenAPI description says.

    ``scope`` is what a token must have; None: only at the machine, and ``elsewhere`` says so to everybody else.
    ``refusals`` are the statuses of problems besides those that follow from the row itself.
    """

    method: str
    path: str
    operation: Operation
    summary: str
    answer: Any
    body: type[BaseModel] | None = None
    scope: Scope | None = None
    query: tuple[Number | Choice | Text, ...] = ()
    media_type: str = "application/json"
    upload: bool = False
    status: int = 200
    refusals: tuple[int, ...] = ()
    pop_only: bool = False
    elsewhere: str = N_("This can only be done at the machine.")


async def make_call(machine: Machine, request: Request, route: Route, admit: Callable[[], Awaitable[Actor]]) -> Call:
    """Return a call, in the language that the client asked for, by somebody who was let in."""
    return Call(machine, request, await admit(), make_views(machine, request), route, admit)


def make_views(machine: Machine, request: Request) -> Views:
    """Return what shows answers in the language that the client asked for."""
    return Views(from_accept_language(request.headers.get("accept-language", "")), machine.status)
