"""SMTP against Postfix's smtp-sink, POP3 over TLS against the sandbox's server; peers in the same run."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figures import Row, Section, best, free_port, wait_for_port, worker
from bench.machines import machine
from bench.workers import MAILBOXES

MESSAGES, CONNECTIONS, ROUNDS = 20_000, 20, 3
LARGE = b"Subject: bench\r\n\r\n" + (b"x" * 76 + b"\r\n") * 135_000
POLLS, RETRIEVALS = 500, 20


@contextlib.contextmanager
def _smtp_sink() -> Iterator[int]:
    program = shutil.which("smtp-sink") or "/usr/sbin/smtp-sink"
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([program, *user, f"127.0.0.1:{port}", "1000"], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def smtp() -> Section:
    """Messages a second and CPU a message."""
    found: dict[str, list[dict[str, Any]]] = {"smtp_valija": [], "smtp_aiosmtplib": [], "smtp_smtplib": []}
    with _smtp_sink() as port:
        for _round in range(ROUNDS):
            for name, runs in found.items():
                runs.append(worker(name, str(port), str(MESSAGES), str(CONNECTIONS)))
    rate = {name: MESSAGES / best(runs, "seconds") for name, runs in found.items()}
    cpu = {name: best(runs, "cpu") / MESSAGES * 1e6 for name, runs in found.items()}
    rows = []
    for peer in ("smtp_aiosmtplib", "smtp_smtplib"):
        label = peer.removeprefix("smtp_")
        ratio = rate["smtp_valija"] / rate[peer]
        goal = " (goal 2.5)" if label == "aiosmtplib" else ""
        ours, theirs = f"{rate['smtp_valija']:,.0f}/s", f"{rate[peer]:,.0f}/s"
        rows.append(Row(f"messages a second, against {label}", ours, theirs, f"{ratio:.2f} x{goal}"))
        ours, theirs = f"{cpu['smtp_valija']:.0f} µs", f"{cpu[peer]:.0f} µs"
        ratio = cpu[peer] / cpu["smtp_valija"]
        rows.append(Row(f"CPU a message, against {label}", ours, theirs, f"{ratio:.2f} x less"))
    how = (
        f"{MESSAGES:,} messages of 10 kB over {CONNECTIONS} kept connections to smtp-sink, each client in its own process, "
        f"best of {ROUNDS} alternating runs; aiosmtplib on uvloop as Valija is, smtplib with a thread for each connection."
    )
    return Section("SMTP client", how, tuple(rows))


def pop3() -> Section:
    """CPU of a poll and of a 10 MB message."""
    with tempfile.TemporaryDirectory() as directory, machine(Path(directory), sandbox=True) as served:
        port, ca_file = served.place("pop3s_port"), served.place("ca_file")
        for number in range(MAILBOXES):
            drop = served.state_dir / "sandbox" / "mail" / f"bench{number}"
            drop.mkdir(parents=True)
            (drop / "00000000000000000001-bench.eml").write_bytes(LARGE)
        rows = []
        for what, rounds in (("poll", POLLS), ("retrieve", RETRIEVALS)):
            runs: dict[str, list[dict[str, Any]]] = {"pop_valija": [], "pop_poplib": []}
            for _round in range(ROUNDS):
                for name, done in runs.items():
                    done.append(worker(name, port, str(rounds), ca_file, what))
            ours, theirs = (best(done, "cpu") / rounds * 1e3 for done in runs.values())
            label = "a poll (log in, STAT, UIDL, QUIT)" if what == "poll" else "fetching a 10 MB message"
            rows.append(
                Row(
                    f"CPU of {label}",
                    f"{ours:.2f} ms",
                    f"{theirs:.2f} ms",
                    f"{ours / theirs:.2f} of poplib's (goal 0.33)",
                )
            )
        handshake = (
            best([worker("tls_handshake", port, str(POLLS), ca_file) for _ in range(ROUNDS)], "cpu") / POLLS * 1e3
        )
        rows.append(
            Row("of a poll, the TLS handshake alone (ssl sockets)", "", f"{handshake:.2f} ms", "the floor for both")
        )
    how = (
        f"Over TLS 1.3 to the sandbox's server in another process: {POLLS} polls, {RETRIEVALS} fetches "
        f"of {MAILBOXES} mailboxes at once, "
        f"best of {ROUNDS} alternating runs against Python {sys.version.split()[0]}'s poplib."
    )
    return Section("POP3 client", how, tuple(rows))
