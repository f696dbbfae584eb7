"""``valija api-token`` as it is typed, and the example that it prints."""

from __future__ import annotations

import re
import shlex
import ssl
from typing import Any

import httpx2
import pytest

from driver import Daemon


def _curl(printed: str) -> tuple[str, str, str]:
    """Return what a printed curl command says: certificate, header, address."""
    line = next(line for line in printed.splitlines() if line.strip().startswith("curl "))
    words = shlex.split(line)
    assert words[1] == "--cacert"
    assert words[3] == "-H"
    return words[2], words[4], words[5]


def _ask(printed: str, method: str = "GET") -> httpx2.Response:
    """Do what the printed command does."""
    ca, header, url = _curl(printed)
    name, value = header.split(": ")
    with httpx2.Client(verify=ssl.create_default_context(cafile=ca)) as client:
        return client.request(method, url, headers={name: value})


def test_a_token_is_made_used_listed_and_deleted(shared_daemon: Daemon) -> None:
    """What the program prints works as printed; the token is shown that once, and opens nothing when it is deleted."""
    printed = shared_daemon.ok("api-token", "add", "backup", "--scope", "read", "--scope", "mail")
    token = printed.splitlines()[0]
    assert re.fullmatch(r"valija_[\w-]{43}", token)
    assert "This is the only time that it is shown." in printed
    assert _ask(printed).status_code == 200

    listed = shared_daemon.ok("api-token", "list")
    assert "backup" in listed
    assert "read mail" in listed
    assert token not in listed
    row: dict[str, Any] = shared_daemon.json("api-token", "list")[0]
    assert (row["name"], row["scopes"], row["ended"]) == ("backup", ["read", "mail"], False)
    assert row["last_used_at"] is not None

    refused = shared_daemon.run("api-token", "delete", "backup", typed="n\n")
    assert refused.returncode != 0
    assert _ask(printed).status_code == 200
    assert shared_daemon.ok("api-token", "delete", "backup", typed="y\n").strip().endswith("Deleted.")
    assert _ask(printed).status_code == 401
    assert "No API token yet" in shared_daemon.ok("api-token", "list")

    seen = shared_daemon.log() + str(shared_daemon.json("audit"))
    assert "backup" in seen
    assert token not in seen


@pytest.mark.parametrize(
    ("scope", "path", "method"),
    [
        ("read", "v1/tokens", "GET"),
        ("mail", "v1/received", "GET"),
        ("settings", "v1/settings/smtp/test", "POST"),
        ("tokens", "v1/tokens/smtp/refresh", "POST"),
    ],
)
def test_the_example_is_one_that_the_token_opens(shared_daemon: Daemon, scope: str, path: str, method: str) -> None:
    """Whatever the scope."""
    printed = shared_daemon.ok("api-token", "add", f"for-{scope}", "--scope", scope, "--days", "1")
    assert _curl(printed)[2].endswith("/" + path)
    assert ("-X POST" in printed) == (method == "POST")
    assert _ask(printed, method).status_code in (200, 409)
    shared_daemon.ok("api-token", "delete", f"for-{scope}", "--yes")


def test_json_is_for_programs(shared_daemon: Daemon) -> None:
    """Making, listing and deleting; nothing else is printed."""
    made = shared_daemon.json("api-token", "add", "script", "--scope", "read", "--days", "366")
    assert made["token"].startswith("valija_")
    assert [row["name"] for row in shared_daemon.json("api-token", "list")] == ["script"]
    assert shared_daemon.json("api-token", "delete", "script", "--yes") == {"deleted": True}
    assert shared_daemon.json("api-token", "list") == []


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("api-token add backup", 2, "--scope"),
        ("api-token add backup --scope all", 2, "all"),
        ("api-token add backup --scope read --days 0", 2, "número entero de 1 a 366"),
        ("api-token add backup --scope read --days 367", 2, "número entero de 1 a 366"),
        ("api-token add Copia --scope read", 2, "minúsculas"),
        ("api-token delete nada --yes", 2, "nada"),
    ],
)
def test_wrong_use_is_said_in_spanish(shared_daemon: Daemon, line: str, status: int, said: str) -> None:
    """What is wrong, and exit status 2; no token is made."""
    done = shared_daemon.run(*line.split(), language="es")
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert shared_daemon.json("api-token", "list") == []


@pytest.mark.parametrize(
    ("command", "name"),
    [("device password", "Kitchen printer"), ("device delete", "impresión"), ("provider show", "Mi proveedor")],
)
def test_a_name_that_nothing_has_is_said_to_be_unknown(shared_daemon: Daemon, command: str, name: str) -> None:
    """Whatever characters it has: not that the daemon did not answer."""
    refused = shared_daemon.run(*command.split(), name)
    assert refused.returncode == 2
    assert name in refused.stderr
