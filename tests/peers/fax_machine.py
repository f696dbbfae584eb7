"""A machine that is a fax, with the rig's mail servers and provider."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rig import DEVICE, Rig

from driver import Daemon

SCOPES: Final = ("--scope", "openid", "--scope", "offline_access", "--scope", "smtp", "--scope", "pop")


def fax_machine(directory: Path, rig: Rig, account: str, setting: str = "internet-fax") -> Daemon:
    """A machine that sends as ``account``, and fetches with a POP setting, faxes for one, by the rig's servers."""
    directory.mkdir()
    machine = Daemon(directory, sandbox=False, configuration=f"[tls]\nca_file = '{rig.ca_file}'\n").start()
    where = ("--kind", "custom", "--issuer", rig.issuer, "--client-id", DEVICE.id)
    machine.ok("provider", "set", "office", *where, *SCOPES)
    oauth = ("--auth", "oauth2", "--provider", "office", "--account", account)
    sender = ("--sender-name", "Fax", "--sender-address", account)
    machine.ok("smtp", "set", "--server", "localhost", "--port", str(rig.ports.submission), *sender, *oauth)
    pop = ("--server", "localhost", "--port", str(rig.ports.pop3s), "--check-interval", "0")
    machine.ok("pop", "set", setting, *pop, *oauth)
    for name in ("smtp", setting):
        asked = machine.json("token", "get", name, "--yes", "--no-wait")
        rig.approve_device(asked["verification_uri"], asked["user_code"], account)
        machine.until(name, lambda s: s["state"] != "awaiting_authorization", 30)
    return machine
