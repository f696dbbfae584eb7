"""The daemon as systemd and an operator meet it: start, stop, what stands in the way, and what it keeps to itself."""

from __future__ import annotations

import os
import resource
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from driver import VALIJA, Daemon

ANA = "ana@sandbox.test"


def _try(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("VALIJA_", "LANG", "LC_"))}
    return subprocess.run(
        [str(VALIJA), "run", *arguments],
        cwd=directory,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_second_daemon_on_the_same_store_is_refused(shared_daemon: Daemon) -> None:
    """It says who has the store, and how to go on; in the reader's language."""
    done = _try(shared_daemon.directory, "--state-dir", str(shared_daemon.state_dir), VALIJA_LANG="es")
    assert done.returncode == 4
    assert shared_daemon.process is not None
    assert f"Otro servicio (proceso {shared_daemon.process.pid})" in done.stderr
    assert shared_daemon.json("status")["version"], "the first one is not disturbed"


def test_a_lost_master_key_is_said_and_destroys_nothing(tmp_path: Path) -> None:
    """With the key put back, everything is there again."""
    machine = Daemon(tmp_path).start()
    machine.set_smtp(ANA)
    machine.get_token("smtp", ANA)
    assert machine.stop() == 0
    key = machine.state_dir / "master.key"
    kept = key.read_bytes()
    key.unlink()
    before = (machine.state_dir / "valija.sqlite3").read_bytes()
    done = _try(tmp_path, "--state-dir", str(machine.state_dir))
    assert done.returncode == 4
    assert "master key" in done.stderr
    assert "Traceback" not in done.stderr
    assert (machine.state_dir / "valija.sqlite3").read_bytes() == before
    assert not key.exists(), "no new key is made beside an encrypted store"
    key.touch(0o600)
    key.write_bytes(kept)
    machine.start()
    assert machine.json("token", "status", "smtp")["state"] == "retrieved"
    assert machine.stop() == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[tls]\nca_flie = 'x'\n", "Did you mean tls.ca_file?"),
        ("[sandbox\n", "not valid TOML"),
        ("[redirect]\nport = 99999\n", "redirect.port"),
        ("[tls]\nca_file = '/does/not/exist.pem'\n", "/does/not/exist.pem"),
        ("[log]\nlevel = 'loud'\n", "log.level"),
    ],
)
def test_a_wrong_configuration_names_the_key(tmp_path: Path, text: str, expected: str) -> None:
    """Unknown keys and wrong values stop the start, with the key and the cure."""
    file = tmp_path / "valija.toml"
    file.write_text(text)
    done = _try(tmp_path, "--config", str(file), "--state-dir", str(tmp_path / "state"))
    assert done.returncode == 4
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """The sandbox's ports are fixed; another program may have one."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        file = tmp_path / "valija.toml"
        file.write_text(f"[sandbox]\nauthorization_port = {port}\n")
        done = _try(tmp_path, "--sandbox", "--config", str(file), "--state-dir", str(tmp_path / "state"))
    assert done.returncode == 4
    assert str(port) in done.stderr


def test_a_state_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file stands where the directory should be."""
    (tmp_path / "state").write_text("")
    done = _try(tmp_path, VALIJA_STATE_DIR=str(tmp_path / "state"))
    assert done.returncode == 4
    assert str(tmp_path / "state") in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_daemon_the_command_says_how_to_start_it(tmp_path: Path) -> None:
    """Exit status 4: an operator must act."""
    machine = Daemon(tmp_path)
    done = machine.run("token", "status", language="es")
    assert done.returncode == 4
    assert "valija run" in done.stderr


def test_systemd_is_told_ready_watchdog_and_stopping(tmp_path: Path) -> None:
    """Type=notify: sd_notify(3) datagrams, in order."""
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(10)
        wanted = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "200000"}
        machine = Daemon(tmp_path, sandbox=False, environment=wanted).start()
        heard = [systemd.recv(1000) for _ in range(3)]
        assert machine.stop() == 0
        systemd.settimeout(1)
        while b"STOPPING=1" not in heard:
            heard.append(systemd.recv(1000))
    assert b"READY=1" in heard[:3]
    assert b"WATCHDOG=1" in heard


def test_only_the_owner_may_touch_socket_key_and_store(shared_daemon: Daemon) -> None:
    """0600 on all that holds or reaches secrets."""
    for name in ("control.sock", "master.key", "valija.sqlite3"):
        mode = stat.S_IMODE((shared_daemon.state_dir / name).stat().st_mode)
        assert mode == 0o600, (name, oct(mode))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_not_served_even_where_the_socket_is_open(daemon: Daemon) -> None:
    """The kernel says who connects; permissions alone are not trusted."""
    for path in (daemon.directory, daemon.state_dir, daemon.state_dir / "control.sock"):
        path.chmod(0o777)
    script = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.settimeout(5)\n"
        "os.chdir('/proc/self/cwd'); s.connect('state/control.sock')\n"
        "s.sendall(b'GET /v1/machine HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); sys.stdout.write(repr(s.recv(100)))"
    )
    done = subprocess.run(["python3", "-c", script], cwd=daemon.directory, capture_output=True, text=True, check=False)
    assert "HTTP" not in done.stdout
    assert done.stdout == "b''" or "ConnectionResetError" in done.stderr or "BrokenPipe" in done.stderr, done


@pytest.fixture
def slow_server() -> Iterator[socket.socket]:
    """A mail server that takes the connection and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


def test_sigterm_finishes_what_is_in_the_air(daemon: Daemon, slow_server: socket.socket) -> None:
    """A connection test that waits for a silent server gets its answer; then the daemon ends with 0."""
    port = str(slow_server.getsockname()[1])
    daemon.ok(
        "smtp",
        "set",
        "--server",
        "127.0.0.1",
        "--port",
        port,
        "--timeout",
        "2",
        "--no-tls",
        "--auth",
        "none",
        "--sender-address",
        ANA,
    )
    command = [str(VALIJA), "test", "smtp", "--json"]
    with subprocess.Popen(command, env=daemon.environment, stdout=subprocess.PIPE) as asking:
        slow_server.settimeout(10)
        connection, _address = slow_server.accept()
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        out, _err = asking.communicate(timeout=20)
        connection.close()
    assert b'"passed": false' in out
    assert b"timed_out" in out
    assert daemon.wait() == 0


def test_who_waits_for_a_change_does_not_hold_up_the_end(daemon: Daemon) -> None:
    """A long poll ends at once when the daemon is asked to stop."""
    daemon.set_smtp(ANA)
    daemon.ok("token", "get", "smtp", "--yes", "--no-wait")
    command = [str(VALIJA), "token", "get", "smtp", "--yes", "--json"]
    with subprocess.Popen(command, env=daemon.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        time.sleep(0.7)
        begun = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - begun < 5
        waiting.communicate(timeout=10)


def test_no_secret_reaches_log_answers_or_argument_lists(daemon: Daemon) -> None:
    """Tokens, codes and passwords that went through are looked for where they must not be."""
    daemon.set_smtp(ANA)
    daemon.get_token("smtp", ANA)
    password = daemon.directory / "password"
    password.write_text("planted-password-7731\n")
    daemon.ok("pop", "set", "email-print", "--auth", "password", "--password-file", str(password))
    daemon.ok("test", "smtp")
    daemon.ok("send", "scan.pdf", "--to", ANA)
    shown = (
        daemon.ok("status", "--json") + daemon.ok("audit", "--json") + daemon.ok("pop", "show", "email-print", "--json")
    )
    shown += daemon.ok("token", "delete", "smtp", "--yes", "--json") + daemon.log()
    stored = b"".join(f.read_bytes() for f in daemon.state_dir.glob("valija.sqlite3*"))
    assert "planted-password-7731" not in shown
    assert b"planted-password-7731" not in stored
    grants = (daemon.state_dir / "sandbox" / "grants.json").read_text()
    assert "planted" not in grants
    assert "Bearer" not in shown


def test_it_allows_itself_as_many_descriptors_as_there_may_be_connections(tmp_path: Path) -> None:
    """A shell's 1,024 would end at the gateway's thousandth device."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        machine = Daemon(tmp_path).start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert machine.process is not None
    limits = Path(f"/proc/{machine.process.pid}/limits").read_text().splitlines()
    allowed = next(line.split()[3] for line in limits if line.startswith("Max open files"))
    wanted = 2000 * 5 + 300 * 2 + 500  # the gateway's listeners, the pages', the rest
    assert int(allowed) == (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard))
    assert machine.stop() == 0
