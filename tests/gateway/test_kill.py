"""``kill -9`` at random moments, under load: what got a 250 arrives; nobody gets two for the gateway's fault.

``VALIJA_KILLS`` is how often, ``VALIJA_KILLS_SEED`` which moments.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway_process import GatewayProcesses, Place, gateway_processes
from quick_sender import Client, code
from running_gateway import HurryClock, RunningGateway
from upstream import Upstream, Visit

KILLS = int(os.environ.get("VALIJA_KILLS", "300"))
SEED = int(os.environ.get("VALIJA_KILLS_SEED", "1"))
SPEED = 100.0
DEVICES = 6
ONE_FAULT_IN = 60


class Load:
    """Devices that hand in message after message, for as long as somebody is there to take it."""

    def __init__(self, gateways: GatewayProcesses, chance: random.Random) -> None:
        self._gateways = gateways
        self._chance = chance
        self._next = 0
        self.offered: dict[str, list[str]] = {}
        self.accepted: set[str] = set()

    def begin_at(self, number: int) -> None:
        """Count messages from there."""
        self._next = number

    async def device(self) -> None:
        """Be one device for ever."""
        while True:
            if port := self._gateways.port:
                with contextlib.suppress(OSError, TimeoutError):
                    await self._hand_in(port)
            await asyncio.sleep(0.002)

    async def _hand_in(self, port: int) -> None:
        self._next += 1
        name = f"<{self._next}@device.test>"
        recipients = [f"{self._next}-{n}@x.test" for n in range(self._chance.choice((1, 1, 3)))]
        size = self._chance.choice((500, 4000, 4000, 200_000))
        message = f"Message-ID: {name}\r\nSubject: scan\r\n\r\n".encode() + b"0123456789abcdef\r\n" * (size // 18)
        self.offered[name] = recipients
        async with await Client.connect(port) as client:
            if code(await client.hand_in("scanner@x.test", recipients, message)) == 250:
                self.accepted.add(name)


class Weather:
    """An upstream's faults, one now and then."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.fair = False

    def __call__(self, _visit: Visit, step: str, when: str) -> str | bytes | None:
        if self.fair or when == "during" or self._chance.randrange(ONE_FAULT_IN):
            return None
        what: str | bytes = self._chance.choice(("close", "reset", "half", b"451 4.3.0 Later\r\n"))
        return (
            "close" if when == "after" or (isinstance(what, bytes) and step in ("greeting", "EHLO", "QUIT")) else what
        )


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """The provider's server, which is never killed."""
    started = await Upstream(Weather(random.Random(SEED))).start()
    yield started
    await started.stop()


async def _kill_again_and_again(gateways: GatewayProcesses, load: Load, chance: random.Random, place: Place) -> None:
    devices = [asyncio.create_task(load.device()) for _number in range(DEVICES)]
    for _kill in range(KILLS):
        while_starting = chance.random() < 0.2
        seconds = chance.uniform(0, 0.1) if while_starting else chance.expovariate(1 / 0.1)
        await gateways.life(seconds, place, while_starting=while_starting)
    for task in devices:
        task.cancel()
    await asyncio.gather(*devices, return_exceptions=True)


def assert_no_recipient_has_two_for_our_fault(upstream: Upstream) -> None:
    """A second copy is right only if nothing shows that the gateway had read the answer to the first."""
    known: set[tuple[str, str]] = set()
    for copy in upstream.taken():
        for recipient in copy.recipients:
            assert (copy.message_id, recipient) not in known, f"{copy.message_id} was sent again to {recipient}"
            if copy.acknowledged:
                known.add((copy.message_id, recipient))


async def test_killed_again_and_again_under_load_nothing_that_got_a_250_is_lost_or_sent_twice(
    tmp_path: Path, upstream: Upstream
) -> None:
    """Small messages in rows, large ones in files, one to three recipients; the upstream fails now and then, too."""
    began = time.time()
    state = tmp_path / "state"
    state.mkdir()
    chance = random.Random(SEED)
    async with gateway_processes() as gateways:
        load = Load(gateways, chance)
        await _kill_again_and_again(gateways, load, chance, (state, upstream.port, f"began={began}", f"speed={SPEED}"))
    assert isinstance(upstream.fault, Weather)
    upstream.fault.fair = True
    last = await RunningGateway(state, upstream.port, clock=HurryClock(SPEED, began), retry_delays_s=[10]).start()
    entries = await last.until_all_delivered(120)
    spooled = last.spooled()
    files = await last.store.queue.files()
    await last.stop()

    copies = Counter((c.message_id, r) for c in upstream.taken() for r in c.recipients)
    print(  # noqa: T201 - what a long run is made for
        f"{KILLS} kills in {time.time() - began:.0f} s: {len(load.offered)} offered, {len(load.accepted)} accepted, "
        f"{len(entries)} recipients, {sum(copies.values())} copies, {len(upstream.visits)} sessions upstream"
    )
    missing = [(name, r) for name in load.accepted for r in load.offered[name] if not copies[name, r]]
    assert missing == []
    assert {(name, r) for name, r in copies} <= {(name, r) for name, rs in load.offered.items() for r in rs}
    assert_no_recipient_has_two_for_our_fault(upstream)
    assert set(spooled) == files
    assert len(load.accepted) > KILLS  # it was under load, indeed
