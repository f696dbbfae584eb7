"""Brings what other nodes change in a shared store to this one: what is kept in memory is read anew, lanes are woken."""

from __future__ import annotations

import logging
from typing import Final

from valija.domain.account import Setting
from valija.domain.clock import Clock
from valija.domain.errors import StoreUnreachable, ValijaError
from valija.services.devices import DeviceDesk
from valija.services.dispatcher import Dispatcher
from valija.services.events import DevicesChanged, EventBus, SettingsChanged, TokenChanged
from valija.services.learning import LearningDesk
from valija.services.token_manager import TokenManager
from valija.store.port import Change, ChangeKind, Store

log: Final = logging.getLogger(__name__)
AGAIN_S: Final = 1.0


class Neighbours:
    """Run :meth:`run` as a task; it ends at once where there are no other nodes."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        events: EventBus,
        *,
        tokens: TokenManager,
        devices: DeviceDesk,
        learning: LearningDesk,
        dispatcher: Dispatcher,
    ) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._tokens = tokens
        self._devices = devices
        self._learning = learning
        self._dispatcher = dispatcher

    async def run(self) -> None:
        """Follow what they do, for ever."""
        async for change in self._store.changes():
            while not await self._heard(change):
                await self._clock.sleep(AGAIN_S)

    async def _heard(self, change: Change) -> bool:
        """Do what a change asks for; False if the database was away meanwhile: nobody tells of it once more."""
        try:
            await self._hear(change)
        except ValijaError as error:
            log.warning("change_not_read", extra={"fields": {"kind": change.kind.value, "why": str(error)}})
            return not isinstance(error, StoreUnreachable)
        return True

    async def _hear(self, change: Change) -> None:
        match change.kind:
            case ChangeKind.MAIL:
                self._dispatcher.wake(change.name)
            case ChangeKind.STOPPED:
                await self._dispatcher.hear_stopped(change.name)
            case ChangeKind.GATE:
                await self._dispatcher.read_gate(change.name)
            case ChangeKind.LANE:
                self._dispatcher.lane_left(change.name)
            case ChangeKind.SETTINGS:
                self._events.publish(SettingsChanged(change.name, self._clock.now()))
            case ChangeKind.TOKEN:
                await self._token_changed(change.name)
            case ChangeKind.DEVICES:
                await self._read_devices()
            case ChangeKind.ANYTHING:
                await self._dispatcher.news_missed()
                await self._read_devices()
                for setting in Setting:
                    await self._token_changed(setting.value)

    async def _token_changed(self, account: str) -> None:
        stored = await self._tokens.hear_of(account)
        self._events.publish(TokenChanged(account, stored.version, stored.state, stored.state, self._clock.now()))

    async def _read_devices(self) -> None:
        await self._devices.read_devices()
        await self._learning.start()
        self._events.publish(DevicesChanged(self._clock.now()))
