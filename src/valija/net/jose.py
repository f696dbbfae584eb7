"""Signing assertions (RFC 7515, RFC 7523) with keys that the operator gave; libraries are loaded only when needed."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from valija.oauth.client import SignAssertion, SigningFailed
from valija.secret import Secret


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key (PEM), the certificate that goes with it (PEM, public) or a key id."""

    private_key: Secret
    certificate: str = ""
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """What Google's JSON key says: who signs, with which key."""

    email: str
    key: SigningKey


class KeyUnusable(Exception):
    """The key or certificate cannot be used; the text says why, without the key."""


def sign(step: SignAssertion, key: SigningKey) -> Secret | SigningFailed:
    """Sign an assertion; ``x5t#S256`` names the certificate, ``kid`` the key."""
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import RSAKey

    try:
        header: dict[str, Any] = {"alg": step.algorithm, "typ": "JWT"}
        if key.certificate:
            check_pair(key)
            header["x5t#S256"] = thumbprint(key.certificate)
        if key.key_id:
            header["kid"] = key.key_id
        private = RSAKey.import_key(key.private_key.reveal())
        return Secret(jwt.encode(header, dict(step.claims), private, algorithms=[step.algorithm]))
    except KeyUnusable as error:
        return SigningFailed(str(error))
    except (JoseError, ValueError, TypeError) as error:
        # the libraries' texts may quote the key: only the kind of error is told
        return SigningFailed(f"the private key cannot be used ({type(error).__name__})")


def thumbprint(certificate: str) -> str:
    """Return base64url(SHA-256(DER)) of a certificate (RFC 7515 section 4.1.8)."""
    from cryptography.hazmat.primitives.serialization import Encoding

    der = _load_certificate(certificate).public_bytes(Encoding.DER)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def certificate_end(certificate: str) -> datetime:
    """Return when a certificate (PEM) ends. Raises :class:`KeyUnusable`."""
    end: datetime = _load_certificate(certificate).not_valid_after_utc
    return end


def check_pair(key: SigningKey) -> None:
    """Check that key and certificate belong together and can sign. Raises :class:`KeyUnusable`."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key.private_key.reveal().encode(), None)
    except (ValueError, TypeError):
        raise KeyUnusable("the private key is not a PEM key without a pass phrase") from None
    if not isinstance(private, RSAPrivateKey) or private.key_size < 2048:
        raise KeyUnusable("the private key must be RSA of 2048 bits or more")
    if key.certificate and _load_certificate(key.certificate).public_key() != private.public_key():
        raise KeyUnusable("the certificate belongs to another private key")


def parse_service_account(text: Secret) -> ServiceAccount:
    """Read Google's JSON key. Raises :class:`KeyUnusable`."""
    try:
        raw = json.loads(text.reveal())
        if raw["type"] != "service_account":
            raise KeyUnusable("the file is not a service account's key")
        key = SigningKey(Secret(raw["private_key"]), key_id=str(raw["private_key_id"]))
        email = str(raw["client_email"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeyUnusable("the file is not a service account's key (JSON)") from None
    check_pair(key)
    return ServiceAccount(email, key)


def _load_certificate(certificate: str) -> Any:
    from cryptography.x509 import load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(certificate.encode())
    except ValueError:
        raise KeyUnusable("the certificate is not PEM") from None
