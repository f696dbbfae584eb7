"""What the files of email-oauth2-proxy and sasl-xoauth2 say."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valija.domain.account import GrantKind
from valija.domain.errors import InvalidFields
from valija.domain.imported import ROUNDS, Found, FoundServer, Sealed, parse_foreign

PROXY = """
[Server setup]
documentation = Local servers are described
\there, over % several lines
[SMTP-1587]
server_address = smtp.office365.com
server_port = 587
server_starttls = True
[POP-1995]
server_address = outlook.office365.com
server_port = 995
[IMAP-1993]
server_address = outlook.office365.com
server_port = 993
[Account setup]
documentation = more
[scan@example.com]
permission_url = https://login.microsoftonline.com/example.com/oauth2/v2.0/authorize
token_url = https://login.microsoftonline.com/example.com/oauth2/v2.0/token
oauth2_scope = https://outlook.office365.com/SMTP.Send offline_access
redirect_uri = http://localhost
client_id = 0000-1111
client_secret = s%cret+&
token_salt = {salt}
token_iterations = 870000
access_token = gAAA-access
access_token_expiry = 1925000000
refresh_token = gAAA-refresh
last_activity = 1924990000
[robot@example.com]
token_url = https://login.microsoftonline.com/1234-5678/oauth2/v2.0/token
oauth2_scope = https://outlook.office365.com/.default
oauth2_flow = client_credentials
client_id = 0000-2222
client_secret = app-secret
[emailproxy]
delete_account_token_on_password_error = False
""".format(salt=base64.b64encode(b"sixteen octets!!").decode())


def _found(text: str, **more: str) -> Found:
    return parse_foreign(text, name=more.pop("name", "emailproxy.config"), **more)


def test_accounts_and_servers_of_email_oauth2_proxy_are_found() -> None:
    """The provider by its token endpoint; the token as it is encrypted."""
    found = _found(PROXY)
    scan, robot = found.accounts
    assert found.program == "email-oauth2-proxy"
    assert found.servers == (
        FoundServer(False, "smtp.office365.com", 587),
        FoundServer(True, "outlook.office365.com", 995),
    )
    assert scan.login == "scan@example.com"
    assert scan.registration == {"kind": "microsoft", "tenant": "example.com", "client_id": "0000-1111"}
    assert scan.client_secret is not None
    assert scan.client_secret.reveal() == "s%cret+&"
    assert scan.sealed == Sealed(b"sixteen octets!!", (870000, *ROUNDS), "gAAA-refresh", "gAAA-access")
    assert (scan.expires_at, scan.grant, scan.has_token) == (1925000000, GrantKind.CODE, True)
    assert robot.registration["grant"] == "client-credentials"
    assert robot.registration["scopes"] == ["https://outlook.office365.com/.default"]
    assert not robot.has_token
    assert "s%cret" not in repr(found)


def _custom(issuer: str) -> tuple[str | None, ...]:
    return ("custom", None, None, issuer)


@pytest.mark.parametrize(
    ("token_url", "expected"),
    [
        ("https://login.microsoftonline.us/t.example/oauth2/v2.0/token", ("microsoft", "gcc-high", "t.example", None)),
        ("https://login.live.com/oauth20_token.srf", ("microsoft", None, "consumers", None)),
        ("https://login.microsoftonline.com/consumers/oauth2/v2.0/token", ("microsoft", None, "consumers", None)),
        ("https://oauth2.googleapis.com/token", ("google", None, None, None)),
        ("https://accounts.google.com/o/oauth2/token", ("google", None, None, None)),
        ("https://api.login.aol.com/oauth2/get_token", ("aol", None, None, None)),
        ("https://id.example.org:8443/oauth/token", ("custom", None, None, "https://id.example.org:8443")),
        ("https://id.example.org/realms/o/protocol/openid-connect/token", _custom("https://id.example.org/realms/o")),
        ("https://adfs.example.org/adfs/oauth2/token/", _custom("https://adfs.example.org/adfs")),
        ("https://x.okta.com/oauth2/default/v1/token", _custom("https://x.okta.com/oauth2/default")),
        ("https://x.okta.com/oauth2/v1/token", _custom("https://x.okta.com")),
        ("", ("custom", None, None, "")),
    ],
)
def test_the_provider_follows_from_the_token_endpoint(token_url: str, expected: tuple[str | None, ...]) -> None:
    """Whatever it calls itself."""
    text = f"[a@b.example]\npermission_url = x\ntoken_url = {token_url}\nclient_id = c\n"
    said = _found(text).accounts[0].registration
    assert tuple(said.get(key) for key in ("kind", "cloud", "tenant", "issuer")) == expected


@pytest.mark.parametrize(
    ("lines", "note"),
    [
        ("oauth2_flow = password\n", "Valija does not do"),
        ("oauth2_flow = service_account\nclient_secret = {}\n", "key file"),
        ("permission_url = x\njwt_certificate_path = /etc/c.pem\njwt_key_path = /etc/k.pem\n", "certificate"),
        ("permission_url = x\nclient_id = *** your client id here ***\n", "example"),
        ("permission_url = x\nrefresh_token = gAAA\n", "token_salt"),
        ("permission_url = x\nrefresh_token = gAAA\ntoken_salt = ??\n", "token_salt"),
        ("[emailproxy]\nuse_login_password_as_client_credentials_secret = Yes\n", "what its clients log in with"),
    ],
)
def test_what_cannot_be_taken_over_is_said(lines: str, note: str) -> None:
    """With what to do instead."""
    found = _found(f"[a@b.example]\ntoken_url = https://oauth2.googleapis.com/token\n{lines}")
    assert note in " ".join(map(str, found.accounts[0].notes))


TOKEN: dict[str, Any] = {"access_token": "at", "refresh_token": "rt", "expiry": "1925000000"}
CONF = {
    "client_id": "c",
    "client_secret": "s",
    "token_endpoint": "https://login.microsoftonline.com/t/oauth2/v2.0/token",
}


def test_a_token_of_sasl_xoauth2_is_found_with_its_configuration() -> None:
    """The account by the file's name; what the token's file says goes before the configuration."""
    found = _found(json.dumps(TOKEN), name="scan@example.com", configuration=json.dumps(CONF))
    [account] = found.accounts
    assert (found.program, account.login) == ("sasl-xoauth2", "scan@example.com")
    assert account.registration == {"kind": "microsoft", "tenant": "t", "client_id": "c"}
    assert account.refresh_token is not None
    assert (account.refresh_token.reveal(), account.expires_at) == ("rt", 1925000000)
    own = {
        **TOKEN,
        "client_id": "own",
        "user": "other@example.com",
        "token_endpoint": "https://oauth2.googleapis.com/token",
    }
    [account] = _found(json.dumps(own), name="token.json", configuration=json.dumps(CONF)).accounts
    assert (account.login, account.registration["kind"], account.registration["client_id"]) == (
        "other@example.com",
        "google",
        "own",
    )


def test_sasl_xoauth2_without_an_endpoint_is_google() -> None:
    """Its own default; a missing client id is said."""
    [account] = _found(json.dumps(TOKEN), name="token.json").accounts
    assert (account.login, account.registration["kind"]) == ("", "google")
    assert "sasl-xoauth2.conf" in str(account.notes[0])


MUTT = {
    "registration": "microsoft",
    "authflow": "devicecode",
    "email": "scan@example.com",
    "access_token": "at",
    "access_token_expiration": "2026-11-26T10:00:00.123456",
    "refresh_token": "rt",
    "client_id": "c",
    "client_secret": "",
    "tenant": "example.com",
}


def test_a_token_of_mutt_is_found_with_its_provider() -> None:
    """By its own name for it; when it ends is not believed, since nobody knows in which time zone that is."""
    found = _found(json.dumps(MUTT), name="stdin")
    [account] = found.accounts
    assert (found.program, account.login, account.grant) == ("mutt_oauth2.py", "scan@example.com", GrantKind.DEVICE)
    assert account.registration == {"kind": "microsoft", "client_id": "c", "tenant": "example.com", "grant": "device"}
    assert account.refresh_token is not None
    assert (account.refresh_token.reveal(), account.expires_at, account.notes) == ("rt", 0, ())
    google = MUTT | {"registration": "google", "authflow": "localhostauthcode", "client_secret": "s"}
    [account] = _found(json.dumps(google)).accounts
    assert account.registration == {"kind": "google", "client_id": "c"}
    assert account.client_secret is not None and account.client_secret.reveal() == "s"


def test_a_client_that_is_in_mutts_script_is_handed_over_beside_the_token() -> None:
    """The script holds it for all accounts; without it, that is said."""
    old = {k: v for k, v in MUTT.items() if k not in ("client_id", "client_secret", "tenant")}
    [account] = _found(json.dumps(old)).accounts
    assert account.registration["tenant"] == "common"
    assert "--config" in str(account.notes[0])
    [account] = _found(json.dumps(old), configuration=json.dumps({"client_id": "own", "client_secret": "s"})).accounts
    assert (account.registration["client_id"], account.notes) == ("own", ())
    [account] = _found(json.dumps(MUTT | {"registration": "yahoo"})).accounts
    assert (account.registration["kind"], "yahoo" in str(account.notes[0])) == ("custom", True)


FOR_ALL = """
[@example.com]
permission_url = x
token_url = https://login.microsoftonline.com/t/oauth2/v2.0/token
client_id = of-the-domain
[@]
client_id = of-all
client_secret = s
[emailproxy]
allow_catch_all_accounts = True
"""


def test_what_an_account_does_not_say_is_said_for_its_domain_or_for_all() -> None:
    """email-oauth2-proxy writes the tokens alone in the section of who logged in."""
    [account] = _found(FOR_ALL + "[scan@example.com]\ntoken_salt = c2FsdA==\nrefresh_token = gAAA\n").accounts
    assert (account.login, account.grant, account.has_token) == ("scan@example.com", GrantKind.CODE, True)
    assert account.registration == {"kind": "microsoft", "tenant": "t", "client_id": "of-the-domain"}
    assert account.client_secret is not None
    assert [account.login for account in _found(FOR_ALL).accounts] == ["", ""], "nobody has logged in yet"


def test_a_file_that_went_through_another_system_is_read() -> None:
    """A byte order mark, lines ended by CR LF, blanks after a name; comments, which sasl-xoauth2's reader takes."""
    [first, _robot] = _found(
        "\ufeff" + PROXY.replace("\n", "\r\n").replace("[scan@example.com]", "[scan@example.com ]")
    ).accounts
    assert (first.login, first.registration["client_id"], first.has_token) == ("scan@example.com", "0000-1111", True)
    commented = '\ufeff{ // the client\n "client_id": "a//b\\"/*c*/", /* its\n secret */ "client_secret": "s" }'
    [account] = _found("\ufeff" + json.dumps(TOKEN), name="scan@example.com.json", configuration=commented).accounts
    assert (account.login, account.registration["client_id"]) == ("scan@example.com", 'a//b"/*c*/')


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"' + 'x\\"' * 60_000,
        '{"a":"' + 'x\\"' * 60_000 + "\\",
        "{" + "/* " * 60_000,
        "{" + '"' * 190_000,
        "{" + "//" * 90_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    """Strings and comments without end are looked through once."""
    begun = time.perf_counter()
    with pytest.raises(InvalidFields):
        _found(text)
    assert time.perf_counter() - begun < 2


def test_where_the_key_of_a_service_account_lies_is_not_its_client_id() -> None:
    """``file`` and ``key`` are words of email-oauth2-proxy."""
    said = "oauth2_flow = service_account\nclient_id = file\nclient_secret = /etc/key.json\n"
    [account] = _found(f"[a@b.example]\ntoken_url = https://oauth2.googleapis.com/token\n{said}").accounts
    assert (account.registration["client_id"], account.client_secret) == ("", None)


def test_what_is_said_twice_is_named() -> None:
    """With its line, so that it can be mended."""
    with pytest.raises(InvalidFields) as refused:
        _found("[a@b.example]\nclient_id = x\nclient_id = y\n")
    assert str(refused.value.problems[0].problem) == "says client_id twice: leave one (line 3)"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[only]\na=b\n",
        "{",
        "[1]",
        "{}",
        '{"expiry": 1}',
        "[a@b]\n[a@b]\n",
        "{" * 9999,
        '{"authflow": "x"}',
    ],
)
def test_what_is_no_such_file_is_refused(text: str) -> None:
    """In words."""
    with pytest.raises(InvalidFields):
        _found(text)


@given(st.text(max_size=400) | st.builds(lambda lines: "[a@b]\n" + "\n".join(lines), st.lists(st.text(max_size=40))))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else."""
    try:
        found = _found(text)
    except InvalidFields:
        return
    assert found.accounts
