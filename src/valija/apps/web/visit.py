"""One visit of a browser: which face it came by, who is logged in, which language, and what its form says."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from valija.apps.api.models import TokenView
from valija.apps.api.views import Views
from valija.apps.language import LANGUAGES, from_accept_language
from valija.apps.machine import Machine
from valija.apps.web.launch import LaunchKeys
from valija.apps.web.pages import Pages
from valija.apps.web.pending import PendingForms
from valija.apps.web.screens import Screen
from valija.domain.account import Actor, Authentication, Presence, Setting
from valija.domain.administrator import Session
from valija.domain.alert import Level
from valija.domain.errors import ConfirmationNeeded, RequestError
from valija.domain.preferences import Preferences
from valija.domain.text import N_, message
from valija.services.administrator import AdministratorDesk
from valija.services.preferences import zone_of
from valija.services.status import TokenReport

FORM_LIMIT: Final = 65536
FORM_LIMIT_S: Final = 60.0
SESSION_COOKIE: Final = "valija_session"
CSRF_COOKIE: Final = "valija_csrf"
LANGUAGE_COOKIE: Final = "valija_language"


@dataclass(frozen=True, slots=True)
class Face:
    """A listener: where its visitors are, and how its cookies travel. ``launch`` guards the panel over TCP."""

    name: str
    presence: Presence
    secure: bool
    launch: LaunchKeys | None = None

    @property
    def at_machine(self) -> bool:
        """Tell whether whoever comes by this face stands at the machine."""
        return self.presence is Presence.AT_MACHINE

    def cookie(self, name: str) -> str:
        """Return a cookie's name; over HTTPS with the prefix that binds it to this host (RFC 6265bis)."""
        return f"__Host-{name}" if self.secure else f"{name}_{self.name}"


@dataclass(slots=True)
class Visit:
    """A request with all that a page needs."""

    request: Request
    machine: Machine
    administrator: AdministratorDesk
    pages: Pages
    face: Face
    session: Session | None
    language: str
    views: Views
    csrf: str
    preferences: Preferences
    pending: PendingForms
    notices: list[dict[str, str]] = field(default_factory=list)

    @property
    def zone(self) -> tzinfo | None:
        """Return the time zone that times are shown in; None is the system's."""
        return zone_of(self.preferences)

    @property
    def actor(self) -> Actor:
        """Return who acts, for the record."""
        who = "administrator" if self.session else "visitor"
        return Actor(who, self.face.name, self.face.presence)

    def text(self, sentence: Any) -> str:
        """Return a sentence in the visitor's language."""
        return self.views.text(sentence)

    def notice(self, kind: str, sentence: Any) -> None:
        """Say something at the top of the page."""
        self.notices.append({"kind": kind, "text": self.text(sentence)})

    async def token_report(self, setting: Setting) -> TokenReport:
        """Report a setting's token."""
        return await self.machine.status.report(setting, unsaved=self.machine.tokens.unsaved)

    async def token(self, setting: Setting) -> TokenView:
        """Show a setting's token."""
        return self.views.token(await self.token_report(setting))

    async def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page in its frame."""
        values = await self.frame() | values | {"lamps": values.get("lamps") or await lamps(self)}
        response = self.pages.render(self.language, template, values, status)
        name = self.face.cookie(CSRF_COOKIE)
        if self.session is None and self.request.cookies.get(name) != self.csrf:
            self.set_cookie(response, CSRF_COOKIE, self.csrf)
        return response

    async def frame(self) -> dict[str, Any]:
        """Return what the frame of a page needs."""
        return {
            "machine_name": self.preferences.name,
            "at_machine": self.face.at_machine,
            "signed_in": self.session is not None,
            "csrf_token": self.csrf,
            "here": self.request.url.path,
            "notices": self.notices,
            "stream": "",
            "theme": "",
            "keyboard": "on" if self.preferences.keyboard else "off",
            "zone": self.zone,
        }

    async def form(self) -> dict[str, str]:
        """Return the form that was sent, checked to come from a page of ours. Raises :class:`RequestError`."""
        body = b""
        try:
            async with asyncio.timeout(FORM_LIMIT_S):
                async for piece in self.request.stream():
                    body += piece
                    if len(body) > FORM_LIMIT:
                        raise RequestError(message(N_("The form is too large.")))
        except TimeoutError:
            raise RequestError(message(N_("The form took too long to arrive. Please send it again."))) from None
        try:
            fields = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=100))
        except ValueError:
            raise RequestError(message(N_("The form is too large."))) from None
        self.check_csrf(fields.get("csrf", ""))
        return fields

    async def form_or_pending(self) -> dict[str, str]:
        """Return the form that was sent, or the one whose question was just answered with yes."""
        form = await self.form()
        if "pending" not in form:
            return form
        kept = self.pending.take(self.session.key if self.session else "", form["pending"])
        if kept is None:
            raise RequestError(message(N_("This form was too old. Please decide again.")))
        return kept | {"confirm": "yes"}

    async def ask_first(self, error: ConfirmationNeeded, form: dict[str, str], **values: Any) -> Response:
        """Ask whether a change should be made; the form waits here for the answer."""
        kept = {k: v for k, v in form.items() if k not in ("csrf", "confirm", "pending")}
        fields = {"pending": self.pending.keep(self.session.key if self.session else "", kept)}
        return await self.render("confirm_change.html", 409, question=self.text(error.what), fields=fields, **values)

    def check_csrf(self, sent: str) -> None:
        """Refuse a form that another site made this browser send. Raises :class:`RequestError`."""
        origin = self.request.headers.get("origin", "")
        foreign = origin != "" and origin.partition("://")[2] != self.request.headers.get("host", "")
        if foreign or self.request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise RequestError(message(N_("This form was sent by another page. Open the page anew and try again.")))
        if not secrets.compare_digest(sent.encode(), self.csrf.encode()):
            raise RequestError(message(N_("This form was too old. Please decide again.")))

    def set_cookie(self, response: Response, name: str, value: str, *, lasting: bool = False) -> None:
        """Set a cookie that no script reads and no other site sends."""
        response.set_cookie(
            self.face.cookie(name),
            value,
            max_age=365 * 86400 if lasting else None,
            httponly=True,
            samesite="strict",
            secure=self.face.secure,
            path="/",
        )

    def drop_cookie(self, response: Response, name: str) -> None:
        """Let the browser forget a cookie."""
        response.delete_cookie(self.face.cookie(name), path="/", secure=self.face.secure, httponly=True)


Handler = Callable[[Visit], Awaitable[Response]]
ScreenHandler = Callable[[Visit, Screen], Awaitable[Response]]


async def make_visit(
    request: Request,
    machine: Machine,
    administrator: AdministratorDesk,
    pages: Pages,
    face: Face,
    pending: PendingForms,
) -> Visit:
    """Look at a request's cookies."""
    token = request.cookies.get(face.cookie(SESSION_COOKIE), "")
    session = await administrator.find(token, presence=face.presence) if token else None
    preferences = await machine.preferences.load()
    language = request.cookies.get(face.cookie(LANGUAGE_COOKIE), "")
    if language not in LANGUAGES and face.at_machine:
        language = preferences.language
    if language not in LANGUAGES:
        language = from_accept_language(request.headers.get("accept-language", ""))
    csrf = session.csrf.reveal() if session else request.cookies.get(face.cookie(CSRF_COOKIE), "")
    views = Views(language, machine.status)
    csrf = csrf or secrets.token_urlsafe(24)
    return Visit(request, machine, administrator, pages, face, session, language, views, csrf, preferences, pending)


async def lamps(visit: Visit) -> dict[str, dict[str, Any]]:
    """Return whether the machine can send and receive, and why not; how many alerts there are that somebody should act on."""
    send = await lamp_of(visit, Setting.SMTP)
    blocked = visit.machine.gateway.dispatcher.gate(Setting.SMTP.value).blocked
    if send["ok"] and blocked is not None:  # the token is good, and the server takes no mail with it
        trouble = visit.views.raw_trouble(blocked.trouble)
        send = {"ok": False, "why": trouble.meaning if trouble else ""}
    receiving = [await lamp_of(visit, s) for s in Setting if s.is_pop]
    set_up = [lamp for lamp in receiving if lamp["ok"] is not None]
    receive = next((lamp for lamp in set_up if not lamp["ok"]), set_up[0] if set_up else receiving[0])
    levels = [alert.condition.level for alert in await visit.machine.alerts.all() if alert.is_open]
    shown = [level for level in levels if level is not Level.INFO]
    return {
        "send": send,
        "receive": receive,
        "alerts": {"count": len(shown), "critical": Level.CRITICAL in shown},
    }


async def lamp_of(visit: Visit, setting: Setting) -> dict[str, Any]:
    """Return whether a setting can be used (``ok``; None: not set up), and why not (``why``)."""
    settings = await visit.machine.settings.load(setting)
    if not settings.server:
        return {"ok": None, "why": ""}
    if settings.auth is not Authentication.OAUTH2:
        return {"ok": True, "why": ""}
    token = await visit.token(setting)
    if token.in_use and token.state != "invalid":
        return {"ok": True, "why": token.trouble.meaning if token.trouble else ""}
    return {"ok": False, "why": token.trouble.meaning if token.trouble else token.state_label}


def demand_utf8(visit: Visit) -> None:
    """Refuse a form in another encoding, which no browser sends. Raises :class:`RequestError`."""
    _kind, _, parameters = visit.request.headers.get("content-type", "").partition(";")
    if "charset" in parameters.lower():
        raise RequestError(message(N_("The form cannot be read: {why}."), why="charset"))


def redirect(path: str) -> RedirectResponse:
    """Send the browser to a page of ours, by GET."""
    return RedirectResponse(path, 303, headers={"Cache-Control": "no-store"})
