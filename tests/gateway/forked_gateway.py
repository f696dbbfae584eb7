"""A process that forks gateways, so that each costs no start of the interpreter.

For every line ``DIRECTORY UPSTREAM-PORT [NAME=VALUE ...]`` on its input it forks a gateway there, says ``pid N``, and
``gone N`` when that one has ended. The gateway says ``ready`` with its ports and works until it is killed.

Names: ``began`` and ``speed`` of its clock; ``files``: how many descriptors it may have; ``octets``: how long a file may get,
whenever SIGUSR1 comes, until SIGUSR2 comes; ``stale_s``: after how long a stranger makes room; ``store``: a PostgreSQL's
address, for one of several nodes, where a lane that is not renewed is free after a second; anything else is the
configuration's, under gateway.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop
from running_gateway import HurryClock, RunningGateway

from valija.net import listeners
from valija.services import lane_hold
from valija.store import postgres_nodes

RETRY_S = [10]
UNLIMITED = resource.RLIM_INFINITY


def say(line: str) -> None:
    """Write one line at once."""
    os.write(1, line.encode() + b"\n")


def limit_files(octets: int) -> None:
    """Let no file grow beyond so many octets, as on a disk without space."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, UNLIMITED))


async def serve(directory: str, upstream_port: str, *options: str) -> None:
    """Be a gateway without end."""
    named = dict(option.split("=", 1) for option in options)
    clock = HurryClock(float(named.pop("speed", "1")), float(named.pop("began", "0")) or None)
    if files := int(named.pop("files", "0")):
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if octets := int(named.pop("octets", "0")):
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, limit_files, octets)
        loop.add_signal_handler(signal.SIGUSR2, limit_files, UNLIMITED)
    listeners.STALE_S = float(named.pop("stale_s", listeners.STALE_S))  # type: ignore[misc]
    settings: dict[str, Any] = {"retry_delays_s": RETRY_S, **named}
    store = settings.pop("store", "")
    if store:
        lane_hold.HOLD_S, lane_hold.MARGIN_S, lane_hold.RENEW_S = 1.0, 0.3, 0.2  # type: ignore[misc]
        postgres_nodes.GRACE_S = 0.0  # type: ignore[misc]
    gateway = RunningGateway(Path(directory), int(upstream_port), clock=clock, **settings).on(store)
    await gateway.start()
    if not gateway.machine.gateway.devices.all():
        await gateway.open_door()
    say("ready " + " ".join(f"{name}={port}" for name, port in gateway.ports.items()))
    await asyncio.Event().wait()


def main() -> None:
    """Fork."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does: a write that is too long is an error, not the end
    for line in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if pid == 0:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve(*line.split()))
        say(f"pid {pid}")
        os.waitpid(pid, 0)
        say(f"gone {pid}")


if __name__ == "__main__":
    main()
