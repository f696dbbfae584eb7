"""How the client shows who it is at the token endpoint (RFC 6749 section 2.3, RFC 7523 section 2.2)."""

from __future__ import annotations

import base64
from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote_plus

from valija.oauth.classification import Action, GrantFailure, safe_words
from valija.oauth.http_messages import FormValue, HttpFailed, HttpRequest, HttpResponse
from valija.secret import Secret

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFE_S: Final = 300
_CLOCK_SKEW_S: Final = 30


class ClientAuthentication(StrEnum):
    """Values of ``token_endpoint_auth_method`` (RFC 7591 section 2)."""

    NONE = "none"
    SECRET_BASIC = "client_secret_basic"
    SECRET_POST = "client_secret_post"
    PRIVATE_KEY_JWT = "private_key_jwt"


class KeyUse(StrEnum):
    """Which of a registration's keys signs."""

    CLIENT = "client"
    SERVICE_ACCOUNT = "service_account"


@dataclass(frozen=True, slots=True)
class SignAssertion:
    """A step: sign ``claims`` as a JWS (RFC 7515). The driver knows the key and adds its header fields."""

    use: KeyUse
    algorithm: str
    claims: tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True)
class SigningFailed:
    """The key cannot sign; ``detail`` says why, without the key."""

    detail: str


@dataclass(frozen=True, slots=True)
class Wait:
    """A step: let ``seconds`` pass."""

    seconds: float


Step = HttpRequest | SignAssertion | Wait
StepResult = HttpResponse | HttpFailed | Secret | SigningFailed | None
Steps = Generator[Step, Any, Any]


@dataclass(frozen=True, slots=True)
class Client:
    """A client at its authorization server. ``audience`` of assertions is the token endpoint unless the profile differs."""

    client_id: str
    authentication: ClientAuthentication
    token_endpoint: str
    client_secret: Secret | None = None
    assertion_algorithm: str = "PS256"
    audience: str = ""


def token_request(
    client: Client, form: tuple[tuple[str, FormValue], ...], *, jwt_id: str, now_epoch: int
) -> Generator[Step, Any, HttpRequest | GrantFailure]:
    """Complete a request to the token endpoint with the client's authentication; may ask for a signature."""
    match client.authentication:
        case ClientAuthentication.NONE:
            return HttpRequest("POST", client.token_endpoint, (*form, ("client_id", client.client_id)))
        case ClientAuthentication.SECRET_BASIC:
            header = ("Authorization", basic_credentials(client.client_id, client.client_secret or Secret("")))
            return HttpRequest("POST", client.token_endpoint, form, (header,))
        case ClientAuthentication.SECRET_POST:
            secret = client.client_secret or Secret("")
            identity = (("client_id", client.client_id), ("client_secret", secret))
            return HttpRequest("POST", client.token_endpoint, (*form, *identity))
        case ClientAuthentication.PRIVATE_KEY_JWT:
            return (yield from _with_assertion(client, form, jwt_id, now_epoch))


def _with_assertion(
    client: Client, form: tuple[tuple[str, FormValue], ...], jwt_id: str, now_epoch: int
) -> Generator[Step, Any, HttpRequest | GrantFailure]:
    claims: tuple[tuple[str, str | int], ...] = (
        ("aud", client.audience or client.token_endpoint),
        ("iss", client.client_id),
        ("sub", client.client_id),
        ("jti", jwt_id),
        ("iat", now_epoch),
        ("nbf", now_epoch - _CLOCK_SKEW_S),
        ("exp", now_epoch + ASSERTION_LIFE_S),
    )
    signed = yield SignAssertion(KeyUse.CLIENT, client.assertion_algorithm, claims)
    if not isinstance(signed, Secret):
        return signing_failure(signed)
    identity = (
        ("client_id", client.client_id),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", signed),
    )
    return HttpRequest("POST", client.token_endpoint, (*form, *identity))


def signing_failure(failed: SigningFailed) -> GrantFailure:
    """Return the failure for a key that cannot sign."""
    return GrantFailure("signing_key_wrong", Action.CONFIGURATION, server_words=safe_words(failed.detail))


def basic_credentials(client_id: str, client_secret: Secret) -> Secret:
    """Return the value of an Authorization field: both parts form-encoded before base64 (RFC 6749 section 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret.reveal())}"
    return Secret("Basic " + base64.b64encode(pair.encode()).decode())
