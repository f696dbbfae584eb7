"""The client goes away at every octet of a session: nothing is taken that it had not ended, nothing is left behind."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from quick_sender import Client
from running_gateway import RunningGateway, gateway_fixture, upstream_fixture

from valija.domain.errors import StoreFull
from valija.domain.queued_message import QueuedMessage
from valija.domain.text import message
from valija.store.queue_port import Body
from valija.store.spool import SpoolFile

AT_ONCE = 40
LARGE = b"0123456789abcdef\r\n" * 40_000


upstream, gateway = upstream_fixture, gateway_fixture


def session(number: int, body: bytes = b"hello\r\n..dot\r\n") -> tuple[bytes, int]:
    """Return a session, all at once, and how many octets of it there are up to the end of the final dot."""
    head = (
        b"EHLO printer\r\nMAIL FROM:<scanner@x.test> SIZE=100\r\nRCPT TO:<b@x.test>\r\nRCPT TO:<c@x.test>\r\nDATA\r\n"
    )
    message = head + b"Message-ID: <%d@device.test>\r\n\r\n" % number + body + b".\r\n"
    return message + b"NOOP\r\nQUIT\r\n", len(message)


async def _cut_off(gateway: RunningGateway, said: bytes, *, reset: bool, linger: bool) -> None:
    """Say that much, then go: with an end, or with a reset; at once, or after having heard something."""
    client = await Client.connect(gateway.port)
    try:
        await client.send(said)
        if linger:
            await client.reader.read(1)
    except ConnectionError:
        return
    if reset:
        client.reset()
    else:
        client.writer.write_eof()
        await client.rest()
        client.writer.close()


async def _queued(gateway: RunningGateway) -> Counter[str]:
    """Return how often each message is there, once all sessions are over."""
    await asyncio.sleep(0.3)
    found = await gateway.store.queue.list_messages(account=None, state=None, limit=10_000)
    return Counter(stored.message.message_id for stored in found)


@pytest.mark.parametrize("linger", [False, True], ids=["at once", "having heard"])
async def test_a_client_that_ends_at_any_octet_has_handed_in_what_it_ended_and_nothing_else(
    gateway: RunningGateway, linger: bool
) -> None:
    """A polite end: what was said before it counts, so a final dot does."""
    length = len(session(1000)[0])
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with places:
            await _cut_off(gateway, session(1000 + number)[0][:number], reset=False, linger=linger)

    await asyncio.gather(*(one(number) for number in range(length + 1)))
    ended = {f"{1000 + number}@device.test" for number in range(session(1000)[1], length + 1)}
    assert await _queued(gateway) == Counter(dict.fromkeys(ended, 1))


@pytest.mark.parametrize("linger", [False, True], ids=["at once", "having heard"])
async def test_a_client_that_vanishes_at_any_octet_has_at_most_handed_in_what_it_ended(
    gateway: RunningGateway, linger: bool
) -> None:
    """A reset may overtake what was said; it never adds to it."""
    length = len(session(1000)[0])
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with places:
            await _cut_off(gateway, session(1000 + number)[0][:number], reset=True, linger=linger)

    await asyncio.gather(*(one(number) for number in range(length + 1)))
    ended = {f"{1000 + number}@device.test" for number in range(session(1000)[1], length + 1)}
    found = await _queued(gateway)
    assert set(found) <= ended
    assert set(found.values()) <= {1}
    async with await Client.connect(gateway.port) as client:
        assert (await client.hand_in("a@x.test", ["b@x.test"], b"Subject: x\r\n\r\n"))[:3] == b"250"


async def test_a_large_message_that_breaks_off_leaves_nothing_behind(gateway: RunningGateway) -> None:
    """However much of it was in the spool already."""
    body = (b"0123456789abcdef" * 40 + b"\r\n") * 1200
    whole, ended_at = session(1, body)
    places = asyncio.Semaphore(AT_ONCE)

    async def one(length: int, reset: bool) -> None:
        async with places:
            await _cut_off(gateway, whole[:length], reset=reset, linger=True)

    lengths = [*range(60_000, len(whole), 37_777), ended_at - 1, ended_at - 3]
    await asyncio.gather(*(one(length, reset) for length in lengths for reset in (False, True)))
    assert await _queued(gateway) == Counter()
    assert gateway.spooled() == []
    await _cut_off(gateway, whole[:ended_at], reset=False, linger=False)
    assert await _queued(gateway) == Counter({"1@device.test": 1})
    assert len(gateway.spooled()) == 1


async def _hand_in_and_go(gateway: RunningGateway, said: bytes, *, hears: bool) -> None:
    """Say it, and end; before, or after, the answer to the message."""
    client = await Client.connect(gateway.port)
    await client.send(said)
    while hears and b"Queued as" not in await client.reply():
        pass
    client.writer.write_eof()
    await client.rest()
    client.writer.close()


@pytest.mark.parametrize(
    ("hears", "ending", "copies"),
    [(False, b"", 1), (True, b"", 2), (False, b"QUIT\r\n", 2)],
    ids=["hung up", "heard", "said QUIT ahead"],
)
async def test_what_is_handed_in_again_is_the_same_message_where_nobody_heard_of_the_first(
    gateway: RunningGateway, hears: bool, ending: bytes, copies: int
) -> None:
    """The very same octets, few or many: who hung up gets no second copy, who heard (or waits for no answer) meant two."""
    both = session(1), session(2, LARGE)
    for count in (1, copies):
        for whole, ended_at in both:
            await _hand_in_and_go(gateway, whole[:ended_at] + ending, hears=hears)
        assert await _queued(gateway) == {"1@device.test": count, "2@device.test": count}


async def test_what_is_handed_in_again_while_the_first_is_being_stored_is_the_same_message(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was slow, so the client went; it comes again before the disk has answered."""
    accept, stored = gateway.store.queue.accept, asyncio.Event()

    async def slow(message: QueuedMessage, body: Body) -> int:
        await stored.wait()
        return await accept(message, body)

    monkeypatch.setattr(gateway.store.queue, "accept", slow)
    whole, ended_at = session(1)
    first = await Client.connect(gateway.port)
    await first.send(whole[:ended_at])
    while b"354" not in await first.reply():
        pass
    first.writer.close()
    again = asyncio.create_task(_hand_in_and_go(gateway, whole[:ended_at], hears=True))
    await asyncio.sleep(0.2)
    stored.set()
    await again
    assert await _queued(gateway) == {"1@device.test": 1}


async def test_what_is_there_already_is_taken_again_though_the_disk_is_full_by_now(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal would bring it once more, when nobody remembers the first one."""

    async def full(*_what: object) -> None:
        raise StoreFull(message("full"))

    whole, ended_at = session(1, LARGE)
    await _hand_in_and_go(gateway, whole[:ended_at], hears=False)
    assert await _queued(gateway) == {"1@device.test": 1}
    with monkeypatch.context() as now:
        now.setattr(SpoolFile, "write", full)
        await _hand_in_and_go(gateway, whole[:ended_at], hears=True)
    assert await _queued(gateway) == {"1@device.test": 1}
    assert len(gateway.spooled()) == 1


@pytest.mark.parametrize("at", [0, len(LARGE) // 2, -3], ids=["beginning", "middle", "end"])
async def test_a_large_message_of_which_one_octet_differs_is_another(gateway: RunningGateway, at: int) -> None:
    """Wherever it is: most of it was in a file by then."""
    other = bytearray(LARGE)
    other[at] ^= 1
    for body in (LARGE, bytes(other)):
        whole, ended_at = session(1, body)
        await _hand_in_and_go(gateway, whole[:ended_at], hears=False)
    assert (await _queued(gateway)).total() == 2
