"""The grants, as generators that yield steps (a request, a signature, a wait) and are sent what came of them.

Each returns what it got: tokens or a :class:`~valija.oauth.classification.GrantFailure`. Randomness (``jwt_ids``, PKCE
verifier, state) and time are arguments, so a grant is a pure function of what it is sent.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from valija.oauth.classification import (
    Action,
    ErrorTable,
    GrantFailure,
    OAuthError,
    nonsense,
    parse_error,
    parse_json_object,
)
from valija.oauth.client import (
    ASSERTION_LIFE_S,
    Client,
    KeyUse,
    SignAssertion,
    Step,
    Wait,
    basic_credentials,
    signing_failure,
    token_request,
)
from valija.oauth.client import ClientAuthentication as Auth
from valija.oauth.http_messages import FormValue, HttpFailed, HttpRequest, HttpResponse, HttpResult, is_safe_url
from valija.oauth.token_response import TokenResponse, parse_seconds, parse_token_response
from valija.secret import Secret

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEFAULT_INTERVAL_S: Final = 5
SLOW_DOWN_S: Final = 5
LONGEST_INTERVAL_S: Final = 300
SHORTEST_DEVICE_LIFE_S: Final = 30
LONGEST_DEVICE_LIFE_S: Final = 86400
LONGEST_TOKEN_RETRY_S: Final = 60

Granted = Generator[Step, Any, TokenResponse | GrantFailure]


@dataclass(frozen=True, slots=True)
class Context:
    """What every grant needs: the client, how to read errors, seconds since 1970, fresh identifiers for assertions."""

    client: Client
    errors: ErrorTable
    now_epoch: Callable[[], float]
    jwt_ids: Iterator[str]


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """The answer of the device authorization endpoint (RFC 8628 section 3.2); times in seconds."""

    device_code: Secret
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: int
    interval: int


def _ask(context: Context, form: tuple[tuple[str, FormValue], ...]) -> Granted:
    """Send one request to the token endpoint and read its answer."""
    now = int(context.now_epoch())
    request = yield from token_request(context.client, form, jwt_id=next(context.jwt_ids), now_epoch=now)
    if isinstance(request, GrantFailure):
        return request
    result = yield request
    return _read(context, result)


def _read(context: Context, result: HttpResult) -> TokenResponse | GrantFailure:
    """Read the token endpoint's answer; an error counts as one even if it comes with 200."""
    if isinstance(result, HttpResponse) and 200 <= result.status < 300:
        found = parse_token_response(result)
        if isinstance(found, TokenResponse) or parse_error(result) is None:
            return found
        result = replace(result, status=400)
    return context.errors.classify(result, now_epoch=context.now_epoch())


# --- device grant (RFC 8628) -----------------------------------------------------------------------------------------


def request_device_code(
    context: Context, endpoint: str, scopes: tuple[str, ...], extra: tuple[tuple[str, str], ...] = ()
) -> Generator[Step, Any, DeviceAuthorization | GrantFailure]:
    """Ask for a device code and a user code (section 3.1); the client authenticates as at the token endpoint."""
    form: tuple[tuple[str, FormValue], ...] = (("scope", " ".join(scopes)), *extra)
    at_endpoint = Client(
        context.client.client_id,
        context.client.authentication,
        endpoint,
        context.client.client_secret,
        context.client.assertion_algorithm,
        context.client.audience or context.client.token_endpoint,
    )
    now = int(context.now_epoch())
    request = yield from token_request(at_endpoint, form, jwt_id=next(context.jwt_ids), now_epoch=now)
    if isinstance(request, GrantFailure):
        return request
    if context.client.authentication is Auth.SECRET_BASIC:
        request = HttpRequest("POST", endpoint, (*form, ("client_id", context.client.client_id)), request.headers)
    result = yield request
    if isinstance(result, HttpResponse) and 200 <= result.status < 300:
        return _parse_device_authorization(result)
    return context.errors.classify(result, now_epoch=context.now_epoch())


def _parse_device_authorization(response: HttpResponse) -> DeviceAuthorization | GrantFailure:
    answer = parse_json_object(response.body) or {}
    code, user_code = answer.get("device_code"), answer.get("user_code")
    uri = answer.get("verification_uri") or answer.get("verification_url")  # the second is Google's old name
    complete = answer.get("verification_uri_complete")
    texts_fit = all(isinstance(t, str) and 0 < len(t) <= 4096 for t in (code, user_code, uri))
    if not texts_fit or not is_safe_url(str(uri)) or not str(user_code).isprintable() or len(str(user_code)) > 64:
        return nonsense(HttpResponse(response.status))
    return DeviceAuthorization(
        Secret(str(code)),
        str(user_code),
        str(uri),
        complete if isinstance(complete, str) and len(complete) <= 4096 and is_safe_url(complete) else None,
        parse_seconds(answer.get("expires_in"), 900, SHORTEST_DEVICE_LIFE_S, LONGEST_DEVICE_LIFE_S),
        parse_seconds(answer.get("interval"), DEFAULT_INTERVAL_S, 1, LONGEST_INTERVAL_S),
    )


def poll_device_token(context: Context, device_code: Secret, *, interval: float, expires_in: float) -> Granted:
    """Poll until the person has decided or the code is past its time (sections 3.4 and 3.5).

    Waits before each request; ``slow_down`` adds five seconds for good; no answer doubles the wait, up to a limit, as
    section 3.5 recommends.
    """
    form: tuple[tuple[str, FormValue], ...] = (("grant_type", DEVICE_GRANT), ("device_code", device_code))
    left = expires_in
    extra = 0.0
    while left > 0:
        pause = min(interval + extra, left)
        yield Wait(pause)
        started = context.now_epoch()
        found = yield from _ask(context, form)
        took = min(max(context.now_epoch() - started, 0.0), 120.0)  # a clock that jumps must not end the wait
        left -= pause + took
        if isinstance(found, TokenResponse):
            return found
        if found.action is Action.POLL:
            extra = 0.0
            if found.reason == "slow_down":
                interval = min(interval + SLOW_DOWN_S, LONGEST_INTERVAL_S)
        elif found.action is Action.RETRY:
            extra = found.retry_after or min(max(extra * 2, interval), LONGEST_TOKEN_RETRY_S)
        else:
            return found
    return GrantFailure("authorization_expired", Action.ASK_USER)


# --- authorization code with PKCE (RFC 6749 section 4.1, RFC 7636, RFC 8252) ------------------------------------------


def code_challenge(verifier: Secret) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(verifier.reveal().encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def build_authorization_url(
    endpoint: str,
    *,
    client_id: str,
    redirect_uri: str,
    scopes: tuple[str, ...],
    state: Secret,
    verifier: Secret,
    extra: tuple[tuple[str, str], ...] = (),
) -> str:
    """Return the address that the person opens (RFC 6749 section 4.1.1, RFC 7636 section 4.3)."""
    query = [
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", redirect_uri),
        ("scope", " ".join(scopes)),
        ("state", state.reveal()),
        ("code_challenge", code_challenge(verifier)),
        ("code_challenge_method", "S256"),
        *extra,
    ]
    return endpoint + ("&" if urlsplit(endpoint).query else "?") + urlencode(query)


class NotThisRequest(Exception):
    """The redirected address does not belong to this request: ``state`` or ``iss`` differ, or it is no such address."""


def parse_redirect(
    address: str, *, state: Secret, issuer: str, issuer_required: bool, errors: ErrorTable
) -> Secret | GrantFailure:
    """Read what the browser was sent back with (RFC 6749 section 4.1.2, RFC 9207): the code, or why there is none.

    ``address`` is a whole address, its query, or either with white space around it, as a person pastes it. Raises
    :class:`NotThisRequest`; then nothing was decided, and the right address may still come.
    """
    text = re.sub(r"\s+", "", address.strip("\"'<> \t\r\n"))
    query = text.partition("#")[0].partition("?")[2] if "?" in text else text.lstrip("#?")
    if len(query) > 16384:
        raise NotThisRequest
    try:
        pairs = parse_qsl(query, max_num_fields=50)
    except ValueError:
        raise NotThisRequest from None
    fields = dict(pairs)
    said = fields.get("state", "").encode("utf-8", "replace")
    if len(fields) != len(pairs) or not hmac.compare_digest(said, state.reveal().encode()):
        raise NotThisRequest
    if issuer and (fields["iss"] != issuer if "iss" in fields else issuer_required):
        raise NotThisRequest
    if fields.get("error"):
        return errors.classify_redirect(
            OAuthError(fields["error"][:100], description=fields.get("error_description", ""))
        )
    if not fields.get("code"):
        raise NotThisRequest
    return Secret(fields["code"])


def exchange_code(context: Context, code: Secret, *, redirect_uri: str, verifier: Secret) -> Granted:
    """Exchange the code for tokens (RFC 6749 section 4.1.3). A code is used once: nothing is asked twice."""
    form: tuple[tuple[str, FormValue], ...] = (
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", verifier),
    )
    return (yield from _ask(context, form))


# --- grants without a person -----------------------------------------------------------------------------------------


def client_credentials(context: Context, scopes: tuple[str, ...], extra: tuple[tuple[str, str], ...] = ()) -> Granted:
    """Ask for a token of the application itself (RFC 6749 section 4.4)."""
    form: tuple[tuple[str, FormValue], ...] = (
        ("grant_type", "client_credentials"),
        ("scope", " ".join(scopes)),
        *extra,
    )
    return (yield from _ask(context, form))


def service_account(context: Context, *, email: str, mailbox: str, scopes: tuple[str, ...]) -> Granted:
    """Ask as a Google service account in the name of ``mailbox`` (RFC 7523 section 2.1; domain-wide delegation)."""
    now = int(context.now_epoch())
    claims: tuple[tuple[str, str | int], ...] = (
        ("iss", email),
        ("sub", mailbox),
        ("scope", " ".join(scopes)),
        ("aud", context.client.audience or context.client.token_endpoint),
        ("iat", now),
        ("exp", now + ASSERTION_LIFE_S),
    )
    signed = yield SignAssertion(KeyUse.SERVICE_ACCOUNT, "RS256", claims)
    if not isinstance(signed, Secret):
        return signing_failure(signed)
    form = (("grant_type", JWT_BEARER_GRANT), ("assertion", signed))
    result = yield HttpRequest("POST", context.client.token_endpoint, form)
    return _read(context, result)


# --- after the grant -------------------------------------------------------------------------------------------------


def refresh(context: Context, refresh_token: Secret, extra: tuple[tuple[str, str], ...] = ()) -> Granted:
    """Ask for a new access token (RFC 6749 section 6). If no refresh token comes back, the old one stays good."""
    form: tuple[tuple[str, FormValue], ...] = (
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
        *extra,
    )
    return (yield from _ask(context, form))


def revoke(context: Context, endpoint: str, token: Secret, hint: str) -> Generator[Step, Any, GrantFailure | None]:
    """Revoke a token (RFC 7009 section 2); ``hint`` is refresh_token or access_token. None: it is revoked."""
    form: tuple[tuple[str, FormValue], ...] = (("token", token), ("token_type_hint", hint))
    client = context.client
    if client.authentication is Auth.SECRET_BASIC:
        secret = client.client_secret or Secret("")
        request: HttpRequest | GrantFailure = HttpRequest(
            "POST", endpoint, form, (("Authorization", basic_credentials(client.client_id, secret)),)
        )
    else:
        at_endpoint = Client(
            client.client_id,
            client.authentication,
            endpoint,
            client.client_secret,
            client.assertion_algorithm,
            client.audience or client.token_endpoint,
        )
        now = int(context.now_epoch())
        request = yield from token_request(at_endpoint, form, jwt_id=next(context.jwt_ids), now_epoch=now)
    if isinstance(request, GrantFailure):
        return request
    result: HttpResponse | HttpFailed = yield request
    if isinstance(result, HttpResponse) and 200 <= result.status < 300:
        return None
    return context.errors.classify(result, now_epoch=context.now_epoch())
