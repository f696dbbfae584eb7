"""An account of another program taken over, with its token: it is refreshed at once, and sends."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from driver import Daemon, kept_tokens

ANA = "ana@sandbox.test"
CLIENT = "valija-sandbox"
PASSWORD = "what the clients typed"


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Daemon]:
    """A machine whose sandbox is the provider and the mail server, with a token that another program is to have."""
    (tmp_path / "there").mkdir()
    machine = Daemon(tmp_path / "there").start()
    machine.set_smtp(ANA)
    machine.get_token("smtp", ANA)
    yield machine
    machine.kill()


@pytest.fixture
def office(tmp_path: Path, provider: Daemon) -> Iterator[Daemon]:
    """A machine that knows nothing yet."""
    (tmp_path / "here").mkdir()
    trust = f"[tls]\nca_file = '{provider.state_dir}/sandbox/ca.pem'\n"
    machine = Daemon(tmp_path / "here", sandbox=False, configuration=trust).start()
    yield machine
    machine.kill()


def _proxy_file(provider: Daemon, path: Path, rounds: int = 100_000) -> list[str]:
    """Write what email-oauth2-proxy keeps; return its secrets."""
    access, refresh = kept_tokens(provider)
    salt = os.urandom(16)
    key = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, rounds, 32)
    sealed = Fernet(base64.urlsafe_b64encode(key))
    lines = [
        f"[SMTP-1587]\nserver_address = localhost\nserver_port = {provider.place('smtp_port')}\nserver_starttls = True",
        f"[{ANA}]\npermission_url = {provider.place('issuer')}/authorize",
        f"token_url = {provider.place('issuer')}/token\noauth2_scope = smtp\nredirect_uri = http://localhost",
        f"client_id = {CLIENT}\ntoken_salt = {base64.b64encode(salt).decode()}\ntoken_iterations = {rounds}",
        f"access_token = {sealed.encrypt(access.encode()).decode()}\naccess_token_expiry = 1",
        f"refresh_token = {sealed.encrypt(refresh.encode()).decode()}",
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return [access, refresh, PASSWORD]


def test_an_account_of_email_oauth2_proxy_sends_after_one_command(
    tmp_path: Path, provider: Daemon, office: Daemon
) -> None:
    """Shown first; a wrong password changes nothing; no secret is printed or logged; a device has its own password."""
    file = tmp_path / "emailproxy.config"
    secrets = _proxy_file(provider, file)
    shown = office.ok("import", str(file), "--dry-run", language="es")
    assert "se toma" in shown
    assert office.json("token", "status", "smtp")["state"] == "not_retrieved"
    assert office.json("provider", "list") == []
    wrong = office.run("import", str(file), "--yes", typed="not this\n")
    assert wrong.returncode == 2
    assert "does not open the tokens" in wrong.stderr
    assert office.json("provider", "list") == []
    done = office.ok("import", str(file), "--yes", "--device", "Ricoh planta 2", typed=f"{PASSWORD}\n")
    assert "Retrieved" in done
    assert "ricoh-planta-2" in done
    status = office.json("token", "status", "smtp")
    assert (status["state"], status["trouble"], status["provider"]) == ("retrieved", None, "imported")
    assert kept_tokens(office)[1] != secrets[1], "the refresh token was not rotated: nothing was proven"
    assert "delivered" in _audited(office, tmp_path)
    for secret in (*secrets, *kept_tokens(office)):
        assert secret not in shown + done + wrong.stderr + office.log()


def test_a_token_that_has_ended_is_said_and_nothing_pretends(tmp_path: Path, provider: Daemon, office: Daemon) -> None:
    """A file of sasl-xoauth2 whose grant was revoked; the client's data in its configuration."""
    access, refresh = kept_tokens(provider)
    provider.revoke_at_provider("smtp")
    file, configuration = tmp_path / ANA, tmp_path / "sasl-xoauth2.conf"
    file.write_text(json.dumps({"access_token": access, "refresh_token": refresh, "expiry": "0"}), "utf-8")
    endpoint = provider.place("issuer") + "/token"
    configuration.write_text(json.dumps({"client_id": CLIENT, "token_endpoint": endpoint}), "utf-8")
    server = f"localhost:{provider.place('smtp_port')}"
    mutt = {"registration": "google", "email": ANA, "refresh_token": refresh, "client_id": CLIENT}
    shown = office.run("import", "/dev/stdin", "--dry-run", typed=json.dumps(mutt))  # as gpg would decrypt it
    assert "mutt_oauth2.py" in shown.stdout and ANA in shown.stdout and refresh not in shown.stdout
    asked = ("import", str(file), "--config", str(configuration))
    assert "must be named" in office.run(*asked, "--dry-run").stderr
    done = office.ok(*asked, "--server", server, "--yes")
    assert "Invalid" in done
    assert "valija token get smtp" in done
    assert refresh not in done + office.log()


def test_a_token_that_is_there_is_not_replaced_unasked(tmp_path: Path, provider: Daemon, office: Daemon) -> None:
    """Who says no, keeps all."""
    _proxy_file(provider, tmp_path / "emailproxy.config")
    asked = ("import", str(tmp_path / "emailproxy.config"))
    assert "Cancelled" in office.run(*asked, typed="n\n").stderr
    assert office.json("provider", "list") == []
    office.ok(*asked, "--yes", typed=f"{PASSWORD}\n")
    kept = kept_tokens(office)
    _proxy_file(provider, tmp_path / "emailproxy.config")
    refused = office.run(*asked, typed=f"y\n{PASSWORD}\nn\n")
    assert "There is a token already" in refused.stderr
    assert "Cancelled" in refused.stderr
    assert kept_tokens(office) == kept


def test_each_of_several_accounts_is_shown_before_one_is_chosen(
    tmp_path: Path, provider: Daemon, office: Daemon
) -> None:
    """What cannot be taken over as it stands says why, and hides nothing of the others."""
    file = tmp_path / "emailproxy.config"
    _proxy_file(provider, file)
    more = "[luis@sandbox.test]\ntoken_url = https://oauth2.googleapis.com/token\npermission_url = x\nclient_id = c\n"
    second = "[SMTP-2587]\nserver_address = other.example\nserver_port = 587\n"
    file.write_text(second + file.read_text("utf-8") + more, "utf-8")
    shown = office.ok("import", str(file), "--dry-run")
    assert "To be done with luis@sandbox.test:\n  register the client as the provider google" in shown
    assert f"To be done with {ANA}:\n  Server: must be named" in shown
    assert f"--account: {ANA}, luis@sandbox.test" in shown
    assert office.json("import", str(file), "--dry-run")["account"] == ""
    refused = office.run("import", str(file), "--yes")
    assert (refused.returncode, f"--account: {ANA}, luis" in refused.stderr) == (2, True)
    assert office.json("provider", "list") == []


def test_a_robots_access_token_asks_for_no_password_and_its_encrypted_secret_does(
    tmp_path: Path, office: Daemon
) -> None:
    """email-oauth2-proxy keeps both sealed, and no refresh token."""
    salt = b"sixteen octets!!"
    key = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, 100_000, 32)
    sealed = Fernet(base64.urlsafe_b64encode(key)).encrypt(b"the secret").decode()
    url = "https://login.microsoftonline.com/t/oauth2/v2.0/token"
    lines = [
        f"[robot@example.com]\ntoken_url = {url}\noauth2_scope = https://outlook.office365.com/.default",
        f"client_id = c\ntoken_salt = {base64.b64encode(salt).decode()}\naccess_token = {sealed}\n",
    ]
    file = tmp_path / "emailproxy.config"
    file.write_text("\n".join([*lines, "client_secret = in clear\n"]), "utf-8")
    office.ok("import", str(file), "--yes", "--provider", "clear")
    file.write_text("\n".join([*lines, f"client_secret_encrypted = {sealed}\n"]), "utf-8")
    wrong = office.run("import", str(file), "--yes", "--provider", "sealed", typed="not this\n")
    assert "  Password: does not open the tokens" in wrong.stderr
    office.ok("import", str(file), "--yes", "--provider", "sealed", typed=f"{PASSWORD}\n")
    left = office.ok("import", str(file), "--yes", "--provider", "without", "--no-token")
    assert "leave its client secret" in left
    have = {name: office.json("provider", "show", name)["fields"] for name in ("clear", "sealed", "without")}
    assert [bool(have[name]["client_secret"]) for name in have] == [True, True, False]


def _audited(office: Daemon, tmp_path: Path) -> str:
    (tmp_path / "note.txt").write_text("hello", "utf-8")
    assert {"token_imported"} <= {record["action"] for record in office.json("audit")}
    sent = office.ok("send", str(tmp_path / "note.txt"), "--to", "luis@sandbox.test")
    assert re.search(r"accepted", sent), sent
    return "delivered"
