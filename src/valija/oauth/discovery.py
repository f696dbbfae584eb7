"""What an authorization server says about itself (RFC 8414, OpenID Connect Discovery 1.0), checked before it is believed.

"Not advertised" does not mean "not supported": a provider's profile may know more, and wins.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from valija.oauth.classification import Action, GrantFailure, parse_json_object, safe_words
from valija.oauth.client import Step
from valija.oauth.http_messages import HttpFailed, HttpRequest, HttpResponse, HttpTrouble, is_safe_url

TENANT_TEMPLATE: Final = "{tenantid}"
_NEXT_MAY_ANSWER: Final = (HttpTrouble.REDIRECTED, HttpTrouble.TOO_LARGE)  # many send whom they do not know to a page


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """The endpoints that grants need; empty where the server has none. ``issuer`` is what RFC 9207 compares."""

    issuer: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    device_authorization_endpoint: str = ""
    revocation_endpoint: str = ""
    issuer_in_response: bool = False  # RFC 9207: authorization_response_iss_parameter_supported
    token_authentication: tuple[str, ...] = ()


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Return where an issuer's metadata may be, best first (RFC 8414 section 3.1, then OpenID Connect's place)."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")

    def at(new_path: str) -> str:
        return urlunsplit((parts.scheme, parts.netloc, new_path, "", ""))

    urls = (
        at(f"/.well-known/oauth-authorization-server{path}"),
        at(f"{path}/.well-known/openid-configuration"),
        at(f"/.well-known/openid-configuration{path}"),
    )
    return tuple(dict.fromkeys(urls))


def discover(issuer: str, *, templated_issuer: bool = False) -> Generator[Step, Any, ServerMetadata | GrantFailure]:
    """Fetch and check the metadata of ``issuer``; ``templated_issuer`` accepts Entra's ``{tenantid}`` form."""
    if not is_safe_url(issuer):
        return _failed("the issuer must be an https address (http on loopback only)")
    last: GrantFailure | None = None
    for url in metadata_urls(issuer):
        result = yield HttpRequest("GET", url, headers=(("Accept", "application/json"),))
        if isinstance(result, HttpFailed) and result.trouble in _NEXT_MAY_ANSWER:
            last = GrantFailure(result.trouble.value, Action.RETRY, server_words=safe_words(result.detail))
            continue
        if isinstance(result, HttpFailed):
            return GrantFailure(result.trouble.value, Action.RETRY, server_words=safe_words(result.detail))
        if result.status >= 500 or result.status == 429:
            last = GrantFailure("provider_down", Action.RETRY, server_words=safe_words(f"HTTP {result.status} {url}"))
            continue
        found = parse_metadata(result, issuer, templated_issuer=templated_issuer)
        if isinstance(found, ServerMetadata):
            return found
        last = last if last and result.status == 404 else found
    return last or _failed("no metadata")


def parse_metadata(
    response: HttpResponse, issuer: str, *, templated_issuer: bool = False
) -> ServerMetadata | GrantFailure:
    """Read metadata: the issuer must be the one asked for, and every endpoint safe (https, or http on loopback)."""
    answer = parse_json_object(response.body) if response.status == 200 else None
    if answer is None:
        return _failed(f"HTTP {response.status} without metadata")
    said = answer.get("issuer")
    if not isinstance(said, str) or not _same_issuer(said, issuer, templated_issuer):
        return _failed(f"the server says that its issuer is {said}")
    endpoints = {name: answer.get(name, "") for name in _ENDPOINTS}
    for name, value in endpoints.items():
        if value and not (isinstance(value, str) and is_safe_url(value)):
            return _failed(f"{name} is not a safe address")
    if not endpoints["token_endpoint"]:
        return _failed("there is no token_endpoint")
    methods = answer.get("token_endpoint_auth_methods_supported")
    return ServerMetadata(
        issuer=said,
        issuer_in_response=answer.get("authorization_response_iss_parameter_supported") is True,
        token_authentication=tuple(str(m) for m in methods) if isinstance(methods, list) else (),
        **endpoints,
    )


_ENDPOINTS: Final = (
    "authorization_endpoint",
    "token_endpoint",
    "device_authorization_endpoint",
    "revocation_endpoint",
)


def _same_issuer(said: str, asked: str, templated: bool) -> bool:
    if said == asked or said.rstrip("/") == asked.rstrip("/"):
        return True
    if not templated or TENANT_TEMPLATE not in said:
        return False
    before, after = said.split(TENANT_TEMPLATE, 1)
    middle = asked[len(before) : len(asked) - len(after) if after else None]
    return asked.startswith(before) and asked.endswith(after) and "/" not in middle and bool(middle)


def _failed(words: str) -> GrantFailure:
    return GrantFailure("discovery_failed", Action.CONFIGURATION, server_words=safe_words(words))
