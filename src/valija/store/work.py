"""Units of work as generators: they yield queries and are sent rows, so that one text serves every SQL engine.

An engine runs a unit in one transaction, all or none. It may run it again from the start if the transaction could not be
committed and nothing of it is there (a deadlock, a server that went away before it was asked to commit): what is given to an
engine is a function that makes the generator, and nothing outside of the database is changed in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

T = TypeVar("T")
Row = Sequence[Any]


class Query(NamedTuple):
    """A statement of :mod:`valija.store.statements` and the values of its placeholders, once for each of ``many``."""

    statement: str
    many: Sequence[Sequence[Any]]


Work = Generator[Query, list[Row], T]


class Engine(Protocol):
    """An open database."""

    async def write(self, work: Callable[[], Work[T]]) -> T:
        """Run ``work`` in a transaction; return what it returned once that is durable. Raises store errors.

        A caller who is cancelled does not stop the write.
        """
        ...

    async def read(self, work: Callable[[], Work[T]]) -> T:
        """Run ``work``, which changes nothing."""
        ...

    def check_open(self) -> None:
        """Raise :class:`StoreError` once it is closed."""
        ...

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin something that is finished before the engine closes."""
        ...

    async def commit(self, work: Callable[[], Work[T]]) -> T:
        """Do as :meth:`write`, for who has made sure that it is not cancelled."""
        ...

    async def close(self) -> None:
        """Finish the writes that wait, then let go."""
        ...


def one(statement: str, *values: Any) -> Work[Row | None]:
    """Return the first row."""
    rows = yield Query(statement, (values,))
    return rows[0] if rows else None


def rows(statement: str, *values: Any) -> Work[list[Row]]:
    """Return all rows."""
    return (yield Query(statement, (values,)))


def each(statement: str, many: Sequence[Sequence[Any]]) -> Work[list[Row]]:
    """Run a statement once for each; return all rows.

    In order, but where it selects by one value: those come in any.
    """
    return (yield Query(statement, many)) if many else []


def do(statement: str, *values: Any) -> Work[None]:
    """Run a statement."""
    yield Query(statement, (values,))
