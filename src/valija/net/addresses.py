"""This machine's own addresses in the local network: what is typed into a device, what its certificate is made out to.

And how it listens at them.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Final

_SIOCGIFADDR: Final = 0x8915  # netdevice(7)
_SIOCGIFFLAGS: Final = 0x8913
_UP: Final = 0x1
_LOOPBACK: Final = 0x8
_NOT_OFFICE: Final = ("docker", "br-", "veth", "virbr", "tun", "tap", "wg")
_DOCUMENTATION: Final = ("192.0.2.1", 9)  # RFC 5737; nothing is sent there


def local_addresses() -> list[str]:
    """Return the IPv4 addresses of this machine, the one towards the outside first; blocking, briefly.

    Old devices know nothing of IPv6. Bridges of containers and tunnels come last: no printer is behind them.
    """
    found: list[tuple[bool, str]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _index, name in socket.if_nameindex():
            address = _address_of(asked, name)
            if address is not None:
                found.append((name.startswith(_NOT_OFFICE), address))
        try:
            asked.connect(_DOCUMENTATION)
            first = asked.getsockname()[0]
        except OSError:  # no way out: a network without a gateway
            first = ""
    ordered = [address for _last, address in sorted(found, key=lambda pair: (pair[1] != first, pair[0]))]
    return list(dict.fromkeys(ordered))


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a TCP socket bound to an address; ``::`` is all of IPv6 and of IPv4 (RFC 3493 section 5.3). Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ":" in host:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _address_of(asked: socket.socket, name: str) -> str | None:
    request = struct.pack("256s", name.encode()[:15])
    try:
        flags = struct.unpack_from("H", fcntl.ioctl(asked, _SIOCGIFFLAGS, request), 16)[0]
        if not flags & _UP or flags & _LOOPBACK:
            return None
        return socket.inet_ntoa(fcntl.ioctl(asked, _SIOCGIFADDR, request)[20:24])
    except OSError:  # without an IPv4 address
        return None
