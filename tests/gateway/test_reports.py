"""Reports of what could not be delivered: to who sent it, and a copy to the operator who is named for that."""

from __future__ import annotations

import email
import email.policy
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from quick_sender import Client, code
from running_gateway import MAILBOX, RunningGateway, upstream_fixture
from upstream import Upstream, Visit

from valija.domain import report_limit
from valija.domain.queue import RecipientStateName

__all__ = ["upstream_fixture"]
OPERATOR = "ops@x.test"
SENDER = "ana@x.test"


def _knows_no_nobody(visit: Visit, step: str, when: str) -> bytes | None:
    wanted = (step, when) == ("RCPT", "before") and b"nobody" in visit.commands[-1]
    return b"550 5.1.1 No such user\r\n" if wanted else None


async def _hand_in(gateway: RunningGateway, sender: str, *recipients: str) -> list[tuple[str, RecipientStateName]]:
    """Hand a message in; return what became of it and its reports."""
    async with await Client.connect(gateway.port) as client:
        said = await client.hand_in(sender, recipients, b"Message-ID: <1@x>\r\nSubject: Factura\r\n\r\nhello\r\n")
    assert code(said) == 250
    ended = (RecipientStateName.DELIVERED, RecipientStateName.FAILED)
    reports = 1 + (sender == SENDER)
    found = await gateway.until(
        lambda entries: len(entries) >= len(recipients) + reports and all(s.name in ended for _a, s in entries)
    )
    return [(address, state.name) for address, state in found]


@pytest.mark.parametrize(("sender", "hear"), [(SENDER, [SENDER, OPERATOR]), ("", [OPERATOR]), (OPERATOR, [OPERATOR])])
async def test_an_operator_hears_of_what_failed_also_where_nobody_else_can(
    tmp_path: Path, upstream: Upstream, sender: str, hear: list[str]
) -> None:
    """Once, with the cure; not of what was delivered, and never of a report."""
    upstream.fault = _knows_no_nobody
    gateway = await RunningGateway(tmp_path, upstream.port, report_copy_to=OPERATOR).start()
    await gateway.open_door()
    entries = await _hand_in(gateway, sender, "nobody@x.test", "b@x.test")
    assert sorted(address for address, _state in entries[2:]) == sorted(hear)
    (copy,) = [one for one in upstream.taken() if one.recipients == (OPERATOR,)]
    report = email.message_from_bytes(copy.wire, policy=email.policy.default)
    assert (report["To"], report["Subject"]) == (OPERATOR, "Not delivered: Factura")
    assert report["From"].addresses[0].addr_spec == MAILBOX
    listed = await gateway.store.queue.list_messages(account=None, state=None, limit=10)
    (queued,) = {stored.message.subject for stored in listed if stored.message.is_report}
    assert queued == "Not delivered: Factura", "what is listed is what arrives"
    text = str(report.get_body())
    assert "nobody@x.test" in text and "What to do:" in text and "b@x.test" not in text
    picture = gateway.machine.gateway.traffic.picture(timedelta(hours=1))
    assert sum(slot.accepted for slot in picture) == 2 + len(hear)
    await gateway.stop()


async def test_a_report_that_fails_is_told_to_nobody(tmp_path: Path, upstream: Upstream) -> None:
    """Nothing goes in circles."""
    upstream.fault = _knows_no_nobody
    gateway = await RunningGateway(tmp_path, upstream.port, report_copy_to="nobody.here@x.test").start()
    await gateway.open_door()
    entries = await _hand_in(gateway, "", "nobody@x.test")
    assert [state for _address, state in entries] == [RecipientStateName.FAILED] * 2
    await gateway.stop()


async def test_a_device_that_is_stuck_buries_nobody_in_reports(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed stays in the queue to be seen; who is told of something else is told."""
    monkeypatch.setattr(report_limit, "AN_HOUR", 3)
    upstream.fault = _knows_no_nobody
    gateway = await RunningGateway(tmp_path, upstream.port, report_copy_to=OPERATOR).start()
    await gateway.open_door()
    for number in range(5):
        async with await Client.connect(gateway.port) as client:
            body = b"Message-ID: <%d@x>\r\n\r\nhello\r\n" % number
            assert code(await client.hand_in("stuck@x.test", ["nobody@x.test"], body)) == 250
    failed = RecipientStateName.FAILED
    await gateway.until(lambda entries: sum(state.name is failed for _a, state in entries) == 5)
    await gateway.until(lambda entries: all(s.name in (failed, RecipientStateName.DELIVERED) for _a, s in entries))
    told = Counter(copy.recipients[0] for copy in upstream.taken())
    assert told == {"stuck@x.test": 3, OPERATOR: 3}
    await gateway.stop()
