"""The grants, driven by hand: what they ask, and what they make of every answer."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import ENDPOINT, ERRORS, Exchange, error, good
from valija.oauth import grants
from valija.oauth.classification import Action, GrantFailure
from valija.oauth.client import ClientAuthentication as Auth
from valija.oauth.client import KeyUse
from valija.oauth.grants import DeviceAuthorization, NotThisRequest
from valija.oauth.http_messages import HttpFailed, HttpResponse, HttpTrouble
from valija.oauth.token_response import TokenResponse
from valija.secret import Secret

PENDING, SLOWER = error("authorization_pending"), error("slow_down")
VERIFIER, STATE = Secret("v" * 43), Secret("state-1")
DEVICE_ANSWER: dict[str, Any] = {
    "device_code": "dc",
    "user_code": "ABCD-EFGH",
    "verification_uri": "https://login.example.com/device",
    "expires_in": 900,
    "interval": 5,
}


def _poll(*answers: Any, interval: float = 5, expires_in: float = 900) -> tuple[Any, Exchange]:
    exchange = Exchange(*answers)
    found = exchange.run(
        grants.poll_device_token(exchange.context(), Secret("dc"), interval=interval, expires_in=expires_in)
    )
    return found, exchange


# --- device grant -----------------------------------------------------------------------------------------------------------


def test_the_device_code_is_asked_for_with_scope_and_client() -> None:
    """RFC 8628 section 3.1."""
    exchange = Exchange(DEVICE_ANSWER)
    found = exchange.run(
        grants.request_device_code(exchange.context(), ENDPOINT + "/device", ("smtp", "offline_access"))
    )
    assert isinstance(found, DeviceAuthorization)
    assert (found.user_code, found.interval, found.expires_in) == ("ABCD-EFGH", 5, 900)
    assert exchange.form() == {"client_id": "client-1", "scope": "smtp offline_access"}


@pytest.mark.parametrize("missing", ["device_code", "user_code", "verification_uri"])
def test_a_device_answer_that_lacks_something_is_nonsense(missing: str) -> None:
    """It is tried again later; nothing is shown to the person."""
    exchange = Exchange({k: v for k, v in DEVICE_ANSWER.items() if k != missing})
    found = exchange.run(grants.request_device_code(exchange.context(), ENDPOINT, ("smtp",)))
    assert isinstance(found, GrantFailure)
    assert found.action is Action.RETRY


def test_an_unsafe_verification_address_is_not_shown() -> None:
    """A person would type a password there."""
    exchange = Exchange({**DEVICE_ANSWER, "verification_uri": "http://evil.example/"})
    assert isinstance(exchange.run(grants.request_device_code(exchange.context(), ENDPOINT, ("smtp",))), GrantFailure)


def test_google_names_the_address_otherwise() -> None:
    """``verification_url`` instead of ``verification_uri``."""
    answer = {k: v for k, v in DEVICE_ANSWER.items() if k != "verification_uri"}
    exchange = Exchange({**answer, "verification_url": "https://www.google.com/device"})
    found = exchange.run(grants.request_device_code(exchange.context(), ENDPOINT, ("smtp",)))
    assert isinstance(found, DeviceAuthorization)
    assert found.verification_uri == "https://www.google.com/device"


def test_polling_waits_before_each_request_and_gets_the_token() -> None:
    """No request faster than the interval."""
    found, exchange = _poll(PENDING, PENDING, good())
    assert isinstance(found, TokenResponse)
    assert exchange.waits == [5, 5, 5]
    assert exchange.form()["grant_type"] == "urn:ietf:params:oauth:grant-type:device_code"


def test_slow_down_adds_five_seconds_for_good() -> None:
    """RFC 8628 section 3.5."""
    _found, exchange = _poll(SLOWER, PENDING, SLOWER, PENDING, good())
    assert exchange.waits == [5, 10, 10, 15, 15]


def test_a_provider_that_is_down_while_waiting_slows_polling_down_and_ends_nothing() -> None:
    """Exponential, bounded; then the ordinary pace again."""
    down = HttpFailed(HttpTrouble.UNREACHABLE, "refused")
    found, exchange = _poll(down, down, down, (503, {}), PENDING, good())
    assert isinstance(found, TokenResponse)
    assert exchange.waits == [5, 10, 15, 25, 45, 5]


def test_an_error_that_comes_with_200_is_that_error() -> None:
    """Some providers answer everything with 200: what they say counts all the same."""
    found, exchange = _poll((200, {"error": "slow_down"}), (200, {"error": "access_denied"}), good())
    assert isinstance(found, GrantFailure)
    assert found.reason == "access_denied"
    assert exchange.waits == [5, 10]
    exchange = Exchange((200, {"error": "invalid_grant", "error_description": "revoked"}))
    found = exchange.run(grants.refresh(exchange.context(), Secret("rt")))
    assert isinstance(found, GrantFailure)
    assert (found.reason, found.ends_grant) == ("grant_ended", True)


@pytest.mark.parametrize("name", ["access_denied", "authorization_declined"])
def test_a_refusal_ends_polling(name: str) -> None:
    """The person chose."""
    found, exchange = _poll(PENDING, error(name))
    assert isinstance(found, GrantFailure)
    assert (found.reason, found.action) == ("access_denied", Action.ASK_USER)
    assert len(exchange.requests) == 2


@pytest.mark.parametrize("last", [error("expired_token"), error("code_expired")])
def test_a_code_past_its_time_ends_polling(last: Any) -> None:
    """As the provider says."""
    found, _exchange = _poll(PENDING, last)
    assert isinstance(found, GrantFailure)
    assert found.reason == "authorization_expired"


def test_polling_ends_by_itself_when_the_code_is_past_its_time() -> None:
    """As the clock says: no wait is for ever."""
    found, exchange = _poll(*[PENDING] * 100, expires_in=60)
    assert isinstance(found, GrantFailure)
    assert found.reason == "authorization_expired"
    assert sum(exchange.waits) == 60


# --- authorization code ------------------------------------------------------------------------------------------------------


def test_the_authorization_address_carries_pkce_and_state() -> None:
    """RFC 7636: S256 of the verifier, never the verifier."""
    url = grants.build_authorization_url(
        "https://login.example.com/authorize?brand=1",
        client_id="client-1",
        redirect_uri="http://127.0.0.1:1234/callback",
        scopes=("a", "b"),
        state=STATE,
        verifier=VERIFIER,
        extra=(("login_hint", "ana@example.com"),),
    )
    query = parse_qs(urlsplit(url).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["code_challenge"] == [grants.code_challenge(VERIFIER)]
    assert (query["state"], query["scope"], query["brand"]) == (["state-1"], ["a b"], ["1"])
    assert VERIFIER.reveal() not in url


def test_the_challenge_is_that_of_the_standard() -> None:
    """RFC 7636 appendix B."""
    verifier = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert grants.code_challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def _redirect(address: str, *, issuer: str = "https://login.example.com", required: bool = False) -> Any:
    return grants.parse_redirect(address, state=STATE, issuer=issuer, issuer_required=required, errors=ERRORS)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1234/callback?code=c1&state=state-1",
        "  <http://127.0.0.1:1234/callback?code=c1&state=state-1>\n",
        "http://127.0.0.1:1234/call\nback?code=c1&sta\n te=state-1",
        "code=c1&state=state-1",
        "?code=c1&state=state-1&session_state=x",
        "http://localhost/?code=c1&state=state-1&iss=https%3A%2F%2Flogin.example.com",
        "http://[::1/callback?code=c1&state=state-1#",
    ],
)
def test_a_redirected_address_is_read_however_it_was_pasted(address: str) -> None:
    """Whole, its query, with white space and line ends."""
    assert _redirect(address) == Secret("c1")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://127.0.0.1/callback",
        "http://127.0.0.1/callback?code=c1",
        "http://127.0.0.1/callback?code=c1&state=other",
        "http://127.0.0.1/callback?state=state-1",
        "http://127.0.0.1/callback?code=c1&code=c2&state=state-1",
        "http://127.0.0.1/callback?code=c1&state=state-1&iss=https://evil.example",
        "http://127.0.0.1/callback?code=c1&state=state-1" + "&x=1" * 100,
        "code=c1&state=state-1&pad=" + "x" * 20_000,
        "\0\xff",
        "http://[::1/callback?code=c1&state=other",
        "?code=c1&state=\ud800",
    ],
)
def test_an_address_of_another_request_decides_nothing(address: str) -> None:
    """State and issuer are checked; the right address may still come."""
    with pytest.raises(NotThisRequest):
        _redirect(address)


def test_an_issuer_that_promised_to_name_itself_must() -> None:
    """RFC 9207."""
    with pytest.raises(NotThisRequest):
        _redirect("?code=c1&state=state-1", required=True)


def test_an_error_in_the_redirect_is_the_persons_answer() -> None:
    """RFC 6749 section 4.1.2.1, with the state."""
    found = _redirect("?error=access_denied&error_description=no&state=state-1")
    assert isinstance(found, GrantFailure)
    assert found.reason == "access_denied"


def test_the_code_is_exchanged_with_its_verifier() -> None:
    """Once; and the same redirect address."""
    exchange = Exchange(good())
    found = exchange.run(
        grants.exchange_code(
            exchange.context(), Secret("c1"), redirect_uri="http://127.0.0.1:1/callback", verifier=VERIFIER
        )
    )
    assert isinstance(found, TokenResponse)
    assert exchange.form() == {
        "grant_type": "authorization_code",
        "code": "c1",
        "redirect_uri": "http://127.0.0.1:1/callback",
        "code_verifier": VERIFIER.reveal(),
        "client_id": "client-1",
    }


# --- without a person, refresh, revoke ----------------------------------------------------------------------------------------


def test_client_credentials_by_secret_in_the_form_and_in_the_header() -> None:
    """RFC 6749 section 2.3.1; both parts are form-encoded before base64."""
    exchange = Exchange(good())
    exchange.run(grants.client_credentials(exchange.context(Auth.SECRET_POST, "s+cret"), ("mail/.default",)))
    assert exchange.form()["client_secret"] == "s+cret"
    exchange = Exchange(good())
    exchange.run(grants.client_credentials(exchange.context(Auth.SECRET_BASIC, "s+cret:1"), ("x",)))
    header = dict(exchange.requests[0].headers)["Authorization"]
    assert isinstance(header, Secret)
    import base64

    assert base64.b64decode(header.reveal().removeprefix("Basic ")) == b"client-1:s%2Bcret%3A1"
    assert "client_secret" not in exchange.form()


def test_client_credentials_by_certificate_sign_an_assertion() -> None:
    """RFC 7523 section 2.2: who, for whom, until when, once; PS256."""
    exchange = Exchange(good())
    exchange.run(grants.client_credentials(exchange.context(Auth.PRIVATE_KEY_JWT), ("x",)))
    [assertion] = exchange.assertions
    claims = dict(assertion.claims)
    assert (assertion.algorithm, assertion.use) == ("PS256", KeyUse.CLIENT)
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("client-1", "client-1", ENDPOINT)
    assert int(claims["exp"]) - int(claims["iat"]) <= 600
    assert claims["jti"] == "jti-0"
    assert exchange.form()["client_assertion"] == "signed"


def test_a_google_service_account_signs_for_the_mailbox() -> None:
    """RFC 7523 section 2.1 with Google's domain-wide delegation."""
    exchange = Exchange(good())
    grant = grants.service_account(
        exchange.context(), email="robot@p.iam.example", mailbox="ana@example.com", scopes=("https://mail.google.com/",)
    )
    assert isinstance(exchange.run(grant), TokenResponse)
    [assertion] = exchange.assertions
    claims = dict(assertion.claims)
    assert (claims["iss"], claims["sub"], claims["scope"]) == (
        "robot@p.iam.example",
        "ana@example.com",
        "https://mail.google.com/",
    )
    assert exchange.form()["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"


def test_a_refresh_takes_the_new_refresh_token_or_keeps_none() -> None:
    """Rotation; an answer without one means that the old one stays good."""
    exchange = Exchange(good(refresh_token="rt-2"))
    found = exchange.run(grants.refresh(exchange.context(), Secret("rt-1")))
    assert isinstance(found, TokenResponse)
    assert found.refresh_token == Secret("rt-2")
    answer = good()
    del answer["refresh_token"]
    exchange = Exchange(answer)
    found = exchange.run(grants.refresh(exchange.context(), Secret("rt-1")))
    assert isinstance(found, TokenResponse)
    assert found.refresh_token is None


def test_revocation_says_which_token_and_who_asks() -> None:
    """RFC 7009 section 2.1; 200 whatever the token was."""
    exchange = Exchange(HttpResponse(200))
    assert exchange.run(grants.revoke(exchange.context(), ENDPOINT + "/revoke", Secret("rt"), "refresh_token")) is None
    assert exchange.form() == {"token": "rt", "token_type_hint": "refresh_token", "client_id": "client-1"}
    exchange = Exchange((503, {}))
    failed = exchange.run(grants.revoke(exchange.context(), ENDPOINT + "/revoke", Secret("rt"), "refresh_token"))
    assert isinstance(failed, GrantFailure)


ANY_ANSWER = st.builds(
    HttpResponse,
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["retry-after", "content-type", "location"]), st.text(max_size=30), max_size=2),
    st.one_of(
        st.binary(max_size=200),
        st.sampled_from([b"<html>", b'{"error":', b'{"error": 5}', b"[]", b'{"access_token": 5}', b"[" * 5000]),
    ),
)


@given(ANY_ANSWER)
def test_whatever_is_answered_is_a_token_or_a_failure_that_ends_nothing(answer: HttpResponse) -> None:
    """Garbage never ends a grant, and never raises."""
    exchange = Exchange(answer)
    found = exchange.run(grants.refresh(exchange.context(), Secret("rt")))
    assert isinstance(found, TokenResponse | GrantFailure)
    if isinstance(found, GrantFailure):
        assert not found.ends_grant
    exchange = Exchange(answer)
    device = exchange.run(grants.request_device_code(exchange.context(), ENDPOINT, ("s",)))
    assert isinstance(device, DeviceAuthorization | GrantFailure)


@given(st.text(max_size=300))
def test_whatever_is_pasted_is_refused_or_read(text: str) -> None:
    """Never another exception."""
    try:
        _redirect(text)
    except NotThisRequest:
        return
    assert "state-1" in text
