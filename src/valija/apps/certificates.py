"""An authority and a server certificate of our own, made once and renewed in time."""

from __future__ import annotations

import ipaddress
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

LIFE: Final = timedelta(days=365)
RENEW_BEFORE: Final = timedelta(days=30)


def own_certificate(state_dir: Path) -> tuple[Path, Path]:
    """Return (certificate, key) that the machine made for itself, for the web page and the gateway."""
    name = socket.gethostname()
    host = name if name.isascii() and len(name) < 64 else "localhost"
    _ca, certificate, key = make_certificates(state_dir / "web", "Valija at this machine", host)
    return certificate, key


def make_certificates(directory: Path, authority: str, host: str = "localhost") -> tuple[Path, Path, Path]:
    """Return (authority, certificate, key), PEM files in ``directory``; the server is ``host`` and this machine."""
    from cryptography import x509

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca, certificate, key = directory / "ca.pem", directory / "server.pem", directory / "server.key"
    if ca.exists() and certificate.exists() and key.exists():
        end = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
        if end - datetime.now(UTC) > RENEW_BEFORE:
            return ca, certificate, key
    _make(ca, certificate, key, authority, host)
    return ca, certificate, key


def _make(ca: Path, certificate: Path, key: Path, authority_name: str, host: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _build(authority_name, ca_key.public_key(), authority_name, ca_key, None)
    names = x509.SubjectAlternativeName(
        [
            *(x509.DNSName(name) for name in dict.fromkeys((host, "localhost"))),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    server = _build(host, server_key.public_key(), authority_name, ca_key, names)
    _write(key, server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _write(certificate, server.public_bytes(Encoding.PEM), 0o644)
    _write(ca, authority.public_bytes(Encoding.PEM), 0o644)


def _build(subject: str, public_key: Any, issuer: str, issuer_key: Any, names: Any) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if names is None:
        builder = builder.add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
        )
    else:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(path)
