"""A token manager and all that is around it, for the tests of both files about it."""

from __future__ import annotations

import random

from fakes import FailingStore, FakeClock, ScriptedRefresher, give_token

from valija.domain.record import AuditAction
from valija.domain.token import Retrieved
from valija.services.events import EventBus
from valija.services.token_manager import TokenManager


class Bench:
    """A token manager and all that is around it."""

    def __init__(
        self,
        *,
        clock: FakeClock | None = None,
        store: FailingStore | None = None,
        provider: ScriptedRefresher | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.store = store or FailingStore()
        self.provider = provider or ScriptedRefresher(self.clock)
        self.events = EventBus()
        self.manager = TokenManager(self.store, self.provider, self.clock, self.events, random.Random(1))

    async def expired(self, account: str = "smtp") -> None:
        """Give an account a token, and let it expire."""
        await give_token(self.manager, self.clock, account)
        self.clock.jump(2 * 3600)

    async def stored(self, account: str = "smtp") -> Retrieved:
        state = (await self.store.load_token(account)).state
        assert isinstance(state, Retrieved)
        return state

    async def audit(self) -> list[AuditAction]:
        return [stored.record.action for stored in await self.store.list_audit(100)]
