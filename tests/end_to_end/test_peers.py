"""The machine with real peers: tokens of a certified provider, mail through Postfix, back from Dovecot."""

from __future__ import annotations

import email
import email.policy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import CODE, DEVICE, POST, ROBOT, ROBOT_CERTIFICATE, ROBOT_SECRET, Client, Rig

from driver import Daemon, kept_tokens

pytestmark = pytest.mark.peers
SAMPLE = Path(__file__).resolve().parents[2] / "src/valija/apps/sandbox/scan.pdf"
ANA, LUIS = "ana@rig.test", "luis@rig.test"
SCOPES = ("--scope", "openid", "--scope", "offline_access", "--scope", "smtp", "--scope", "pop")


@pytest.fixture
def machine(tmp_path: Path, rig: Rig) -> Iterator[Daemon]:
    """A machine without sandbox that trusts the peers' authority."""
    started = Daemon(tmp_path, sandbox=False, configuration=f"[tls]\nca_file = '{rig.ca_file}'\n").start()
    yield started
    if started.process is not None:
        assert started.stop() == 0, started.log()[-3000:]


def _register(machine: Daemon, rig: Rig, client: Client = DEVICE, *options: str, https: bool = False) -> None:
    secret = machine.directory / "secret"
    secret.write_text(client.secret)
    with_secret = ("--client-secret-file", str(secret)) if client.secret else ()
    issuer = rig.issuer_https if https else rig.issuer
    where = ("--kind", "custom", "--issuer", issuer, "--client-id", client.id)
    scopes = () if client in (ROBOT_SECRET, ROBOT_CERTIFICATE) else SCOPES
    machine.ok("provider", "set", "office", *where, *with_secret, *scopes, *options)


def _set_smtp(machine: Daemon, port: int, account: str = ANA) -> None:
    sender = ("--sender-name", "Escáner", "--sender-address", account)
    oauth = ("--auth", "oauth2", "--provider", "office", "--account", account)
    machine.ok("smtp", "set", "--server", "localhost", "--port", str(port), *sender, *oauth)


def _set_pop(machine: Daemon, port: int, account: str, setting: str = "internet-fax") -> None:
    where = ("--server", "localhost", "--port", str(port), "--check-interval", "0")
    machine.ok("pop", "set", setting, *where, "--auth", "oauth2", "--provider", "office", "--account", account)


def _get_by_device(machine: Daemon, rig: Rig, setting: str, login: str) -> Any:
    asked = machine.json("token", "get", setting, "--yes", "--no-wait")
    rig.approve_device(asked["verification_uri"], asked["user_code"], login)
    return machine.until(setting, lambda s: s["state"] != "awaiting_authorization", 30)


def _receive(machine: Daemon, setting: str, count: int = 1) -> list[Any]:
    """Check the maildrop until as many messages have come: Postfix delivers when it delivers."""
    end = time.monotonic() + 20
    messages: list[Any] = []
    while len(messages) < count:
        report = machine.json("receive", setting)
        assert report["trouble"] is None, report
        messages += report["messages"]
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.1)
    return messages


@pytest.mark.parametrize(("smtp", "pop"), [("submission", "pop3s"), ("submissions", "pop3")])
def test_a_pdf_goes_through_postfix_and_comes_back_from_dovecot(machine: Daemon, rig: Rig, smtp: str, pop: str) -> None:
    """The whole promise, with STARTTLS and POP3S, then with implicit TLS and STLS."""
    _register(machine, rig, https=smtp == "submissions")
    _set_smtp(machine, getattr(rig.ports, smtp))
    assert _get_by_device(machine, rig, "smtp", ANA)["state"] == "retrieved"
    tested = machine.json("test", "smtp")
    assert tested["passed"], tested

    account = f"{pop}@rig.test"
    sent = machine.json("send", str(SAMPLE), "--to", account, "--subject", "Contrato número 1")
    assert [o["outcome"] for o in sent["outcomes"]] == ["accepted"], sent

    _set_pop(machine, getattr(rig.ports, pop), account)
    assert _get_by_device(machine, rig, "internet-fax", account)["state"] == "retrieved"
    assert machine.json("test", "internet-fax")["passed"]
    [received] = _receive(machine, "internet-fax")
    assert received["subject"] == "Contrato número 1"
    kept = email.message_from_bytes(Path(received["file"]).read_bytes(), policy=email.policy.default)
    assert [part.get_content() for part in kept.iter_attachments()] == [SAMPLE.read_bytes()]
    assert machine.json("receive", "internet-fax")["messages"] == []


def test_a_revoked_grant_is_seen_as_invalid_and_deleted(machine: Daemon, rig: Rig) -> None:
    """Refresh rotates; the administrator of the provider revokes; Invalid; row 28's sentence; delete."""
    _register(machine, rig)
    _set_smtp(machine, rig.ports.submission)
    before = _get_by_device(machine, rig, "smtp", ANA)
    refreshed = machine.json("token", "refresh", "smtp")
    assert refreshed["state"] == "retrieved"
    assert machine.json("token", "status", "smtp")["refreshed_at"] > before["refreshed_at"]
    assert machine.json("test", "smtp")["passed"], "the rotated token is the one in use"

    granted = [rig.revoke(token) for token in kept_tokens(machine)]
    assert any(granted)
    done = machine.run("token", "refresh", "smtp")
    assert done.returncode == 3
    status = machine.json("token", "status", "smtp")
    assert (status["state"], status["in_use"]) == ("invalid", False)
    assert status["trouble"]["server_words"]
    failed = machine.run("test", "smtp")
    assert "Token update failed. Please delete the token and obtain it again." in failed.stdout
    spanish = machine.run("test", "smtp", language="es")
    assert "La actualización del token ha fallado. Borre el token y obténgalo de nuevo." in spanish.stdout
    assert machine.run("send", str(SAMPLE), "--to", LUIS).returncode == 3
    assert machine.json("token", "delete", "smtp", "--yes")["token"]["state"] == "not_retrieved"


def test_deleting_revokes_at_the_provider(machine: Daemon, rig: Rig) -> None:
    """RFC 7009: what was deleted here is of no use to anybody who copied it."""
    _register(machine, rig)
    _set_smtp(machine, rig.ports.submission)
    _get_by_device(machine, rig, "smtp", ANA)
    tokens = kept_tokens(machine)
    assert machine.json("token", "delete", "smtp", "--yes")["revocation"] == "revoked"
    assert [rig.introspect(token)["active"] for token in tokens] == [False] * len(tokens)


@pytest.mark.parametrize("client", [CODE, POST], ids=["public", "confidential"])
def test_code_with_pkce_comes_back_to_the_loopback_listener(machine: Daemon, rig: Rig, client: Client) -> None:
    """The browser at the machine: the provider sends it to the redirect listener."""
    _register(machine, rig, client, "--grant", "code")
    _set_smtp(machine, rig.ports.submission)
    asked = machine.json("token", "get", "smtp", "--yes", "--no-wait")
    rig.authorize(asked["authorization_url"], ANA, follow=True)
    assert machine.until("smtp", lambda s: s["state"] == "retrieved")["grant"] == "code"
    assert machine.json("test", "smtp")["passed"]


def test_who_refuses_at_the_provider_is_told_so(machine: Daemon, rig: Rig) -> None:
    """access_denied by the redirect."""
    _register(machine, rig, CODE, "--grant", "code")
    _set_smtp(machine, rig.ports.submission)
    asked = machine.json("token", "get", "smtp", "--yes", "--no-wait")
    rig.authorize(asked["authorization_url"], ANA, deny=True, follow=True)
    status = machine.until("smtp", lambda s: s["state"] != "awaiting_authorization")
    assert (status["state"], status["trouble"]["reason"]) == ("not_retrieved", "access_denied")


def test_client_credentials_by_secret_and_by_certificate(machine: Daemon, rig: Rig) -> None:
    """No person: a machine's own mailbox; the certificate's assertion is PS256 (RFC 7523)."""
    grant = ("--grant", "client-credentials", "--scope", "smtp", "--scope", "pop")
    _register(machine, rig, ROBOT_SECRET, *grant)
    _set_smtp(machine, rig.ports.submission, ROBOT)
    assert machine.json("token", "get", "smtp", "--yes")["state"] == "retrieved"
    assert machine.json("test", "smtp")["passed"]
    machine.ok("token", "delete", "smtp", "--yes")

    pair = ("--certificate", str(rig.certificates.client), "--private-key", str(rig.certificates.client_key))
    where = ("--kind", "custom", "--issuer", rig.issuer, "--client-id", ROBOT_CERTIFICATE.id)
    machine.ok("provider", "set", "certified", *where, *pair, *grant)
    machine.ok("smtp", "set", "--provider", "certified", "--yes")
    assert machine.json("token", "get", "smtp", "--yes")["state"] == "retrieved"
    assert machine.json("test", "smtp")["passed"]


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 500},
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"status": 200, "headers": {"Content-Type": "text/html"}, "body": "<html>captive portal</html>"},
        {"status": 200, "body": '{"access_token": "tru'},
        {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
        {"drop": True},
        {"status": 400, "body": {"error": "temporarily_unavailable"}},
    ],
    ids=["503", "500", "429", "html", "truncated", "redirect", "dropped", "unavailable"],
)
def test_a_provider_in_trouble_never_makes_a_token_invalid(machine: Daemon, rig: Rig, fault: dict[str, Any]) -> None:
    """The token stays in use, the trouble is shown with its cure, and it passes."""
    _register(machine, rig)
    _set_smtp(machine, rig.ports.submission)
    _get_by_device(machine, rig, "smtp", ANA)
    rig.configure(faults=[{"path": "/token", "times": -1, **fault}])
    machine.run("token", "refresh", "smtp")
    status = machine.json("token", "status", "smtp")
    assert (status["state"], status["in_use"]) == ("retrieved", True)
    assert status["trouble"]["cure"]
    assert machine.json("send", str(SAMPLE), "--to", LUIS)["exit_status"] == 0, "the present token is still good"
    rig.configure(faults=[])
    machine.json("token", "refresh", "smtp")
    assert machine.json("token", "status", "smtp")["trouble"] is None


def test_an_untrusted_server_is_never_given_a_token(tmp_path: Path, rig: Rig) -> None:
    """Without the authority in tls.ca_file, the test stops at TLS and says what to do."""
    with_trust = Daemon(tmp_path, sandbox=False).start()
    try:
        _register(with_trust, rig)
        _set_smtp(with_trust, rig.ports.submissions)
        _get_by_device(with_trust, rig, "smtp", ANA)
        tested = with_trust.json("test", "smtp")
        failed = [s for s in tested["stages"] if s["outcome"] == "failed"]
        assert [(s["stage"], s["trouble"]["reason"]) for s in failed] == [("tls", "tls_untrusted")]
        assert "tls.ca_file" in failed[0]["trouble"]["cure"]
    finally:
        assert with_trust.stop() == 0


def test_a_private_authority_can_be_named_by_ssl_cert_file(tmp_path: Path, rig: Rig) -> None:
    """As every other program on the machine."""
    machine = Daemon(tmp_path, sandbox=False, environment={"SSL_CERT_FILE": str(rig.ca_file)}).start()
    try:
        _register(machine, rig, https=True)
        _set_smtp(machine, rig.ports.submissions)
        _get_by_device(machine, rig, "smtp", ANA)
        assert machine.json("test", "smtp")["passed"]
    finally:
        assert machine.stop() == 0


def test_no_token_is_seen_anywhere(machine: Daemon, rig: Rig) -> None:
    """Log, answers, files: the real tokens are looked for where they must not be."""
    _register(machine, rig)
    _set_smtp(machine, rig.ports.submission)
    _get_by_device(machine, rig, "smtp", ANA)
    seen = "".join(
        machine.ok(*line.split(), "--json") for line in ("test smtp", "status", "audit", "token status", "smtp show")
    )
    rig.configure(faults=[{"path": "/token", "times": -1, "status": 400, "body": {"error": "invalid_request"}}])
    seen += machine.run("token", "refresh", "smtp").stderr
    tokens = kept_tokens(machine)
    assert len(tokens) == 2
    machine.ok("send", str(SAMPLE), "--to", LUIS)
    seen += machine.log()
    stored = b"".join(f.read_bytes() for f in machine.state_dir.glob("valija.sqlite3*"))
    for token in tokens:
        assert token not in seen
        assert token.encode() not in stored
