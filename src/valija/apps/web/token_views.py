"""[Get Token] and [Delete]: confirmation, waiting, live state."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response, StreamingResponse

from valija.apps.api.views import REVOCATION_TEXTS
from valija.apps.web.live import may_see
from valija.apps.web.screens import Screen
from valija.apps.web.settings_views import screen_values, token_digest, token_stream
from valija.apps.web.visit import Visit, lamps, redirect
from valija.domain.account import GrantKind
from valija.domain.errors import NotAtTheMachine, ValijaError
from valija.services.authorization_refusals import ProviderRefused
from valija.services.events import Stopping

HEARTBEAT_S = 20.0


async def ask_get(visit: Visit, screen: Screen) -> Response:
    """Ask whether a token should be got."""
    return await visit.render("get_token.html", **await screen_values(visit, screen))


async def get_token(visit: Visit, screen: Screen) -> Response:
    """Ask the provider for leave to get a token, only at the machine."""
    form = await visit.form()
    grant = GrantKind(form["grant"]) if form.get("grant") in {g.value for g in GrantKind} else None
    try:
        await visit.machine.desk.start(screen.setting, grant, visit.actor)
    except NotAtTheMachine as error:
        return await _refused(visit, screen, error, 403)
    except ValijaError as error:
        return await _refused(visit, screen, error, error.http_status)
    return redirect(f"{screen.base}/authorization")


async def _refused(visit: Visit, screen: Screen, error: ValijaError, status: int) -> Response:
    problem = visit.views.problem(error)
    trouble = problem.trouble if isinstance(error, ProviderRefused) else None
    text = problem.detail if trouble else f"{problem.detail} {problem.cure}".strip()
    values = await screen_values(visit, screen)
    return await visit.render("refused.html", status, text=text, trouble=trouble, **values)


async def show_authorization(visit: Visit, screen: Screen) -> Response:
    """Show what the person needs while the machine waits; when it is over, the screen with its new state."""
    values = await screen_values(visit, screen)
    if values["token"].authorization is None:
        return redirect(screen.base)
    others = await _other_grants(visit, screen, values["token"].authorization.grant)
    stream = token_stream(screen, values["token"])
    return await visit.render("authorization.html", stream=stream, others=others, **values)


async def _other_grants(visit: Visit, screen: Screen, present: str) -> list[str]:
    settings = await visit.machine.settings.load(screen.setting)
    profile = await visit.machine.providers.profile(settings.provider)
    return [g for g in (profile.grants if profile else ()) if g in ("device", "code") and g != present]


async def cancel(visit: Visit, screen: Screen) -> Response:
    """Stop waiting."""
    await visit.form()
    await visit.machine.desk.cancel(screen.setting, visit.actor)
    return redirect(screen.base)


async def picture(visit: Visit, screen: Screen) -> Response:
    """Draw the address as a QR code (SVG)."""
    asked = (await visit.token(screen.setting)).authorization
    if asked is None or asked.verification_uri is None:
        return Response("", 404)
    import segno

    out = io.BytesIO()
    address = asked.verification_uri_complete or asked.verification_uri
    await asyncio.to_thread(segno.make(address, error="m").save, out, kind="svg", border=3, light="#fff", scale=5)
    return Response(out.getvalue(), headers={"Cache-Control": "no-store"}, media_type="image/svg+xml")


async def ask_delete(visit: Visit, screen: Screen) -> Response:
    """Ask whether the token should be deleted."""
    return await visit.render("delete_token.html", **await screen_values(visit, screen))


async def delete(visit: Visit, screen: Screen) -> Response:
    """Delete the token, here and at the provider."""
    await visit.form()
    _state, revocation = await visit.machine.desk.delete(screen.setting, visit.actor)
    values = await screen_values(visit, screen)
    return await visit.render("deleted.html", text=visit.text(REVOCATION_TEXTS[revocation]), **values)


async def events(visit: Visit, screen: Screen) -> Response:
    """Stream the token's block as it changes (server-sent events)."""
    return StreamingResponse(
        _changes(visit, screen), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _changes(visit: Visit, screen: Screen) -> AsyncIterator[str]:
    asked = visit.request.query_params
    seen, waited = asked.get("seen", ""), "waits" in asked
    async with visit.machine.events.subscribe() as queue:
        yield ": ok\n\n"
        while await may_see(visit):
            token = await visit.token(screen.setting)
            if token_digest(token) != seen:
                yield _event(await _fragment(visit, screen, token, waited=waited))
            seen, waited = token_digest(token), token.authorization is not None
            try:
                if isinstance(await asyncio.wait_for(queue.get(), HEARTBEAT_S), Stopping):
                    return
            except TimeoutError:
                yield ": still here\n\n"


async def _fragment(visit: Visit, screen: Screen, token: Any, *, waited: bool) -> str:
    values = await visit.frame() | {"lamps": await lamps(visit)}
    done = waited and token.authorization is None
    return visit.pages.fragment(
        visit.language, "live.html", values | {"token": token, "base": screen.base, "done": done}
    )


def _event(html: str) -> str:
    return "".join(f"data: {line}\n" for line in html.splitlines() if line.strip()) + "\n"
