"""Runs Dovecot and Postfix for the tests, from their own configuration, until its standard input ends.

A process apart because it is root's (Postfix accepts nothing less), started by sudo where the tests are an ordinary user's,
and because so nothing stays behind when the tests die. The first line of its input is a JSON object: ``directory`` (empty,
ours), ``certificate``, ``key``, ``introspection_url``, ``domain`` and the ports. It answers ``ready``, or says what failed.
Standard library only: under sudo it may run with any Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
START_LIMIT_S = 30.0
STOP_LIMIT_S = 10.0
PORTS = ("pop3", "pop3s", "submission", "submissions")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Peer:
    """One daemon in the foreground, in its own session, so that no signal meant for others reaches it, or the other way."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name = name
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                env={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"},
            )

    @property
    def pid(self) -> int:
        """The daemon's process, which leads its session."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end; if it does not, end it and all its children."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_LIMIT_S)


def fill(template: str, target: Path, names: Mapping[str, str]) -> None:
    """Write a configuration file from its template."""
    text = (HERE / template).read_text("utf-8")
    target.write_text(re.sub(r"@([A-Z0-9_]+)@", lambda found: names[found[1]], text), "utf-8")


def make_directory(path: Path, owner: str = "root") -> Path:
    """Make a directory that any user may enter."""
    path.mkdir(mode=0o755, parents=True)
    path.chmod(0o755)
    account = pwd.getpwnam(owner)
    os.chown(path, account.pw_uid, account.pw_gid)
    return path


def start_dovecot(directory: Path, names: Mapping[str, str]) -> Peer:
    """Configure Dovecot in the language of the version that is installed, and start it."""
    etc = make_directory(directory / "etc")
    make_directory(directory / "mail", "mail")
    version = "2.3" if _run(["dovecot", "--version"]).startswith("2.3") else "2.4"
    names = {**names, "DIR": str(directory)}
    fill(f"dovecot/{version}.conf", etc / "dovecot.conf", names)
    if version == "2.3":
        fill("dovecot/2.3-oauth2.conf", etc / "oauth2.conf", names)
    return Peer("dovecot", ["dovecot", "-F", "-c", str(etc / "dovecot.conf")], directory / "start.log")


def start_postfix(directory: Path, names: Mapping[str, str]) -> Peer:
    """Configure Postfix and start it."""
    etc = make_directory(directory / "etc")
    make_directory(directory / "spool")
    make_directory(directory / "data", "postfix")
    names = {**names, "DIR": str(directory)}
    fill("postfix/main.cf", etc / "main.cf", names)
    fill("postfix/master.cf", etc / "master.cf", names)
    _run(["postfix", "-c", str(etc), "check"])  # makes the queue's directories
    found = _run(["postconf", "-c", str(etc), "-h", "daemon_directory"])
    # "postfix start-fg" would leave a shell between us and the daemon, which does not hand on our signal to end.
    return Peer("postfix", [f"{found.strip()}/master", "-c", str(etc), "-s"], directory / "start.log")


def _run(command: list[str]) -> str:
    """Return what a program prints; if it fails, raise with its own words."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_LIMIT_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def answers(port: int) -> bool:
    """Whether anyone listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until_ready(peers: list[Peer], ports: list[int]) -> None:
    """Return when all ports answer; raise when a peer ends or time is up."""
    end = time.monotonic() + START_LIMIT_S
    for port in ports:
        while not answers(port):
            _see_alive(peers, end)
            time.sleep(0.02)


def _see_alive(peers: list[Peer], end: float) -> None:
    ended = [peer.name for peer in peers if not peer.alive()]
    if ended or time.monotonic() > end:
        raise RuntimeError(f"{', '.join(ended) or 'the mail servers'} did not start")


def logs(directory: Path) -> str:
    """Return the end of all logs."""
    return "\n".join(
        f"== {log}\n{log.read_text('utf-8', 'replace')[-3000:]}" for log in sorted(directory.rglob("*.log"))
    )


def serve(directory: Path, names: Mapping[str, str]) -> None:
    """Start both, say so, and wait for the end of standard input."""
    peers: list[Peer] = []
    try:
        dovecot = make_directory(directory / "dovecot")
        names = {**names, "DOVECOT": str(dovecot)}
        peers.append(start_dovecot(dovecot, names))
        peers.append(start_postfix(make_directory(directory / "postfix"), names))
        wait_until_ready(peers, [int(names[port.upper()]) for port in PORTS])
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
    except (OSError, RuntimeError, subprocess.SubprocessError) as failure:
        sys.exit(f"{failure}\n{logs(directory)}")
    finally:
        for peer in reversed(peers):
            peer.stop()
        if not names["KEEP"]:
            shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    """Read what to do, and do it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    os.environ["PATH"] = SYSTEM_PATH
    os.umask(0o022)
    asked = json.loads(sys.stdin.readline())
    directory = Path(asked.pop("directory"))
    serve(directory, {name.upper(): str(value) for name, value in asked.items()})


if __name__ == "__main__":
    main()
