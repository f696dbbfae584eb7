"""Drives the real program as a person would: starts the daemon, types commands, clicks through the sandbox's pages."""

from __future__ import annotations

import asyncio
import http.cookiejar
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from valija.domain.token import tokens_kept
from valija.store.sqlite import open_store

VALIJA = Path(sys.executable).with_name("valija")
START_LIMIT_S = 20.0
FREE_PORTS = """[sandbox]
authorization_port = 0
smtp_port = 0
smtps_port = 0
pop3_port = 0
pop3s_port = 0
[panel]
port = 0
[web]
port = 0
host = "127.0.0.1"
[gateway]
host = "127.0.0.1"
smtp_port = -1
submission_port = -1
submissions_port = -1
pop3_port = -1
pop3s_port = -1
"""


class Daemon:
    """A ``valija run`` process and commands that talk to it."""

    def __init__(
        self,
        directory: Path,
        *,
        sandbox: bool = True,
        configuration: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.state_dir = directory / "state"
        self.log_file = directory / "daemon.log"
        self._sandbox = sandbox
        self._config = directory / "valija.toml"
        self._config.write_text(FREE_PORTS + configuration, "utf-8")
        unwanted = ("VALIJA_", "LANG", "LC_", "SSL_CERT_FILE")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
        self.environment = (
            clean | {"VALIJA_STATE_DIR": str(self.state_dir), "LANG": "C.UTF-8"} | dict(environment or {})
        )
        self.process: subprocess.Popen[bytes] | None = None
        self._sandbox_facts: dict[str, Any] = {}

    def start(self) -> Daemon:
        """Start, and wait for the line that says ready."""
        command = [str(VALIJA), "run", "--config", str(self._config), *(["--sandbox"] if self._sandbox else [])]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.directory, env=self.environment, stdout=subprocess.PIPE, stderr=log
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        assert line.startswith("ready"), self.log()
        self._sandbox_facts = {}
        return self

    def stop(self) -> int:
        """Ask it to stop; return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """Wait for the end."""
        assert self.process is not None
        status = self.process.wait(timeout=START_LIMIT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return status

    def log(self) -> str:
        """Return all that was logged."""
        return self.log_file.read_text("utf-8")

    def run(self, *arguments: str, typed: str = "", language: str = "en") -> subprocess.CompletedProcess[str]:
        """Type a command."""
        environment = self.environment | {"VALIJA_LANG": language}
        return subprocess.run(
            [str(VALIJA), *arguments],
            cwd=self.directory,
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def ok(self, *arguments: str, typed: str = "", language: str = "en") -> str:
        """Type a command that must succeed; return what it printed."""
        done = self.run(*arguments, typed=typed, language=language)
        assert done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr, self.log()[-2000:])
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Type a command with ``--json``; return what it printed, whatever its exit status."""
        done = self.run(*arguments, "--json")
        assert done.stdout, (arguments, done.stderr, self.log()[-2000:])
        return json.loads(done.stdout)

    def place(self, name: str) -> str:
        """Return a fact about the sandbox: issuer, smtp_port, pop3s_port, ..."""
        self._sandbox_facts = self._sandbox_facts or self.json("status")["sandbox"]
        return str(self._sandbox_facts[name])

    def set_smtp(self, account: str = "ana@sandbox.test") -> None:
        """Set SMTP to the sandbox."""
        port = self.place("smtp_port")
        sender = ("--sender-name", "Ana", "--sender-address", account)
        oauth = ("--auth", "oauth2", "--provider", "sandbox", "--account", account)
        self.ok("smtp", "set", "--server", "localhost", "--port", port, *sender, *oauth)

    def set_pop(self, setting: str = "internet-fax", account: str = "luis@sandbox.test", interval: int = 0) -> None:
        """Set a POP setting to the sandbox; the check interval 0 keeps it quiet."""
        server = ("--server", "localhost", "--port", self.place("pop3s_port"), "--check-interval", str(interval))
        self.ok("pop", "set", setting, *server, "--auth", "oauth2", "--provider", "sandbox", "--account", account)

    def get_token(self, setting: str, mailbox: str, *, deny: bool = False) -> Any:
        """Get a token, with a person at the provider's page; return the final status."""
        asked = self.json("token", "get", setting, "--yes", "--no-wait")
        assert asked["state"] == "awaiting_authorization", asked
        decide(asked["verification_uri_complete"], mailbox, deny=deny)
        return self.until(setting, lambda status: status["state"] != "awaiting_authorization")

    def revoke_at_provider(self, setting: str) -> None:
        """End a grant at the sandbox's provider, as the mailbox's owner would there."""
        form = {"client_id": "valija-sandbox", "token": kept_tokens(self, setting)[-1]}
        url = self.place("issuer") + "/revoke"
        urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=10).close()

    def until(self, setting: str, reached: Callable[[Any], bool], seconds: float = 15.0) -> Any:
        """Wait until a token's status is as wanted; return it."""
        end = time.monotonic() + seconds
        while not reached(status := self.json("token", "status", setting)):
            assert time.monotonic() < end, (status, self.log()[-2000:])
            time.sleep(0.1)
        return status


def kept_tokens(machine: Daemon, setting: str = "smtp") -> list[str]:
    """Return the machine's present tokens, read from a copy of its store with its key: what must be seen nowhere else."""
    copy = machine.directory / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(machine.state_dir, copy, ignore=shutil.ignore_patterns("*.sock", "valija.lock"))

    async def read() -> list[str]:
        store = open_store(copy, None, {})
        kept = tokens_kept((await store.load_token(setting)).state)
        await store.close()
        assert kept is not None
        return [kept.access_token.reveal(), *([kept.refresh_token.reveal()] if kept.refresh_token else [])]

    with ThreadPoolExecutor(1) as thread:  # the caller may have an event loop
        return thread.submit(asyncio.run, read()).result()


class _StayHere(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        return None


def decide(page_url: str, mailbox: str, *, deny: bool = False) -> str:
    """Open a page of the sandbox that asks for consent, and answer; return where it sends the browser, or its text."""
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar), _StayHere)
    page = browser.open(page_url, timeout=10).read().decode()
    form = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
    form |= {"mailbox": mailbox, "decision": "deny" if deny else "allow"}
    action = re.search(r'<form[^>]*action="([^"]+)"', page)
    assert action is not None, page
    url = urllib.parse.urljoin(page_url, action[1])
    try:
        return str(browser.open(url, urllib.parse.urlencode(form).encode(), timeout=10).read().decode())
    except urllib.error.HTTPError as answer:
        with answer:
            assert answer.code == 303, answer.read()
            return str(answer.headers["Location"])
