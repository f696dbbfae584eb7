"""Syslog messages handed to a server or to this machine's own: bounded in time, each on a connection of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

from valija.domain.alert_settings import SyslogTarget
from valija.protocol.syslog import frame

TIMEOUT_S: Final = 10.0


async def send(target: SyslogTarget, messages: Sequence[bytes]) -> str | None:
    """Send messages; return why it could not be done, None if it was. By UDP nobody says whether they arrived."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            if target.transport == "udp":
                await _datagrams(target, messages)
            elif target.transport == "tcp":
                await _stream(target, messages)
            else:
                await asyncio.to_thread(_local, target.host, messages)
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s"
    except UnicodeError:  # what no name of a host can be
        return f"{target.host[:100]} is no name of a host"
    except OSError as error:
        return error.strerror or str(error)
    return None


async def _datagrams(target: SyslogTarget, messages: Sequence[bytes]) -> None:
    loop = asyncio.get_running_loop()
    transport, _protocol = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=(target.host, target.port)
    )
    try:
        for message in messages:
            transport.sendto(message)
    finally:
        transport.close()


async def _stream(target: SyslogTarget, messages: Sequence[bytes]) -> None:
    _reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(b"".join(map(frame, messages)))
        await writer.drain()
    finally:
        writer.close()
        await writer.wait_closed()


def _local(path: str, messages: Sequence[bytes]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT_S / 2)
        sock.connect(path)
        for message in messages:
            sock.send(message)
