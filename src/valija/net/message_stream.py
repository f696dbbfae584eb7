"""A message on its way to the wire, in pieces."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from valija.protocol.dot_stuffing import DotStuffer, MessageTop


async def stuffed(octets: AsyncIterator[bytes], lines: int | None) -> AsyncGenerator[bytes]:
    """Yield a message dot-stuffed with its terminator; ``lines`` of its body (TOP), None for all. Reads it to its end."""
    stuffer = DotStuffer()
    top = MessageTop(lines) if lines is not None else None
    async for piece in octets:
        if out := stuffer.feed(piece if top is None else top.feed(piece)):
            yield out
    yield stuffer.finish()
