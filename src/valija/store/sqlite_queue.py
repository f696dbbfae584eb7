"""The queue on SQLite."""

from __future__ import annotations

from typing import Final

from valija.store.sql_queue import SqlQueue
from valija.store.work import Work, one

_LAST: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'queue_messages'"


class SqliteQueue(SqlQueue):
    """The queue's rows in a database that this process alone has open."""

    def numbers(self, count: int) -> Work[list[int]]:
        found = yield from one(_LAST)  # AUTOINCREMENT's own record: numbers of deleted messages do not come back
        first = (found[0] if found is not None else 0) + 1
        return list(range(first, first + count))
