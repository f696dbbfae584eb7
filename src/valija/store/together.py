"""Group commit of one kind of write: what waits while a batch is under way is the next batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from valija.domain.errors import StoreUnreachable
from valija.store.work import Engine, Work

TOGETHER: Final = 128
GATHER_S: Final = 0.005
IDLE_TURN_S: Final = 0.000_04  # a turn of the loop as short as this had nothing to do

T = TypeVar("T")
R = TypeVar("R")


class Together(Generic[T, R]):
    """Group commit: items that wait while a batch is under way are the next one.

    ``may_repeat``: to do it twice is as good as once, so it is done again where the answer was lost.
    """

    def __init__(
        self,
        database: Engine,
        work: Callable[[Sequence[T]], Work[list[R]]],
        *,
        batches: int = 1,
        may_repeat: bool = False,
    ) -> None:
        self._db = database
        self._work = work
        self._batches = batches  # under way at one moment
        self._may_repeat = may_repeat
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._running = 0

    async def write(self, item: T, settled: Callable[[asyncio.Future[R]], None] | None = None) -> R:
        """Write an item in the next batch; return its result once that is durable. Raises store errors.

        ``settled`` is called with what came of it, whether the caller still waits or not.
        """
        self._db.check_open()
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_notice)
        if settled is not None:
            future.add_done_callback(settled)
        self._waiting.append((item, future))
        if self._running < self._batches:
            self._running += 1
            self._db.start(self._run())
        return await asyncio.shield(future)

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
                if batch:  # another one under way may have taken all
                    await self._write(batch)
        finally:
            self._running -= 1

    async def _gather(self) -> None:
        """Wait until the loop has nothing else to do: what comes meanwhile is made durable by the same commit."""
        now = time.perf_counter()
        end = now + GATHER_S
        while now < end and len(self._waiting) < TOGETHER:
            before = now
            await asyncio.sleep(0)
            now = time.perf_counter()
            if now - before < IDLE_TURN_S:
                return

    async def _commit(self, items: Sequence[T]) -> list[R]:
        try:
            return await self._db.commit(lambda: self._work(items))
        except StoreUnreachable:
            if not self._may_repeat:
                raise
        return await self._db.commit(lambda: self._work(items))

    async def _write(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        items = [item for item, _future in batch]
        try:
            results = await self._commit(items)
        except StoreUnreachable as error:  # it may be done or not
            _fail(batch, error)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            for one in batch:  # who does not fit fails alone
                await self._write([one])
        else:
            for (_item, future), result in zip(batch, results, strict=True):
                future.set_result(result)


def _fail(batch: Sequence[tuple[object, asyncio.Future[R]]], error: BaseException) -> None:
    for _item, future in batch:
        future.set_exception(error)


def _notice(future: asyncio.Future[R]) -> None:
    """A caller who is gone does not hear of a failure, and nobody complains of that."""
    if not future.cancelled():
        future.exception()
