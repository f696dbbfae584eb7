"""Authorities and server certificates of our own, made once and renewed in time.

Theory of operation
-------------------
1. The web page and the sandbox have an authority that signs once and is thrown away (:func:`make_certificates`).
2. The gateway's authority stays (:func:`own_chain`): who has imported it into a device need not do so again when the server's
   certificate is renewed, or made out to another address. Its key lies beside the server's, for the daemon's user alone, and
   stays when the authority's own certificate is made anew: who has the one before goes on with it until its end.
3. The gateway's server has two certificates by one authority: RSA, the only kind that old devices know, and ECDSA, which costs
   the machine a tenth; OpenSSL shows each client the one that it can use. The authority is RSA, so that both can be checked.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

LIFE: Final = timedelta(days=365)
RENEW_BEFORE: Final = timedelta(days=30)
GATEWAY_LIFE: Final = timedelta(days=730)  # who has accepted it by hand must do so again after that
AUTHORITY_LIFE: Final = timedelta(days=3650)
AUTHORITY_NAME: Final = "Valija gateway"
LOOPBACK: Final = ("127.0.0.1", "::1")
KINDS: Final = ("rsa", "ec")
WRITTEN: Final = datetime(2026, 1, 1, tzinfo=UTC)  # a clock that says an earlier time is wrong


def own_host() -> str:
    """Return this machine's name, as certificates can say it."""
    name = socket.gethostname()
    return name if name and name.isascii() and len(name) < 64 else "localhost"


def own_certificate(state_dir: Path) -> tuple[Path, Path]:
    """Return (certificate, key) that the machine made for itself, for the web page."""
    _ca, certificate, key = make_certificates(state_dir / "web", "Valija at this machine", own_host())
    return certificate, key


def make_certificates(directory: Path, authority: str, host: str = "localhost") -> tuple[Path, Path, Path]:
    """Return (authority, certificate, key), PEM files in ``directory``; the server is ``host`` and this machine."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca, certificate, key = directory / "ca.pem", directory / "server.pem", directory / "server.key"
    now = datetime.now(UTC)
    if ca.exists() and key.exists() and _lasts(_load(certificate), now, RENEW_BEFORE):
        return ca, certificate, key
    ca_key, server_key = _new_key("ec"), _new_key("ec")
    issuer = _Issuer(authority, ca_key, now)
    _write_key(key, server_key)
    _write_certificate(certificate, issuer.server(host, server_key, (host, "localhost"), LOOPBACK, LIFE))
    _write_certificate(ca, issuer.itself(LIFE))
    return ca, certificate, key


@dataclass(frozen=True, slots=True)
class OwnChain:
    """What the gateway made for itself: its authority, and (certificate, key) by RSA and by ECDSA."""

    authority: Path
    pairs: tuple[tuple[Path, Path], ...]


def own_chain(directory: Path, host: str, addresses: Sequence[str], now: datetime) -> OwnChain:
    """Return the gateway's certificates, PEM files in ``directory``, made or renewed if that is due; blocking.

    It is due before they end, and when the machine has a name or an address that they do not say.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    issuer = _kept_authority(directory, now)
    names, places = _as_certificates_say((host, "localhost", *addresses, *LOOPBACK))
    pairs = tuple((directory / f"{kind}.pem", directory / f"{kind}.key") for kind in KINDS)
    for kind, (certificate, key) in zip(KINDS, pairs, strict=True):
        if not _is_good(certificate, key, issuer, (*names, *places), now):
            server_key = _kept_key(key) or _new_key(kind)
            _write_key(key, server_key)
            _write_certificate(certificate, issuer.server(host, server_key, names, places, GATEWAY_LIFE))
    return OwnChain(directory / "ca.pem", pairs)


def _as_certificates_say(places: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names, and the addresses in their one spelling, without the interface that one is good at."""
    names, addresses = [], []
    for place in places:
        try:
            addresses.append(str(ipaddress.ip_address(place.partition("%")[0])))
        except ValueError:
            names.append(place)
    return tuple(dict.fromkeys(names)), tuple(dict.fromkeys(addresses))


def _kept_authority(directory: Path, now: datetime) -> _Issuer:
    certificate, key = directory / "ca.pem", directory / "ca.key"
    kept, there = _kept_key(key), _load(certificate)
    issuer = _Issuer(AUTHORITY_NAME, kept or _new_key("rsa"), now)
    if kept is None:
        _write_key(key, issuer.key)
    if not _lasts(there, now, GATEWAY_LIFE) or not _belong_together(there, issuer.key):
        _write_certificate(certificate, issuer.itself(AUTHORITY_LIFE))
    return issuer


def _is_good(certificate: Path, key: Path, issuer: _Issuer, wanted: Sequence[str], now: datetime) -> bool:
    from cryptography import x509

    there, kept = _load(certificate), _kept_key(key)
    if kept is None or not _lasts(there, now, RENEW_BEFORE) or not _belong_together(there, kept):
        return False
    try:
        said = there.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        signer = there.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return False
    names = {*said.get_values_for_type(x509.DNSName), *map(str, said.get_values_for_type(x509.IPAddress))}
    is_ours = signer == x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    return is_ours and names >= set(wanted)


class _Issuer:
    """An authority at work."""

    def __init__(self, name: str, key: Any, now: datetime) -> None:
        self.name = name
        self.key = key
        self._now = now

    def itself(self, life: timedelta) -> Any:
        """Return the authority's certificate."""
        from cryptography import x509

        builder = self._begin(self.name, self.key.public_key(), life, is_authority=True)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        return self._sign(builder.add_extension(usage, critical=True))

    def server(self, host: str, key: Any, names: Sequence[str], addresses: Sequence[str], life: timedelta) -> Any:
        """Return a server's certificate: ``host`` is its common name, which old devices look at alone."""
        from cryptography import x509

        said: list[x509.GeneralName] = [*map(x509.DNSName, dict.fromkeys(names))]
        said += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        builder = self._begin(host, key.public_key(), life, is_authority=False)
        usage = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
        builder = builder.add_extension(x509.SubjectAlternativeName(said), critical=False)
        builder = builder.add_extension(usage, critical=True)
        return self._sign(
            builder.add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )

    def _begin(self, subject: str, public_key: Any, life: timedelta, *, is_authority: bool) -> Any:
        from cryptography import x509

        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(self.name))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - timedelta(days=1))
            .not_valid_after(self._now + life)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(identifier, critical=False)
        )

    def _sign(self, builder: Any) -> Any:
        from cryptography.hazmat.primitives import hashes

        return builder.sign(self.key, hashes.SHA256())


def _name(text: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _new_key(kind: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    return rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


def _kept_key(path: Path) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(path.read_bytes(), None)
    except (FileNotFoundError, ValueError, TypeError):  # what is damaged is made anew
        return None


def _load(path: Path) -> Any:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _lasts(certificate: Any, now: datetime, at_least: timedelta) -> bool:
    """Tell whether a certificate is good for so long; one of times to come was made while the clock was wrong."""
    if certificate is None or certificate.not_valid_after_utc - now <= at_least:
        return False
    return bool(certificate.not_valid_before_utc <= now or now < WRITTEN)


def _belong_together(certificate: Any, key: Any) -> bool:
    """Tell whether a certificate is of this key: they are two files, and the power can fail between them."""
    return bool(certificate.public_key() == key.public_key())


def _write_key(path: Path, key: Any) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)


def _write_certificate(path: Path, certificate: Any) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    _write(path, certificate.public_bytes(Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(path)
