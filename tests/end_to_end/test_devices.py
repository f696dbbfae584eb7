"""Devices as an administrator meets them: what is printed is what works, strangers are found and let in, a test explains."""

from __future__ import annotations

import json
import re
import signal
import smtplib
import ssl
import time
from pathlib import Path

import pytest

from driver import Daemon
from printer import Printer

LUIS = "luis@sandbox.test"
FIELD = re.compile(r"^  (\S.*?) {2,}(\S.*)$", re.MULTILINE)


def _typed(printed: str) -> dict[str, str]:
    """Return what a person would type into the device."""
    return {label: value.split("  ")[0] for label, value in FIELD.findall(printed)}


@pytest.mark.parametrize(
    ("language", "labels"),
    [
        ("en", ("Server", "Port", "User name", "Password", "Sender (From)")),
        ("es", ("Servidor", "Puerto", "Nombre de usuario", "Contraseña", "Remitente (De)")),
    ],
)
def test_what_is_printed_is_what_works_when_it_is_typed(daemon: Daemon, language: str, labels: tuple[str, ...]) -> None:
    """In both languages: server, port, STARTTLS, user name, password, sender; the password is printed nowhere else."""
    daemon.set_smtp()
    printed = daemon.ok("device", "add", "Ricoh planta 2", "--account", "smtp", language=language)
    server, port, user, password, sender = (_typed(printed)[label] for label in labels)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)  # certificates are looked at again; nothing ends
    with smtplib.SMTP(server, int(port), "RNP0026738A", timeout=20) as session:
        session.starttls(context=ssl.create_default_context(cafile=daemon.state_dir / "gateway" / "ca.pem"))
        session.login(user, password)
        assert session.sendmail(sender, [LUIS], b"Subject: scan\r\n\r\nhello\r\n") == {}
    assert [m["device"] for m in daemon.json("queue", "list")["messages"]] == ["ricoh-planta-2"]
    shown = daemon.ok("device", "show", "ricoh-planta-2", language=language)
    assert re.search(rf"(?m)^  {'Taken' if language == 'en' else 'Aceptados'} +1 · ", shown), shown
    assert "scan" in shown.splitlines()[-1]
    life = daemon.ok("queue", "show", "1", language=language)
    assert re.search(r"(?m)^  (Size|Tamaño) +1 kB$", life), life
    waits = daemon.ok("queue", "list", language=language).splitlines()[0]
    assert waits == f"SMTP  {'Waiting' if language == 'en' else 'En espera'}: 1", waits
    passed = daemon.ok("queue", "traffic", "--hours", "2", language=language).splitlines()
    assert len(passed) in (3, 4)
    assert re.search(r" 1 +0 +0 +[01] +█{30}$", passed[-1]), passed
    assert sum(slot["accepted"] for slot in daemon.json("queue", "traffic")["slots"]) == 1
    nobody = daemon.run("device", "show", "nobody", "--json")
    assert (nobody.returncode, json.loads(nobody.stderr)["exit_status"]) == (2, 2)
    trail = daemon.ok("audit", language=language)
    assert ("command line" if language == "en" else "línea de órdenes") in trail, "places by their names"
    assert password not in daemon.log() + daemon.ok("device", "list") + trail + shown


def test_a_forgotten_device_is_found_and_let_in_by_one_command(daemon: Daemon) -> None:
    """Learning mode goes on over a restart, and ends when it is told to; then it works as it tried."""
    daemon.set_smtp()
    assert "termina" in daemon.ok("device", "learn", "--for", "1h30m", language="es")
    assert daemon.run("device", "learn", "--for", "25h").returncode == 2
    daemon.stop()
    away = daemon.run("device", "list", language="es")
    assert away.returncode == 4
    assert "no existe ese archivo o carpeta" in away.stderr or "se rechazó la conexión" in away.stderr
    daemon.start()
    daemon.set_smtp()
    fax = Printer(daemon, None, tls=False)
    with fax.connect() as session:
        session.mail("fax@office.local")
        assert session.rcpt(LUIS)[0] == 450
    end = time.monotonic() + 10
    while not (there := daemon.json("device", "list"))["strangers"]:
        assert time.monotonic() < end
    assert there["learning"]["on"]
    [seen] = there["strangers"]
    assert (seen["attempt"]["sender"], seen["attempt"]["recipients"]) == ("fax@office.local", 1)
    listed = daemon.ok("device", "list", language="es")
    assert "fax@office.local" in listed
    assert "aún no se conoce" in listed, "what is refused is said in the reader's language"
    assert "old-fax" in daemon.ok("device", "accept", "127.0.0.1", "--name", "Old fax")
    assert "Queued as" in fax.scan(LUIS, "fax")
    daemon.ok("device", "learn", "--stop")
    after = daemon.json("device", "list")
    assert (after["learning"]["on"], after["strangers"]) == (False, [])
    actions = [record["action"] for record in daemon.json("audit")]
    assert actions.count("learning_started") == actions.count("learning_stopped") == 1


def test_a_device_is_tried_from_the_command_line(daemon: Daemon) -> None:
    """What passes ends with 0; what is refused with 4, its meaning and its cure, in the reader's language."""
    daemon.set_smtp()
    daemon.ok("device", "add", "Ricoh", "--language", "es")
    assert daemon.json("device", "set", "ricoh", "--language", "")["language"] == "", "the machine's again"
    passed = daemon.json("device", "test", "ricoh")
    assert [stage["passed"] for stage in passed["stages"]] == [True] * 6
    assert "C: ********" in Path(passed["file"]).read_text("utf-8")
    refused = daemon.run("device", "test", "ricoh", "--tls", "none", language="es")
    assert refused.returncode == 4
    assert "valija device set ricoh --tls offered" in refused.stdout
    assert "No usa TLS" in refused.stdout
    assert daemon.json("queue", "list")["messages"] == []
    wrong = daemon.run("device", "test", "ricoh", "--password", typed="wrong\n")
    assert wrong.returncode == 4
    assert "valija device password ricoh" in wrong.stdout
    assert daemon.run("device", "test", "nobody").returncode == 2
