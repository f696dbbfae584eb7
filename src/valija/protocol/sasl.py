"""SASL mechanisms of a client: XOAUTH2, OAUTHBEARER (RFC 7628), PLAIN (RFC 4616), LOGIN.

Always two steps: the mechanism's name alone, then its answer to the first challenge. An initial response would have to fit
a command line (512 octets in SMTP, 255 in POP3), which tokens do not (RFC 4954 section 4, RFC 5034 section 4).

A server that refuses a bearer token may first send an error as a challenge. It is decoded and kept; what follows it is a
formality: an empty answer (XOAUTH2) or one octet %x01 (OAUTHBEARER section 3.2.3), then the real refusal.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from valija.protocol.errors import LocalProtocolError, RemoteProtocolError
from valija.secret import Secret

CHALLENGE_LIMIT: Final = 12288  # octets of a base64 line (RFC 4954 section 4)
_FORBIDDEN: Final = re.compile("[\0\x01\r\n\ud800-\udfff]")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, slots=True)
class BearerCredentials:
    """A mailbox and an access token; ``host`` and ``port`` are the server's, for OAUTHBEARER."""

    user: str
    token: Secret
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class PasswordCredentials:
    """A user name and a password."""

    user: str
    password: Secret


Credentials = BearerCredentials | PasswordCredentials


@dataclass(frozen=True, slots=True)
class ErrorChallenge:
    """What a server said as a challenge before it refused: from JSON, or the raw text. One line, safe to show."""

    status: str
    scope: str
    configuration: str
    text: str


class Mechanism(Protocol):
    """One log-in under way."""

    name: str
    error: ErrorChallenge | None

    def respond(self, challenge: bytes) -> bytes:
        """Answer a decoded challenge."""
        ...


class Xoauth2:
    """Google's and Microsoft's mechanism."""

    name = "XOAUTH2"

    def __init__(self, credentials: BearerCredentials) -> None:
        self._credentials = credentials
        self._answered = False
        self.error: ErrorChallenge | None = None

    def respond(self, challenge: bytes) -> bytes:
        """Send user and token first; anything after that is an error, answered with nothing."""
        if self._answered:
            self.error = parse_error_challenge(challenge)
            return b""
        self._answered = True
        user = _clean(self._credentials.user)
        return f"user={user}\x01auth=Bearer {_clean(self._credentials.token.reveal())}\x01\x01".encode()


class OauthBearer:
    """RFC 7628."""

    name = "OAUTHBEARER"

    def __init__(self, credentials: BearerCredentials) -> None:
        self._credentials = credentials
        self._answered = False
        self.error: ErrorChallenge | None = None

    def respond(self, challenge: bytes) -> bytes:
        """Send user, server and token first; anything after that is an error, answered with %x01."""
        if self._answered:
            self.error = parse_error_challenge(challenge)
            return b"\x01"
        self._answered = True
        c = self._credentials
        user = _clean(c.user).replace("=", "=3D").replace(",", "=2C")
        server = f"host={_clean(c.host)}\x01port={c.port}\x01"
        return f"n,a={user},\x01{server}auth=Bearer {_clean(c.token.reveal())}\x01\x01".encode()


class Plain:
    """RFC 4616."""

    name = "PLAIN"

    def __init__(self, credentials: PasswordCredentials) -> None:
        self._credentials = credentials
        self._answered = False
        self.error: ErrorChallenge | None = None

    def respond(self, challenge: bytes) -> bytes:
        """Send user and password."""
        if self._answered:
            raise RemoteProtocolError("a second challenge to PLAIN")
        self._answered = True
        return f"\0{_clean(self._credentials.user)}\0{_clean(self._credentials.password.reveal())}".encode()


class Login:
    """The mechanism of old servers: user name, then password, whatever the prompts say."""

    name = "LOGIN"

    def __init__(self, credentials: PasswordCredentials) -> None:
        self._answers = [_clean(credentials.user), _clean(credentials.password.reveal())]
        self.error: ErrorChallenge | None = None

    def respond(self, challenge: bytes) -> bytes:
        """Send the next of the two."""
        if not self._answers:
            raise RemoteProtocolError("a third challenge to LOGIN")
        return self._answers.pop(0).encode()


BEARER_PREFERENCE: Final = ("XOAUTH2", "OAUTHBEARER")
PASSWORD_PREFERENCE: Final = ("PLAIN", "LOGIN")


def choose_mechanism(
    offered: Iterable[str], credentials: Credentials, preference: tuple[str, ...] = ()
) -> Mechanism | None:
    """Return the first preferred mechanism that the server offers and the credentials are for; None if there is none.

    A token never goes by a password mechanism nor a password by a token's.
    """
    names = {name.upper() for name in offered}
    if isinstance(credentials, BearerCredentials):
        order = [name for name in (*preference, *BEARER_PREFERENCE) if name in BEARER_PREFERENCE]
        chosen = next((name for name in order if name in names), None)
        if chosen is None:
            return None
        return Xoauth2(credentials) if chosen == "XOAUTH2" else OauthBearer(credentials)
    chosen = next((name for name in PASSWORD_PREFERENCE if name in names), None)
    if chosen is None:
        return None
    return Plain(credentials) if chosen == "PLAIN" else Login(credentials)


def parse_error_challenge(challenge: bytes) -> ErrorChallenge:
    """Read an error challenge (RFC 7628 section 3.2.2); text that is not JSON is kept as it is."""
    text = _UNSAFE.sub(" ", challenge.decode("utf-8", "replace")).strip()[:500]
    try:
        raw = json.loads(challenge)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        return ErrorChallenge("", "", "", text)

    def field(name: str) -> str:
        return _UNSAFE.sub(" ", str(raw.get(name, "")))[:200]

    return ErrorChallenge(field("status"), field("scope"), field("openid-configuration"), text)


def encode_line(response: bytes) -> bytes:
    """Return a response as a base64 line."""
    return base64.b64encode(response) + b"\r\n"


def decode_challenge(text: str) -> bytes:
    """Decode a challenge's base64; what is not base64 is taken as it is: servers differ, and it is only shown."""
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "replace")


def _clean(text: str) -> str:
    if _FORBIDDEN.search(text):
        raise LocalProtocolError("a control character in a user name, password, token or host")
    return text
