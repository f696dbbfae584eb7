"""Work that is not broken off: in the background for ever, begun again after an error; or to its end, whoever is cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from valija.domain.clock import Clock

log: Final = logging.getLogger(__name__)
FIRST_PAUSE_S: Final = 1.0
LAST_PAUSE_S: Final = 300.0
T = TypeVar("T")


async def kept_up(work: Callable[[], Awaitable[None]], name: str, clock: Clock) -> None:
    """Do a work; begin it anew when it raises, after a pause that doubles until it has gone well for LAST_PAUSE_S."""
    pause = FIRST_PAUSE_S
    while True:
        began = clock.monotonic()
        try:
            await work()
        except Exception:
            if clock.monotonic() - began > LAST_PAUSE_S:
                pause = FIRST_PAUSE_S
            log.exception("background_broken_off", extra={"fields": {"name": name, "again_in_s": pause}})
            await clock.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_S)
        else:
            return


async def to_its_end(work: Awaitable[T]) -> T:
    """Do a work that must not stop halfway; who is cancelled meanwhile, however often, goes when it has ended."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()
