"""The whole way: a device logs in, its message is on disk, and goes on over TLS with SASL; beside the same peers."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench import peers, postfix
from bench.figures import Row, Section, against, cpu_seconds, goal
from bench.gateways import Gateway, gateway, send_with_password, send_with_token, trusting
from bench.machines import machine

ROUNDS: Final = 3
COUNT: Final = 1000
FEW: Final = 20
SESSIONS: Final = 20
SIZES: Final = (4000, 10_000)
PATIENCE_S: Final = 120.0
QUIET: Final = {"rate": 20, "count": 200}  # a second, and how many: to see how long one takes


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where mail arrives: how many messages have come since the beginning of a run, and when the last one did."""

    zero: Callable[[], None]
    arrived: Callable[[], tuple[int, float]]  # CLOCK_MONOTONIC in seconds
    delays: Callable[[], list[int]] = list  # nanoseconds since each device's connection
    cpu: Callable[[], float] = float  # seconds since the beginning of the run


@dataclass(frozen=True, slots=True)
class Way:
    """A gateway: its port for devices, and a login there."""

    port: int
    login: str
    password: str
    upstream: Upstream
    cpu: Callable[[], float] = float  # seconds that it has used


def relay() -> Section:
    """Messages a second from device to upstream, and how long one takes."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o755)
        with _ways(place) as ways:
            rows: list[Row] = []
            for upstream, label in (
                ("postfix", "a Postfix submission server"),
                ("sink", "a sink that takes any login"),
            ):
                for size in SIZES:
                    rows += _against_postfix(ways, upstream, f"{size / 1000:.0f} kB, into {label}", size)
            rows += [_side_by_side(ways), *_delays(ways)]
    how = (
        f"{COUNT:,} messages of devices that log in by AUTH PLAIN in a new session each, {SESSIONS} at a time, until the last "
        "one is upstream, over STARTTLS and AUTH. Postfix as relay reuses its TLS connections (smtp_tls_connection_reuse) and "
        "logs in by PLAIN; Valija does so into the submission server, and shows its token to the sink, as email-oauth2-proxy "
        f"does. Best of {ROUNDS} alternating runs."
    )
    return Section("The whole way", how, tuple(rows))


@contextlib.contextmanager
def _ways(place: Path) -> Iterator[dict[str, Way]]:
    made = peers.certificates(place / "tls")
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(machine(place / "provider", sandbox=True))
        sink = stack.enter_context(peers.sink(made))
        submission = postfix.submission(made)
        relays = {"sink": postfix.relay(sink.port, made), "postfix": postfix.relay(submission.port, made)}
        running = stack.enter_context(
            postfix.running({"submission": submission} | {f"to-{name}": server for name, server in relays.items()})
        )
        ours = {name: stack.enter_context(gateway(place / name, trusting(made))) for name in relays}
        another = stack.enter_context(gateway(place / "another", trusting(made)))
        issuer = provider.place("issuer")
        send_with_password(ours["postfix"], submission.port)
        for ours_too in (ours["sink"], another):
            send_with_token(ours_too, sink.port, issuer)
        proxy = stack.enter_context(peers.email_oauth2_proxy(place / "emailproxy", sink.port, issuer, made))
        upstreams = {"sink": _sink(sink), "postfix": _submission(running)}
        ways = {"proxy": Way(proxy.port, peers.MAILBOX, "any", upstreams["sink"])}
        ways["another valija"] = _way(another, upstreams["sink"])
        for name, upstream in upstreams.items():
            ways[f"valija {name}"] = _way(ours[name], upstream)
            spent = partial(running.cpu, f"to-{name}")
            ways[f"postfix {name}"] = Way(relays[name].port, "printer", postfix.PASSWORD, upstream, spent)
        yield ways


def _way(ours: Gateway, upstream: Upstream) -> Way:
    return Way(ours.port, ours.login, ours.password, upstream, lambda: cpu_seconds(ours.pid))


def _sink(sink: peers.Sink) -> Upstream:
    def arrived() -> tuple[int, float]:
        found = sink.ask()
        return found["messages"], found["last_ns"] / 1e9

    def zero() -> None:
        sink.ask("zero")

    return Upstream(zero, arrived, lambda: list(sink.ask("delays")["delays"]), lambda: float(sink.ask()["cpu"]))


def _submission(servers: postfix.Servers) -> Upstream:
    before = 0

    def zero() -> None:
        nonlocal before
        before = servers.count("submission")

    return Upstream(zero, lambda: (servers.count("submission") - before, time.monotonic()))


@dataclass(frozen=True, slots=True)
class Run:
    """Messages a second, from the first device's connection until all are upstream; CPU in µs a message, and the load's."""

    rate: float
    cpu: float
    load: float


def _run(ways: Sequence[Way], count: int, *, sessions: int, **options: Any) -> Run:
    """Send by each way its share, all into one upstream."""
    upstream, share = ways[0].upstream, len(ways)
    upstream.zero()
    before = sum(way.cpu() for way in ways)

    def send(way: Way) -> dict[str, Any]:
        login = {"login": way.login, "password": way.password}
        return peers.senders(way.port, count=count // share, sessions=sessions // share, **login, **options)

    with ThreadPoolExecutor(share) as pool:
        found = list(pool.map(send, ways))
    done, end = sum(one["done"] for one in found), time.monotonic() + PATIENCE_S
    while (arrived := upstream.arrived())[0] < done:
        assert time.monotonic() < end, (ways, arrived, found)
        time.sleep(0.02)
    seconds = arrived[1] - min(one["start_ns"] for one in found) / 1e9
    used, load = sum(way.cpu() for way in ways) - before, sum(one["cpu"] for one in found)
    return Run(done / seconds, used / count * 1e6, load / count * 1e6)


def _best(runs: list[Run]) -> Run:
    return Run(max(run.rate for run in runs), min(run.cpu for run in runs), min(run.load for run in runs))


def _against_postfix(ways: dict[str, Way], upstream: str, what: str, size: int) -> list[Row]:
    runs: dict[str, list[Run]] = {f"valija {upstream}": [], f"postfix {upstream}": []}
    for _round in range(ROUNDS):
        for name, found in runs.items():
            found.append(_run([ways[name]], COUNT, size=size, sessions=SESSIONS))
    ours, theirs = (_best(found) for found in runs.values())
    ratio = ours.rate / theirs.rate
    verdict = f"{ratio:.2f} x; {goal('ahead', ratio > 1)}; {goal('3 x', ratio >= 3)}"
    rows = [
        against("Postfix", what, ours.rate, theirs.rate, verdict),
        Row(
            "of it, CPU a message (and the load's)",
            f"{ours.cpu:,.0f} µs ({ours.load:.0f} µs)",
            f"{theirs.cpu:,.0f} µs ({theirs.load:.0f} µs)",
            f"{theirs.cpu / ours.cpu:.2f} x less",
        ),
    ]
    if upstream == "sink":
        rows.append(Row("the sink's CPU a message", f"{ways['valija sink'].upstream.cpu() / COUNT * 1e6:.0f} µs"))
    if upstream == "sink" and size == SIZES[0]:
        slow = max(_run([ways["proxy"]], FEW, size=size, sessions=n, patience=20).rate for n in (1, 4, SESSIONS))
        verdict = f"{ours.rate / slow:.0f} x; {goal('50 x', ours.rate / slow >= 50)}"
        rows.append(against("email-oauth2-proxy", what, ours.rate, slow, verdict))
    return rows


def _side_by_side(ways: dict[str, Way]) -> Row:
    """Measure machines that share nothing, the sessions divided among them: what several processes could take at the most."""
    sides = [ways["valija sink"], ways["another valija"]], [ways["postfix sink"]]
    runs = [[_run(side, COUNT, size=SIZES[0], sessions=SESSIONS) for side in sides] for _round in range(ROUNDS)]
    ours, theirs = (_best(list(found)).rate for found in zip(*runs, strict=True))
    what = f"two Valijas that share nothing, {SIZES[0] / 1000:.0f} kB, into the sink"
    return against("Postfix", what, ours, theirs, f"{ours / theirs:.2f} x")


def _delays(ways: dict[str, Way]) -> list[Row]:
    """Return how long it takes from a device's connection until the upstream has the message, on a quiet machine."""
    found = {}
    for name in ("valija sink", "postfix sink", "proxy"):
        options = {"rate": 2, "count": 20} if name == "proxy" else QUIET
        found[name] = _delay(ways[name], options)
    ours = found.pop("valija sink")
    what = "from a device's connection until the sink has the message, p50"
    verdicts = (goal("under 15 ms", ours < 0.015), "")
    return [
        Row(what, f"{ours * 1000:.1f} ms", f"{delay * 1000:.1f} ms ({label})", verdict)
        for (label, delay), verdict in zip(
            {"Postfix": found["postfix sink"], "email-oauth2-proxy": found["proxy"]}.items(), verdicts, strict=True
        )
    ]


def _delay(way: Way, options: dict[str, Any]) -> float:
    _run([way], size=SIZES[0], sessions=SESSIONS, **options)
    return statistics.median(way.upstream.delays()) / 1e9
