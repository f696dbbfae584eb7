"""Runs Postfix and Dovecot for the benchmarks, from the configuration that it is given, until its standard input ends.

A process apart because it is root's, as tests/peers/mail_peers.py is, whose tools it uses. The first line of its input is
a JSON object: ``directory`` (empty, ours), ``dovecot`` (text by version), ``postfix`` (by name: ``main``, ``master``),
``ports`` to wait for. It answers ``ready``. Then each line is a question: ``count NAME WORDS``, in how many places are these
words in the log of that Postfix, or ``cpu NAME``, how many seconds of CPU have all its processes used. Standard library only:
under sudo it may run with any Python.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "peers"))

import mail_peers


class Log:
    """A log that is read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._counts: dict[bytes, int] = {}

    def count(self, words: bytes) -> int:
        """Return how many lines had these words since they were asked for first."""
        self._counts.setdefault(words, 0)
        if self._path.exists():
            with self._path.open("rb") as log:
                log.seek(self._read)
                new = log.read()
            new = new[: new.rfind(b"\n") + 1]
            self._read += len(new)
            for wanted in self._counts:
                self._counts[wanted] += new.count(wanted)
        return self._counts[words]


class Postfix:
    """One that runs: its log, and its processes, which are a session of their own."""

    def __init__(self, log: Path, pid: int) -> None:
        self.log = Log(log)
        self._pid = str(pid)

    def cpu(self) -> float:
        """Return the CPU seconds of all its processes, those that have ended included (proc_pid_stat(5))."""
        ticks = 0
        for file in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = file.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[3] == self._pid:
                ticks += sum(int(field) for field in fields[11:15])
        return ticks / os.sysconf("SC_CLK_TCK")


def _fill(text: str, target: Path, names: dict[str, str]) -> None:
    for name, value in names.items():
        text = text.replace(f"@{name}@", value)
    target.write_text(text)


def _start(directory: Path, asked: dict[str, Any], peers: list[mail_peers.Peer]) -> dict[str, Postfix]:
    dovecot = mail_peers.make_directory(directory / "dovecot")
    version = "2.3" if mail_peers._run(["dovecot", "--version"]).startswith("2.3") else "2.4"
    _fill(asked["dovecot"][version], dovecot / "dovecot.conf", {"DIR": str(dovecot)})
    peers.append(mail_peers.Peer("dovecot", ["dovecot", "-F", "-c", str(dovecot / "dovecot.conf")], dovecot / "log"))
    usual = mail_peers._run(["postconf", "-d", "-h", "default_database_type"]).strip()
    names = {
        "DOVECOT": str(dovecot),
        "CACHE": "btree" if usual == "hash" else usual,
    }  # where there is no Berkeley DB: lmdb
    started = {}
    for name, configuration in asked["postfix"].items():
        place = mail_peers.make_directory(directory / name)
        etc = mail_peers.make_directory(place / "etc")
        mail_peers.make_directory(place / "spool")
        mail_peers.make_directory(place / "data", "postfix")
        for part in ("main", "master"):
            _fill(configuration[part], etc / f"{part}.cf", names | {"DIR": str(place)})
        run = ("postfix", "-c", str(etc), "check"), ("postconf", "-c", str(etc), "-h", "daemon_directory")
        found = [mail_peers._run(list(command)) for command in run]
        command = [f"{found[1].strip()}/master", "-c", str(etc), "-s"]
        peers.append(mail_peers.Peer(name, command, place / "start.log"))
        started[name] = Postfix(place / "postfix.log", peers[-1].pid)
    mail_peers.wait_until_ready(peers, asked["ports"])
    return started


def main() -> None:
    """Start, answer, stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ["PATH"] = mail_peers.SYSTEM_PATH
    os.umask(0o022)
    asked = json.loads(sys.stdin.readline())
    directory = Path(asked["directory"])
    peers: list[mail_peers.Peer] = []
    try:
        started = _start(directory, asked, peers)
        print("ready", flush=True)
        for question in sys.stdin:
            what, name, *words = question.rstrip("\n").split(" ", 2)
            postfix = started[name]
            print(postfix.cpu() if what == "cpu" else postfix.log.count(words[0].encode()), flush=True)
    except (OSError, RuntimeError, subprocess.SubprocessError) as failure:
        sys.exit(f"{failure}\n{mail_peers.logs(directory)}")
    finally:
        for peer in reversed(peers):
            peer.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
