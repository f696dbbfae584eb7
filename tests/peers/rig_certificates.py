"""Keys and certificates of the rig, made anew at each start: an authority, a server of it, an impostor, a client's key."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

type_of_key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
LIFE = datetime.timedelta(days=30)
SERVER_NAMES = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files. ``rogue`` has the server's names and is signed by nobody that ``ca`` knows."""

    ca: Path
    server: Path
    server_key: Path
    rogue: Path
    rogue_key: Path
    client: Path
    client_key: Path


def make_certificates(directory: Path) -> Certificates:
    """Make all of them in this directory."""
    names = ("ca", "server", "server_key", "rogue", "rogue_key", "client", "client_key")
    files = Certificates(*(directory / f"{name}.pem" for name in names))
    authority_key, authority = ec.generate_private_key(ec.SECP256R1()), _name("Valija test authority")
    files.ca.write_bytes(_pem(_sign(authority, authority_key, authority, authority_key)))
    for certificate, key_file, issuer_key in (
        (files.server, files.server_key, authority_key),
        (files.rogue, files.rogue_key, ec.generate_private_key(ec.SECP256R1())),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate.write_bytes(_pem(_sign(_name("localhost"), key, authority, issuer_key, SERVER_NAMES)))
        _write_key(key_file, key)
    client_key, client = rsa.generate_private_key(65537, 2048), _name("Valija test client")
    files.client.write_bytes(_pem(_sign(client, client_key, client, client_key)))
    _write_key(files.client_key, client_key)
    return files


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _sign(
    subject: x509.Name,
    key: type_of_key,
    issuer: x509.Name,
    issuer_key: type_of_key,
    names: tuple[x509.GeneralName, ...] = (),
) -> x509.Certificate:
    """Sign a server's certificate if there are ``names``, otherwise one that signs itself."""
    now = datetime.datetime.now(datetime.UTC)
    public, signer = key.public_key(), issuer_key.public_key()
    builder = (
        x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number(), now - LIFE, now + LIFE)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
        .add_extension(_usage(signs=not names), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
    return builder.sign(issuer_key, hashes.SHA256())


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(file: Path, key: type_of_key) -> None:
    file.touch(0o600)
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
