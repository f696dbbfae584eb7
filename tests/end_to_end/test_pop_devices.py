"""POP3 for devices as devices and people use it: in the sandbox, and with a real Dovecot and a certified provider."""

from __future__ import annotations

import base64
import contextlib
import poplib
import smtplib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import DEVICE, Rig

from collector import Collector, fetched, octets, run_curl, run_fetchmail, run_mpop
from driver import Daemon, kept_tokens

LUIS = "luis@sandbox.test"
SMALL = b"Subject: one\r\n\r\n.dot\r\n..two\r\n\xf1\r\nend\r\n"
LARGE = b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * 15_000
ODD = b"Subject: odd\r\n\r\n.\r\n..\r\n8 bits \xf1\xff\r\n" + b"long " * 60_000 + b"\r\nbare\n.\nlf\r\nend\r\n"


def _deliver(machine: Daemon, *messages: bytes) -> None:
    """Put messages into the sandbox's mailbox."""
    box = machine.state_dir / "sandbox" / "mail" / "luis"
    box.mkdir(parents=True, exist_ok=True)
    for number, message in enumerate(messages):
        (box / f"{number}.eml").write_bytes(message)


def _left(machine: Daemon) -> list[str]:
    return sorted(file.stem for file in (machine.state_dir / "sandbox" / "mail" / "luis").iterdir())


def _ready(machine: Daemon, *options: str) -> Collector:
    machine.set_pop(account=LUIS)
    machine.get_token("internet-fax", LUIS)
    return Collector.added(machine, *options)


# --- in the sandbox ---------------------------------------------------------------------------------------------------------


def test_a_device_fetches_and_deletes_with_its_own_password(daemon: Daemon) -> None:
    """With STLS and with TLS from the first octet; what it deletes is deleted, and it is on record."""
    collector = _ready(daemon)
    _deliver(daemon, SMALL, LARGE)
    session = collector.connect(tls=False, log_in=False)
    assert {"UIDL", "TOP", "STLS", "UTF8", "RESP-CODES"} <= set(session.capa())
    with pytest.raises(poplib.error_proto, match="STLS first"):
        session.user(collector.login)
    session.stls(context=ssl._create_unverified_context())
    session.user(collector.login)
    session.pass_(collector.password)
    assert [fetched(session, 1), fetched(session, 2)] == [SMALL, LARGE]
    session.dele(1)
    session.close()
    session = collector.connect()
    assert session.stat() == (2, len(SMALL) + len(LARGE))
    session.dele(2)
    assert session.quit() == b"+OK Bye"
    assert _left(daemon) == ["0"]
    [seen] = daemon.json("device", "list")["devices"]
    assert (seen["accepted"], seen["refused"], seen["last_tls"], seen["mailbox"]) == (2, 0, "TLSv1.3", "internet-fax")


def test_a_device_comes_again_while_the_token_is_gone_and_then_gets_its_mail(daemon: Daemon) -> None:
    """Later, says the server; the account says why; it works by itself when there is a new token."""
    collector = _ready(daemon)
    _deliver(daemon, SMALL)
    daemon.ok("token", "delete", "internet-fax", "--yes")
    with pytest.raises(poplib.error_proto, match=r"SYS/TEMP.*try again later"):
        collector.connect()
    [seen] = daemon.json("device", "list")["devices"]
    assert seen["last_error"].startswith("internet-fax: no_token There is no token")
    assert seen["last_error_cure"].startswith("There is no token that can be used. Press Get Token")
    assert daemon.json("token", "status", "internet-fax")["state"] == "not_retrieved"
    daemon.get_token("internet-fax", LUIS)
    assert collector.all_messages() == [SMALL]


def test_what_is_sent_ahead_of_stls_is_never_a_command(daemon: Daemon) -> None:
    """Injected log-ins and deletions are dropped with the buffer they were in (RFC 2595 section 4)."""
    collector = _ready(daemon)
    _deliver(daemon, SMALL)
    with socket.create_connection(("127.0.0.1", collector.ports["pop3"]), 20) as plain:
        assert plain.recv(200).startswith(b"+OK")
        log_in = f"USER {collector.login}\r\nPASS {collector.password}\r\nDELE 1\r\nQUIT\r\n"
        plain.sendall(b"STLS\r\n" + log_in.encode())
        assert plain.recv(200) == b"+OK Begin TLS\r\n"
        with contextlib.suppress(OSError), ssl._create_unverified_context().wrap_socket(plain) as secured:
            secured.sendall(b"STAT\r\n")
            assert secured.recv(200) == b"-ERR Command not possible here\r\n"
    assert _left(daemon) == ["0"]
    assert daemon.json("device", "list")["devices"][0]["accepted"] == 0


def test_what_to_type_into_the_device_names_the_pop3_server(daemon: Daemon) -> None:
    """Server, ports, login, and what it means for the machine's own check; in Spanish, too."""
    ports = daemon.json("device", "list")["ports"]
    said = daemon.ok("device", "add", "Old fax", "--mailbox", "internet-fax")
    smtp, _word, pop3 = said.partition("POP3")
    assert str(ports["smtp"]) in smtp or str(ports["submission"]) in smtp
    assert str(ports["pop3"]) in pop3
    assert str(ports["pop3s"]) in pop3
    assert "the setting Internet Fax, " in pop3
    assert "POP3" not in daemon.ok("device", "add", "Printer")
    spanish = daemon.ok("device", "add", "Fax", "--mailbox", "email-print", "--tls", "offered", language="es")
    assert str(ports["pop3"]) in spanish.partition("POP3")[2]


# --- a real mailbox ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, rig: Rig) -> Iterator[Daemon]:
    """A machine whose Internet fax setting is a mailbox of the real Dovecot."""
    directory = tmp_path_factory.mktemp("office")
    machine = Daemon(directory, sandbox=False, configuration=f"[tls]\nca_file = '{rig.ca_file}'\n").start()
    scopes = ("--scope", "openid", "--scope", "offline_access", "--scope", "pop")
    where = ("--kind", "custom", "--issuer", rig.issuer, "--client-id", DEVICE.id)
    machine.ok("provider", "set", "office", *where, *scopes)
    yield machine
    assert machine.stop() == 0, machine.log()[-3000:]


def _open_mailbox(machine: Daemon, rig: Rig, name: str, *messages: bytes, port: str = "pop3s") -> Collector:
    """Give the machine a mailbox with these messages, and a device that fetches it."""
    login = f"{name}@rig.test"
    server = ("--server", "localhost", "--port", str(getattr(rig.ports, port)), "--check-interval", "0")
    machine.ok(
        "pop", "set", "internet-fax", *server, "--auth", "oauth2", "--provider", "office", "--account", login, "--yes"
    )
    _get_token(machine, rig, login)
    with smtplib.LMTP(str(rig.directory / "mail" / "dovecot" / "lmtp")) as lmtp:
        for message in messages:
            lmtp.sendmail("sender@rig.test", [login], message)
    return Collector.added(machine)


def _get_token(machine: Daemon, rig: Rig, login: str) -> None:
    asked = machine.json("token", "get", "internet-fax", "--yes", "--no-wait")
    rig.approve_device(asked["verification_uri"], asked["user_code"], login)
    machine.until("internet-fax", lambda s: s["state"] == "retrieved", 30)


@contextlib.contextmanager
def _direct(rig: Rig, name: str) -> Iterator[poplib.POP3_SSL]:
    """Open a mailbox at Dovecot itself."""
    login = f"{name}@rig.test"
    token = rig.sign_in(login)["access_token"]
    context = ssl.create_default_context(cafile=str(rig.ca_file))
    session = poplib.POP3_SSL("localhost", rig.ports.pop3s, timeout=20, context=context)
    session._shortcmd("AUTH XOAUTH2")  # type: ignore[attr-defined]
    blob = base64.b64encode(f"user={login}\x01auth=Bearer {token}\x01\x01".encode()).decode()
    assert session._shortcmd(blob).startswith(b"+OK")  # type: ignore[attr-defined]
    yield session
    session.quit()


def _left_there(rig: Rig, name: str) -> int:
    with _direct(rig, name) as session:
        return session.stat()[0]


@pytest.mark.peers
@pytest.mark.parametrize("port", ["pop3s", "pop3"])
def test_what_a_device_gets_is_what_the_mailbox_holds_octet_by_octet(office: Daemon, rig: Rig, port: str) -> None:
    """Numbers, sizes, unique-ids, messages and tops: dots, bare LF, 8 bits, 1 MB, a line of 300,000 octets."""
    name = f"octets-{port}"
    collector = _open_mailbox(office, rig, name, SMALL, LARGE, ODD, port=port)
    commands = ("LIST", "UIDL", "RETR 1", "RETR 2", "RETR 3", "TOP 3 2", "TOP 2 100", "TOP 1 0")
    with _direct(rig, name) as direct:
        expected = [octets(direct, command) for command in commands]
    session = collector.connect()
    assert [octets(session, command) for command in commands] == expected
    assert session.stat()[0] == 3
    session.quit()
    assert b"\r\n..\r\n...\r\n" in expected[4]


@pytest.mark.peers
def test_deletions_happen_at_quit_on_the_real_mailbox(office: Daemon, rig: Rig) -> None:
    """A connection that drops deletes nothing; QUIT deletes what was marked and nothing else."""
    collector = _open_mailbox(office, rig, "quit", SMALL, LARGE, ODD)
    session = collector.connect()
    session.dele(1)
    session.dele(2)
    session.close()
    assert _left_there(rig, "quit") == 3
    session = collector.connect()
    session.dele(1)
    session.dele(3)
    assert session.quit() == b"+OK Bye"
    [left] = collector.all_messages()
    assert left.endswith(LARGE)


@pytest.mark.peers
def test_curl_mpop_and_fetchmail_fetch_through_the_gateway(office: Daemon, rig: Rig, tmp_path: Path) -> None:
    """STLS and TLS from the first octet, PLAIN and PASS; they delete what they have."""
    collector = _open_mailbox(office, rig, "clients", SMALL, LARGE)
    assert run_curl(collector).split() == [b"1", *run_curl(collector, "", "--request", "LIST").split()[1:]]
    assert run_curl(collector, "1").endswith(SMALL)
    assert run_curl(collector, "2", "--ssl-reqd", tls="pop3").endswith(LARGE)
    bodies = [message.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n") for message in (SMALL, LARGE)]
    assert [body.rstrip() for body in run_mpop(collector, tmp_path, starttls=True)] == [b.rstrip() for b in bodies]
    assert _left_there(rig, "clients") == 0
    again = _open_mailbox(office, rig, "clients2", SMALL, LARGE)
    other = tmp_path / "fetchmail"
    other.mkdir()
    assert [body.rstrip() for body in run_fetchmail(again, other)] == [b.rstrip() for b in bodies]
    assert _left_there(rig, "clients2") == 0


@pytest.mark.peers
def test_a_token_that_the_provider_ends_is_never_the_devices_fault(office: Daemon, rig: Rig) -> None:
    """SYS/TEMP, the account is Invalid and says so; a new token, and the device goes on as if nothing had been."""
    collector = _open_mailbox(office, rig, "dead", SMALL)
    assert len(collector.all_messages()) == 1
    for token in kept_tokens(office, "internet-fax"):
        rig.revoke(token)
    for _try in range(2):
        with pytest.raises(poplib.error_proto, match="SYS/TEMP"):
            collector.connect()
    assert office.json("token", "status", "internet-fax")["state"] == "invalid"
    _get_token(office, rig, "dead@rig.test")
    assert len(collector.all_messages()) == 1
