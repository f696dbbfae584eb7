"""All services around one store in memory and one scripted provider."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from fakes import ANA, ISSUER, FailingStore, FakeClock, ScriptedProvider, settle

from valija.domain.account import Setting
from valija.domain.record import AuditRecord
from valija.domain.token import Authorization, AwaitingAuthorization, Retrieved
from valija.net.data_files import read_catalogue, read_error_table, read_explainer
from valija.services.authorization import AuthorizationDesk
from valija.services.events import EventBus
from valija.services.mail_settings import MailSettingsDesk
from valija.services.provider_client import ProviderClient
from valija.services.providers import ProviderBook
from valija.services.status import StatusDesk
from valija.services.token_manager import TokenManager

OAUTH: dict[str, Any] = {
    "server": "mail.example",
    "auth": "oauth2",
    "provider": "work",
    "account": "ana@example.com",
}
REGISTRATION: dict[str, Any] = {"kind": "custom", "issuer": ISSUER, "client_id": "client-1"}


class Machine:
    """What the daemon builds, without files and sockets. ``after_restart`` builds it again on the same store."""

    def __init__(
        self,
        *,
        by_itself: bool = False,
        after_restart: Machine | None = None,
    ) -> None:
        self.clock: FakeClock = after_restart.clock if after_restart else FakeClock(by_itself=by_itself)
        self.store: FailingStore = after_restart.store if after_restart else FailingStore()
        self.provider: ScriptedProvider = after_restart.provider if after_restart else ScriptedProvider()
        self.events, explainer = EventBus(), read_explainer()
        self.book = ProviderBook(self.store, read_catalogue(), self.clock, self.events)
        self.client = ProviderClient(self.store, self.book, self.provider, read_error_table(), self.clock)
        self.tokens = TokenManager(self.store, self.client, self.clock, self.events, random.Random(1))
        self.desk = AuthorizationDesk(self.tokens, self.client, explainer, self.clock)
        self.book.prepare_revocation = self.desk.prepare_revocation
        self.settings = MailSettingsDesk(self.store, self.book, self.desk, self.clock, self.events)
        self.status = StatusDesk(self.store, self.book, explainer, self.clock)

    async def register(self, name: str = "work", **changes: Any) -> None:
        """Add a registration."""
        await self.book.set(name, REGISTRATION | changes, confirm=False, actor=ANA)

    async def use(self, setting: Setting = Setting.SMTP, changes: Mapping[str, Any] = OAUTH) -> None:
        """Let a setting use the registration."""
        await self.settings.change(setting, changes, confirm=False, actor=ANA)

    async def ready(self, **changes: Any) -> Machine:
        """Register, and let the SMTP setting use it."""
        await self.register(**changes)
        await self.use()
        return self

    async def retrieved(self, setting: Setting = Setting.SMTP) -> Retrieved:
        """Get a token by the device grant."""
        await self.desk.start(setting, None, ANA)
        await self.clock.advance(6)
        state = await self.state(setting)
        assert isinstance(state, Retrieved)
        return state

    async def state(self, setting: Setting = Setting.SMTP) -> object:
        return (await self.store.load_token(setting.value)).state

    async def asked(self, setting: Setting = Setting.SMTP) -> Authorization:
        """Return what is being asked for."""
        state = await self.state(setting)
        assert isinstance(state, AwaitingAuthorization)
        return state.authorization

    async def audit(self) -> list[AuditRecord]:
        """Return audit records, first one first."""
        return [stored.record for stored in reversed(await self.store.list_audit(1000))]

    async def close(self) -> None:
        await settle()
        await self.desk.close()
        await self.tokens.close()


@pytest.fixture(name="machine")
async def machine_fixture() -> AsyncIterator[Machine]:
    """Give services on an empty store; time passes only when the test says so."""
    built = Machine()
    yield built
    await built.close()
