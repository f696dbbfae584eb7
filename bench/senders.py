"""Devices that hand in mail at once, as cheaply as Python can: ``python -m bench.senders PORT ...``; prints JSON.

For what Postfix's smtp-source cannot do: log in, and stamp each message with the moment at which its session began, so that the
sink can tell how long it took. One thread and epoll; no command is sent before the last one was answered, as old devices do.
"""

from __future__ import annotations

import argparse
import base64
import errno
import json
import select
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator

from bench.sink import STAMP

SENDER, RECIPIENT = b"bench@example.com", b"to@example.com"
Step = tuple[bytes, bytes]  # what is sent, the code that must answer it


class Session:
    """One of a device: ``code`` is what it waits for, ``left`` its messages that are not through."""

    __slots__ = ("code", "dialog", "left", "sock")

    def __init__(self, sock: socket.socket, left: int) -> None:
        self.sock = sock
        self.left = left
        self.code = b"220"
        self.dialog: Iterator[Step] = iter(())


def body_of(size: int) -> bytes:
    """Return what follows the stamp and the message's number: the rest of the head, and lines up to ``size`` octets or so."""
    head = b"@bench.example>\r\nFrom: " + SENDER + b"\r\nTo: " + RECIPIENT + b"\r\nSubject: bench\r\n\r\n"
    return head + (b"x" * 76 + b"\r\n") * ((size - 200) // 78) + b".\r\n"


class Senders:
    """``sessions`` at a time, each with ``kept`` messages, until ``count`` messages are through or failed."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._poll = select.epoll()
        self._open: dict[int, Session] = {}
        self._begun = 0
        self._log_in: list[Step] = []
        if given.login:
            login = base64.b64encode(f"\0{given.login}\0{given.password}".encode())
            self._log_in = [(b"AUTH PLAIN " + login + b"\r\n", b"235")]
        self._body = body_of(given.size)
        self.done = 0
        self.failed: Counter[str] = Counter()
        self.delays: list[float] = []

    def run(self) -> dict[str, object]:
        """Send all of them."""
        given, cpu, start = self._given, time.process_time(), time.monotonic()
        last = start
        while self.done + self.failed.total() < given.count:
            self._begin_those_due(time.monotonic() - start)
            for number, _events in self._poll.poll(0.001 if given.rate else 1.0):
                self._go_on(number)
                last = time.monotonic()
            if time.monotonic() - last > given.patience:
                self.failed["no answer"] += given.count - self.done - self.failed.total()
        return {
            "seconds": time.monotonic() - start,
            "start_ns": int(start * 1e9),
            "cpu": time.process_time() - cpu,
            "done": self.done,
            "failed": dict(self.failed),
            "p50": statistics.median(self.delays or [0.0]),
            "slowest": max(self.delays, default=0.0),
        }

    def _begin_those_due(self, elapsed: float) -> None:
        given = self._given
        while self._begun < given.count and len(self._open) < given.sessions:
            if given.rate and self._begun >= given.rate * elapsed:
                return
            kept = min(given.kept, given.count - self._begun)
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            found = sock.connect_ex(("127.0.0.1", given.port))
            if found not in (0, errno.EINPROGRESS):
                self.failed[errno.errorcode[found]] += kept
                sock.close()
                continue
            session = self._open[sock.fileno()] = Session(sock, kept)
            session.dialog = self._dialog(session, self._begun)
            self._begun += kept
            self._poll.register(sock.fileno(), select.EPOLLIN)

    def _dialog(self, session: Session, number: int) -> Iterator[Step]:
        began = time.monotonic_ns()
        yield b"EHLO device.example\r\n", b"250"
        yield from self._log_in
        while session.left:
            yield b"MAIL FROM:<%b>\r\n" % SENDER, b"250"
            yield b"RCPT TO:<%b>\r\n" % RECIPIENT, b"250"
            yield b"DATA\r\n", b"354"
            name = b"%d.%d" % (number + session.left, began)
            yield STAMP + b"%d\r\nMessage-ID: <" % began + name + self._body, b"250"
            session.left -= 1
            self.done += 1
            now = time.monotonic_ns()
            self.delays.append((now - began) / 1e9)
            began = now
        yield b"QUIT\r\n", b"221"

    def _go_on(self, number: int) -> None:
        session = self._open[number]
        try:
            data = session.sock.recv(65536)
        except OSError as error:
            data = str(error).encode()
        # replies are short and come whole; of a reply in several lines the last one counts
        last = data[data.rfind(b"\n", 0, -1) + 1 :]
        if last[3:4] == b"-":
            return
        if last[:3] != session.code:
            self._end(number, last.decode("ascii", "replace").strip()[:40] or "closed")
            return
        step = next(session.dialog, None)
        if step is None:
            self._end(number, "")
            return
        octets, session.code = step
        if session.sock.send(octets) != len(octets):
            self._end(number, "the message did not fit the socket's buffer")

    def _end(self, number: int, failure: str) -> None:
        session = self._open.pop(number)
        self._poll.unregister(number)
        session.sock.close()
        if session.left:
            self.failed[failure] += session.left


def main() -> None:
    """Send."""
    asked = argparse.ArgumentParser()
    asked.add_argument("port", type=int)
    asked.add_argument("--count", type=int, default=1000)
    asked.add_argument("--sessions", type=int, default=20)
    asked.add_argument("--kept", type=int, default=1)
    asked.add_argument("--size", type=int, default=4000)
    asked.add_argument("--login", default="")
    asked.add_argument("--password", default="")
    asked.add_argument("--rate", type=float, default=0.0)
    asked.add_argument("--patience", type=float, default=60.0)
    json.dump(Senders(asked.parse_args()).run(), sys.stdout)


if __name__ == "__main__":
    main()
