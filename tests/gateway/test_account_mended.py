"""An account's trouble is mended where nobody here sees it; who looks whether it works again has not to wait for the mail."""

from __future__ import annotations

from quick_sender import Client, code
from running_gateway import MAILBOX, RunningGateway, gateway_fixture, upstream_fixture
from upstream import Upstream, Visit

from valija.domain.account import Setting
from valija.domain.queue import Queued
from valija.services.connection_test import StageOutcome

upstream, gateway = upstream_fixture, gateway_fixture


def _not_taken(_visit: Visit, step: str, when: str) -> bytes | None:
    return b"550 5.1.0 Sender rejected\r\n" if (step, when) == ("MAIL", "before") else None


async def _tested(gateway: RunningGateway) -> set[StageOutcome]:
    return {report.outcome async for report in gateway.machine.test.run(Setting.SMTP)}


async def test_a_connection_test_that_passes_lets_go_what_waits_for_the_account(
    gateway: RunningGateway, upstream: Upstream
) -> None:
    """One that fails leaves it held."""
    upstream.fault = _not_taken
    async with await Client.connect(gateway.port) as client:
        assert code(await client.hand_in(MAILBOX, ["b@x.test"], b"Subject: x\r\n\r\n")) == 250
    dispatcher = gateway.machine.gateway.dispatcher
    await gateway.until(lambda entries: isinstance(entries[0][1], Queued) and not dispatcher.gate("smtp").is_open)
    assert StageOutcome.FAILED in await _tested(gateway)
    assert not dispatcher.gate("smtp").is_open
    upstream.fault = lambda _visit, _step, _when: None
    assert StageOutcome.FAILED not in await _tested(gateway)
    await gateway.until_all_delivered(5)
    assert dispatcher.gate("smtp").is_open
