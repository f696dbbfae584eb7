"""What must not grow: memory with a message's size, the cost of a message with the length of the queue."""

from __future__ import annotations

import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from bench import peers, postfix
from bench.figures import Row, Section, cpu_seconds, goal, memory_kb, reset_peak
from bench.gateways import Gateway, gateway, send_with_token, trusting
from bench.machines import machine

SCAN: Final = 150_000_000
LINES: Final = (b"x" * 76 + b"\r\n") * 10_000
ROUNDS: Final = 3
LEVELS: Final = (0, 10_000, 100_000)
SOME: Final = 2000
FLAT: Final = 1.25  # as much as runs differ here
PATIENCE_S: Final = 120.0


# --- a large scan ---------------------------------------------------------------------------------------------------------


def scan() -> Section:
    """A scan of 150 MB through the gateway: memory, MB a second."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o755)
        made = peers.certificates(place / "tls")
        with (
            machine(place / "provider", sandbox=True) as provider,
            peers.sink(made) as sink,
            gateway(place / "valija", trusting(made)) as ours,
        ):
            relay = postfix.relay(sink.port, made)
            with postfix.running({"relay": relay}):
                send_with_token(ours, sink.port, provider.place("issuer"))
                runs: dict[int, list[tuple[float, float]]] = {ours.port: [], relay.port: []}
                growth = 0.0
                for _round in range(ROUNDS):
                    for port, found in runs.items():
                        before = memory_kb(ours.pid, "VmRSS")
                        reset_peak(ours.pid)
                        found.append(_hand_in(port, sink))
                        growth = max(growth, (memory_kb(ours.pid, "VmHWM") - before) / 1000)
    rates = {port: [SCAN / 1e6 / min(times) for times in zip(*found, strict=True)] for port, found in runs.items()}
    (taken, whole), (their_taken, their_whole) = rates[ours.port], rates[relay.port]
    rows = (
        Row("growth of VmHWM over VmRSS before", f"{growth:.1f} MB", "", goal("under 32 MB", growth < 32)),
        Row(
            "until it is accepted, on disk",
            f"{taken:.0f} MB/s",
            f"{their_taken:.0f} MB/s",
            f"{taken / their_taken:.2f} x",
        ),
        Row("until the sink has it", f"{whole:.0f} MB/s", f"{their_whole:.0f} MB/s", f"{whole / their_whole:.2f} x"),
    )
    how = (
        "A message of 150 MB from a device in clear, on disk, then over STARTTLS into the sink; Postfix as relay the same way. "
        f"Best of {ROUNDS} alternating runs; the largest growth of all of them."
    )
    return Section("A large scan through the gateway", how, rows)


def _hand_in(port: int, sink: peers.Sink) -> tuple[float, float]:
    """Hand in a scan; return seconds until it was accepted, and until the sink had it."""
    sink.ask("zero")
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 60) as sock, sock.makefile("rb") as replies:
        _read_reply(replies)
        for command in (b"EHLO scanner", b"MAIL FROM:<bench@example.com>", b"RCPT TO:<to@example.com>", b"DATA"):
            sock.sendall(command + b"\r\n")
            _read_reply(replies)
        sock.sendall(b"Subject: scan\r\n\r\n")
        for _piece in range(SCAN // len(LINES)):
            sock.sendall(LINES)
        sock.sendall(b".\r\n")
        _read_reply(replies)
        accepted = time.monotonic() - start
    end = time.monotonic() + PATIENCE_S
    while not (found := sink.ask())["messages"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    return accepted, found["last_ns"] / 1e9 - start


def _read_reply(replies: BinaryIO) -> None:
    while (line := replies.readline())[3:4] == b"-":
        pass
    assert line[:1] in (b"2", b"3"), line


# --- a long queue ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cost:
    """What a message costs: accepted a second, CPU in µs to accept it, CPU in µs to deliver it."""

    rate: float
    accept: float
    deliver: float


def waiting() -> Section:
    """The cost of a message with nothing, ten thousand and a hundred thousand messages waiting."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        made = peers.certificates(place / "tls")
        with (
            machine(place / "provider", sandbox=True) as provider,
            peers.sink(made) as sink,
            gateway(place / "valija", trusting(made)) as ours,
        ):
            send_with_token(ours, sink.port, provider.place("issuer"))
            ours.hold()
            costs = {level: _least([_cost(ours, sink, level) for _round in range(ROUNDS)]) for level in LEVELS}
    first = costs[LEVELS[0]]
    rows = []
    for level, cost in costs.items():
        rows.append(
            Row(
                f"with {level:,} waiting: CPU to accept one; to deliver one",
                f"{cost.accept:.0f} µs; {cost.deliver:.0f} µs",
                "",
                f"accepted {cost.rate:,.0f}/s" if level == LEVELS[0] else _flat(first, cost),
            )
        )
    how = (
        f"{SOME:,} messages of 4 kB over 20 kept sessions of smtp-source are accepted while the account is held, then the "
        f"account is released until {SOME:,} have gone to the sink over TLS; CPU of the daemon, the least of {ROUNDS} times."
    )
    return Section("A long queue", how, tuple(rows))


def _least(found: list[Cost]) -> Cost:
    rate = max(cost.rate for cost in found)
    return Cost(rate, min(cost.accept for cost in found), min(cost.deliver for cost in found))


def _flat(first: Cost, cost: Cost) -> str:
    more = max(cost.accept / first.accept, cost.deliver / first.deliver)
    words = f"{cost.accept / first.accept:.2f} x and {cost.deliver / first.deliver:.2f} x of the first"
    return f"accepted {cost.rate:,.0f}/s; {words}; {goal(f'flat, at most {FLAT} x', more <= FLAT)}"


def _cost(ours: Gateway, sink: peers.Sink, level: int) -> Cost:
    missing = level - ours.waiting()
    if missing > 0:
        peers.smtp_source(ours.port, missing, 4000, kept=True)
    before = cpu_seconds(ours.pid)
    seconds = peers.smtp_source(ours.port, SOME, 4000, kept=True)["seconds"]
    accept = cpu_seconds(ours.pid) - before
    sink.ask("zero")
    before = cpu_seconds(ours.pid)
    ours.release()
    end = time.monotonic() + PATIENCE_S
    while sink.ask()["messages"] < SOME:
        assert time.monotonic() < end, ours.daemon.log()[-2000:]
        time.sleep(0.01)
    delivered, deliver = sink.ask()["messages"], cpu_seconds(ours.pid) - before
    ours.hold()
    return Cost(SOME / seconds, accept / SOME * 1e6, deliver / delivered * 1e6)
