"""Learning mode: begun and ended; a stranger that was seen becomes a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from valija.domain.account import Actor
from valija.domain.clock import Clock
from valija.domain.errors import FieldProblem, InvalidFields, TryLater
from valija.domain.learning import MINUTES_RANGE, Learning, as_device, begin
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.text import N_, message
from valija.services.devices import DeviceDesk, MadeDevice
from valija.services.events import DevicesChanged, EventBus
from valija.store.port import Store

SUBJECT: Final = "devices"
CHECK_S: Final = 5.0
_TRIES: Final = 5


class LearningDesk:
    """Where learning mode is begun and ended, whatever the face."""

    def __init__(self, store: Store, devices: DeviceDesk, clock: Clock, events: EventBus) -> None:
        self._store = store
        self._devices = devices
        self._clock = clock
        self._events = events
        self._stored = Learning()

    async def start(self) -> None:
        """Read what is stored: it goes on after a restart."""
        self._stored = await self._store.load_learning()

    @property
    def state(self) -> Learning:
        """Return from when to when it is or was."""
        return self._stored

    def is_on(self) -> bool:
        """Tell whether the machine learns."""
        return self._stored.is_on(self._clock.now())

    async def begin(self, minutes: int, actor: Actor) -> Learning:
        """Learn for so long from now, instead of what is left. Raises :class:`InvalidFields`."""
        low, high = MINUTES_RANGE
        if not low <= minutes <= high:
            problem = message(N_("must be a whole number from {low} to {high}"), low=low, high=high)
            raise InvalidFields((FieldProblem("minutes", problem),))
        new = begin(minutes, self._clock.now(), actor.who)
        await self._save(new, AuditAction.LEARNING_STARTED, actor, minutes=str(minutes))
        return new

    async def stop(self, actor: Actor) -> Learning:
        """Learn no longer; what was learnt stays."""
        if self.is_on():
            await self._save(Learning(), AuditAction.LEARNING_STOPPED, actor)
        return self._stored

    async def accept(self, address: str, changes: Mapping[str, Any], actor: Actor) -> MadeDevice:
        """Make a device of a stranger; ``changes`` go before what it tried.

        Raises :class:`~valija.domain.errors.UnknownName`, :class:`InvalidFields`.
        """
        seen = self._devices.stranger(address)
        asked, logs_in = as_device(seen)
        if "login" not in changes and self._devices.is_taken(asked.get("login", "")):
            raise InvalidFields((FieldProblem("login", message(_TAKEN, login=asked["login"])),))
        made = await self._devices.add(asked | dict(changes), actor, with_password=logs_in or None)
        self._devices.forget_stranger(seen.address)
        return made

    async def run(self) -> None:
        """Tell the faces when it has come to its end, for ever."""
        was_on = self.is_on()
        while True:
            await self._clock.sleep(CHECK_S)
            if was_on and not self.is_on():
                self._events.publish(DevicesChanged(self._clock.now()))
            was_on = self.is_on()

    async def _save(self, new: Learning, action: AuditAction, actor: Actor, **details: str) -> None:
        record = AuditRecord(self._clock.now(), actor, action, SUBJECT, details)
        for _try in range(_TRIES):
            if await self._store.save_learning(self._stored, new, record):
                self._stored = new
                self._events.publish(DevicesChanged(self._clock.now()))
                return
            await self.start()
        raise TryLater(message(N_("Somebody else changes the same setting.")), message(N_("Try again.")))


_TAKEN: Final = N_(
    "{login} is a device's already: if this is that device, give it a new password (valija device password {login}); "
    "if it is another one, choose another login"
)
