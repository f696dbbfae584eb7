"""Token responses, errors, metadata and the catalogue: read with mistrust."""

from __future__ import annotations

import base64
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from exchange import ERRORS, Exchange
from valija.net.data_files import read_catalogue
from valija.oauth.classification import Action, GrantFailure, parse_retry_after, safe_words
from valija.oauth.discovery import ServerMetadata, discover, metadata_urls
from valija.oauth.http_messages import HttpFailed, HttpResponse, HttpTrouble, is_safe_url
from valija.oauth.token_response import (
    LONGEST_EXPIRES_IN,
    TokenResponse,
    describe_access_token,
    parse_token_response,
)
from valija.secret import Secret

TABLE = tomllib.loads((Path(__file__).resolve().parents[2] / "src/valija/oauth/error_table.toml").read_text("utf-8"))[
    "row"
]


def _answer(body: Any, status: int = 200) -> HttpResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, {}, raw)


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3600, 3600),
        ("3599", 3599),
        ("3599.7", 3599),
        (None, 3600),
        ("soon", 3600),
        (-5, 3600),
        (0, 3600),
        (True, 3600),
        (1e300, LONGEST_EXPIRES_IN),
        ("1" * 15, LONGEST_EXPIRES_IN),
        ("nan", 3600),
        (1, 30),
        ([], 3600),
        pytest.param(10**400, LONGEST_EXPIRES_IN, id="401 digits"),
        pytest.param(-(10**400), 3600, id="401 digits below zero"),
    ],
)
def test_expires_in_missing_as_text_or_absurd(expires_in: Any, seconds: int) -> None:
    """A sensible time comes of it, whatever was sent."""
    body = {"access_token": "a", "token_type": "Bearer"} | ({} if expires_in is None else {"expires_in": expires_in})
    found = parse_token_response(_answer(body))
    assert isinstance(found, TokenResponse)
    assert found.expires_in == seconds


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_token_type_in_any_case(kind: str) -> None:
    """RFC 6749 section 5.1: the value is case insensitive."""
    assert isinstance(parse_token_response(_answer({"access_token": "a", "token_type": kind})), TokenResponse)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>login</html>",
        b'{"access_token": "tru',
        b"",
        b"null",
        b"[]",
        {"token_type": "Bearer"},
        {"access_token": "", "token_type": "Bearer"},
        {"access_token": "a b", "token_type": "Bearer"},
        {"access_token": "a\r\nX: y", "token_type": "Bearer"},
        {"access_token": "a\u0001b", "token_type": "Bearer"},
        {"access_token": "a" * 70_000, "token_type": "Bearer"},
        {"access_token": "a", "token_type": "mac"},
        {"access_token": "a", "refresh_token": 5},
    ],
)
def test_what_is_no_token_is_tried_again_and_ends_nothing(body: Any) -> None:
    """HTML with 200, truncated JSON, tokens that could inject lines into SMTP."""
    found = parse_token_response(_answer(body))
    assert isinstance(found, GrantFailure)
    assert (found.action, found.ends_grant) == (Action.RETRY, False)


def test_a_failure_never_repeats_a_token_in_its_words() -> None:
    """What is shown and logged has no secret, even if the answer was half good."""
    body = {"access_token": "planted-token", "token_type": "mac", "refresh_token": "planted-refresh"}
    found = parse_token_response(_answer(body))
    assert isinstance(found, GrantFailure)
    assert "planted" not in repr(found)


@pytest.mark.parametrize(
    "body",
    [
        b"access_token=planted-token&refresh_token=planted-refresh&token_type=bearer",
        b'{"access_token": "planted-token", "refresh_token": "planted-refresh", "expires_in": }',
        b'{"Refresh_Token":"planted-token',
    ],
)
def test_an_answer_that_is_no_json_is_not_shown_if_it_may_hold_a_token(body: bytes) -> None:
    """A form instead of JSON, JSON that is cut short."""
    found = parse_token_response(_answer(body))
    assert isinstance(found, GrantFailure)
    assert "planted" not in repr(found)


def test_a_page_instead_of_an_answer_is_shown() -> None:
    """It says what stands in between."""
    found = parse_token_response(_answer(b"<html>hotel login"))
    assert isinstance(found, GrantFailure)
    assert "hotel login" in found.server_words


def test_an_access_token_that_ends_at_no_moment_is_described_without_it() -> None:
    """A claim is shown, never trusted: an absurd one breaks nothing."""
    claims = base64.urlsafe_b64encode(b'{"aud": "mail", "exp": 1%s}' % (b"0" * 400)).decode().rstrip("=")
    described = describe_access_token(Secret(f"e30.{claims}.x"))
    assert described is not None
    assert (described.audiences, described.expires_at_epoch) == (("mail",), None)


@pytest.mark.parametrize("number", range(len(TABLE)))
def test_every_row_of_the_error_table_is_reached(number: int) -> None:
    """No row is hidden by one before it, unless it says the same."""
    row = TABLE[number]
    if row.get("status") == [0]:
        return  # explains what happens before an answer can be read
    error = (row.get("error", ["invalid_request"]) or ["not_in_the_standard"])[0]
    words = row.get("words", "").split("|")[0].replace("\\", "").replace(".*", " ")
    text = " ".join([*(f"AADSTS{c}: x" for c in row.get("codes", [])[:1]), words])
    body = {"error": error, "error_description": text, "suberror": row.get("suberror", [""])[0]}
    found = ERRORS.classify(_answer(body, row.get("status", [400])[0]))
    assert (found.reason, found.action.value) == (row["reason"], row["action"]), body


SAID: list[tuple[str, str, str, Action, bool]] = [
    ("invalid_grant", "AADSTS700082: The refresh token has expired due to inactivity.", "", Action.ASK_USER, True),
    ("invalid_grant", "AADSTS50173: The provided grant has expired due to it being revoked", "", Action.ASK_USER, True),
    ("invalid_grant", "Token has been expired or revoked.", "", Action.ASK_USER, True),
    ("interaction_required", "AADSTS50076: multi-factor authentication", "basic_action", Action.ASK_USER, True),
    ("invalid_client", "AADSTS7000215: Invalid client secret provided.", "", Action.CONFIGURATION, False),
    (
        "invalid_client",
        "AADSTS7000222: The provided client secret keys are expired.",
        "",
        Action.CONFIGURATION,
        False,
    ),
    ("unauthorized_client", "AADSTS700016: Application not found", "", Action.ASK_ADMINISTRATOR, False),
    ("temporarily_unavailable", "", "", Action.RETRY, False),
    ("server_error", "", "", Action.RETRY, False),
]


@pytest.mark.parametrize("said", SAID, ids=lambda s: f"{s[0]} {s[1][:14]}")
def test_what_real_providers_say(said: tuple[str, str, str, Action, bool]) -> None:
    """Who must act, and whether the grant has ended."""
    error, text, suberror, action, ends = said
    found = ERRORS.classify(_answer({"error": error, "error_description": text, "suberror": suberror}, 400))
    assert (found.action, found.ends_grant) == (action, ends), found


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_trouble_of_the_provider_ends_nothing_even_with_invalid_grant_inside(status: int) -> None:
    """A gateway that is down says many things."""
    found = ERRORS.classify(_answer({"error": "invalid_grant"}, status))
    assert (found.action, found.ends_grant) == (Action.RETRY, False)


@pytest.mark.parametrize("trouble", HttpTrouble)
def test_no_answer_ends_nothing(trouble: HttpTrouble) -> None:
    """Down, slow, redirected, too large, not trusted."""
    found = ERRORS.classify(HttpFailed(trouble, "words"))
    assert (found.action, found.ends_grant) == (Action.RETRY, False)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("Tue, 24 Nov 2026 12:02:00 GMT", 120.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("9" * 30, None),
    ],
)
def test_retry_after_as_seconds_and_as_a_date(value: str, seconds: float | None) -> None:
    """RFC 9110 section 10.2.3."""
    assert parse_retry_after(value, 1795521600.0) == seconds


def test_words_of_the_other_side_are_made_safe_to_show() -> None:
    """One line, no terminal codes, no bidirectional tricks, a bearable length."""
    shown = safe_words("a\x1b[31mred\r\nb\u202ec" + "x" * 5000)
    assert "\x1b" not in shown
    assert "\n" not in shown
    assert "\u202e" not in shown
    assert len(shown) <= 600


METADATA = {
    "issuer": "https://login.example.com",
    "token_endpoint": "https://login.example.com/token",
    "device_authorization_endpoint": "https://login.example.com/device",
}


def _discover(
    *answers: Any, issuer: str = "https://login.example.com", templated: bool = False
) -> tuple[Any, Exchange]:
    exchange = Exchange(*answers)
    return exchange.run(discover(issuer, templated_issuer=templated)), exchange


def test_metadata_is_looked_for_where_both_standards_put_it() -> None:
    """RFC 8414 section 3.1 first, then OpenID Connect's place."""
    assert metadata_urls("https://a.example/tenant") == (
        "https://a.example/.well-known/oauth-authorization-server/tenant",
        "https://a.example/tenant/.well-known/openid-configuration",
        "https://a.example/.well-known/openid-configuration/tenant",
    )
    found, exchange = _discover((404, {}), METADATA)
    assert isinstance(found, ServerMetadata)
    assert len(exchange.requests) == 2


def test_a_server_that_sends_to_its_page_from_one_place_is_asked_at_the_other() -> None:
    """Many send every path that they do not know to their log-in page."""
    sent_away = HttpFailed(HttpTrouble.REDIRECTED, "HTTP 302 to /login")
    found, exchange = _discover(sent_away, METADATA)
    assert isinstance(found, ServerMetadata)
    assert len(exchange.requests) == 2
    found, _exchange = _discover(*[sent_away] * 3)
    assert isinstance(found, GrantFailure)
    assert (found.reason, found.action) == ("provider_redirected", Action.RETRY)


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": "http://login.example.com/token"},
        {"token_endpoint": ""},
        {"token_endpoint": "https://user:pw@login.example.com/token"},
        {"device_authorization_endpoint": "javascript:alert(1)"},
    ],
)
def test_metadata_that_does_not_fit_is_not_believed(change: dict[str, Any]) -> None:
    """Another issuer, or an address to which no secret may go."""
    found, _exchange = _discover(*[{**METADATA, **change}] * 3)
    assert isinstance(found, GrantFailure)
    assert found.reason == "discovery_failed"


def test_entras_templated_issuer() -> None:
    """The tenant's place holder stands for exactly one path segment."""
    said = {**METADATA, "issuer": "https://login.example.com/{tenantid}/v2.0"}
    found, _exchange = _discover(said, issuer="https://login.example.com/organizations/v2.0", templated=True)
    assert isinstance(found, ServerMetadata)
    for issuer in ("https://login.example.com/a/b/v2.0", "https://evil.example/x/v2.0"):
        found, _exchange = _discover(*[said] * 3, issuer=issuer, templated=True)
        assert isinstance(found, GrantFailure)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://a.example/x", True),
        ("http://localhost:8080/x", True),
        ("http://127.0.0.1/x", True),
        ("http://[::1]:1/x", True),
        ("http://a.example/x", False),
        ("http://127.0.0.1.evil.example/", False),
        ("http://localhost.evil.example/", False),
        ("https://user@a.example/", False),
        ("https://a.example/#f", False),
        ("https://a.example:99999/", False),
        ("ftp://a.example/", False),
        ("https://", False),
        ("", False),
    ],
)
def test_plain_http_is_for_loopback_only(url: str, safe: bool) -> None:
    """Secrets go over TLS, or do not leave this machine."""
    assert is_safe_url(url) is safe


@pytest.mark.parametrize("profile", read_catalogue().profiles, ids=lambda p: p.name)
def test_every_profile_is_complete(profile: Any) -> None:
    """Endpoints are safe, scopes are there, and each grant has what it needs."""
    assert profile.grants
    assert profile.scopes_smtp
    assert profile.scopes_pop
    assert profile.mechanisms
    for address in (profile.authorization_endpoint, profile.token_endpoint, profile.device_authorization_endpoint):
        assert address == "" or is_safe_url(profile.with_tenant(address, "example.com"))
    if profile.kind not in ("custom", "sandbox"):
        assert profile.smtp is not None
        assert profile.pop is not None
        assert profile.discovery or profile.token_endpoint


def test_the_catalogue_has_the_providers_that_were_promised() -> None:
    """Microsoft's four clouds and Outlook.com, Google, Yahoo, AOL, the sandbox, any issuer."""
    catalogue = read_catalogue()
    assert set(catalogue.clouds("microsoft")) >= {"global", "gcc-high", "dod", "21vianet", "consumers"}
    assert {p.kind for p in catalogue.profiles} == {"microsoft", "google", "yahoo", "aol", "sandbox", "custom"}
