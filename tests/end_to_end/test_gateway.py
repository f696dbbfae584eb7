"""The gateway as devices and people use it: a printer hands in mail, the machine sends it with its token."""

from __future__ import annotations

import email
import email.policy
import shutil
import smtplib
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rig import DEVICE, Rig

from driver import Daemon, kept_tokens
from printer import SENDER, Printer, scan_of

ANA, LUIS = "ana@sandbox.test", "luis@sandbox.test"
OAUTH = ("--auth", "oauth2", "--provider", "office")


def _states(machine: Daemon) -> list[str]:
    """Return the states of all recipients, earliest message first."""
    messages = machine.json("queue", "list", "--limit", "500")["messages"]
    return [r["state"] for m in reversed(messages) for r in m["recipients"]]


def _until(machine: Daemon, reached: Callable[[list[str]], bool], seconds: float = 20.0) -> list[str]:
    end = time.monotonic() + seconds
    while not reached(states := _states(machine)):
        assert time.monotonic() < end, (states, machine.log()[-2000:])
        time.sleep(0.1)
    return states


def _all_delivered(states: list[str]) -> bool:
    return set(states) == {"delivered"}


def _received(machine: Daemon, setting: str = "internet-fax") -> list[email.message.Message]:
    found = machine.json("receive", setting)["messages"]
    return [email.message_from_bytes(Path(m["file"]).read_bytes(), policy=email.policy.default) for m in found]


def _open_luis(machine: Daemon) -> None:
    machine.set_pop(account=LUIS)
    machine.get_token("internet-fax", LUIS)


def _ready(machine: Daemon) -> Printer:
    machine.set_smtp()
    machine.get_token("smtp", ANA)
    return Printer(machine, machine.json("device", "add", "Ricoh planta 2"))


def test_mail_waits_while_the_token_is_gone_and_leaves_by_itself(daemon: Daemon) -> None:
    """Nothing is bounced, no try is burnt; the reason is said; in order, when the token is back."""
    daemon.set_smtp()
    printer = Printer(daemon, daemon.json("device", "add", "Ricoh planta 2"))
    for number in range(3):
        assert "Queued as" in printer.scan(LUIS, f"scan {number}")
    account = daemon.json("queue", "list")["accounts"][0]
    assert (account["open"], account["trouble"]["reason"]) == (False, "no_token")
    assert _states(daemon) == ["queued"] * 3
    assert daemon.json("queue", "traffic")["slots"][-1]["waiting"] == 3
    assert "There is no token" in daemon.ok("queue", "list")
    assert "Detenido desde" in daemon.ok("queue", "list", language="es")
    daemon.get_token("smtp", ANA)
    _until(daemon, _all_delivered)
    assert daemon.json("queue", "list")["accounts"][0]["open"]
    life = daemon.json("queue", "show", "2")["life"]
    assert {e["event"] for e in life[:2]} == {"accepted", "account_blocked"}
    assert [e["event"] for e in life[2:]] == ["account_opened", "delivered"]
    assert life[-1]["server_words"].startswith("250 ")
    told = daemon.ok("queue", "show", "2", language="es")
    assert "ricoh-planta-2, 127.0.0.1, ESMTPSA, TLSv1" in told
    assert "El correo de la cuenta se detuvo" in told
    _open_luis(daemon)
    received = _received(daemon)
    assert sorted(str(m["Subject"]) for m in received) == ["scan 0", "scan 1", "scan 2"]
    [seen] = daemon.json("device", "list")["devices"]
    assert (seen["accepted"], seen["last_address"], seen["last_tls"][:4]) == (3, "127.0.0.1", "TLSv")


def test_a_foreign_sender_becomes_the_mailbox_and_stays_in_reply_to(daemon: Daemon) -> None:
    """What the provider would refuse goes out as what it takes; answers find their way."""
    printer = _ready(daemon)
    printer.scan(LUIS, "Contrato")
    _until(daemon, _all_delivered)
    _open_luis(daemon)
    [kept] = _received(daemon)
    assert str(kept["From"]) == f"Scanner <{ANA}>"
    assert str(kept["Reply-To"]) == f"Scanner <{SENDER}>"
    assert "ESMTPSA" in str(kept["Received"])
    assert kept["Message-ID"]


def test_mail_that_was_taken_in_under_a_wrong_sender_address_leaves_once_it_is_mended(daemon: Daemon) -> None:
    """Held with the reason and its cure, no try burnt; the cure is enough, and what waited names the right mailbox."""
    printer = _ready(daemon)
    daemon.ok("smtp", "set", "--sender-address", "typo@sandbox.test")
    for number in range(2):
        printer.scan(LUIS, f"scan {number}")
    _until(daemon, lambda _states: not daemon.json("queue", "list")["accounts"][0]["open"])
    account = daemon.json("queue", "list")["accounts"][0]
    assert account["trouble"]["reason"] == "send_as_denied"
    assert _states(daemon) == ["queued"] * 2
    told = daemon.ok("queue", "list", language="es")
    assert "El servidor dice: 550 5.7.60 SendAsDenied" in told
    assert "Próximo intento: 20" in told
    daemon.ok("smtp", "set", "--sender-address", ANA)
    _until(daemon, _all_delivered)
    _open_luis(daemon)
    received = _received(daemon)
    assert {(str(m["From"]), str(m["Reply-To"])) for m in received} == {(f"Scanner <{ANA}>", f"Scanner <{SENDER}>")}


def test_what_was_taken_in_before_the_mailbox_was_set_goes_out_as_it(daemon: Daemon) -> None:
    """A device is added first, scans at once, and the setting comes later."""
    printer = Printer(daemon, daemon.json("device", "add", "Ricoh planta 2"))
    printer.scan(LUIS, "early")
    daemon.set_smtp()
    daemon.get_token("smtp", ANA)
    _until(daemon, _all_delivered)
    _open_luis(daemon)
    [kept] = _received(daemon)
    assert (str(kept["From"]), str(kept["Reply-To"])) == (f"Scanner <{ANA}>", f"Scanner <{SENDER}>")
    assert str(kept["Return-Path"]) == f"<{ANA}>"


def test_nothing_is_relayed_for_who_is_not_known(daemon: Daemon) -> None:
    """Without a login, with a wrong one, with one in clear: refused, and listed for the administrator."""
    printer = _ready(daemon)
    with Printer(daemon, None, tls=False).connect() as session:
        assert session.mail(ANA)[0] == 530
        assert session.docmd("AUTH", "PLAIN AGEAYg==")[0] == 538
    wrong = Printer(daemon, {"login": "ricoh-planta-2", "password": "wrong-pass-word"})
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        wrong.connect()
    assert refused.value.smtp_code == 535
    end = time.monotonic() + 10  # what was seen is written down every five seconds
    while not (strangers := daemon.json("device", "list")["strangers"]):
        assert time.monotonic() < end
        time.sleep(0.5)
    assert [s["address"] for s in strangers] == ["127.0.0.1"]
    assert _states(daemon) == []
    daemon.ok("device", "set", "ricoh-planta-2", "--off")
    with pytest.raises(smtplib.SMTPAuthenticationError):
        printer.connect()


def test_who_guesses_has_to_wait_but_the_device_goes_on(daemon: Daemon) -> None:
    """Its own right password was seen from there; the token never suffers."""
    printer = _ready(daemon)
    printer.scan(LUIS, "before")

    def guess(number: int) -> int:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            Printer(daemon, {"login": "nobody", "password": f"guess-{number}"}).connect()
        return refused.value.smtp_code

    with ThreadPoolExecutor(11) as guessers:
        list(guessers.map(guess, range(11)))
    assert guess(11) == 454
    printer.scan(LUIS, "after")
    _until(daemon, _all_delivered)


def test_a_device_that_can_do_no_auth_is_known_by_its_address(daemon: Daemon) -> None:
    """In clear, by HELO or EHLO."""
    _ready(daemon)
    daemon.ok("device", "add", "Old fax", "--range", "127.0.0.1", "--tls", "offered")
    Printer(daemon, None, tls=False).scan(LUIS, "no auth")
    _until(daemon, _all_delivered)
    assert daemon.json("queue", "list")["messages"][0]["device"] == "old-fax"


def test_an_operator_holds_releases_and_cancels(daemon: Daemon) -> None:
    """One message, or all of an account."""
    printer = _ready(daemon)
    assert daemon.json("queue", "hold", "--account", "smtp")["held"]
    for number in range(4):
        printer.scan(LUIS, f"scan {number}")
    assert daemon.ok("queue", "cancel", "2") == "Done.\n"
    daemon.ok("queue", "hold", "3", "4")
    daemon.ok("queue", "release", "--account", "smtp")
    _until(daemon, lambda states: states == ["delivered", "failed", "held", "held"])
    cancelled = daemon.json("queue", "show", "2")
    assert cancelled["recipients"][0]["cause"] == "cancelled"
    assert [(e["event"], e["who"][:3]) for e in cancelled["life"][:3]] == [
        ("account_held", "uid"),
        ("accepted", ""),
        ("cancelled", "uid"),
    ]
    daemon.ok("queue", "release", "3")
    daemon.ok("queue", "retry", "4")
    _until(daemon, lambda states: states == ["delivered", "failed", "delivered", "delivered"])
    assert "retried" in [event["event"] for event in daemon.json("queue", "show", "4")["life"]]
    said = daemon.ok("queue", "cancel", "4", language="es")
    assert said == "Nada que hacer: el mensaje 4 ya ha terminado (Entregado).\n"
    assert daemon.run("queue", "cancel", "--account", "smtp").returncode == 2, "nothing brings all of it back"
    actions = [r["action"] for r in daemon.json("audit")]
    assert {"mail_held", "mail_released", "mail_cancelled", "mail_retried", "device_added"} <= set(actions)
    assert daemon.run("queue", "show", "99").returncode == 2
    assert daemon.ok("queue", "list", "--device", "nobody", language="es").splitlines()[1:] == ["No hay mensajes."]


def test_a_refused_recipient_fails_alone(daemon: Daemon) -> None:
    """The others get theirs."""
    printer = _ready(daemon)
    with printer.connect() as session:
        session.sendmail(SENDER, [LUIS, "away@elsewhere.example"], b"Subject: two\r\n\r\nhello\r\n")
    _until(daemon, lambda states: sorted(states[:2]) == ["delivered", "failed"])
    failed = next(r for r in daemon.json("queue", "show", "1")["recipients"] if r["state"] == "failed")
    assert "5.7.1" in failed["trouble"]["server_words"]


def test_who_scanned_hears_what_could_not_be_delivered(daemon: Daemon) -> None:
    """A report in the device's language, with the cure, to the sender that the device had named; never one of a report."""
    printer = _ready(daemon)
    daemon.ok("device", "set", "ricoh-planta-2", "--language", "es")
    with printer.connect() as session:
        assert session.has_extn("dsn")
        options = ("RET=HDRS", "ENVID=e+2B1")
        session.sendmail(LUIS, ["away@elsewhere.example"], scan_of("away@elsewhere.example", "Factura"), options)
        session.sendmail("nobody@elsewhere.example", ["away@elsewhere.example"], b"Subject: x\r\n\r\n", ())
        assert session.mail(LUIS, ["RET=SOME"])[0] == 501
        session.rset()
        session.sendmail(LUIS, ["away@elsewhere.example"], b"Subject: quiet\r\n\r\n", (), ["NOTIFY=NEVER"])
        session.sendmail(LUIS, [LUIS], b"Subject: told\r\n\r\n", (), ["NOTIFY=SUCCESS"])
    _until(daemon, lambda states: sorted(states) == [*["delivered"] * 3, *["failed"] * 4])
    _open_luis(daemon)
    reports: dict[str, Any] = {str(m["Subject"]): m for m in _received(daemon)}
    assert sorted(reports) == ["Entregado al siguiente servidor: told", "No entregado: Factura", "told"]
    report = reports["No entregado: Factura"]
    assert report.get_content_type() == "multipart/report"
    assert str(report["From"].addresses[0].addr_spec) == ANA
    text, status, head = report.get_payload()
    assert "Qué hacer" in text.get_content()
    block = status.get_payload()
    assert (block[0]["Original-Envelope-Id"], block[1]["Action"], block[1]["Status"]) == ("e+1", "failed", "5.7.1")
    assert "Factura" in head.get_payload()


def test_what_got_a_250_survives_a_power_cut(daemon: Daemon) -> None:
    """Small in the row, large in a file; nothing left over."""
    daemon.set_smtp()
    printer = Printer(daemon, daemon.json("device", "add", "Ricoh"))
    for number in range(5):
        printer.scan(LUIS, f"small {number}")
    printer.scan(LUIS, "large", 2_000_000)
    session = printer.connect()
    session.mail(SENDER)
    session.rcpt(LUIS)
    session.docmd("DATA")
    session.send(b"Subject: half\r\n\r\n" + b"x" * 500_000)
    time.sleep(0.2)
    daemon.kill()
    session.close()
    daemon.start()
    assert len(list((daemon.state_dir / "spool").iterdir())) == 1
    assert _states(daemon) == ["queued"] * 6
    daemon.set_smtp()
    daemon.get_token("smtp", ANA)
    _until(daemon, _all_delivered)
    _open_luis(daemon)
    assert sorted(str(m["Subject"]) for m in _received(daemon)) == ["large", *(f"small {n}" for n in range(5))]


@pytest.mark.peers
def test_swaks_as_an_old_printer_hands_in_a_scan_while_the_token_is_dead(tmp_path: Path, rig: Rig) -> None:
    """It knows nothing but AUTH LOGIN. Postfix and Dovecot have the scan when the administrator got a new token, by itself."""
    machine = _office(tmp_path, rig)
    made = machine.json("device", "add", "Ricoh")
    for token in kept_tokens(machine):
        rig.revoke(token)
    machine.run("token", "refresh", "smtp")
    scan = tmp_path / "scan.pdf"
    scan.write_bytes(b"%PDF-1.4\n" + bytes(range(256)) * 1200)
    port = machine.json("device", "list")["ports"]["smtp"]
    said = _client(
        *("swaks", "--server", f"127.0.0.1:{port}", "--tls", "--auth", "LOGIN"),
        *("--auth-user", made["login"], "--auth-password", made["password"], "--helo", "printer"),
        *("--from", SENDER, "--to", "gateway@rig.test", "--header", "Subject: Through the gateway"),
        *("--attach-type", "application/pdf", "--attach", f"@{scan}"),
    )
    assert "Queued as" in said
    assert _states(machine) == ["queued"]
    _get(machine, rig, "smtp", "ana@rig.test")
    _until(machine, _all_delivered)
    [kept] = _fetched(machine, rig, "gateway@rig.test", 1)
    assert str(kept["Subject"]) == "Through the gateway"
    assert str(kept["Reply-To"]) == SENDER
    [attached] = kept.iter_attachments()  # type: ignore[attr-defined]
    assert attached.get_content() == scan.read_bytes()
    assert machine.stop() == 0


@pytest.mark.peers
def test_mail_programs_send_through_the_gateway_to_a_real_mailbox(tmp_path: Path, rig: Rig) -> None:
    """curl, msmtp, Postfix's smtp-source and Python's smtplib, each as it is usually told to."""
    machine = _office(tmp_path, rig)
    made = machine.json("device", "add", "Programs")
    ports = machine.json("device", "list")["ports"]
    message = tmp_path / "message"
    message.write_text("From: a@office.local\nTo: programs@rig.test\nSubject: by curl\n\n.dot\nHello.\n")
    login, password, to = made["login"], made["password"], "programs@rig.test"
    _client(
        *("curl", "--silent", "--show-error", "--insecure", f"smtps://127.0.0.1:{ports['submissions']}"),
        *("--user", f"{login}:{password}", "--mail-from", SENDER, "--mail-rcpt", to, "--upload-file", str(message)),
    )
    settings = tmp_path / "msmtprc"
    settings.write_text(
        f"account default\nhost 127.0.0.1\nport {ports['submission']}\ntls on\ntls_certcheck off\nauth on\n"
        f"user {login}\npassword {password}\nfrom {SENDER}\n"
    )
    settings.chmod(0o600)
    _client("msmtp", "-C", str(settings), to, typed=message.read_text().replace("curl", "msmtp"))
    machine.ok("device", "add", "Source", "--range", "127.0.0.1", "--tls", "offered")
    source = shutil.which("smtp-source") or "/usr/sbin/smtp-source"
    _client(
        source, "-m", "3", "-s", "2", "-S", "by smtp-source", "-f", SENDER, "-t", to, f"inet:127.0.0.1:{ports['smtp']}"
    )
    Printer(machine, made).scan(to, "by smtplib")
    _until(machine, lambda states: len(states) == 6 and _all_delivered(states))
    subjects = sorted(str(m["Subject"]) for m in _fetched(machine, rig, to, 6))
    assert subjects == ["by curl", "by msmtp", "by smtp-source", "by smtp-source", "by smtp-source", "by smtplib"]
    assert machine.stop() == 0


def _office(directory: Path, rig: Rig) -> Daemon:
    """Return a machine that sends as ana@rig.test by Postfix, with a token."""
    machine = Daemon(directory, sandbox=False, configuration=f"[tls]\nca_file = '{rig.ca_file}'\n").start()
    scopes = ("--scope", "openid", "--scope", "offline_access", "--scope", "smtp", "--scope", "pop")
    where = ("--kind", "custom", "--issuer", rig.issuer, "--client-id", DEVICE.id)
    machine.ok("provider", "set", "office", *where, *scopes)
    server = ("--server", "localhost", "--port", str(rig.ports.submission), "--sender-address", "ana@rig.test")
    machine.ok("smtp", "set", *server, *OAUTH, "--account", "ana@rig.test")
    _get(machine, rig, "smtp", "ana@rig.test")
    return machine


def _fetched(machine: Daemon, rig: Rig, mailbox: str, count: int) -> list[email.message.Message]:
    """Return what a real mailbox has, once there is so much."""
    pop = ("--server", "localhost", "--port", str(rig.ports.pop3s), "--check-interval", "0")
    machine.ok("pop", "set", "internet-fax", *pop, *OAUTH, "--account", mailbox)
    _get(machine, rig, "internet-fax", mailbox)
    found: list[email.message.Message] = []
    end = time.monotonic() + 20
    while len(found) < count:
        found += _received(machine)
        assert time.monotonic() < end, len(found)
    return found


def _client(*command: str, typed: str = "") -> str:
    """Run a mail program; return what it said."""
    done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (command[0], done.stdout[-1500:], done.stderr[-1500:])
    return done.stdout


def _get(machine: Daemon, rig: Rig, setting: str, login: str) -> Any:
    asked = machine.json("token", "get", setting, "--yes", "--no-wait")
    rig.approve_device(asked["verification_uri"], asked["user_code"], login)
    return machine.until(setting, lambda s: s["state"] == "retrieved", 30)
