"""Two gateways on one PostgreSQL, one of which hears no news for a moment: what it has missed it makes up for."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from postgres import Postgres
from running_gateway import OPERATOR
from test_nodes_stop import MAILS, Pair, pair_fixture
from upstream import Upstream

from valija.domain.account import Setting
from valija.domain.account_gate import Gate
from valija.domain.errors import StoreUnreachable
from valija.domain.queue import Delivered, Held
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.settings import SmtpSettings
from valija.domain.text import message
from valija.store import postgres_nodes

pytestmark = pytest.mark.peers
pair = pair_fixture
DEAF_S = 0.7


@pytest.fixture(autouse=True)
def deaf_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection for news is not replaced at once."""
    monkeypatch.setattr(postgres_nodes, "AGAIN_S", DEAF_S)


def _deafen(server: Postgres) -> None:
    server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'", "kept")


async def test_what_was_stopped_meanwhile_is_stopped(pair: Pair, postgres: Postgres) -> None:
    """Messages, as far as they were not begun when it heard again; the answer has waited for that."""
    numbers = await pair.fill()
    _deafen(postgres)
    answer = await pair.asked.machine.gateway.act("hold", numbers, OPERATOR)
    held = {stored.entries[0].recipient.address for stored in answer if isinstance(stored.entries[0].state, Held)}
    assert len(held) > MAILS // 3
    pair.upstream.delay_s = 0
    await pair.until(lambda states: all(isinstance(state, Delivered | Held) for state in states))
    assert pair.begun().isdisjoint(held)


async def test_a_server_that_was_set_meanwhile_gets_the_mail(pair: Pair, postgres: Postgres) -> None:
    """No kept connection to the former one is used any more."""
    other = await Upstream().start()
    await pair.put("kept@example.org")
    await pair.asked.until_all_delivered()
    _deafen(postgres)
    stored = await pair.asked.store.load_settings(Setting.SMTP)
    assert isinstance(stored.value, SmtpSettings)
    record = AuditRecord(pair.asked.clock.now(), OPERATOR, AuditAction.SETTINGS_CHANGED, "smtp")
    await pair.asked.store.save_settings(Setting.SMTP, stored.version, replace(stored.value, port=other.port), record)
    await asyncio.sleep(DEAF_S + 1)
    await pair.put("later@example.org")
    await pair.asked.until_all_delivered()
    assert [copy.recipients for copy in other.taken()] == [("later@example.org",)]
    await other.stop()


async def test_a_lane_that_was_left_meanwhile_is_taken(pair: Pair, postgres: Postgres) -> None:
    """Not only at the next time that it is asked for."""
    await pair.put("first@example.org")
    await pair.asked.until_all_delivered()
    assert not pair.asked.machine.gateway.dispatcher._lanes["smtp"].hold.held
    _deafen(postgres)
    lane = pair.sender.machine.gateway.dispatcher._lanes["smtp"]
    await lane.hold.stop()
    async with asyncio.timeout(DEAF_S + 2):
        while not pair.asked.machine.gateway.dispatcher._lanes["smtp"].hold.held:  # noqa: ASYNC110 - it asks for it
            await asyncio.sleep(0.02)


async def test_news_that_cannot_be_read_at_once_is_read_later(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database was away for a moment; nobody tells of the change once more."""
    queue, away = pair.sender.store.queue, [True, True]
    load_gate = queue.load_gate

    async def stumbles(account: str) -> Gate:
        if away:
            away.pop()
            raise StoreUnreachable(message("gone"))
        return await load_gate(account)

    monkeypatch.setattr(queue, "load_gate", stumbles)
    await pair.asked.machine.gateway.act_on_account("hold", "smtp", OPERATOR)
    async with asyncio.timeout(5):
        while pair.sender.machine.gateway.dispatcher.gate("smtp").is_open:  # noqa: ASYNC110 - news
            await asyncio.sleep(0.02)
    assert not away
