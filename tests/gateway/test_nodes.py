"""Two gateways on one PostgreSQL, killed in turn under load: what one accepted the other one delivers, at one pace, once."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from gateway_process import GatewayProcesses, Place, gateway_processes
from postgres import Postgres
from running_gateway import OPERATOR, HurryClock, RunningGateway
from test_kill import Load, Weather, assert_no_recipient_has_two_for_our_fault
from upstream import Upstream

from valija.domain.account_gate import Gate
from valija.store import postgres_nodes
from valija.store.master_key import FILE_NAME

pytestmark = pytest.mark.peers
SPEED = 100.0
KILLS = 3
DEVICES = 3


def new_node(directory: Path, key_of: Path | None = None) -> Path:
    """Make a node's state directory, with the key of another one's."""
    directory.mkdir(mode=0o700)
    if key_of is not None:
        shutil.copy(key_of / FILE_NAME, directory)
    return directory


async def test_two_gateways_killed_in_turn_lose_nothing_and_send_nothing_twice(
    tmp_path: Path, postgres: Postgres
) -> None:
    """Each takes over what the other one had accepted and leased; bodies in rows and in pieces."""
    url, began, chance = await postgres.empty_database(), time.time(), random.Random(3)
    upstream = await Upstream(Weather(random.Random(3))).start()
    clock = HurryClock(SPEED, began)
    first = await RunningGateway(new_node(tmp_path / "a"), upstream.port, clock=clock).on(url).start()
    await first.open_door()
    await first.stop()
    new_node(tmp_path / "b", tmp_path / "a")

    loads = []
    options = (f"began={began}", f"speed={SPEED}", f"store={url}")
    async with gateway_processes() as one, gateway_processes() as two:
        loads = [Load(node, chance) for node in (one, two)]
        loads[1].begin_at(1_000_000)
        devices = [asyncio.create_task(load.device()) for load in loads for _device in range(DEVICES)]

        async def lives(node: GatewayProcesses, place: Place, first_s: float) -> None:
            for seconds in (first_s, *(chance.uniform(0.8, 2.0) for _kill in range(KILLS - 1))):
                await node.life(seconds, place)

        await asyncio.gather(
            lives(one, (tmp_path / "a", upstream.port, *options), 1.0),
            lives(two, (tmp_path / "b", upstream.port, *options), 1.8),
        )
        for task in devices:
            task.cancel()
        await asyncio.gather(*devices, return_exceptions=True)

    assert isinstance(upstream.fault, Weather)
    upstream.fault.fair = True
    taken_before = len(upstream.taken())
    await asyncio.sleep(1.1)  # for the last one's lane to be free
    last = await RunningGateway(tmp_path / "a", upstream.port, clock=clock, retry_delays_s=[10]).on(url).start()
    entries = await last.until_all_delivered(60)
    files = await last.store.queue.files()
    await last.stop()
    await upstream.stop()

    accepted = {name for load in loads for name in load.accepted}
    offered = {name: recipients for load in loads for name, recipients in load.offered.items()}
    copies = Counter((c.message_id, r) for c in upstream.taken() for r in c.recipients)
    assert [(name, r) for name in accepted for r in offered[name] if not copies[name, r]] == []
    assert_no_recipient_has_two_for_our_fault(upstream)
    assert {copy.wire.count(b"0123456789abcdef\r\n") * 18 // 1000 for copy in upstream.taken()} == {0, 3, 199}
    assert set(postgres.psql("SELECT name FROM spool_files WHERE pieces IS NOT NULL", "kept").split()) >= files
    assert min(len(load.accepted) for load in loads) > 20
    assert len(entries) >= len(accepted)
    assert taken_before > 20


async def test_a_postgresql_that_goes_away_under_load_loses_nothing_that_got_a_250(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a crash, twice: devices hear 4yz meanwhile, mail goes on by itself, nothing is sent twice."""
    monkeypatch.setattr(postgres_nodes, "GRACE_S", 0.0)
    url, began = await postgres.empty_database(), time.time()
    upstream, clock = await Upstream().start(), HurryClock(SPEED, began)
    node = new_node(tmp_path / "a")
    async with gateway_processes() as gateway:
        await gateway.begin(node, upstream.port, f"began={began}", f"speed={SPEED}", f"store={url}")
        await gateway.ready()
        load = Load(gateway, random.Random(5))
        devices = [asyncio.create_task(load.device()) for _device in range(DEVICES)]
        for down_s in (0.1, 0.6):
            before = len(load.accepted)
            async with asyncio.timeout(20):
                while len(load.accepted) < before + 30 or len(upstream.taken()) < 10:  # noqa: ASYNC110 - counted by others
                    await asyncio.sleep(0.02)
            await postgres.restart_at_once(down_s=down_s)
        before = len(load.accepted)
        async with asyncio.timeout(20):
            while len(load.accepted) < before + 10:  # noqa: ASYNC110 - it goes on by itself
                await asyncio.sleep(0.02)
        for task in devices:
            task.cancel()
        await asyncio.gather(*devices, return_exceptions=True)
        await asyncio.sleep(0.5)
        await gateway.end()
    last = await RunningGateway(node, upstream.port, clock=clock, retry_delays_s=[10]).on(url).start()
    await asyncio.sleep(1.1)  # for its lane to be free
    await last.until_all_delivered(60)
    await last.stop()
    await upstream.stop()
    copies = Counter((c.message_id, r) for c in upstream.taken() for r in c.recipients)
    assert [(name, r) for name in load.accepted for r in load.offered[name] if not copies[name, r]] == []
    assert_no_recipient_has_two_for_our_fault(upstream)


async def test_devices_settings_and_gates_of_one_node_are_those_of_the_other_at_once(
    tmp_path: Path, postgres: Postgres
) -> None:
    """A device that is added, changed or revoked; an account that is held; mail accepted here leaves there."""
    url = await postgres.empty_database()
    upstream = await Upstream().start()
    one = await RunningGateway(new_node(tmp_path / "a"), upstream.port).on(url).start()
    two = await RunningGateway(new_node(tmp_path / "b", tmp_path / "a"), upstream.port).on(url).start()
    here, there = one.machine.gateway, two.machine.gateway

    async def until(reached: object) -> None:
        assert callable(reached)
        async with asyncio.timeout(5):
            while not reached():  # noqa: ASYNC110 - news of another node
                await asyncio.sleep(0.01)

    made = await one.add_device("Ricoh")
    login = made.device.login
    await until(lambda: there.devices.is_taken(login))
    assert made.password is not None
    assert await there.devices.verify(login, made.password, "127.0.0.1") is not None
    await two.machine.gateway.devices.delete(login, OPERATOR)
    await until(lambda: not here.devices.is_taken(login))
    assert await here.devices.verify(login, made.password, "127.0.0.1") is None
    await there.learning.begin(10, OPERATOR)
    await until(here.learning.is_on)

    await here.act_on_account("hold", "smtp", OPERATOR)
    await until(lambda: not there.dispatcher.gate("smtp").is_open)
    await there.act_on_account("release", "smtp", OPERATOR)
    await until(lambda: here.dispatcher.gate("smtp").is_open)
    assert here.dispatcher.gate("smtp") == there.dispatcher.gate("smtp") != Gate()
    await one.stop()
    await two.stop()
    await upstream.stop()
