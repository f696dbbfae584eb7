"""An old device that fetches mail by POP3, and the mail programs of the world that do."""

from __future__ import annotations

import contextlib
import mailbox
import os
import poplib
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driver import Daemon

TIMEOUT_S = 20
poplib._MAXLINE = 10_000_000  # type: ignore[attr-defined] # the library's own bound is no rule of POP3


@dataclass
class Collector:
    """One device of a machine, with its login."""

    login: str
    password: str
    ports: dict[str, int]

    @classmethod
    def added(cls, machine: Daemon, *options: str, mailbox: str = "internet-fax") -> Collector:
        """Add a device that fetches a mailbox."""
        made = machine.json("device", "add", "Old fax", "--mailbox", mailbox, *options)
        return cls(made["login"], made["password"], machine.json("device", "list")["ports"])

    def connect(self, *, tls: bool = True, log_in: bool = True) -> poplib.POP3:
        """Connect with TLS from the first octet, or in clear, and log in."""
        context = ssl._create_unverified_context()
        if tls:
            session: poplib.POP3 = poplib.POP3_SSL("127.0.0.1", self.ports["pop3s"], timeout=TIMEOUT_S, context=context)
        else:
            session = poplib.POP3("127.0.0.1", self.ports["pop3"], timeout=TIMEOUT_S)
        if log_in:
            try:
                session.user(self.login)
                session.pass_(self.password)
            except poplib.error_proto:
                session.close()
                raise
        return session

    def all_messages(self, *, tls: bool = True) -> list[bytes]:
        """Fetch everything and delete nothing."""
        session = self.connect(tls=tls)
        found = [fetched(session, number) for number in range(1, session.stat()[0] + 1)]
        session.quit()
        return found


def fetched(session: poplib.POP3, number: int) -> bytes:
    """Return a message's octets."""
    return b"".join(line + b"\r\n" for line in session.retr(number)[1])


def octets(session: poplib.POP3, command: str) -> bytes:
    """Return the octets of a multi-line answer as they are on the wire: a library that splits lines loses bare LF."""
    session._putcmd(command)  # type: ignore[attr-defined]
    stream: Any = session.file
    assert stream.readline().startswith(b"+OK")
    found = b""
    while not found.endswith(b"\r\n.\r\n") and found != b".\r\n":
        found += stream.readline()
    return found


def run_curl(collector: Collector, *options: str, tls: str = "pop3s") -> bytes:
    """Fetch with curl."""
    address = f"{tls}://127.0.0.1:{collector.ports[tls]}/"
    who = ("--user", f"{collector.login}:{collector.password}", "--insecure", "--max-time", str(TIMEOUT_S))
    path = options[0] if options else ""
    done = subprocess.run(
        ["curl", "--silent", "--show-error", *who, address + path, *options[1:]], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_mpop(collector: Collector, directory: Path, *, starttls: bool) -> list[bytes]:
    """Fetch and delete with mpop."""
    port = collector.ports["pop3" if starttls else "pop3s"]
    config = directory / "mpoprc"
    config.write_text(f"""defaults
tls on
tls_starttls {"on" if starttls else "off"}
tls_certcheck off
uidls_file {directory}/uidls
account valija
host 127.0.0.1
port {port}
user {collector.login}
password {collector.password}
auth plain
delivery mbox {directory}/mbox
keep off
""")
    return _run(["mpop", "--file", str(config), "valija"], config, directory)


def run_fetchmail(collector: Collector, directory: Path) -> list[bytes]:
    """Fetch and delete with fetchmail."""
    config = directory / "fetchmailrc"
    config.write_text(f"""poll 127.0.0.1 service {collector.ports["pop3s"]} protocol pop3 timeout {TIMEOUT_S}
  user "{collector.login}" password "{collector.password}" ssl no sslcertck fetchall no keep no rewrite
  mda "/bin/sh -c 'echo From x; cat; echo' >> {directory}/mbox"
""")
    return _run(["fetchmail", "--fetchmailrc", str(config), "--nodetach", "--nosyslog"], config, directory)


def _run(command: list[str], config: Path, directory: Path) -> list[bytes]:
    config.chmod(0o600)
    environment = os.environ | {"HOME": str(directory), "FETCHMAILHOME": str(directory)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    with contextlib.closing(mailbox.mbox(directory / "mbox")) as box:
        return [bytes(message.get_payload(decode=True)) for message in box]
