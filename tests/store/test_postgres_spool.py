"""Large bodies in PostgreSQL: streamed, whole or an error, readable from every node, and nothing left over."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest
from nodes import Nodes, nodes_fixture
from queue_engines import queued

from valija.domain.errors import StoreError
from valija.store.postgres import PostgresStore
from valija.store.postgres_spool import PIECE
from valija.store.queue_port import Body
from valija.store.spool_port import BodySpool

nodes = nodes_fixture
pytestmark = pytest.mark.peers
HERE = Path()


def spool_of(node: PostgresStore) -> BodySpool:
    return node.spool_in(HERE)


async def named() -> set[str]:
    """The database knows by itself what messages name."""
    raise AssertionError("nobody asks")


async def put(spool: BodySpool, *pieces: bytes) -> str:
    """Write a body; return its name."""
    file = await spool.create()
    for piece in pieces:
        await file.write(piece)
    return await file.commit()


async def read(spool: BodySpool, name: str) -> bytes:
    return b"".join([piece async for piece in spool.read(name)])


async def test_what_one_node_wrote_another_one_reads_in_pieces(nodes: Nodes) -> None:
    one, two = await nodes.open(), await nodes.open()
    octets = os.urandom(2 * PIECE + 1000)
    name = await put(spool_of(one), octets[:1000], octets[1000:])
    assert await read(spool_of(two), name) == octets
    assert max([len(piece) async for piece in spool_of(two).read(name)]) <= PIECE
    assert await read(spool_of(two), await put(spool_of(one))) == b""
    await spool_of(two).delete([name, "gone"])
    with pytest.raises(StoreError, match="not whole"):
        await read(spool_of(one), name)
    assert nodes.sql("SELECT count(*) FROM spool_pieces") == "0"


async def test_a_body_that_is_not_whole_is_an_error_and_never_a_shorter_one(nodes: Nodes) -> None:
    """Not yet committed; a piece missing in the middle, or at the end."""
    spool = spool_of(await nodes.open())
    file = await spool.create()
    await file.write(b"x" * 10)
    begun = nodes.sql("SELECT name FROM spool_files")
    with pytest.raises(StoreError, match="not whole"):
        await read(spool, begun)
    await file.abandon()
    await file.abandon()
    assert nodes.sql("SELECT count(*) FROM spool_files") == "0"
    for lost in (0, 1, 2):
        name = await put(spool, b"a" * 10, b"b" * 10, b"c" * 10)
        nodes.sql(f"DELETE FROM spool_pieces WHERE file = '{name}' AND place = {lost}")
        with pytest.raises(StoreError, match="not whole"):
            await read(spool, name)


async def test_what_nobody_names_goes_when_nobody_has_touched_it_for_long(nodes: Nodes) -> None:
    """What another node may be writing stays, and what a message names."""
    node = await nodes.open()
    spool = spool_of(node)
    kept = await put(spool, b"kept")
    await node.queue.accept(queued(), Body(file=kept))
    await put(spool, b"left over")
    cut = await spool.create()
    await cut.write(b"cut")
    assert await spool.clean(named) == 0
    nodes.sql("UPDATE spool_files SET touched_at = now() - interval '2 hours'")
    fresh = await spool.create()
    await fresh.write(b"slow")
    assert await spool.clean(named) == 2
    assert await read(spool, kept) == b"kept"
    await fresh.write(b"ly")
    assert await read(spool, await fresh.commit()) == b"slowly"
    with pytest.raises(StoreError, match="not whole"):
        await cut.write(b"more")
    assert nodes.sql("SELECT count(*) FROM spool_files") == "2"


async def test_twenty_megabytes_pass_with_flat_memory(nodes: Nodes) -> None:
    """In and out; measured in what Python has allocated at the most."""
    spool = spool_of(await nodes.open())
    piece = os.urandom(PIECE)
    wanted, found, size = hashlib.sha256(), hashlib.sha256(), 0
    await read(spool, await put(spool, piece))
    tracemalloc.start()
    try:
        file = await spool.create()
        for number in range(80):
            data = number.to_bytes(4, "big") + piece[4:]
            wanted.update(data)
            await file.write(data)
        async for part in spool.read(await file.commit()):
            found.update(part)
            size += len(part)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 80 * PIECE
    assert found.digest() == wanted.digest()
    assert most < 12 * PIECE
