"""A queued message as the server at the other end can take it: 7 bit where it says so, lines of 998 octets always."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from valija.domain.queued_message import QueuedMessage
from valija.message.seven_bit import SevenBit, Survey
from valija.protocol.smtp_client import Capabilities
from valija.protocol.smtp_transaction import Envelope

Read = Callable[[], AsyncIterator[bytes]]


async def fit(
    message: QueuedMessage, envelope: Envelope, capabilities: Capabilities, read: Read
) -> tuple[Envelope, AsyncIterator[bytes]]:
    """Return an envelope and a body that the server can take; ``read`` begins the stored body anew."""
    too_wide = envelope.eight_bit and not capabilities.has("8BITMIME")
    if envelope.needs_utf8 or not (too_wide or message.long_lines):
        return envelope, read()
    survey = Survey()
    async for octets in read():
        survey.feed(octets)
    return replace(envelope, eight_bit=False), _written(read(), survey.end())


async def _written(body: AsyncIterator[bytes], leaves: frozenset[int]) -> AsyncIterator[bytes]:
    writer = SevenBit(leaves)
    async for octets in body:
        yield writer.feed(octets)
    yield writer.end()
