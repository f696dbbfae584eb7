"""A burst of many devices into a mailbox as strict as Exchange's: 3 connections, 30 messages a minute, 432 for what is more.

Real minutes pass: BENCH_BURST says how many messages (300 take ten minutes). All gateways send at the same time, each into
an upstream of its own.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import peers, postfix
from bench.figures import Row, Section, goal
from bench.gateways import as_device, trusting
from bench.machines import machine

BURST: Final = int(os.environ.get("BENCH_BURST", "90"))
DEVICES: Final = 50
CONNECTIONS, MINUTE, WINDOW_S = 3, 30, 60.0
STRICT: Final = ("--connections", str(CONNECTIONS), "--minute", str(MINUTE), "--window", str(WINDOW_S))
PACED: Final = (f"smtp_destination_concurrency_limit = {CONNECTIONS}", "smtp_destination_rate_delay = 2s")
ANA: Final = "ana@sandbox.test"


@dataclass(frozen=True, slots=True)
class Way:
    """A gateway and the upstream that it alone sends to."""

    port: int
    upstream: peers.Sink
    login: str = ""
    password: str = ""

    def burst(self, count: int) -> dict[str, Any]:
        """Let all devices hand in their mail at once."""
        return peers.senders(
            self.port, count=count, sessions=DEVICES, login=self.login, password=self.password, patience=30
        )


def exchange() -> Section:
    """What arrives, how fast, and what is refused on the way."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o755)
        with _ways(place) as ways:
            rows = _measure(ways)
    how = (
        f"{DEVICES} devices hand in {BURST} messages at once. The upstream takes {CONNECTIONS} connections and {MINUTE} "
        f"messages in any {WINDOW_S:.0f} s, and says 432 4.3.2 to what is more. All gateways at the same time, each with an "
        "upstream of its own; Postfix once as it is installed, once paced by hand (a message every 2 s)."
    )
    return Section("A burst into Exchange's limits", how, rows)


@contextlib.contextmanager
def _ways(place: Path) -> Iterator[dict[str, Way]]:
    made = peers.certificates(place / "tls")
    with contextlib.ExitStack() as stack:
        sinks = [stack.enter_context(peers.sink(made, *STRICT)) for _way in range(4)]
        usual = postfix.relay(sinks[1].port, made, postfix.AS_INSTALLED)
        paced = postfix.relay(sinks[2].port, made, PACED)
        stack.enter_context(postfix.running({"usual": usual, "paced": paced}))
        # the sandbox's provider has Exchange's limits, so the gateway knows them
        daemon = stack.enter_context(machine(place / "valija", sandbox=True, configuration=trusting(made)))
        daemon.set_smtp(ANA)
        daemon.ok("smtp", "set", "--server", "localhost", "--port", str(sinks[0].port), "--yes")
        daemon.get_token("smtp", ANA)
        proxy = peers.email_oauth2_proxy(place / "emailproxy", sinks[3].port, daemon.place("issuer"), made)
        yield {
            "valija": Way(as_device(daemon), sinks[0]),
            "usual": Way(usual.port, sinks[1]),
            "paced": Way(paced.port, sinks[2]),
            "proxy": Way(stack.enter_context(proxy).port, sinks[3], peers.MAILBOX, "any"),
        }


def _measure(ways: dict[str, Way]) -> tuple[Row, ...]:
    ideal = (BURST - 1) // MINUTE * WINDOW_S
    with ThreadPoolExecutor(len(ways)) as threads:
        bursts = {name: threads.submit(way.burst, BURST) for name, way in ways.items()}
        took = bursts["valija"].result()
        assert took["done"] == BURST, took
        ours = _until_all(ways["valija"], ideal * 2 + 60)
        usual = ways["usual"].upstream.ask()
        bursts["paced"].result()
        paced = _until_all(ways["paced"], ideal + 60)
        proxied = bursts["proxy"].result()
    seconds = ours["last_ns"] / 1e9 - took["start_ns"] / 1e9
    pace = ideal / seconds
    refused, theirs = sum(ours["refused"].values()), sum(paced["refused"].values())
    paced_s = (paced["last_ns"] - bursts["paced"].result()["start_ns"]) / 1e9
    whole = ours["messages"] == BURST and not ours["twice"]
    return (
        Row(
            f"until all {BURST} are upstream; the limit's own pace needs {ideal:.0f} s",
            f"{seconds:.1f} s",
            f"{paced_s:.1f} s (Postfix paced by hand)" if paced["messages"] == BURST else "not all",
            f"{pace:.1%} of the limit's pace; {goal('95 %', pace >= 0.95)}",
        ),
        Row("refused by the upstream", str(refused), f"{theirs} (Postfix paced by hand)", goal("none", refused == 0)),
        Row("arrived, each once", f"{ours['messages']}", f"{paced['messages']}", goal("all", whole)),
        Row(
            "Postfix as it is installed, at the moment when Valija had sent all",
            "",
            f"{usual['messages']} arrived, {sum(usual['refused'].values())} refused",
        ),
        Row(
            "email-oauth2-proxy, which keeps nothing: what the devices were told",
            "",
            f"{proxied['done']} sent, {BURST - proxied['done']} lost: {_most(proxied['failed'])}",
        ),
    )


def _until_all(way: Way, seconds: float) -> dict[str, Any]:
    """Return the upstream's counts when all messages are there, or after so long."""
    end = time.monotonic() + seconds
    while (found := way.upstream.ask())["messages"] < BURST and time.monotonic() < end:
        time.sleep(0.2)
    return found


def _most(failed: dict[str, int]) -> str:
    return ", ".join(f"{count} x {words}" for words, count in sorted(failed.items(), key=lambda pair: -pair[1])[:2])
