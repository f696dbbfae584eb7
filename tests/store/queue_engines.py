"""The engines of the queue that keep the same contract, and values to put into them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from postgres import Postgres
from store_engines import ENGINES, open_postgres

from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.domain.trouble import Trouble, WhoActs
from valija.store.memory_queue import MemoryQueue
from valija.store.queue_port import QueueStore
from valija.store.sqlite_engine import SqliteEngine
from valija.store.sqlite_queue import SqliteQueue

NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
TROUBLE: Final = Trouble("server_busy", WhoActs.NOBODY, "451 4.3.0 später", NOW)


def queued(*addresses: str, **changes: object) -> QueuedMessage:
    """Return a message of the account smtp to these addresses."""
    recipients = tuple(
        QueuedRecipient(address, "FAILURE", "rfc822;" + address) for address in addresses or ("b@example.org",)
    )
    usual = QueuedMessage(
        account="smtp",
        device="ricoh",
        reverse_path="scanner@example.com",
        message_id="1@example.com",
        size=2000,
        accepted_at=NOW,
        recipients=recipients,
        subject="Escáner",
        eight_bit=True,
        envelope_id="q1",
        ret="HDRS",
        stopped=MINUTE,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


@pytest.fixture(name="line", params=ENGINES)
async def line_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[QueueStore]:
    """Give an empty queue of each engine."""
    if request.param == "memory":
        yield MemoryQueue()
    elif request.param == "sqlite":
        database = SqliteEngine(tmp_path)
        yield SqliteQueue(database)
        await database.close()
    else:
        server: Postgres = request.getfixturevalue("postgres")
        store = await open_postgres(await server.empty_database(), tmp_path)
        yield store.queue
        await store.close()
