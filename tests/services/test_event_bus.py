"""Events reach every listener, and a slow one holds up nobody."""

from __future__ import annotations

from datetime import timedelta

from fakes import START

from valija.services.events import QUEUE_LIMIT, EventBus, SettingsChanged


def event(n: int) -> SettingsChanged:
    return SettingsChanged(str(n), START + timedelta(seconds=n))


async def test_every_listener_gets_every_event_in_order() -> None:
    bus = EventBus()
    async with bus.subscribe() as one, bus.subscribe() as two:
        for n in range(5):
            bus.publish(event(n))
        for queue in (one, two):
            assert [queue.get_nowait() for _ in range(queue.qsize())] == [event(n) for n in range(5)]


async def test_a_listener_who_is_too_slow_loses_the_oldest_and_memory_stays_bounded() -> None:
    bus = EventBus()
    async with bus.subscribe() as slow, bus.subscribe() as quick:
        for n in range(QUEUE_LIMIT + 100):
            bus.publish(event(n))
            assert quick.get_nowait() == event(n)
        assert slow.qsize() == QUEUE_LIMIT
        assert slow.get_nowait() == event(100)


async def test_who_has_gone_gets_nothing_more() -> None:
    bus = EventBus()
    async with bus.subscribe() as queue:
        bus.publish(event(1))
    bus.publish(event(2))
    assert queue.qsize() == 1


async def test_events_without_listeners_are_forgotten() -> None:
    bus = EventBus()
    bus.publish(event(1))
    async with bus.subscribe() as queue:
        assert queue.empty()
