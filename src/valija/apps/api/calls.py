"""One request to the API, with what an operation needs of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from valija.apps.api import models
from valija.apps.api.views import Views
from valija.apps.language import from_accept_language
from valija.apps.machine import Machine
from valija.domain.account import Actor, Setting
from valija.domain.errors import FieldProblem, InvalidFields, RequestError, UnknownName
from valija.domain.text import N_, message
from valija.services.status import TokenReport

JSON_LIMIT: Final = 1_000_000
WAIT_LIMIT_S: Final = 25.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request, with what an operation needs of it."""

    machine: Machine
    request: Request
    actor: Actor
    views: Views

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

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return a number of the query. Raises :class:`InvalidFields`."""
        text = self.request.query_params.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
            problem = message(N_("must be a whole number from {low} to {high}"), low=low, high=high)
            raise InvalidFields((FieldProblem(name, problem),))
        return int(text)

    async def body(self, model: type[BaseModel]) -> Any:
        """Return the body, checked. Raises :class:`InvalidFields` or :class:`RequestError`."""
        raw = b""
        async for piece in self.request.stream():
            raw += piece
            if len(raw) > JSON_LIMIT:
                raise RequestError(message(N_("The body is too large.")))
        try:
            return model.model_validate_json(raw or b"{}")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            raise InvalidFields((FieldProblem(where, message("{why}", why=first["msg"])),)) from None

    async def token_report(self, setting: Setting | None = None) -> TokenReport:
        """Report a setting's token."""
        return await self.machine.status.report(setting or self.setting, unsaved=self.machine.tokens.unsaved)

    async def token(self) -> models.TokenView:
        """Show the setting's token."""
        return self.views.token(await self.token_report())


Operation = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the API: what it takes and gives is what the OpenAPI description says."""

    method: str
    path: str
    operation: Operation
    summary: str
    answer: Any
    body: type[BaseModel] | None = None
    query: tuple[tuple[str, str], ...] = ()
    media_type: str = "application/json"
    upload: bool = False


def make_call(machine: Machine, request: Request, actor: Actor) -> Call:
    """Return a call in the language that the client asked for."""
    language = from_accept_language(request.headers.get("accept-language", ""))
    return Call(machine, request, actor, Views(language, machine.status))
