"""SASL mechanisms of a server: PLAIN, LOGIN, XOAUTH2, OAUTHBEARER, with and without initial response.

A :class:`ServerMechanism` is fed decoded responses. It gives a challenge to send, or what the client has shown; then the
caller decides. A refused bearer token is answered with an error challenge first (RFC 7628 section 3.2.2), and the client's
answer to that with the refusal itself.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Final

from valija.secret import Secret

MECHANISMS: Final = ("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER")
_USERNAME_PROMPT: Final = b"Username:"  # exactly these: some devices compare the base64 text
_PASSWORD_PROMPT: Final = b"Password:"
_XOAUTH2: Final = re.compile(r"user=([^\x01]*)\x01auth=Bearer ([^\x01]+)\x01\x01", re.IGNORECASE)
_OAUTHBEARER: Final = re.compile(
    r"n,(?:a=([^,\x01]*))?,\x01(?:[^\x01]+\x01)*?auth=Bearer ([^\x01]+)\x01(?:[^\x01]+\x01)*\x01", re.I
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send this (before base64) and wait for the answer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Shown:
    """What the client has shown: a password, or a bearer token."""

    mechanism: str
    user: str
    password: Secret | None = None
    token: Secret | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """The response is not what the mechanism says."""


class ServerMechanism:
    """One log-in under way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._user: str | None = None

    def start(self, initial: bytes | None) -> Challenge | Shown | Malformed:
        """Begin, with the decoded initial response if the client sent one."""
        if self.name != "LOGIN":
            return Challenge(b"") if initial is None else self.respond(initial)
        if initial:  # the odd form with the user name inline
            return self.respond(initial)
        return Challenge(_USERNAME_PROMPT)

    def respond(self, response: bytes) -> Challenge | Shown | Malformed:
        """Take the next decoded response."""
        try:
            text = response.decode("utf-8")
        except UnicodeDecodeError:
            text = response.decode("latin-1")
        match self.name:
            case "PLAIN":
                parts = text.split("\0")
                if len(parts) != 3:
                    return Malformed()
                return Shown("PLAIN", parts[1] or parts[0], password=Secret(parts[2]))
            case "LOGIN":
                if self._user is None:
                    self._user = text
                    return Challenge(_PASSWORD_PROMPT)
                return Shown("LOGIN", self._user, password=Secret(text))
            case "XOAUTH2":
                found = _XOAUTH2.fullmatch(text)
                return Shown("XOAUTH2", found.group(1), token=Secret(found.group(2))) if found else Malformed()
            case _:
                found = _OAUTHBEARER.fullmatch(text)
                if found is None:
                    return Malformed()
                user = (found.group(1) or "").replace("=2C", ",").replace("=3D", "=")
                return Shown("OAUTHBEARER", user, token=Secret(found.group(2)))


def error_challenge(status: str, scope: str) -> bytes:
    """Return the error challenge for a refused token."""
    return json.dumps({"status": status, "schemes": "bearer", "scope": scope}).encode()


def decode_response(line: bytes) -> bytes | None:
    """Decode a client's base64 line; ``=`` is an empty response (RFC 4954 section 4); None: not base64.

    Some devices leave out the padding at its end.
    """
    text = line.strip()
    if text == b"=":
        return b""
    if b"=" not in text:
        text += b"=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
