"""A process that forks gateways to be killed, so that each costs no start of the interpreter.

For every line ``DIRECTORY UPSTREAM-PORT BEGAN SPEED`` on its input it forks a gateway there, says ``pid N``, and ``gone N``
when that one has ended. The gateway says ``ready PORT`` and works until it is killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import uvloop
from running_gateway import HurryClock, RunningGateway

RETRY_S = [10]


def say(line: str) -> None:
    """Write one line at once."""
    os.write(1, line.encode() + b"\n")


async def serve(directory: str, upstream_port: str, began: str, speed: str) -> None:
    """Be a gateway without end."""
    clock = HurryClock(float(speed), float(began))
    gateway = RunningGateway(Path(directory), int(upstream_port), clock=clock, retry_delays_s=RETRY_S)
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
