"""The daemon: start, idle memory, the time of a command; memory while 150 MB pass through."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from bench.figures import Row, Section, memory_kb, reset_peak
from bench.machines import machine
from driver import Daemon

RUNS = 7
FILE_OCTETS = 114_000_000  # 156 MB as base64 in lines: just under the limit of 150 MiB
BENCH = "bench@sandbox.test"


def start_and_idle() -> Section:
    """Start to ready, memory when idle, ``valija token status``."""
    starts, commands = [], []
    for _run in range(RUNS):
        with tempfile.TemporaryDirectory() as directory:
            measured = Daemon(Path(directory), sandbox=False)
            begun = time.perf_counter()
            measured.start()
            starts.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            measured.ok("token", "status")
            commands.append(time.perf_counter() - begun)
            measured.stop()
    with tempfile.TemporaryDirectory() as directory, machine(Path(directory), sandbox=False) as idle:
        for _command in range(20):
            idle.ok("token", "status")
        time.sleep(3)
        assert idle.process is not None
        rss = memory_kb(idle.process.pid, "VmRSS") / 1000
    rows = (
        Row("start to ready, first start (key and store are made)", f"{min(starts):.2f} s", "", "goal under 1.5 s"),
        Row("the same, median", f"{statistics.median(starts):.2f} s"),
        Row("memory when idle (VmRSS)", f"{rss:.0f} MB", "", "goal under 80 MB"),
        Row("`valija token status`, whole command", f"{min(commands) * 1000:.0f} ms", "", "goal under 250 ms"),
        Row("the same, median", f"{statistics.median(commands) * 1000:.0f} ms"),
    )
    return Section("Daemon", f"Best and median of {RUNS} fresh machines without sandbox.", rows)


def large_message() -> Section:
    """Peak memory of a machine that sends and receives 150 MB; the mail server is another process."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with machine(place / "server", sandbox=True) as server:
            trust = f"[tls]\nca_file = '{server.place('ca_file')}'\n"
            with machine(place / "client", sandbox=False, configuration=trust) as client:
                rows = _pass_through(server, client, place / "large.pdf")
    how = "A file of 114 MB (a message of 156 MB) sent by STARTTLS and received by POP3S; growth of VmHWM over VmRSS before."
    return Section("A large message", how, rows)


def _pass_through(server: Daemon, client: Daemon, file: Path) -> tuple[Row, ...]:
    with file.open("wb") as out:
        for _piece in range(114):
            out.write(b"\x5a" * 1_000_000)
    password = client.directory / "password"
    password.write_text("sandbox")
    login = ("--auth", "password", "--password-file", str(password), "--account", BENCH)
    smtp = ("--server", "localhost", "--port", server.place("smtp_port"), "--sender-address", BENCH)
    client.ok("smtp", "set", *smtp, *login)
    pop = ("--server", "localhost", "--port", server.place("pop3s_port"), "--check-interval", "0")
    client.ok("pop", "set", "internet-fax", *pop, *login)
    client.ok("test", "smtp")
    client.ok("test", "internet-fax")
    assert client.process is not None
    pid = client.process.pid
    rows = []
    for label, command in (
        ("sending", ("send", str(file), "--to", BENCH)),
        ("receiving", ("receive", "internet-fax")),
    ):
        before = memory_kb(pid, "VmRSS")
        reset_peak(pid)
        begun = time.perf_counter()
        client.ok(*command)
        seconds = time.perf_counter() - begun
        growth = (memory_kb(pid, "VmHWM") - before) / 1000
        rows.append(Row(f"growth while {label} 156 MB", f"{growth:.1f} MB in {seconds:.1f} s", "", "goal under 32 MB"))
    return tuple(rows)
