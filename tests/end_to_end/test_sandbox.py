"""The first hour of a new user, typed command by command in the sandbox."""

from __future__ import annotations

import email
import email.policy
import shutil
import urllib.request
from pathlib import Path

import pytest

from driver import Daemon, decide

ANA, LUIS = "ana@sandbox.test", "luis@sandbox.test"


def test_a_scan_goes_from_ana_to_luis(daemon: Daemon) -> None:
    """The whole way: settings, tokens by device code, test, send, receive, delete."""
    daemon.set_smtp(ANA)
    assert daemon.json("token", "status", "smtp")["state"] == "not_retrieved"
    assert daemon.get_token("smtp", ANA)["state"] == "retrieved"

    tested = daemon.json("test", "smtp")
    assert tested["passed"], tested
    assert [s["stage"] for s in tested["stages"]] == [
        *("name", "tcp", "greeting", "tls", "clock", "token", "scope", "auth", "sender"),
    ]

    sent = daemon.json("send", "scan.pdf", "--to", LUIS, "--subject", "Contrato")
    assert [o["outcome"] for o in sent["outcomes"]] == ["accepted"]

    daemon.set_pop("internet-fax", LUIS)
    daemon.get_token("internet-fax", LUIS)
    assert daemon.json("test", "internet-fax")["passed"]
    received = daemon.json("receive", "internet-fax")["messages"]
    assert [m["subject"] for m in received] == ["Contrato"]

    original = (daemon.directory / "scan.pdf").read_bytes()
    kept = email.message_from_bytes(Path(received[0]["file"]).read_bytes(), policy=email.policy.default)
    assert [part.get_content() for part in kept.iter_attachments()] == [original]
    assert daemon.json("receive", "internet-fax")["messages"] == [], "the maildrop was emptied after it was stored"

    deleted = daemon.json("token", "delete", "smtp", "--yes")
    assert (deleted["token"]["state"], deleted["revocation"]) == ("not_retrieved", "revoked")
    assert daemon.run("send", "scan.pdf", "--to", LUIS).returncode == 3, "consent is needed again"


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["Retrieved", "Primary Server", "Sender Address", "Not retrieved"]),
        ("es", ["Recuperado", "Servidor Primario", "Dirección del Remitente", "No se ha recuperado"]),
    ],
)
def test_both_languages_say_the_manuals_words(daemon: Daemon, language: str, expected: list[str]) -> None:
    """What a person reads carries the printed labels."""
    daemon.set_smtp(ANA)
    daemon.get_token("smtp", ANA)
    seen = daemon.ok("token", "status", language=language) + daemon.ok("smtp", "show", language=language)
    for label in expected:
        assert label in seen


def test_a_person_at_a_terminal_sees_address_code_and_picture(daemon: Daemon) -> None:
    """Without a terminal, too, the waiting command shows all that a person needs, then how it ended."""
    daemon.set_smtp(ANA)
    asked = daemon.ok("token", "get", "smtp", "--yes", "--no-wait")
    status = daemon.json("token", "status", "smtp")["authorization"]
    assert status["verification_uri"] in asked
    assert status["user_code"] in asked
    assert "█" in asked
    assert "Waiting for authorization" in asked


def test_nothing_happens_without_confirmation(daemon: Daemon) -> None:
    """Get and delete ask first; no means no."""
    daemon.set_smtp(ANA)
    assert daemon.run("token", "get", "smtp", typed="n\n").returncode == 130
    assert daemon.json("token", "status", "smtp")["state"] == "not_retrieved"
    daemon.get_token("smtp", ANA)
    assert daemon.run("token", "delete", "smtp", typed="n\n").returncode == 130
    assert daemon.json("token", "status", "smtp")["state"] == "retrieved"


def test_code_grant_comes_back_over_the_loopback_listener(daemon: Daemon) -> None:
    """Authorization code with PKCE: the browser is sent to the machine's own loopback listener."""
    daemon.set_smtp(ANA)
    asked = daemon.json("token", "get", "smtp", "--yes", "--no-wait", "--grant", "code")
    target = decide(asked["authorization_url"], ANA)
    assert target.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(target, timeout=10) as page:
        assert page.status == 200
    assert daemon.until("smtp", lambda s: s["state"] == "retrieved")["grant"] == "code"


def test_code_grant_on_a_headless_machine_takes_the_pasted_address(daemon: Daemon) -> None:
    """The browser was on another computer; a foreign address is refused, the right one is taken once."""
    daemon.set_smtp(ANA)
    asked = daemon.json("token", "get", "smtp", "--yes", "--no-wait", "--grant", "code")
    target = decide(asked["authorization_url"], ANA)
    foreign = target.replace("state=", "state=x")
    assert daemon.run("token", "paste", "smtp", typed=foreign + "\n").returncode == 2
    daemon.ok("token", "paste", "smtp", typed=target + "\n")
    assert daemon.until("smtp", lambda s: s["state"] == "retrieved")["grant"] == "code"
    assert daemon.run("token", "paste", "smtp", typed=target + "\n").returncode != 0, "it is used up"


def test_who_says_no_at_the_provider_is_told_so(daemon: Daemon) -> None:
    """Access denied ends as Not retrieved, with the reason and the cure; the command exits with 3."""
    daemon.set_smtp(ANA)
    status = daemon.get_token("smtp", ANA, deny=True)
    assert status["state"] == "not_retrieved"
    assert status["trouble"]["reason"] == "access_denied"
    assert status["trouble"]["cure"]


def test_another_mailbox_than_the_account_is_not_taken(daemon: Daemon) -> None:
    """Whoever signs in as another mailbox gets a token that the mail server refuses for this account, and is told."""
    daemon.set_smtp(ANA)
    daemon.get_token("smtp", LUIS)
    tested = daemon.json("test", "smtp")
    failed = [s for s in tested["stages"] if s["outcome"] == "failed"]
    assert [s["stage"] for s in failed] == ["auth"]
    assert failed[0]["trouble"]["cure"]


def test_account_changed_while_a_token_is_there_asks_first(daemon: Daemon) -> None:
    """A change of the account deletes the token, and says so before."""
    daemon.set_smtp(ANA)
    daemon.get_token("smtp", ANA)
    refused = daemon.run("smtp", "set", "--account", LUIS, typed="n\n")
    assert refused.returncode != 0
    assert daemon.json("token", "status", "smtp")["state"] == "retrieved"
    daemon.ok("smtp", "set", "--account", LUIS, "--yes")
    assert daemon.json("token", "status", "smtp")["state"] == "not_retrieved"


def test_get_pressed_twice_replaces_the_first_code(daemon: Daemon) -> None:
    """The second code counts; the first does nothing any more."""
    daemon.set_smtp(ANA)
    first = daemon.json("token", "get", "smtp", "--yes", "--no-wait")
    second = daemon.json("token", "get", "smtp", "--yes", "--no-wait")
    assert first["user_code"] != second["user_code"]
    decide(second["verification_uri_complete"], ANA)
    assert daemon.until("smtp", lambda s: s["state"] != "awaiting_authorization")["state"] == "retrieved"


def test_a_restart_loses_neither_token_nor_waiting_code(daemon: Daemon) -> None:
    """After a power cut the token is there, and the code that was shown can still be approved."""
    daemon.set_smtp(ANA)
    daemon.get_token("smtp", ANA)
    daemon.set_pop("internet-fax", LUIS)
    daemon.kill()
    daemon.start()
    assert daemon.json("token", "status", "smtp")["state"] == "retrieved"
    daemon.set_smtp(ANA)  # the sandbox has other ports now
    assert daemon.json("test", "smtp")["passed"]


def test_a_large_file_name_with_accents_arrives(daemon: Daemon) -> None:
    """The recipient sees the name that the sender saw."""
    name = "Contrato número 1 – añejo «final».pdf"
    shutil.copy(daemon.directory / "scan.pdf", daemon.directory / name)
    daemon.set_smtp(ANA)
    daemon.get_token("smtp", ANA)
    daemon.ok("send", name, "--to", ANA, "--subject", "Ñandú y cigüeña", "--text", "Hola, ¿qué tal?")
    daemon.set_pop("email-print", ANA)
    daemon.get_token("email-print", ANA)
    [received] = daemon.json("receive", "email-print")["messages"]
    assert received["subject"] == "Ñandú y cigüeña"
    kept = email.message_from_bytes(Path(received["file"]).read_bytes(), policy=email.policy.default)
    assert [part.get_filename() for part in kept.iter_attachments()] == [name]


def test_what_a_provider_was_told_can_be_forgotten(daemon: Daemon) -> None:
    """A secret that is not used any more is not kept; what is not named stays."""
    (daemon.directory / "secret").write_text("planted\n")
    daemon.ok("provider", "set", "google", "--client-id", "id-1", "--client-secret-file", "secret")
    assert daemon.json("provider", "show", "google")["fields"]["client_secret"] is True
    daemon.ok("provider", "set", "google", "--forget", "client-secret")
    fields = daemon.json("provider", "show", "google")["fields"]
    assert (fields["client_secret"], fields["client_id"]) == (None, "id-1")
