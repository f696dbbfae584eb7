"""What a lane has in hand: no message is left lying by a worker that goes."""

from __future__ import annotations

import asyncio

import pytest
from fakes import START

from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.services.lane_line import LaneLine
from valija.store.queue_port import Body, Leased

SENT = QueuedMessage("smtp", "ricoh", "a@x.test", "1@x.test", 1, START, (QueuedRecipient("b@x.test"),))


@pytest.mark.parametrize("turns", range(6))
async def test_a_worker_that_is_counted_as_idle_takes_what_comes_whatever_turn_it_comes_in(turns: int) -> None:
    """Its patience may be over in the very same one: nobody else is begun for the message then."""
    line = LaneLine()
    taking = asyncio.create_task(line.take(lambda: 1, 0.0))
    for _turn in range(turns):
        await asyncio.sleep(0)
    counted = line.idle == 1
    line.put(Leased(1, 1, SENT, (), Body(b"x")), START)
    taken = await taking
    assert taken is not None or not counted
    assert (line.idle, len(line), line.octets) == ((0, 0, 0) if taken is not None else (0, 1, 1))
