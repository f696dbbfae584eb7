"""The desk of devices, with a store, a clock and passwords that cost little."""

from __future__ import annotations

import pytest
from argon2.profiles import CHEAPEST
from fakes import FakeClock

from valija.secret import Secret
from valija.services.devices import DeviceDesk
from valija.services.events import EventBus
from valija.services.passwords import Passwords
from valija.store.memory import MemoryStore

HERE = "192.168.1.20"


class Office:
    """A desk with all that it uses; counts slow hashes."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store, self.clock, self.events = store or MemoryStore(), FakeClock(), EventBus()
        self.passwords = Passwords(CHEAPEST)
        self.slow = 0
        matches = self.passwords.matches

        async def counted(stored: Secret | None, password: Secret) -> bool:
            self.slow += 1
            return await matches(stored, password)

        self.passwords.matches = counted  # type: ignore[method-assign]
        self.desk = DeviceDesk(self.store, self.passwords, self.clock, self.events)


@pytest.fixture(name="office")
def office_fixture() -> Office:
    """A desk without devices."""
    return Office()
