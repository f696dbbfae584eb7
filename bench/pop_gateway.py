"""POP3 for devices, from a real Dovecot: beside email-oauth2-proxy, and beside going there directly."""

from __future__ import annotations

import contextlib
import json
import os
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rig import DEVICE, ROBOT, ROBOT_SECRET, Rig

from bench.figures import Row, Section, best, goal
from bench.machines import machine
from bench.peers import ProxyClient, email_oauth2_proxy_of
from bench.pollers import ACCOUNTS, INTERVAL_S
from valija.domain.account import POP_SETTINGS

SESSIONS: Final = len(POP_SETTINGS)  # a mailbox each, at once
ROUNDS: Final = 3
POLLED_S, CHECKS = 30, 600
POLLS, FETCHES, PROXY_POLLS, PROXY_FETCHES = 600, 120, 60, 30
SMALL: Final = b"Subject: bench\r\n\r\n" + (b"x" * 70 + b"\r\n") * 55
LARGE: Final = b"Subject: bench\r\n\r\n" + (b"x" * 76 + b"\r\n") * 13_500  # 1 MB
User = tuple[str, str, bool]


def pop_gateway() -> Section:
    """Sessions a second, and messages of 1 MB."""
    with tempfile.TemporaryDirectory() as directory, Rig() as rig, _office(Path(directory), rig) as office:
        deliver(rig, ROBOT)
        with _proxy(Path(directory) / "proxy", rig) as proxy:
            rows = [
                *_compare("log in, STAT, QUIT", office, proxy, rig, POLLS, PROXY_POLLS, 0),
                *_compare("fetching 1 MB", office, proxy, rig, FETCHES, PROXY_FETCHES, 2),
            ]
    how = (
        f"{SESSIONS} devices at once, a new session each time, mailboxes of Dovecot over TLS, tokens of oidc-provider; "
        "the devices' side in clear, as email-oauth2-proxy has it, and over TLS. Directly: TLS and XOAUTH2 by the same client, "
        f"which has its token. Best of {ROUNDS} alternating runs."
    )
    return Section("POP3 for devices", how, tuple(rows))


def polling() -> Section:
    """CPU of looking at many mailboxes."""
    with _poll_server() as port:
        polled = min((_poller("poll", port, POLLED_S) for _round in range(2)), key=lambda found: found["cpu"])
        checked = best([_poller("check", port, CHECKS) for _round in range(ROUNDS)], "each")
    core = polled["cpu"] / polled["seconds"]
    checks = checked * ACCOUNTS / INTERVAL_S
    rows = (
        Row(
            f"{ACCOUNTS:,} accounts, each looked at every {INTERVAL_S / 60:.0f} minutes",
            f"{core:.1%} of a core; {polled['polls'] / polled['seconds']:.1f} polls a second",
            "",
            goal("under 10 %", core < 0.1 and polled["failed"] == 0),
        ),
        Row("CPU of a poll (connect, AUTH, STAT, UIDL, QUIT)", f"{polled['cpu'] / polled['polls'] * 1e6:,.0f} µs"),
        Row(
            "CPU of a machine's whole check (setting, token and ledger in SQLite besides)",
            f"{checked * 1e6:,.0f} µs",
            "",
            f"{checks:.1%} of a core for {ACCOUNTS:,} accounts",
        ),
    )
    how = (
        f"Without TLS, tokens of 2,000 octets, to a server in another process; {POLLED_S} s of the real pace, every account "
        f"a task of its own, better of 2; {CHECKS} checks of {len(POP_SETTINGS)} settings at once, best of {ROUNDS}."
    )
    return Section("Polling many mailboxes", how, rows)


@contextlib.contextmanager
def _poll_server() -> Iterator[int]:
    command = [sys.executable, "-m", "bench.pollers", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def _poller(what: str, port: int, much: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.pollers", what, str(port), str(much)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"bench.pollers: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class _Office:
    """A machine with a device for each POP setting, and their mailboxes."""

    def __init__(self, ports: dict[str, int], devices: list[User], mailboxes: list[User]) -> None:
        self.ports = ports
        self.devices = devices
        self.mailboxes = mailboxes


@contextlib.contextmanager
def _office(directory: Path, rig: Rig) -> Iterator[_Office]:
    devices: list[User] = []
    mailboxes: list[User] = []
    with machine(directory, sandbox=False, configuration=f"[tls]\nca_file = '{rig.ca_file}'\n") as daemon:
        scopes = ("--scope", "openid", "--scope", "offline_access", "--scope", "pop")
        issuer = ("--kind", "custom", "--issuer", rig.issuer, "--client-id", DEVICE.id)
        daemon.ok("provider", "set", "office", *issuer, *scopes)
        for setting in POP_SETTINGS:
            login = f"{setting.value}@{rig.domain}"
            server = ("--server", "localhost", "--port", str(rig.ports.pop3s), "--check-interval", "0")
            oauth = ("--auth", "oauth2", "--provider", "office", "--account", login)
            daemon.ok("pop", "set", setting.value, *server, *oauth)
            asked = daemon.json("token", "get", setting.value, "--yes", "--no-wait")
            rig.approve_device(asked["verification_uri"], asked["user_code"], login)
            daemon.until(setting.value, lambda status: status["state"] == "retrieved", 30)
            deliver(rig, login)
            made = daemon.json("device", "add", setting.value, "--mailbox", setting.value, "--tls", "offered")
            devices.append((made["login"], made["password"], False))
            mailboxes.append((login, rig.sign_in(login)["access_token"], True))
        yield _Office(daemon.json("device", "list")["ports"], devices, mailboxes)


def deliver(rig: Rig, login: str) -> None:
    """Put a small message and one of 1 MB into a mailbox."""
    with smtplib.LMTP(str(rig.directory / "mail" / "dovecot" / "lmtp")) as lmtp:
        for message in (SMALL, LARGE):
            lmtp.sendmail("bench@example.com", [login], message)


@contextlib.contextmanager
def _proxy(directory: Path, rig: Rig) -> Iterator[int]:
    client = ProxyClient(ROBOT, f"{rig.issuer}/token", "pop", ROBOT_SECRET.id, ROBOT_SECRET.secret)
    with email_oauth2_proxy_of(directory, "POP", f"server_port = {rig.ports.pop3s}", client, rig.ca_file) as proxy:
        yield proxy.port


def _compare(
    what: str, office: _Office, proxy: int, rig: Rig, count: int, proxy_count: int, fetch: int
) -> Iterator[Row]:
    found: dict[str, list[dict[str, Any]]] = {"direct": [], "clear": [], "tls": [], "proxy": []}
    robot = [(ROBOT, "password", False)]
    for _round in range(ROUNDS):
        found["direct"].append(_devices(rig.ports.pop3s, office.mailboxes, count, fetch, tls=True))
        found["clear"].append(_devices(office.ports["pop3"], office.devices, count, fetch, tls=False))
        found["tls"].append(_devices(office.ports["pop3s"], office.devices, count, fetch, tls=True))
        found["proxy"].append(_devices(proxy, robot, proxy_count, fetch, tls=False))
    rates = {
        name: 1 / best([{"each": r["seconds"] / r["sessions"]} for r in runs], "each") for name, runs in found.items()
    }
    ours, share = rates["clear"], 0.5 if fetch else 2 / 3
    shown = f"{ours:,.0f}/s, p50 {best(found['clear'], 'median') * 1e3:.1f} ms"
    times, part = ours / rates["proxy"], ours / rates["direct"]
    yield Row(
        f"{what}, in clear",
        shown,
        f"{rates['proxy']:,.1f}/s (email-oauth2-proxy)",
        f"{times:.0f} x; {goal('30 x', times >= 30)}",
    )
    direct = f"{rates['direct']:,.0f}/s, p50 {best(found['direct'], 'median') * 1e3:.1f} ms (Dovecot directly)"
    yield Row(f"{what}, in clear", shown, direct, f"{part:.2f}; {goal(f'{share:.2f}', part >= share)}")
    yield Row(f"{what}, over TLS", f"{rates['tls']:,.0f}/s", direct, f"{rates['tls'] / rates['direct']:.2f}")


def _devices(port: int, users: list[User], count: int, fetch: int, *, tls: bool) -> dict[str, Any]:
    asked = {"users": users, "tls": tls, "sessions": SESSIONS, "count": count, "fetch": fetch}
    command = [sys.executable, "-m", "bench.pop_devices", str(port), json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=os.environ)
    if done.returncode != 0:
        raise RuntimeError(f"bench.pop_devices: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    assert not fetch or answer["octets"] > answer["sessions"] * 1_000_000
    return answer
