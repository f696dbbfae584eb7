"""Tasks that follow accounts, one for each; and side tasks, which come to their end though nobody waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

log: Final = logging.getLogger(__name__)
T = TypeVar("T")


class Followers:
    """Those of one desk; ``what`` names them."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._aside: set[asyncio.Task[Any]] = set()

    def follow(self, account: str, work: Coroutine[Any, Any, None]) -> None:
        """Follow an account by this; what followed it before ends."""
        before = self._tasks.get(account)
        if before is not None:
            before.cancel()
        task = asyncio.create_task(work, name=f"{self._what} {account}")
        self._tasks[account] = task
        task.add_done_callback(lambda done: self._done(account, done))

    def _done(self, account: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(account) is task:
            del self._tasks[account]
        if not task.cancelled() and task.exception() is not None:
            log.error(f"{self._what}_broke", exc_info=task.exception(), extra={"fields": {"account": account}})

    async def stop(self, account: str) -> None:
        """End what follows an account, unless it is the caller."""
        task = self._tasks.pop(account, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def aside(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a side task; who waits for it with a shield may go."""
        task = asyncio.get_running_loop().create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)
        return task

    async def close(self, patience_s: float) -> None:
        """End what follows; wait so long for side tasks."""
        for account in list(self._tasks):
            await self.stop(account)
        late = (await asyncio.wait(self._aside, timeout=patience_s))[1] if self._aside else set()
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
