"""Peers that are no Postfix: the sink that stands for a provider, email-oauth2-proxy, aiosmtpd; and Postfix's smtp-source."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rig_certificates import Certificates, make_certificates
from rig_process import program

from bench.figures import free_port, wait_for_port
from valija.apps.sandbox.authorization import CONFIDENTIAL_CLIENT, CONFIDENTIAL_SECRET

MAILBOX: Final = "robot@sandbox.test"  # whose token the sandbox gives to its confidential client


def certificates(directory: Path) -> Certificates:
    """Make them where every peer's user may read them."""
    directory.mkdir(mode=0o755, parents=True)
    made = make_certificates(directory)
    for file in directory.iterdir():
        file.chmod(0o644)
    return made


# --- load -----------------------------------------------------------------------------------------------------------------


def smtp_source(port: int, count: int, size: int, *, kept: bool, sessions: int = 20) -> dict[str, float]:
    """Send with Postfix's smtp-source, in C; a new session for each message, or kept ones. Returns seconds and CPU seconds."""
    command = [program("smtp-source"), "-s", str(sessions), "-m", str(count), "-l", str(size)]
    command += [*(["-d"] if kept else []), "-f", "bench@example.com", "-t", "to@example.com", f"127.0.0.1:{port}"]
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    seconds, after = time.perf_counter() - start, os.times()
    if done.returncode != 0 or done.stderr:
        raise RuntimeError(f"smtp-source: {done.stderr[-2000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "cpu": cpu}


def senders(port: int, **options: Any) -> dict[str, Any]:
    """Send with our own devices (:mod:`bench.senders`), which can log in; return what they report."""
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "bench.senders", str(port), *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"bench.senders: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- the provider's side --------------------------------------------------------------------------------------------------


class Sink:
    """A running :mod:`bench.sink`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self.port = int(json.loads(self._out.readline())["port"])

    def ask(self, question: str = "count") -> dict[str, Any]:
        """Ask for the counts; ``zero`` begins anew, ``delays`` adds all delays in nanoseconds."""
        self._in.write(question + "\n")
        self._in.flush()
        found: dict[str, Any] = json.loads(self._out.readline())
        return found


@contextlib.contextmanager
def sink(made: Certificates | None, *options: str) -> Iterator[Sink]:
    """Run a sink, with STARTTLS if there are certificates."""
    tls = ["--certificate", str(made.server), "--key", str(made.server_key)] if made else []
    command = [sys.executable, "-m", "bench.sink", *tls, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Sink(process)
        finally:
            process.terminate()


# --- peers ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proxy:
    """A peer that listens, and its process."""

    port: int
    pid: int


@contextlib.contextmanager
def _listening(command: Sequence[str], port: int, directory: Path, environment: dict[str, str]) -> Iterator[Proxy]:
    with (directory / "output").open("ab") as output:
        process = subprocess.Popen(
            command, cwd=directory, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait_for_port(port, 20)
        yield Proxy(port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


@contextlib.contextmanager
def email_oauth2_proxy(directory: Path, upstream: int, issuer: str, made: Certificates) -> Iterator[Proxy]:
    """Run email-oauth2-proxy in front of a submission server."""
    client = ProxyClient(MAILBOX, f"{issuer}/token", "smtp", CONFIDENTIAL_CLIENT, CONFIDENTIAL_SECRET.reveal())
    server = f"server_port = {upstream}\nserver_starttls = True"
    with email_oauth2_proxy_of(directory, "SMTP", server, client, made.ca) as proxy:
        yield proxy


@dataclass(frozen=True, slots=True)
class ProxyClient:
    """How email-oauth2-proxy gets a mailbox's token: by client credentials, without a person."""

    mailbox: str
    token_endpoint: str
    scope: str
    client_id: str
    client_secret: str


@contextlib.contextmanager
def email_oauth2_proxy_of(
    directory: Path, protocol: str, server: str, client: ProxyClient, ca_file: Path
) -> Iterator[Proxy]:
    """Run email-oauth2-proxy for SMTP or POP in front of a server on this machine; ``server`` is the rest of its section."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (directory / "emailproxy.config").write_text(
        f"""[{protocol}-{port}]
server_address = localhost
{server}
local_address = 127.0.0.1
[{client.mailbox}]
token_url = {client.token_endpoint}
oauth2_scope = {client.scope}
oauth2_flow = client_credentials
client_id = {client.client_id}
client_secret = {client.client_secret}
[emailproxy]
delete_account_token_on_password_error = False
"""
    )
    files = ["--config-file", "emailproxy.config", "--cache-store", "cache", "--log-file", "log"]
    command = [str(Path(sys.executable).with_name("emailproxy")), "--no-gui", "--local-server-auth", *files]
    with _listening(command, port, directory, {"SSL_CERT_FILE": str(ca_file)}) as proxy:
        yield proxy


@contextlib.contextmanager
def aiosmtpd(directory: Path) -> Iterator[Proxy]:
    """Run aiosmtpd, which keeps nothing."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Sink", "-l", f"127.0.0.1:{port}"]
    with _listening(command, port, directory, {}) as proxy:
        yield proxy
