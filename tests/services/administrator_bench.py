"""An administrator's desk on a store in memory, with hashes that cost little and are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal

from argon2 import Parameters, PasswordHasher
from argon2.profiles import CHEAPEST
from fakes import ANA, DESK, FakeClock

from valija.domain.account import Actor
from valija.domain.record import AuditAction, AuditRecord
from valija.secret import Secret
from valija.services.administrator import AdministratorDesk, LoggedIn
from valija.services.events import EventBus
from valija.services.passwords import Passwords
from valija.store.memory import MemoryStore

RIGHT: Final = Secret("el agua clara 7")
OTHER: Final = Secret("la piedra gris 9")
WRONG: Final = Secret("not the planted one")
DEARER: Final = replace(CHEAPEST, time_cost=2)


class WatchedHasher(PasswordHasher):
    """Calls ``before`` with each hash that is checked, or nothing where one is made, before the work begins."""

    before: Callable[[str], None]

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.before("")
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        self.before(str(hash))
        return super().verify(hash, password)


class CountedPasswords(Passwords):
    """Says how often a hash was computed, of which kind."""

    def __init__(self, parameters: Parameters = CHEAPEST) -> None:
        super().__init__(parameters)
        self._parameters = parameters
        self.hashed = 0
        self.checked = 0

    def watch(self, before: Callable[[str], None]) -> None:
        """Let ``before`` see each computation from now on."""
        hasher = WatchedHasher.from_parameters(self._parameters)
        assert isinstance(hasher, WatchedHasher)
        hasher.before = before
        self._hasher = hasher

    async def hash(self, password: Secret) -> Secret:
        self.hashed += 1
        return await super().hash(password)

    async def matches(self, stored: Secret | None, password: Secret) -> bool:
        self.checked += 1
        return await super().matches(stored, password)


class Office:
    """A desk and all that is around it. ``after_restart`` builds it again on the same store."""

    def __init__(
        self,
        *,
        parameters: Parameters = CHEAPEST,
        store: MemoryStore | None = None,
        after_restart: Office | None = None,
    ) -> None:
        self.clock: FakeClock = after_restart.clock if after_restart else FakeClock()
        self.store: MemoryStore = after_restart.store if after_restart else store or MemoryStore()
        self.events = EventBus()
        self.passwords = CountedPasswords(parameters)
        self.desk = AdministratorDesk(self.store, self.clock, self.events, self.passwords)

    async def ready(self) -> Office:
        """Set the first password; forget what that left in the counters."""
        await self.desk.set_first_password(RIGHT, ANA)
        self.passwords.hashed = self.passwords.checked = 0
        return self

    async def open(self, face: str = "web", actor: Actor = DESK, password: Secret = RIGHT) -> str:
        """Log in with the right password; return the session's token."""
        answer = await self.desk.log_in(password, face, actor)
        assert isinstance(answer, LoggedIn)
        return answer.session_token.reveal()

    async def lock(self) -> None:
        """Give wrong passwords until none is looked at any more."""
        for _ in range(3):
            await self.desk.log_in(WRONG, "web", DESK)

    async def records(self) -> list[AuditRecord]:
        """Return the audit trail, earliest first."""
        return [stored.record for stored in reversed(await self.store.list_audit(1000))]

    async def actions(self) -> list[AuditAction]:
        """Return what the audit trail says, earliest first."""
        return [record.action for record in await self.records()]
