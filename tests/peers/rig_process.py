"""Ports, directories and processes of the rig. Every wait has an end, and what was started ends with who started it."""

from __future__ import annotations

import os
import random
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
START_LIMIT_S: Final = 40.0
STOP_LIMIT_S: Final = 30.0
LONGEST_PATH: Final = 50  # what the daemons add must fit in a Unix socket's 107 bytes
PORT_RANGE: Final = (20000, 32000)  # below the ports that the kernel gives to connections
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Process = subprocess.Popen[bytes]


class PeersMissing(Exception):
    """The peers could not be started; says why."""


def program(name: str) -> str:
    """Return the path of a program, also of one that only root usually runs."""
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), SYSTEM_PATH)))
    if path is None:
        raise PeersMissing(
            f"{name} is not installed: run tests/peers/install.sh, or leave these tests out: -m 'not peers'"
        )
    return path


def free_ports(count: int) -> tuple[int, ...]:
    """Return ports that nobody listens on; from ``PEERS_PORT_BASE`` on, if that is set."""
    if base := os.environ.get("PEERS_PORT_BASE"):
        return tuple(range(int(base), int(base) + count))
    found: list[int] = []
    while len(found) < count:
        port = random.randint(*PORT_RANGE)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found += [] if port in found else [port]
    return tuple(found)


def answers(port: int) -> bool:
    """Whether anyone listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def new_directory() -> Path:
    """Make a directory that the daemons' users may enter: under run/ here, or under /tmp if the way here is closed or long."""
    run = HERE / "run"
    fits = len(str(run)) <= LONGEST_PATH and all(parent.stat().st_mode & 0o001 for parent in HERE.parents)
    if fits:
        run.mkdir(mode=0o755, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="" if fits else "valija-peers-", dir=run if fits else "/tmp"))
    directory.chmod(0o755)
    return directory


def as_root() -> list[str]:
    """Return what must stand before a command for root."""
    return [] if os.geteuid() == 0 else [program("sudo"), "-n"]


@contextmanager
def child(command: list[str], log: Path) -> Iterator[Process]:
    """Run a program that ends when its standard input does; it hears no Ctrl-C, so that it can end in order."""
    pipe = subprocess.PIPE
    with log.open("ab") as errors:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True)
    try:
        yield process
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        _end(process)
        process.stdout.close()


def _end(process: Process) -> None:
    """Wait for the end of a process; force it if it does not come."""
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_LIMIT_S)


def await_ready(name: str, process: Process, directory: Path) -> None:
    """Return when the process says it is ready."""
    assert process.stdout is not None
    heard, _, _ = select.select([process.stdout], [], [], START_LIMIT_S)
    if not heard or process.stdout.readline() != b"ready\n":
        raise PeersMissing(f"{name} did not start\n{read_logs(directory)}")


def read_logs(directory: Path) -> str:
    """Return all logs below a directory that may be read."""
    texts = []
    for file in sorted(directory.rglob("*.log")):
        with suppress(OSError):
            texts.append(f"== {file.name}\n{file.read_text('utf-8', 'replace')}")
    return "\n".join(texts)


@contextmanager
def smtp_sink(*options: str, port: int = 0) -> Iterator[int]:
    """Run Postfix's ``smtp-sink``, which takes all mail and keeps none; gives its port, a free one if none is named."""
    port = port or free_ports(1)[0]
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = [program("smtp-sink"), *user, *options, f"127.0.0.1:{port}", "1000"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + START_LIMIT_S
        while not answers(port):
            if process.poll() is not None or time.monotonic() > end:
                raise PeersMissing("smtp-sink did not start")
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        _end(process)
