"""What happens, told to whoever listens in this process: the faces, the log, later the alert channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from valija.domain.token import TokenState

QUEUE_LIMIT: Final = 256
PROVIDER_SUBJECT: Final = "provider "  # and its name


@dataclass(frozen=True, slots=True)
class TokenChanged:
    """An account's token has another state or other contents; ``version`` is the store's."""

    account: str
    version: int
    before: TokenState
    after: TokenState
    at: datetime


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """A mail setting (``subject`` is its name), a provider or something else that is set was changed."""

    subject: str
    at: datetime


@dataclass(frozen=True, slots=True)
class MailReceived:
    """A setting has fetched messages."""

    account: str
    count: int
    at: datetime


@dataclass(frozen=True, slots=True)
class DevicesChanged:
    """A device was added, changed or deleted, or something was seen of one."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GuessingSeen:
    """Somebody guessed at devices' passwords, and is locked out for a while; ``subject`` is the login last tried."""

    subject: str
    address: str
    at: datetime


@dataclass(frozen=True, slots=True)
class QueueChanged:
    """Mail of an account was accepted, tried, held or ended, or its gate changed."""

    account: str
    at: datetime


@dataclass(frozen=True, slots=True)
class JobChanged:
    """A job (``subject`` is its number) has another state, or got further: ``done`` pages of ``of`` (0: not known)."""

    subject: str
    state: str
    done: int
    of: int
    at: datetime


@dataclass(frozen=True, slots=True)
class PrinterChanged:
    """The printer that is set was heard to be otherwise than before: its state, what it lacks, its supplies."""

    at: datetime


@dataclass(frozen=True, slots=True)
class AlertsChanged:
    """What the machine tells of itself: an alert began, changed or ended, or was told."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Stopping:
    """The daemon is about to stop: whoever follows what happens ends."""

    at: datetime


Event = (
    TokenChanged
    | SettingsChanged
    | MailReceived
    | DevicesChanged
    | GuessingSeen
    | QueueChanged
    | JobChanged
    | PrinterChanged
    | AlertsChanged
    | Stopping
)


class EventBus:
    """Hands every event to every subscriber. One who is too slow loses the oldest, never holds up the others."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event]] = set()
        self._stopping: Stopping | None = None
        self.settings_changes = 0  # how many: who keeps settings for a while may see that they are the same

    def publish(self, event: Event) -> None:
        """Hand out an event; never waits."""
        if isinstance(event, SettingsChanged):
            self.settings_changes += 1
        if isinstance(event, Stopping):
            self._stopping = event
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[asyncio.Queue[Event]]:
        """Give a queue that gets every event from now on, until the context ends."""
        queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_LIMIT)
        self._queues.add(queue)
        if self._stopping is not None:  # whoever comes now is told at once
            queue.put_nowait(self._stopping)
        try:
            yield queue
        finally:
            self._queues.discard(queue)
