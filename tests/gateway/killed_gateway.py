"""A process that forks gateways to be killed, so that each costs no start of the interpreter.

For every line ``DIRECTORY UPSTREAM-PORT BEGAN SPEED [STORE-URL]`` on its input it forks a gateway there, says ``pid N``, and
``gone N`` when that one has ended. The gateway says ``ready PORT`` and works until it is killed. With a store's address it is
one of several nodes, and a lane that is not renewed is free after a second.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import uvloop
from running_gateway import HurryClock, RunningGateway

from valija.services import lane_hold
from valija.store import postgres_nodes

RETRY_S = [10]


def say(line: str) -> None:
    """Write one line at once."""
    os.write(1, line.encode() + b"\n")


async def serve(directory: str, upstream_port: str, began: str, speed: str, store_url: str = "") -> None:
    """Be a gateway without end."""
    clock = HurryClock(float(speed), float(began))
    if store_url:
        lane_hold.HOLD_S, lane_hold.MARGIN_S, lane_hold.RENEW_S = 1.0, 0.3, 0.2  # type: ignore[misc]
        postgres_nodes.GRACE_S = 0.0  # type: ignore[misc]
    gateway = RunningGateway(Path(directory), int(upstream_port), clock=clock, retry_delays_s=RETRY_S).on(store_url)
    await gateway.start()
    if not gateway.machine.gateway.devices.all():
        await gateway.open_door()
    say(f"ready {gateway.port}")
    await asyncio.Event().wait()


def main() -> None:
    """Fork."""
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
