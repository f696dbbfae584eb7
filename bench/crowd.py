"""Thousands of devices that are connected at once, and do little: ``python -m bench.crowd``; prints JSON.

``idle``: opens sessions, greets, and keeps them; says ``{"open": n}``, and ends with its standard input. ``moment``: connects
all at one moment and tells how long the greetings took.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import ssl
import sys
import time

SPREAD = 250  # addresses of loopback that they come from
AT_ONCE = 200


def _connect(port: int, number: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: the port is chosen at connect
    sock.bind((f"127.0.0.{number % SPREAD + 1}", 0))
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", port))
    return sock


def _read_reply(sock: socket.socket, code: bytes) -> None:
    data = b""
    while not (data.endswith(b"\n") and data[data.rfind(b"\n", 0, -1) + 1 :][3:4] == b" "):
        piece = sock.recv(4096)
        assert piece, data
        data += piece
    assert data.startswith(code), data


def idle(port: int, count: int, secure: bool) -> None:
    """Open sessions, a few at a time, up to EHLO; keep them until standard input ends."""
    context = ssl._create_unverified_context() if secure else None
    sessions: list[socket.socket] = []
    for start in range(0, count, AT_ONCE):
        opened = [_connect(port, number) for number in range(start, min(start + AT_ONCE, count))]
        for sock in opened:
            sock.settimeout(60)
            _read_reply(sock, b"220")
            sock.sendall(b"EHLO device.example\r\n")
            _read_reply(sock, b"250")
            if context is not None:
                sock.sendall(b"STARTTLS\r\n")
                _read_reply(sock, b"220")
                sock = context.wrap_socket(sock)
                sock.sendall(b"EHLO device.example\r\n")
                _read_reply(sock, b"250")
            sessions.append(sock)
    print(json.dumps({"open": len(sessions)}), flush=True)
    sys.stdin.read()


def moment(port: int, count: int, patience: float) -> None:
    """Connect all at once; print how many were greeted, and after how many seconds the last one was."""
    poll = select.epoll()
    start = time.monotonic()
    waiting = {}
    for number in range(count):
        sock = _connect(port, number)
        waiting[sock.fileno()] = sock
        poll.register(sock.fileno(), select.EPOLLIN)
    connected = time.monotonic() - start
    greeted: list[float] = []
    kept = []
    while waiting and time.monotonic() - start < patience:
        for number, _events in poll.poll(0.1):
            sock = waiting.pop(number)
            poll.unregister(number)
            try:
                if sock.recv(1000).startswith(b"220"):
                    greeted.append(time.monotonic() - start)
            except OSError:
                continue
            kept.append(sock)
    print(json.dumps({"connected_s": connected, "greeted": greeted}))


def main() -> None:
    """Do what is asked: ``idle PORT COUNT clear|tls`` or ``moment PORT COUNT SECONDS``."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    what, port, count, last = sys.argv[1:]
    if what == "idle":
        idle(int(port), int(count), last == "tls")
    else:
        moment(int(port), int(count), float(last))


if __name__ == "__main__":
    main()
