"""Requests that grants ask for and the answers they are sent: HTTP as values (RFC 9110), without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from urllib.parse import quote_plus, urlsplit

from valija.secret import Secret

FormValue = str | Secret
FORM_TYPE: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request. ``form`` is sent as application/x-www-form-urlencoded; ``headers`` may hold secrets too."""

    method: str
    url: str
    form: tuple[tuple[str, FormValue], ...] = ()
    headers: tuple[tuple[str, FormValue], ...] = ()


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer; header names in lower case; ``body`` is bounded by the driver."""

    status: int
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    body: bytes = b""


class HttpTrouble(StrEnum):
    """Why there is no answer."""

    UNREACHABLE = "provider_unreachable"
    TIMED_OUT = "provider_timed_out"
    TLS = "provider_tls"
    TOO_LARGE = "provider_nonsense"
    REDIRECTED = "provider_redirected"


@dataclass(frozen=True, slots=True)
class HttpFailed:
    """No usable answer came; ``detail`` is the system's own words."""

    trouble: HttpTrouble
    detail: str


HttpResult = HttpResponse | HttpFailed


def reveal(value: FormValue) -> str:
    """Return the text of a form value: only for the wire."""
    return value.reveal() if isinstance(value, Secret) else value


def encode_form(form: tuple[tuple[str, FormValue], ...]) -> bytes:
    """Encode a form's body, each name and value percent-encoded (WHATWG URL; RFC 6749 appendix B)."""
    return "&".join(f"{quote_plus(name)}={quote_plus(reveal(value))}" for name, value in form).encode("ascii")


def is_loopback_host(host: str | None) -> bool:
    """Tell whether a host is this machine by name or literal address."""
    return host is not None and (host in ("localhost", "::1") or (host.startswith("127.") and _is_ipv4(host)))


def is_safe_url(url: str) -> bool:
    """Tell whether secrets may be sent to ``url``: https, or http on loopback; no user part, no fragment."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        return False
    if not parts.hostname or not port_is_valid or parts.username is not None or parts.fragment:
        return False
    if any(ord(c) <= 32 or ord(c) == 127 for c in url):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback_host(parts.hostname))


def _is_ipv4(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts)
