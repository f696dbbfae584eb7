"""What a measurement says, and how it is shown: one table row each."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what was measured, our value, the peer's value, the ratio or the goal."""

    what: str
    ours: str
    peer: str = ""
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A table with its title and how it was measured."""

    title: str
    how: str
    rows: tuple[Row, ...]


def worker(*arguments: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a measured client in a process of its own; return what it reports."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.workers", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        env=os.environ | (environment or {}),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{arguments}: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def goal(text: str, met: bool) -> str:
    """Return a goal and whether it was met."""
    return f"goal {text}: {'met' if met else 'NOT met'}"


def against(peer: str, what: str, ours: float, theirs: float, verdict: str) -> Row:
    """Return the row for two rates a second (:mod:`bench.plot` reads it again)."""
    return Row(what, f"{ours:,.0f}/s", f"{theirs:,.{0 if theirs > 100 else 1}f}/s ({peer})", verdict)


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, seconds: float = 10.0) -> None:
    """Return when something answers there."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def memory_kb(pid: int, field: str) -> int:
    """Return a field of /proc/PID/status in kB: VmRSS (now) or VmHWM (peak)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise LookupError(field)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, in user and in kernel mode (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reset_peak(pid: int) -> None:
    """Let the peak begin anew (proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def best(runs: list[dict[str, Any]], key: str) -> float:
    """Return the best of several runs: the machine is shared."""
    return float(min(run[key] for run in runs))
