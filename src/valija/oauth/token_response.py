"""The token endpoint's answer (RFC 6749 section 5.1), read with mistrust.

What is not a JSON object with a bearer token is nonsense: a failure that is tried again and never ends a grant.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final

from valija.oauth.classification import WORDS_OCTETS, GrantFailure, nonsense, parse_json_object
from valija.oauth.http_messages import HttpResponse
from valija.secret import Secret

DEFAULT_EXPIRES_IN: Final = 3600  # s; RFC 6749 leaves it to the client; providers of mail give about an hour
SHORTEST_EXPIRES_IN: Final = 30
LONGEST_EXPIRES_IN: Final = 31 * 86400
TOKEN_LIMIT: Final = 65536
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")  # b64token of RFC 6750 section 2.1, and what providers send besides


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """What was given. Times in seconds from the answer; ``refresh_token`` None where none was sent."""

    access_token: Secret
    expires_in: int
    refresh_token: Secret | None
    scopes: tuple[str, ...]
    refresh_token_expires_in: int | None


def parse_token_response(response: HttpResponse) -> TokenResponse | GrantFailure:
    """Read a 200 answer of the token endpoint. Returns a failure (nonsense) for whatever does not fit."""
    answer = parse_json_object(response.body)
    if answer is None or not 200 <= response.status < 300:
        return _without_words(response) if b"token" in response.body[:WORDS_OCTETS].lower() else nonsense(response)
    access, refresh = answer.get("access_token"), answer.get("refresh_token")
    kind = answer.get("token_type", "Bearer")  # required, but not sent by all
    if not _is_token(access) or (refresh not in (None, "") and not _is_token(refresh)):
        return _without_words(response)
    if not isinstance(kind, str) or kind.lower() not in ("bearer", "http bearer"):
        return _without_words(response)
    scope = answer.get("scope")
    return TokenResponse(
        Secret(str(access)),
        parse_seconds(answer.get("expires_in"), DEFAULT_EXPIRES_IN, SHORTEST_EXPIRES_IN, LONGEST_EXPIRES_IN),
        Secret(refresh) if refresh else None,
        tuple(scope.split()[:100]) if isinstance(scope, str) else (),
        parse_seconds(answer["refresh_token_expires_in"], 86400, 60, 10 * 366 * 86400)
        if answer.get("refresh_token_expires_in")
        else None,
    )


def parse_seconds(value: Any, default: int, low: int, high: int) -> int:
    """Read a number of seconds that may come as a number or as text; what makes no sense is ``default`` or clamped."""
    if isinstance(value, str):
        try:
            value = float(value.strip()[:20])
        except ValueError:
            return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    if isinstance(value, float) and not math.isfinite(value):  # an int of 400 digits cannot even be asked that
        return default
    return default if value <= 0 else int(min(max(value, low), high))


def _is_token(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= TOKEN_LIMIT and _TOKEN.fullmatch(value) is not None


def _without_words(response: HttpResponse) -> GrantFailure:
    """Nonsense whose body may hold a token: its words are not kept."""
    return nonsense(HttpResponse(response.status))


def _moment(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None


@dataclass(frozen=True, slots=True)
class AccessTokenClaims:
    """What a JWT access token says about itself: for diagnostics only, nothing is trusted (RFC 9068)."""

    audiences: tuple[str, ...]
    scopes: tuple[str, ...]
    mailbox: str
    expires_at_epoch: float | None


def describe_access_token(token: Secret) -> AccessTokenClaims | None:
    """Decode a JWT's claims without checking anything; None if the token is opaque."""
    parts = token.reveal().split(".")
    if len(parts) != 3 or len(parts[1]) > TOKEN_LIMIT:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    if not isinstance(claims, dict):
        return None
    audience, scope, roles = claims.get("aud"), claims.get("scp") or claims.get("scope"), claims.get("roles")
    names = (claims.get(key) for key in ("upn", "preferred_username", "unique_name", "username", "email"))
    expires = claims.get("exp")
    return AccessTokenClaims(
        tuple(str(a) for a in (audience if isinstance(audience, list) else [audience]) if a),
        (tuple(scope.split()) if isinstance(scope, str) else ())
        + (tuple(str(r) for r in roles) if isinstance(roles, list) else ()),
        next((name for name in names if isinstance(name, str) and "@" in name), ""),
        _moment(expires),
    )
