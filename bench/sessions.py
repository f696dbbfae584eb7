"""Many devices at once: what an idle session costs, and how soon a crowd is greeted."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench import peers, postfix
from bench.figures import Row, Section, goal, memory_kb
from bench.gateways import gateway
from bench.machines import machine

IDLE: Final = 5000
IDLE_TLS: Final = 1000
CROWD: Final = 1000
GREETED_S: Final = 2.0
CONFIGURATION: Final = "connections = 10000\nconnections_per_address = 10000\n"


def sessions() -> Section:
    """Memory of idle sessions; time to greet a crowd."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # for the daemon, too
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o755)
        rows = [_idle(place, IDLE, "clear"), _idle(place, IDLE_TLS, "tls"), *_crowds(place)]
    how = (
        "Sessions that have said EHLO and then nothing, from 250 addresses of loopback; growth of VmRSS of a machine that "
        "served nobody before. A crowd: all connect at one moment, from one process."
    )
    return Section("Many sessions", how, tuple(rows))


def _idle(place: Path, count: int, how: str) -> Row:
    with gateway(place / how, CONFIGURATION) as ours:
        before = memory_kb(ours.pid, "VmRSS")
        command = [sys.executable, "-m", "bench.crowd", "idle", str(ours.port), str(count), how]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as crowd:
            assert crowd.stdin is not None
            assert crowd.stdout is not None
            assert json.loads(crowd.stdout.readline())["open"] == count
            time.sleep(1)
            each = (memory_kb(ours.pid, "VmRSS") - before) / count
            crowd.stdin.close()
    label = "with TLS" if how == "tls" else "in clear"
    verdict = "" if how == "tls" else goal("under 20 kB", each < 20)
    return Row(f"memory of an idle session {label}, of {count:,}", f"{each:.1f} kB", "", verdict)


def _moment(port: int, seconds: float = 10.0) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.crowd", "moment", str(port), str(CROWD), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _crowds(place: Path) -> Iterator[Row]:
    with gateway(place / "crowd", CONFIGURATION) as valija:
        ours = _moment(valija.port)
    slowest = max(ours["greeted"], default=0.0)
    met = len(ours["greeted"]) == CROWD and slowest < GREETED_S
    what = f"{CROWD:,} connect at one moment: greeted within {GREETED_S:.0f} s"
    for label, theirs in _peers(place):
        of_them = f"{_in_time(theirs):,} ({label})"
        yield Row(what, f"{_in_time(ours):,}, the last one after {slowest:.2f} s", of_them, goal("all", met))


def _in_time(found: dict[str, Any]) -> int:
    return sum(1 for seconds in found["greeted"] if seconds < GREETED_S)


def _peers(place: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    keeping = postfix.keeping(postfix.USUAL_PROCESSES)
    with postfix.running({"keeping": keeping}):
        yield "Postfix with its usual 100 processes", _moment(keeping.port)
    made = peers.certificates(place / "certificates")
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(machine(place / "provider", sandbox=True))
        sink = stack.enter_context(peers.sink(made))
        proxied = peers.email_oauth2_proxy(place / "emailproxy", sink.port, provider.place("issuer"), made)
        yield "email-oauth2-proxy", _moment(stack.enter_context(proxied).port)
