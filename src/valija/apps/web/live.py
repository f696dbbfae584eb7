"""Parts of a page that change while it is open, sent as they change (server-sent events)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from starlette.responses import Response, StreamingResponse

from valija.apps.web.visit import Visit
from valija.domain.administrator import session_ended
from valija.services.events import Event, Stopping

LOOK_AGAIN_S: Final = 20.0  # what only time changes, and whether the session is still open
PAUSE_S: Final = 1.0
SHARE: Final = 10  # drawing takes a tenth of the time at most

Parts = Mapping[str, str]
Draw = Callable[[], Awaitable[Parts]]


def stream_of(path: str, parts: Parts) -> str:
    """Return the address of a page's stream, which says what the page shows already: that is not sent again.

    ``parts`` are drawn of the same values as the page: what changes after they were read is sent.
    """
    return f"{path}{'&' if '?' in path else '?'}seen={digest(parts)}"


def digest(parts: Parts) -> str:
    """Return what stands for parts of a page in an address."""
    return hashlib.sha256("\0".join(html for pair in sorted(parts.items()) for html in pair).encode()).hexdigest()[:16]


def live(visit: Visit, draw: Draw, *reasons: type[Event]) -> Response:
    """Return the stream of a page: the HTML inside of elements by their ids, once it has changed for one of the ``reasons``."""
    return StreamingResponse(
        _changes(visit, draw, reasons), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _changes(visit: Visit, draw: Draw, reasons: tuple[type[Event], ...]) -> AsyncIterator[str]:
    shown: Parts = {}
    seen = visit.request.query_params.get("seen", "")
    async with visit.machine.events.subscribe() as told:
        yield ": ok\n\n"
        while await may_see(visit):
            began = visit.machine.clock.monotonic()
            parts = await draw()
            if seen == digest(parts):
                shown = parts
            changed, seen = {name: html for name, html in parts.items() if shown.get(name) != html}, ""
            shown = parts
            yield _event(changed) if changed else ": still here\n\n"
            await asyncio.sleep(max(PAUSE_S, SHARE * (visit.machine.clock.monotonic() - began)))
            if not await _wait(told, reasons):
                return


async def _wait(told: asyncio.Queue[Event], reasons: tuple[type[Event], ...]) -> bool:
    """Wait for a reason to look again; false if the machine stops."""
    try:
        async with asyncio.timeout(LOOK_AGAIN_S):
            while True:
                event = await told.get()
                if isinstance(event, Stopping):
                    return False
                if isinstance(event, reasons):
                    return await _drain(told)
    except TimeoutError:
        return True


async def _drain(told: asyncio.Queue[Event]) -> bool:
    """Take what was told meanwhile: one look tells it all."""
    while not told.empty():
        if isinstance(told.get_nowait(), Stopping):
            return False
    return True


async def may_see(visit: Visit) -> bool:
    """Tell whether the session that asked is still open; looking is no use of it."""
    if visit.session is None:
        return True
    session = await visit.machine.store.load_session(visit.session.key)
    return session is not None and not session_ended(session, visit.machine.clock.now())


def _event(parts: Parts) -> str:
    html = "\n".join(f'<div hx-swap-oob="innerMorph:#{name}">{html}</div>' for name, html in parts.items())
    return "".join(f"data: {line}\n" for line in html.splitlines() if line.strip()) + "\n"
