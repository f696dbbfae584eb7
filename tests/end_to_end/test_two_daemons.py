"""Two daemons on one PostgreSQL, as they are installed: configuration, password, the same key, and one of them killed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from postgres import PASSWORD, Postgres
from rig_process import free_ports, smtp_sink

from driver import Daemon
from printer import Printer

pytestmark = pytest.mark.peers


def _node(directory: Path, url: str, key_of: Daemon | None = None) -> Daemon:
    directory.mkdir()
    made = Daemon(
        directory,
        sandbox=False,
        configuration=f'[store]\nurl = "{url}"\n',
        environment={"VALIJA_STORE_PASSWORD": PASSWORD},
    )
    if key_of is not None:
        made.state_dir.mkdir(mode=0o700)
        shutil.copy(key_of.state_dir / "master.key", made.state_dir)
    return made


def _states(machine: Daemon) -> list[str]:
    messages = machine.json("queue", "list", "--limit", "500")["messages"]
    return [r["state"] for m in reversed(messages) for r in m["recipients"]]


def _until(machine: Daemon, reached: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, machine.log()[-3000:]
        time.sleep(0.1)


def test_mail_that_one_daemon_accepted_another_one_delivers_when_the_first_is_killed(
    tmp_path: Path, postgres: Postgres
) -> None:
    """What was set at one is set at both; a scan of 300 kB, which is in no file of either; nobody says the password."""
    postgres.new_database("daemons")
    url = postgres.url("daemons", port=True)
    (port,) = free_ports(1)
    one = _node(tmp_path / "one", url).start()
    server = ("--server", "127.0.0.1", "--port", str(port), "--no-tls", "--auth", "none")
    one.ok("smtp", "set", *server, "--sender-name", "Ana", "--sender-address", "ana@example.test")
    one.ok("device", "add", "Fax", "--range", "127.0.0.1")
    assert "Queued as" in Printer(one, tls=False).scan("luis@example.test", "first")
    _until(one, lambda: "lane_taken" in one.log())

    alone = _node(tmp_path / "alone", url)
    refused = alone.run("run", "--config", str(alone.directory / "valija.toml"))
    assert refused.returncode == 4
    assert "master.key is missing" in refused.stderr
    assert "Copy the key of a machine" in refused.stderr

    two = _node(tmp_path / "two", url, key_of=one).start()
    assert two.json("smtp", "show") == one.json("smtp", "show")
    for number in range(3):
        assert "Queued as" in Printer(one, tls=False).scan("luis@example.test", f"scan {number}", 300_000)
    assert "Queued as" in Printer(two, tls=False).scan("luis@example.test", "the other one's")
    one.kill()
    with smtp_sink(port=port):
        postgres.psql("DELETE FROM holds; SELECT pg_notify('valija', 'time lane smtp')", "daemons")  # its time is over
        two.ok("queue", "retry", "1", "2", "3", "4", "5")
        _until(two, lambda: _states(two) == ["delivered"] * 5)
    assert not any((machine.state_dir / "spool").exists() for machine in (one, two))
    assert two.stop() == 0
    postgres.psql("DROP DATABASE daemons WITH (FORCE)")
    assert PASSWORD not in one.log() + two.log() + refused.stdout + refused.stderr
