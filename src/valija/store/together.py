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
        self._waiting: list[_Waiting[T, R]] = []
        self._running = 0

    async def write(self, item: T, settled: Callable[[R | None], None] | None = None) -> R:
        """Write an item in the next batch; return its result once that is durable. Raises store errors.

        A caller who is cancelled does not stop the write. ``settled`` is called before the caller goes on, and whether it still
        waits or not: with the result, or None if there is none.
        """
        self._db.check_open()
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, future, settled))
        if self._running < self._batches:
            self._running += 1
            self._db.start(self._run())
        return await future

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

    async def _write(self, batch: Sequence[_Waiting[T, R]]) -> None:
        try:
            results = await self._commit([one.item for one in batch])
        except StoreUnreachable as error:  # it may be done or not
            _fail(batch, error)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            for one in batch:  # who does not fit fails alone
                await self._write([one])
        else:
            for one, result in zip(batch, results, strict=True):
                one.tell(result)
                if not one.future.done():  # the caller may be gone
                    one.future.set_result(result)


class _Waiting(Generic[T, R]):
    """An item, the future that its caller waits for itself (a turn of the loop less than by a shield), who else hears of it."""

    __slots__ = ("future", "item", "settled")

    def __init__(self, item: T, future: asyncio.Future[R], settled: Callable[[R | None], None] | None) -> None:
        self.item = item
        self.future = future
        self.settled = settled

    def tell(self, result: R | None) -> None:
        if self.settled is not None:
            self.future.get_loop().call_soon(self.settled, result)


def _fail(batch: Sequence[_Waiting[T, R]], error: BaseException) -> None:
    for one in batch:
        one.tell(None)
        if not one.future.done():
            one.future.set_exception(error)
