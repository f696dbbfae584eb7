"""An upstream submission server that costs little: STARTTLS, any login, counts and drops mail: ``python -m bench.sink``.

One thread, epoll and OpenSSL on the sockets themselves, because it shares two cores with what is measured. It prints its port
as JSON; then each line of its standard input is a question (``count``, ``delays``, ``zero``) that it answers by a line of JSON,
and it ends with its input. ``--minute`` and its like make it as strict as Exchange is with one mailbox.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import ssl
import sys
import time
from collections import Counter, deque
from typing import Any

END = b"\r\n.\r\n"
STAMP = b"X-Bench: "  # nanoseconds of CLOCK_MONOTONIC, which all processes share
OK = b"250 2.0.0 OK\r\n"
TOO_MANY = b"432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information.\r\n"
TOO_FAST = b"432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded; submission rate limit\r\n"


class Sink:
    """Counters and limits: ``connections``, and ``minute`` messages in any window of ``window_s``; 0 for no limit."""

    def __init__(self, tls: ssl.SSLContext | None, connections: int, minute: int, window_s: float) -> None:
        self.tls = tls
        self.connections_limit = connections
        self.minute = minute
        self.window_s = window_s
        self.poll = select.epoll()
        self.open: dict[int, Connection] = {}
        self.logged_in = 0
        self.zero()

    def zero(self) -> None:
        """Begin to count anew."""
        self.messages = self.octets = self.last_ns = 0
        self.delays: list[int] = []
        self.refused: Counter[str] = Counter()
        self.seen: Counter[bytes] = Counter()
        self.recent: deque[float] = deque()
        self.cpu = time.process_time()

    def took(self, head: bytes, size: int) -> None:
        """Count a message."""
        self.messages += 1
        self.octets += size
        self.last_ns = time.monotonic_ns()
        at = head.find(STAMP)
        if at >= 0:
            stamp = head[at + len(STAMP) : head.index(b"\r\n", at)]
            self.delays.append(self.last_ns - int(stamp))
            if self.minute:
                self.seen[stamp] += 1

    def is_too_fast(self) -> bool:
        """Tell whether one message more is too many for the window; a refused one does not count."""
        now = time.monotonic()
        while self.recent and self.recent[0] <= now - self.window_s:
            self.recent.popleft()
        if len(self.recent) >= self.minute:
            return True
        self.recent.append(now)
        return False

    def answer(self, question: str) -> dict[str, Any]:
        """Answer a line of standard input."""
        if question == "zero":
            self.zero()
        found: dict[str, Any] = {
            "messages": self.messages,
            "octets": self.octets,
            "last_ns": self.last_ns,
            "refused": dict(self.refused),
            "twice": sum(1 for times in self.seen.values() if times > 1),
            "cpu": time.process_time() - self.cpu,
        }
        return found | {"delays": self.delays} if question == "delays" else found

    def run(self, listener: socket.socket) -> None:
        """Serve until standard input ends."""
        self.poll.register(listener, select.EPOLLIN)
        self.poll.register(sys.stdin, select.EPOLLIN)
        while True:
            for number, _events in self.poll.poll():
                if number == listener.fileno():
                    self._accept(listener)
                elif number == sys.stdin.fileno():
                    line = sys.stdin.readline()
                    if not line:
                        return
                    print(json.dumps(self.answer(line.strip())), flush=True)
                elif (connection := self.open.get(number)) is not None:
                    connection.readable()

    def _accept(self, listener: socket.socket) -> None:
        sock, _address = listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.poll.register(sock.fileno(), select.EPOLLIN)
        self.open[sock.fileno()] = Connection(self, sock)


class Connection:
    """One client's."""

    def __init__(self, sink: Sink, sock: socket.socket) -> None:
        self._sink = sink
        self._sock: socket.socket = sock
        self._in = b""
        self._pieces: list[bytes] = []  # of the message under way, without its last octets
        self._size = -1  # of that message; below 0 while commands are read
        self._shaking = False
        self._logged_in = False
        self._challenged = False
        self._sock.send(b"220 sink ESMTP\r\n")

    def readable(self) -> None:
        """Take what has come."""
        try:
            if self._shaking:
                self._shake_hands()
                return
            sock = self._sock
            while data := sock.recv(262_144):
                self._feed(data)
                if not isinstance(sock, ssl.SSLSocket) or not sock.pending():
                    return  # what more there is, epoll tells: one try in vain less
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            pass
        self._close()

    def _shake_hands(self) -> None:
        assert isinstance(self._sock, ssl.SSLSocket)
        self._sock.do_handshake()
        self._shaking = False

    def _close(self) -> None:
        number = self._sock.fileno()
        self._sink.logged_in -= self._logged_in
        self._sink.open.pop(number, None)
        self._sink.poll.unregister(number)
        self._sock.close()

    def _feed(self, data: bytes) -> None:
        out = bytearray()
        data = self._in + data
        self._in = b""
        while data:
            if self._size >= 0:
                data = self._body(data, out)
                continue
            line, end, rest = data.partition(b"\n")
            if not end:
                self._in = line
                break
            data = rest
            self._command(line.rstrip(b"\r"), out)
        if out:
            self._sock.send(out)
        if out.endswith(b"220 2.0.0 Go ahead\r\n") and self._sink.tls is not None:
            self._sock = self._sink.tls.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
            self._shaking = True

    def _body(self, data: bytes, out: bytearray) -> bytes:
        """Count a message's octets; return what is left."""
        end = data.find(END)
        if end < 0:
            if self._size == 0:
                self._pieces.append(data[:2000])
            keep = min(len(data), len(END) - 1)
            self._size += len(data) - keep
            self._in = data[len(data) - keep :]
            return b""
        self._sink.took(self._pieces[0] if self._pieces else data[:2000], self._size + end + 2)
        self._pieces.clear()
        self._size = -1
        out += OK
        return data[end + 5 :]

    def _command(self, line: bytes, out: bytearray) -> None:
        verb = line[:4].upper()
        if self._challenged:
            self._challenged = False
            self._log_in(out)
        elif verb == b"MAIL":
            if self._sink.minute and self._sink.is_too_fast():
                self._sink.refused["rate"] += 1
                out += TOO_FAST
            else:
                out += OK
        elif verb == b"DATA":
            self._size = 0
            out += b"354 Go ahead\r\n"
        elif verb == b"EHLO":
            starttls = b"" if isinstance(self._sock, ssl.SSLSocket) else b"250-STARTTLS\r\n"
            out += b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n" + starttls
            out += b"250-AUTH PLAIN XOAUTH2 OAUTHBEARER\r\n250 SIZE 157286400\r\n"
        elif verb == b"STAR":
            out += b"220 2.0.0 Go ahead\r\n"
        elif verb == b"AUTH":
            if line.count(b" ") > 1:
                self._log_in(out)
            else:
                self._challenged = True
                out += b"334 \r\n"
        elif verb == b"QUIT":
            out += b"221 2.0.0 Bye\r\n"
        else:
            out += OK

    def _log_in(self, out: bytearray) -> None:
        if self._sink.connections_limit and self._sink.logged_in >= self._sink.connections_limit:
            self._sink.refused["connections"] += 1
            out += TOO_MANY
            return
        self._logged_in = True
        self._sink.logged_in += 1
        out += b"235 2.7.0 Welcome\r\n"


def main() -> None:
    """Listen on a free port."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--certificate")
    asked.add_argument("--key")
    asked.add_argument("--connections", type=int, default=0)
    asked.add_argument("--minute", type=int, default=0)
    asked.add_argument("--window", type=float, default=60.0)
    given = asked.parse_args()
    tls = None
    if given.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(given.certificate, given.key)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        Sink(tls, given.connections, given.minute, given.window).run(listener)


if __name__ == "__main__":
    main()
