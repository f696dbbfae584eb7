"""The background that refreshes tokens ahead of time.

It asks the store what is due, a few accounts at once, then sleeps until the next is due, at most ``LONGEST_SLEEP_S``: after
a laptop slept or the clock jumped, what is due is found within that time.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from valija.domain.clock import Clock
from valija.domain.errors import ValijaError
from valija.services.token_manager import TokenManager
from valija.store.port import Store

log: Final = logging.getLogger(__name__)
BATCH: Final = 200
AT_ONCE: Final = 8
SHORTEST_SLEEP_S: Final = 1.0
LONGEST_SLEEP_S: Final = 15.0


class BackgroundRefresher:
    """Run :meth:`run` as a task; cancel it to stop."""

    def __init__(self, tokens: TokenManager, store: Store, clock: Clock) -> None:
        self._tokens = tokens
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Refresh what is due, for ever."""
        while True:
            try:
                await self.refresh_due()
                seconds = await self._sleep_length()
            except ValijaError as error:
                log.warning("refresher_waits", extra={"fields": {"why": str(error)}})
                seconds = LONGEST_SLEEP_S
            await self._clock.sleep(seconds)

    async def refresh_due(self) -> int:
        """Look once at all that is due now; return how many accounts that were."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(account: str) -> None:
            async with gate:
                try:
                    await self._tokens.refresh_if_due(account)
                except ValijaError as error:
                    log.warning("refresh_failed", extra={"fields": {"account": account, "why": str(error)}})

        await self._save_unsaved()
        accounts = await self._tokens.due_accounts(BATCH)
        await asyncio.gather(*(one(account) for account in accounts))
        return len(accounts)

    async def _save_unsaved(self) -> None:
        try:
            await self._tokens.save_unsaved()
        except ValijaError as error:  # it was said when it began
            log.debug("tokens_still_unsaved", extra={"fields": {"why": str(error)}})

    async def _sleep_length(self) -> float:
        if self._tokens.unsaved:
            return SHORTEST_SLEEP_S
        due = await self._store.next_due()
        if due is None:
            return LONGEST_SLEEP_S
        return min(max((due - self._clock.now()).total_seconds(), SHORTEST_SLEEP_S), LONGEST_SLEEP_S)
