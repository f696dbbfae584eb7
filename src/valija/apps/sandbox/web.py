"""The sandbox's authorization server over HTTP: endpoints for programs, pages for people.

For scripts, the pages are plain forms. Device: ``GET /device?user_code=…`` (or POST the code), then POST
``/device/decide`` with ``user_code``, ``mailbox``, ``decision`` (allow or deny) and ``csrf`` from the page and its cookie.
Code: follow ``GET /authorize?…``, then POST ``/authorize/decide`` with ``request``, ``mailbox``, ``decision``, ``csrf``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from valija.apps.language import LANGUAGES, from_accept_language, translations
from valija.apps.sandbox.authorization import (
    CONFIDENTIAL_CLIENT,
    CONFIDENTIAL_SECRET,
    DEVICE_LIFE_S,
    Authorization,
    OAuthProblem,
    Pending,
    show_user_code,
)
from valija.apps.sandbox.maildrop import mailbox_name
from valija.oauth.http_messages import is_loopback_host

HERE: Final = Path(__file__).parent
BODY_LIMIT: Final = 65536
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
SUGGESTED: Final = ("ana@sandbox.test", "luis@sandbox.test")
_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class SandboxWeb:
    """The Starlette application; ``issuer`` is set once the port is known."""

    def __init__(self, authorization: Authorization) -> None:
        self.issuer = ""
        self._authorization = authorization
        self._templates: dict[str, Environment] = {}
        self.app = Starlette(
            routes=[
                Route("/.well-known/oauth-authorization-server", self._metadata),
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/device_authorization", self._device_authorization, methods=["POST"]),
                Route("/token", self._token, methods=["POST"]),
                Route("/revoke", self._revoke, methods=["POST"]),
                Route("/", self._device, methods=["GET"]),
                Route("/device", self._device, methods=["GET", "POST"]),
                Route("/device/decide", self._device_decide, methods=["POST"]),
                Route("/authorize", self._authorize, methods=["GET"]),
                Route("/authorize/decide", self._authorize_decide, methods=["POST"]),
                Route("/style.css", self._style),
            ]
        )

    # --- for programs -----------------------------------------------------------------------------------------------------

    async def _metadata(self, _request: Request) -> Response:
        i = self.issuer
        return JSONResponse(
            {
                "issuer": i,
                "authorization_endpoint": f"{i}/authorize",
                "token_endpoint": f"{i}/token",
                "device_authorization_endpoint": f"{i}/device_authorization",
                "revocation_endpoint": f"{i}/revoke",
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
                "grant_types_supported": [DEVICE_GRANT, "authorization_code", "refresh_token", "client_credentials"],
                "token_endpoint_auth_methods_supported": ["none", "client_secret_post", "client_secret_basic"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def _device_authorization(self, request: Request) -> Response:
        async def work(form: dict[str, str]) -> dict[str, Any]:
            code, pending = self._authorization.start_device(form.get("client_id", ""), form.get("scope", ""))
            shown = show_user_code(pending.user_code)
            return {
                "device_code": code,
                "user_code": shown,
                "verification_uri": f"{self.issuer}/device",
                "verification_uri_complete": f"{self.issuer}/device?{urlencode({'user_code': shown})}",
                "expires_in": DEVICE_LIFE_S,
                "interval": int(pending.interval),
            }

        return await self._answer(request, work)

    async def _token(self, request: Request) -> Response:
        async def work(form: dict[str, str]) -> dict[str, Any]:
            a, client = self._authorization, _client(request, form)
            match form.get("grant_type"):
                case "urn:ietf:params:oauth:grant-type:device_code":
                    answer = a.poll_device(client, form.get("device_code", ""))
                case "authorization_code":
                    values = (form.get("code", ""), form.get("redirect_uri", ""), form.get("code_verifier", ""))
                    answer = a.exchange_code(client, *values)
                case "refresh_token":
                    answer = a.refresh(client, form.get("refresh_token", ""))
                case "client_credentials":
                    answer = a.client_credentials(client, form.get("scope", ""))
                case _:
                    raise OAuthProblem("unsupported_grant_type", "the sandbox does not know this grant")
            return answer

        response = await self._answer(request, work)
        await asyncio.to_thread(self._authorization.save)
        return response

    async def _revoke(self, request: Request) -> Response:
        async def work(form: dict[str, str]) -> dict[str, Any]:
            self._authorization.revoke(_client(request, form), form.get("token", ""))
            return {}

        response = await self._answer(request, work)
        await asyncio.to_thread(self._authorization.save)
        return response

    async def _answer(self, request: Request, work: Any) -> Response:
        try:
            return JSONResponse(await work(await _form(request)), headers=_NO_STORE)
        except OAuthProblem as problem:
            body = {"error": problem.error, "error_description": problem.description}
            return JSONResponse(body, problem.status, headers=_NO_STORE)

    # --- for people: device -------------------------------------------------------------------------------------------------

    async def _device(self, request: Request) -> Response:
        form = await _form(request) if request.method == "POST" else {}
        typed = (form.get("user_code") or request.query_params.get("user_code", ""))[:40]
        if not typed:
            return self._page(request, "code.html", typed="", wrong=False)
        pending = self._authorization.find_user_code(typed)
        if pending is None:
            return self._page(request, "code.html", 400, typed=typed, wrong=True)
        return self._consent(request, pending, "/device/decide", {"user_code": show_user_code(pending.user_code)})

    async def _device_decide(self, request: Request) -> Response:
        form = await _form(request)
        pending = self._authorization.find_user_code(form.get("user_code", ""))
        if pending is None:
            return self._page(request, "code.html", 400, typed=form.get("user_code", "")[:40], wrong=True)
        fields = {"user_code": show_user_code(pending.user_code)}
        problem = _check(request, form)
        if problem:
            return self._consent(request, pending, "/device/decide", fields, problem, form.get("mailbox", ""))
        allowed = form.get("decision") == "allow"
        self._authorization.decide(pending, form["mailbox"].strip().lower() if allowed else None)
        return self._page(request, "done.html", allowed=allowed)

    # --- for people: code ---------------------------------------------------------------------------------------------------

    async def _authorize(self, request: Request) -> Response:
        q = request.query_params
        redirect_uri = q.get("redirect_uri", "")
        if not _is_loopback_redirect(redirect_uri):
            return self._page(request, "problem.html", 400, words="redirect_uri")
        state = q.get("state", "")
        try:
            if q.get("response_type") != "code":
                raise OAuthProblem("unsupported_response_type", "only code")
            name = self._authorization.start_code(
                q.get("client_id", ""),
                q.get("scope", ""),
                redirect_uri,
                q.get("code_challenge", ""),
                q.get("code_challenge_method", ""),
                state,
            )
        except OAuthProblem as problem:
            if problem.error == "invalid_client":
                return self._page(request, "problem.html", 400, words=problem.description)
            fields = {"error": problem.error, "error_description": problem.description, "state": state}
            return self._back(redirect_uri, fields)
        pending = self._authorization.pending[name]
        return self._consent(request, pending, "/authorize/decide", {"request": name})

    async def _authorize_decide(self, request: Request) -> Response:
        form = await _form(request)
        name = form.get("request", "")
        pending = self._authorization.find_request(name)
        if pending is None:
            return self._page(request, "problem.html", 400, words="request")
        problem = _check(request, form)
        if problem:
            shown = form.get("mailbox", "")
            return self._consent(request, pending, "/authorize/decide", {"request": name}, problem, shown)
        if form.get("decision") != "allow":
            self._authorization.decide(pending, None)
            return self._back(pending.redirect_uri, {"error": "access_denied", "state": pending.state})
        self._authorization.decide(pending, form["mailbox"].strip().lower())
        return self._back(pending.redirect_uri, {"code": name, "state": pending.state})

    def _back(self, redirect_uri: str, fields: dict[str, str]) -> Response:
        query = urlencode({**fields, "iss": self.issuer})
        separator = "&" if urlsplit(redirect_uri).query else "?"
        return RedirectResponse(redirect_uri + separator + query, 303, headers=_NO_STORE)

    # --- pages ----------------------------------------------------------------------------------------------------------------

    def _consent(
        self,
        request: Request,
        pending: Pending,
        action: str,
        fields: dict[str, str],
        problem: str = "",
        mailbox: str = "",
    ) -> Response:
        csrf = request.cookies.get("sandbox_csrf") or secrets.token_urlsafe(24)
        response = self._page(
            request,
            "consent.html",
            400 if problem else 200,
            action=action,
            fields=fields,
            problem=problem,
            mailbox=mailbox[:100],
            suggested=SUGGESTED,
            scopes=pending.scopes,
            csrf=csrf,
        )
        response.set_cookie("sandbox_csrf", csrf, httponly=True, samesite="lax", path="/")
        return response

    def _page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        asked = request.query_params.get("lang", "")
        language = asked if asked in LANGUAGES else from_accept_language(request.headers.get("accept-language", ""))
        html = self._environment(language).get_template(template).render(lang=language, **values)
        headers = _NO_STORE | {
            "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self' http://127.0.0.1:* "
            "http://localhost:* http://[::1]:*; frame-ancestors 'none'; base-uri 'none'",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
        return Response(html, status, headers, "text/html; charset=utf-8")

    def _environment(self, language: str) -> Environment:
        if language not in self._templates:
            environment = Environment(
                loader=FileSystemLoader(HERE / "templates"), autoescape=True, extensions=["jinja2.ext.i18n"]
            )
            environment.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]
            self._templates[language] = environment
        return self._templates[language]

    async def _style(self, _request: Request) -> Response:
        css = await asyncio.to_thread((HERE / "templates" / "style.css").read_text, "utf-8")
        return Response(css, headers={"Cache-Control": "max-age=3600"}, media_type="text/css")


async def _form(request: Request) -> dict[str, str]:
    """Read a form, bounded; a parameter that comes twice is an error (RFC 6749 section 3.2)."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_LIMIT:
            raise OAuthProblem("invalid_request", "too large", 413)
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise OAuthProblem("invalid_request", "too many fields") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthProblem("invalid_request", "a parameter is there twice")
    return form


def _client(request: Request, form: dict[str, str]) -> str:
    """Return the client's id, after its authentication."""
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    kind, _space, credentials = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            pair = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, ValueError):
            raise OAuthProblem("invalid_client", "bad Authorization field", 401) from None
        client_id, secret = (unquote_plus(part) for part in (pair.partition(":")[0], pair.partition(":")[2]))
    if client_id == CONFIDENTIAL_CLIENT and _is_the_secret(secret):
        return client_id
    if client_id == CONFIDENTIAL_CLIENT or secret:
        raise OAuthProblem("invalid_client", "wrong client or secret", 401)
    return client_id


def _is_the_secret(text: str) -> bool:
    """Compare a client secret in constant time."""
    return secrets.compare_digest(text.encode(), CONFIDENTIAL_SECRET.reveal().encode())


def _check(request: Request, form: dict[str, str]) -> str:
    """Return what is wrong with a decision: "csrf", "mailbox" or nothing."""
    cookie = request.cookies.get("sandbox_csrf", "")
    if not cookie or not secrets.compare_digest(cookie.encode(), form.get("csrf", "").encode()):
        return "csrf"
    if form.get("decision") == "allow" and mailbox_name(form.get("mailbox", "").strip()) is None:
        return "mailbox"
    return ""


def _is_loopback_redirect(uri: str) -> bool:
    """Tell whether a redirect address is http on loopback with the path /callback (RFC 8252 section 7.3)."""
    try:
        parts = urlsplit(uri)
        _port = parts.port
    except ValueError:
        return False
    clean = not parts.query and not parts.fragment and parts.username is None and uri.isprintable()
    return clean and parts.scheme == "http" and is_loopback_host(parts.hostname) and parts.path == "/callback"
