"""Who may call the API: at the machine whoever its listener lets in; over the network a program with a token (RFC 6750).

1. Presence is the listener's. What needs it is refused over the network before anything that was sent is looked at.
2. Over the network only ``Authorization: Bearer`` counts: no cookie, no query, no form. So no other site can make a
   browser do anything here.
3. A token opens exactly what its scopes name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from valija.apps.api.calls import BodyTooLarge, Route
from valija.domain.account import Actor, Presence
from valija.domain.errors import NotAtTheMachine, RequestError
from valija.domain.text import N_, message
from valija.services.api_access import ApiAccess

REALM: Final = 'Bearer realm="Valija"'
Door = Callable[[Request, Route], Awaitable[Actor]]


class BearerRefused(RequestError):
    """There is no token, or none that opens anything; ``challenge`` goes into WWW-Authenticate (RFC 6750 section 3)."""

    code = "unauthorized"
    http_status = 401
    challenge = REALM


class BearerWrong(BearerRefused):
    """The token is not known, was deleted or has ended."""

    code = "invalid_token"
    challenge = REALM + ', error="invalid_token"'


class ScopeMissing(BearerRefused):
    """The token does not open this."""

    code = "insufficient_scope"
    http_status = 403

    def __init__(self, scope: str) -> None:
        super().__init__(
            message(N_("The token lacks the scope {scope}."), scope=scope),
            message(N_("Make one with it at the machine: `valija api-token add`.")),
        )
        self.challenge = f'{REALM}, error="insufficient_scope", scope="{scope}"'


def by_listener(actor_of: Callable[[Request], Actor]) -> Door:
    """Let in whoever has reached the listener; ``actor_of`` says who that is."""

    async def admit(request: Request, route: Route) -> Actor:
        actor = actor_of(request)
        _demand_presence(route, actor.presence)
        return actor

    return admit


def by_token(api_access: ApiAccess) -> Door:
    """Let in programs from the network that have a token with the row's scope."""

    async def admit(request: Request, route: Route) -> Actor:
        _demand_presence(route, Presence.REMOTE)
        token = await api_access.find(_bearer(request))
        if token is None:
            raise BearerWrong(
                message(N_("The API token is wrong, was deleted or has ended.")),
                message(N_("`valija api-token list` at the machine shows those that exist.")),
            )
        if route.scope is None or route.scope.value not in token.scopes:
            raise ScopeMissing(route.scope.value if route.scope else "")
        return Actor(f"api {token.name}", "api", Presence.REMOTE)

    return admit


def _demand_presence(route: Route, presence: Presence) -> None:
    if route.scope is None and presence is not Presence.AT_MACHINE:
        raise NotAtTheMachine(message(route.elsewhere), message(N_("Use the panel or `valija` at the machine.")))


def _bearer(request: Request) -> str:
    """Return what was sent (RFC 6750 section 2.1). Raises :class:`BearerRefused` if nothing was."""
    sent = request.headers.getlist("authorization")
    scheme, _, bearer = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not bearer.strip():
        raise BearerRefused(
            message(N_("An API token is needed: send Authorization: Bearer, and the token.")),
            message(N_("Make one at the machine: `valija api-token add`.")),
        )
    return bearer.strip()


def limit_bodies(app: ASGIApp, limit: int) -> ASGIApp:
    """Return ``app``, which gets a :class:`BodyTooLarge` where a request's body goes on after ``limit`` octets."""

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            piece = await receive()
            taken += len(piece.get("body", b""))
            if taken > limit:
                raise BodyTooLarge
            return piece

        await app(scope, counted, send)

    return limited


def beside(inside: ASGIApp, prefix: str, otherwise: ASGIApp) -> ASGIApp:
    """Return an application that gives ``inside`` what is below ``prefix``, and ``otherwise`` the rest."""

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        below = path == prefix or path.startswith(prefix + "/")
        await (inside if below else otherwise)(scope, receive, send)

    return choose
