"""A real CUPS on loopback with queues of its own; what they print comes out as files, with the options they were given.

    with Cups() as cups:
        cups.output()            # what came out: PrintedFile, in order
        cups.trouble("office", "media-empty-error")   # its paper is gone; "" and it is there again

``cups.program`` runs CUPS's own commands (lp, lpstat, cupsdisable ...) against it. The daemon is the scheduler of the
distribution; the printer behind the queue is ``cups_backend.sh``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import pytest
from rig_process import (
    START_LIMIT_S,
    STOP_LIMIT_S,
    PeersMissing,
    answers,
    free_ports,
    new_directory,
    program,
    read_logs,
)

HERE: Final = Path(__file__).resolve().parent
BINARIES: Final = Path("/usr/lib/cups")
# ends what follows when its standard input ends, so that nothing stays behind when the tests die
FOLLOWED: Final = ("/bin/sh", "-c", '"$@" </dev/null & pid=$!; read -r _end; kill "$pid"; wait "$pid"', "cups")
QUEUES: Final = ("office", "second")
FILES: Final = """
ServerRoot {directory}
ServerBin {directory}/bin
CacheDir {directory}/cache
StateDir {directory}/state
RequestRoot {directory}/spool
TempDir {directory}/spool/tmp
AccessLog {directory}/access.log
ErrorLog {directory}/error.log
PageLog {directory}/page.log
Sandboxing relaxed
{user}
"""
DAEMON: Final = """
Listen 127.0.0.1:{port}
Listen {directory}/cups.sock
LogLevel info
WebInterface No
Browsing No
DefaultAuthType None
JobRetryInterval 1
JobKillDelay 1
MaxJobTime 600
PreserveJobHistory Yes
PreserveJobFiles No
<Location />
  Order allow,deny
  Allow all
</Location>
<Policy default>
  JobPrivateAccess all
  JobPrivateValues none
  SubscriptionPrivateAccess all
  SubscriptionPrivateValues none
  <Limit All>
    Order allow,deny
    Allow all
  </Limit>
</Policy>
"""
PRINTER: Final = """
<Printer {name}>
Info {name}
DeviceURI valijatest:{directory}/out/{name}
State Idle
Accepting Yes
Shared No
JobSheets none none
OpPolicy default
ErrorPolicy retry-current-job
</Printer>
"""


@dataclass(frozen=True, slots=True)
class PrintedFile:
    """A document that came out of a queue: ``title`` and ``options`` as CUPS gave them to the printer."""

    queue: str
    job: int
    title: str
    copies: int
    options: str
    path: Path


class Cups:
    """A scheduler with the queues ``QUEUES``."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.directory: Path
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.directory = new_directory()
        try:
            self._make()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if not os.environ.get("PEERS_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def server(self) -> str:
        """What CUPS_SERVER says."""
        return str(self.directory / "cups.sock")

    def uri(self, queue: str = "office") -> str:
        """A queue's address."""
        return f"ipp://127.0.0.1:{self.port}/printers/{queue}"

    def program(self, *command: str) -> str:
        """Run one of CUPS's own programs against this server; return what it said."""
        environment = {"PATH": os.environ["PATH"] + ":/usr/sbin", "CUPS_SERVER": self.server, "LANG": "C.UTF-8"}
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
        return found.stdout

    def trouble(self, queue: str, reason: str) -> None:
        """Let the printer have a trouble (a keyword of IPP); none lets it print on."""
        file = self.directory / "out" / queue / "trouble"
        if reason:
            file.write_text(reason)
            file.chmod(0o644)
        else:
            file.unlink(missing_ok=True)

    def supplies(self, queue: str, attributes: str) -> None:
        """Let the printer tell, with its next job, attributes of its supplies: lines ``name=value,value``."""
        file = self.directory / "out" / queue / "supplies"
        file.write_text(attributes)
        file.chmod(0o644)

    def output(self, queue: str = "office") -> list[PrintedFile]:
        """Return what came out."""
        found = []
        for about in sorted((self.directory / "out" / queue).glob("*.about"), key=lambda path: int(path.stem)):
            title, copies, options = about.read_text("utf-8").split("\n")[:3]
            path = about.with_suffix(".pdf")
            found.append(PrintedFile(queue, int(about.stem), title, int(copies), options, path))
        return found

    def await_output(self, count: int, queue: str = "office") -> list[PrintedFile]:
        """Return what came out, when it is so much."""
        end = time.monotonic() + 20
        while len(found := self.output(queue)) < count:
            assert time.monotonic() < end, f"{len(found)} of {count}\n{read_logs(self.directory)[-3000:]}"
            time.sleep(0.05)
        return found

    def reset(self) -> None:
        """Forget jobs and output; every queue as it was."""
        for queue in QUEUES:
            self.trouble(queue, "")
            self.program("cancel", "-a", queue)
            self.program("cupsenable", queue)
            self.program("cupsaccept", queue)
            for path in (self.directory / "out" / queue).iterdir():
                path.unlink()

    def recover(self) -> None:
        """Let a printer that had a trouble say that it is over, which it does with its next job only; then forget that one."""
        for queue in QUEUES:
            said = self.program("lpoptions", "-p", queue)
            if "printer-state-reasons=none" not in said:
                self.program("lp", "-d", queue, __file__)
                self.await_output(1, queue)
                self.reset()

    def start(self) -> None:
        """Start the scheduler, with the jobs it had."""
        log = (self.directory / "stderr.log").open("ab")
        command = [
            program("cupsd"), "-f",
            "-c", str(self.directory / "cupsd.conf"),
            "-s", str(self.directory / "cups-files.conf"),
        ]  # fmt: skip
        with log:
            self._process = subprocess.Popen(
                [*FOLLOWED, *command], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + START_LIMIT_S
        while not (answers(self.port) and (self.directory / "cups.sock").is_socket()):
            if self._process.poll() is not None or time.monotonic() > end:
                raise PeersMissing(f"cupsd did not start\n{read_logs(self.directory)}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_LIMIT_S)

    def _make(self) -> None:
        directory = self.directory
        for name in ("cache", "state", "spool", "spool/tmp", "bin", "bin/backend", "out", "ppd", "ssl"):
            (directory / name).mkdir(mode=0o755)
        for kind in ("filter", "daemon", "notifier", "cgi-bin", "monitor", "driver"):
            if (BINARIES / kind).is_dir():
                (directory / "bin" / kind).symlink_to(BINARIES / kind)
        shutil.copy(HERE / "cups_backend.sh", directory / "bin/backend/valijatest")
        (directory / "bin/backend/valijatest").chmod(0o755)
        printers = ""
        for queue in QUEUES:
            out = directory / "out" / queue
            out.mkdir()
            out.chmod(0o777)  # the scheduler's printers are another user's, if it is root's
            printers += PRINTER.format(name=queue, directory=directory)
        (directory / "printers.conf").write_text(printers)
        user = "User lp\nGroup lp\nSystemGroup root" if os.geteuid() == 0 else ""
        (directory / "cups-files.conf").write_text(FILES.format(directory=directory, user=user))
        (directory / "cupsd.conf").write_text(DAEMON.format(directory=directory, port=self.port))


@pytest.fixture(scope="session")
def cups_server() -> Iterator[Cups]:
    """A CUPS for the whole run."""
    with Cups() as server:
        yield server


@pytest.fixture
def cups(cups_server: Cups) -> Iterator[Cups]:
    """A CUPS whose queues are empty and well."""
    cups_server.recover()
    yield cups_server
    cups_server.reset()
