"""Taking mail in for good: beside Postfix, and beside email-oauth2-proxy and aiosmtpd, which keep nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

from rig_certificates import Certificates

from bench import peers, postfix
from bench.figures import Row, Section, against, cpu_seconds, goal
from bench.gateways import gateway
from bench.machines import machine

ROUNDS: Final = 3
SESSIONS: Final = 20
SIZES: Final = (4000, 10_000)
COUNTS: Final = {False: 2000, True: 4000}  # by whether sessions are kept
FEW: Final = 20  # for a peer that takes ten a second
TWO: Final = "two Valijas that share nothing"
WITH_LOGIN: Final = "a new session each with AUTH PLAIN"
SLOW: Final = "email-oauth2-proxy, into a sink"
Load = Callable[[], dict[str, Any]]
Device = tuple[int, str, str]  # a port, a login there and its password


def accept() -> Section:
    """Messages a second that are on disk."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o755)
        made = peers.certificates(place / "tls")
        keeping = postfix.keeping()
        with (
            gateway(place / "valija") as ours,
            gateway(place / "another") as another,
            postfix.running({"keeping": keeping}) as servers,
            peers.aiosmtpd(place / "aiosmtpd") as keeps_nothing,
        ):
            rows = []
            for kept in (False, True):
                for size in SIZES:
                    ports = {"valija": ours.port, "postfix": keeping.port}
                    if size == SIZES[0]:
                        ports["aiosmtpd"] = keeps_nothing.port
                    spent = {"valija": lambda: cpu_seconds(ours.pid), "postfix": lambda: servers.cpu("keeping")}
                    rows += _by_address(ports, spent, size, kept=kept)
                rows.append(_side_by_side([ours.port, another.port], keeping.port, kept=kept))
            slow = _slow_peer(place, made)
            devices = {
                "valija": [(ours.port, ours.login, ours.password)],
                "postfix": [(keeping.port, "printer", postfix.PASSWORD)],
            }
            for size in SIZES:
                rows += _with_login(devices, size, slow)
            both = [*devices["valija"], (another.port, another.login, another.password)]
            rows.append(_both_with_login(both, slow))
    how = (
        f"{SESSIONS} sessions at a time, each message on disk before it gets its 250; Postfix keeps what it took in its hold "
        "queue, Valija holds the account. Load from Postfix's smtp-source (C), for log-ins from our own devices "
        f"(bench/senders.py). Best of {ROUNDS} alternating runs."
    )
    return Section("Accepting mail", how, tuple(rows))


def _best_of(runs: dict[str, Load], count: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return messages a second by name, and the load generator's CPU a message in µs, of the best of alternating runs."""
    best: dict[str, dict[str, Any]] = {}
    for _round in range(ROUNDS):
        for name, run in runs.items():
            found = run()
            if name not in best or found["seconds"] < best[name]["seconds"]:
                best[name] = found
    rates = {name: count / found["seconds"] for name, found in best.items()}
    return rates, {name: found["cpu"] / count * 1e6 for name, found in best.items()}


def _by_address(ports: dict[str, int], used: dict[str, Callable[[], float]], size: int, *, kept: bool) -> list[Row]:
    count = COUNTS[kept]

    def load(port: int) -> Load:
        return lambda: peers.smtp_source(port, count, size, kept=kept, sessions=SESSIONS)

    before = {name: cpu() for name, cpu in used.items()}
    rates, spent = _best_of({name: load(port) for name, port in ports.items()}, count)
    ours, theirs = rates["valija"], rates["postfix"]
    cpu = {name: (now() - before[name]) / count / ROUNDS * 1e6 for name, now in used.items()}
    wanted = 5 if kept else 3
    what = f"{size / 1000:.0f} kB, {'kept sessions' if kept else 'a new session each'}"
    ratio = ours / theirs
    verdict = f"{ratio:.2f} x; {goal(f'{wanted} x', ratio >= wanted)}"
    rows = [
        against("Postfix", what, ours, theirs, verdict),
        Row(
            "of it, CPU a message (and the load's)",
            f"{cpu['valija']:.0f} µs ({spent['valija']:.0f} µs)",
            f"{cpu['postfix']:.0f} µs ({spent['postfix']:.0f} µs)",
            f"{cpu['postfix'] / cpu['valija']:.2f} x less",
        ),
    ]
    if "aiosmtpd" in rates:
        other = rates["aiosmtpd"]
        rows.append(against("aiosmtpd, which keeps nothing", what, ours, other, f"{ours / other:.2f} x"))
    return rows


def _side_by_side(ours: list[int], theirs: int, *, kept: bool) -> Row:
    """Measure machines that share nothing, the sessions divided among them: what several processes could take at the most."""
    count, share = COUNTS[kept], len(ours)
    loads = [
        partial(peers.smtp_source, port, count // share, SIZES[0], kept=kept, sessions=SESSIONS // share)
        for port in ours
    ]
    beside = partial(peers.smtp_source, theirs, count, SIZES[0], kept=kept, sessions=SESSIONS)
    rates, _spent = _best_of({"valija": partial(_at_once, loads), "postfix": beside}, count)
    what = f"{TWO}, {SIZES[0] / 1000:.0f} kB, {'kept sessions' if kept else 'a new session each'}"
    return against("Postfix", what, rates["valija"], rates["postfix"], f"{rates['valija'] / rates['postfix']:.2f} x")


def _at_once(loads: Sequence[Load]) -> dict[str, Any]:
    start = time.perf_counter()
    with ThreadPoolExecutor(len(loads)) as pool:
        found = list(pool.map(lambda load: load(), loads))
    return {"seconds": time.perf_counter() - start, "cpu": sum(one["cpu"] for one in found)}


def _device(device: Device, count: int, size: int, sessions: int) -> dict[str, Any]:
    port, login, password = device
    found = peers.senders(port, count=count, size=size, sessions=sessions, login=login, password=password)
    assert not found["failed"], found
    return found


def _devices(devices: list[Device], size: int) -> Load:
    """Return the load of devices that log in, the same at each of these machines."""
    count, share = COUNTS[False], len(devices)
    loads = [partial(_device, device, count // share, size, SESSIONS // share) for device in devices]
    return loads[0] if share == 1 else partial(_at_once, loads)


def _with_login(devices: dict[str, list[Device]], size: int, slow: float) -> list[Row]:
    rates, spent = _best_of({name: _devices(some, size) for name, some in devices.items()}, COUNTS[False])
    ours, theirs = rates["valija"], rates["postfix"]
    what = f"{size / 1000:.0f} kB, {WITH_LOGIN}"
    rows = [
        against("Postfix", what, ours, theirs, f"{ours / theirs:.2f} x"),
        Row("of it, the load's CPU a message", f"{spent['valija']:.0f} µs", f"{spent['postfix']:.0f} µs"),
    ]
    if size == SIZES[0]:
        ratio = ours / slow
        verdict = f"{ratio:.0f} x; {goal('200 x', ratio >= 200)}"
        rows.append(against(SLOW, what, ours, slow, verdict))
    return rows


def _both_with_login(ours: list[Device], slow: float) -> Row:
    rates, _spent = _best_of({"valija": _devices(ours, SIZES[0])}, COUNTS[False])
    what = f"{TWO}, {SIZES[0] / 1000:.0f} kB, {WITH_LOGIN}"
    return against(SLOW, what, rates["valija"], slow, f"{rates['valija'] / slow:.0f} x")


def _slow_peer(place: Path, made: Certificates) -> float:
    """Return how many messages a second email-oauth2-proxy hands on, at its best of three numbers of sessions."""
    with machine(place / "provider", sandbox=True) as provider, peers.sink(made) as sink:
        issuer = provider.place("issuer")
        with peers.email_oauth2_proxy(place / "emailproxy", sink.port, issuer, made) as proxy:
            rates: list[float] = []
            for sessions in (1, 4, SESSIONS):
                found = peers.senders(
                    proxy.port, count=FEW, sessions=sessions, login=peers.MAILBOX, password="any", patience=20
                )
                rates.append(found["done"] / found["seconds"])
            return max(rates)
