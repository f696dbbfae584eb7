"""The gateway as a whole: devices, intake, queue, dispatcher; how mail leaves by the machine's SMTP setting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from valija.domain import account_gate
from valija.domain.account import Actor, Authentication, Setting
from valija.domain.account_gate import Gate
from valija.domain.clock import Clock
from valija.domain.errors import UnknownName, ValijaError
from valija.domain.message_life import LifeEvent, life_of
from valija.domain.pace import PaceLimits
from valija.domain.queue import (
    CancelAsked,
    HoldAsked,
    RecipientEvent,
    ReleaseAsked,
    RetryAsked,
)
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.settings import SmtpSettings
from valija.domain.text import N_, message
from valija.domain.token import Retrieved
from valija.net.smtp import SmtpConnection
from valija.oauth.catalogue import Profile
from valija.services.delivery import Delivery, mailbox_of
from valija.services.devices import ACCOUNTS, DeviceDesk
from valija.services.dispatcher import AccountLimits, Dispatcher
from valija.services.intake import Intake
from valija.services.keeping_up import kept_up
from valija.services.learning import LearningDesk
from valija.services.providers import ProviderBook
from valija.services.queue_counts import QueueCounts
from valija.services.submission import Upstream
from valija.services.traffic import Traffic
from valija.store.port import Store
from valija.store.queue_port import StoredQueued
from valija.store.spool_port import BodySpool

QUEUE_ACTIONS: Final = {
    "hold": AuditAction.MAIL_HELD,
    "release": AuditAction.MAIL_RELEASED,
    "retry": AuditAction.MAIL_RETRIED,
    "cancel": AuditAction.MAIL_CANCELLED,
}


class SmtpRoute:
    """Mail leaves by the SMTP setting (:class:`valija.services.dispatcher.Route`)."""

    def __init__(self, store: Store, providers: ProviderBook, delivery: Delivery) -> None:
        self._store = store
        self._providers = providers
        self._delivery = delivery

        self._octets: tuple[str, int | None] = "", None  # what a server said last of the size of a message

    async def open(self, _account: str) -> SmtpConnection:
        """Return a connection that is logged in."""
        settings = await self._delivery.settings()
        connection = await self._delivery.open(settings)
        self._octets = settings.server, connection.capabilities.size_limit
        return connection

    async def upstream(self) -> Upstream:
        """Return what mail goes out as; the server's own word counts more than the provider's profile."""
        settings = await self._settings()
        profile = await self._profile(settings)
        server, said = self._octets
        known = profile.limits.octets if profile is not None else None
        return Upstream(mailbox_of(settings), said if said is not None and server == settings.server else known)

    async def limits(self, _account: str) -> AccountLimits:
        """Return what the provider allows; nothing is known of a server that is logged in to with a password."""
        profile = await self._profile(await self._settings())
        if profile is None:
            return AccountLimits(PaceLimits())
        allowed = profile.limits
        pace = PaceLimits(allowed.connections, allowed.messages_per_minute, allowed.recipients_per_day)
        return AccountLimits(pace, allowed.recipients_per_message)

    async def _profile(self, settings: SmtpSettings) -> Profile | None:
        """Return the profile of a provider whose limits are known."""
        if settings.auth is not Authentication.OAUTH2 or not settings.provider:
            return None
        profile = await self._providers.profile(settings.provider)
        return None if profile is None or profile.kind == "custom" else profile

    async def mailbox(self, _account: str) -> str:
        """Return the address that the account may send as; empty if none is known."""
        return mailbox_of(await self._settings())

    async def token_works(self, account: str) -> bool:
        """Tell whether there is a token, or none is needed."""
        if (await self._settings()).auth is not Authentication.OAUTH2:
            return True
        return isinstance((await self._store.load_token(account)).state, Retrieved)

    async def _settings(self) -> SmtpSettings:
        settings = (await self._store.load_settings(Setting.SMTP)).value
        return settings if isinstance(settings, SmtpSettings) else SmtpSettings()


@dataclass
class Gateway:
    """All of it."""

    store: Store
    clock: Clock
    route: SmtpRoute
    devices: DeviceDesk
    learning: LearningDesk
    intake: Intake
    dispatcher: Dispatcher
    spool: BodySpool
    counts: QueueCounts
    traffic: Traffic
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    async def start(self) -> None:
        """Go on with what waits."""
        await self.devices.start()
        await self.learning.start()
        await self.traffic.start()
        await self.dispatcher.start()
        works = {
            "dispatcher": self.dispatcher.run,
            "devices": self.devices.run,
            "traffic": self.traffic.run,
            "learning mode": self.learning.run,
        }
        self._tasks = [asyncio.create_task(kept_up(work, name, self.clock), name=name) for name, work in works.items()]

    async def stop(self) -> None:
        """End the tries that are under way; what waits stays."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.dispatcher.stop()
        await self.devices.flush()
        await self.traffic.flush()

    # --- the operator's side ----------------------------------------------------------------------------------------------

    async def message(self, number: int) -> StoredQueued:
        """Return a message. Raises :class:`UnknownName`."""
        found = await self.store.queue.load(number)
        if found is None:
            raise UnknownName(
                message(N_("There is no message {number} in the queue."), number=number),
                message(N_("`valija queue list` shows those that exist.")),
            )
        return found

    async def life(self, stored: StoredQueued) -> list[LifeEvent]:
        """Return a message's life, in order."""
        queue = self.store.queue
        history = await queue.history(stored.id)
        return life_of(stored.message, stored.entries, history, await queue.gate_history(stored.message.account))

    async def act(self, action: str, numbers: Sequence[int], actor: Actor) -> list[StoredQueued]:
        """Hold, release, retry or cancel messages. Raises :class:`UnknownName` before anything is done."""
        found = [await self.message(number) for number in numbers]
        now = self.clock.now()
        asked: dict[str, RecipientEvent] = {
            "hold": HoldAsked(now, actor.who),
            "release": ReleaseAsked(now, actor.who),
            "retry": RetryAsked(now, actor.who),
            "cancel": CancelAsked(now, actor.who),
        }
        event = asked[action]
        await self.dispatcher.apply([(entry.id, event) for stored in found for entry in stored.entries])
        self.counts.forget()
        subject = ", ".join(str(stored.id) for stored in found[:20])
        await self.store.append_audit(AuditRecord(now, actor, QUEUE_ACTIONS[action], subject))
        for account in {stored.message.account for stored in found}:
            if action == "retry":
                self.dispatcher.forgive(account)
                await self.dispatcher.change_gate(account, lambda gate: account_gate.probe_now(gate, now))
            elif action in ("hold", "cancel"):
                await self.dispatcher.recall(account, [entry.id for stored in found for entry in stored.entries])
            self.dispatcher.wake(account)
        return [await self.message(stored.id) for stored in found]

    async def look_again(self, setting: Setting) -> None:
        """Try at once what waits for an account: somebody has seen that it works."""
        account = setting.value
        if account in ACCOUNTS:
            self.dispatcher.forgive(account)
            with contextlib.suppress(ValijaError):  # it is probed later
                await self.dispatcher.change_gate(account, lambda gate: account_gate.probe_now(gate, self.clock.now()))
            self.dispatcher.wake(account)

    async def act_on_account(self, action: str, account: str, actor: Actor) -> Gate:
        """Hold or release all mail of an account, or try at once whether it works again."""
        now = self.clock.now()
        change = {
            "hold": account_gate.hold,
            "release": account_gate.release,
            "retry": account_gate.probe_now,
        }[action]
        await self.store.append_audit(AuditRecord(now, actor, QUEUE_ACTIONS[action], account))
        gate = await self.dispatcher.change_gate(account, lambda gate: change(gate, now), actor.who)
        if action == "hold":
            await self.dispatcher.recall(account)
        elif action == "retry":
            self.dispatcher.forgive(account)
        self.dispatcher.wake(account)
        return gate
