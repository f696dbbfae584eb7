"""A client registration: how this machine is known at a provider."""

from __future__ import annotations

from dataclasses import dataclass

from valija.domain.account import GrantKind
from valija.secret import Secret


@dataclass(frozen=True, slots=True)
class Registration:
    """What the operator said with ``valija provider set``; the rest comes from the provider's profile.

    ``kind`` and ``cloud`` choose the profile; ``issuer`` (custom) and ``tenant`` (Microsoft) complete it. At most one of
    ``client_secret`` and ``private_key`` is set; ``certificate`` (PEM, public) goes with ``private_key`` (PEM).
    ``service_account`` is Google's JSON key. ``grant`` overrides the profile's order of preference, ``scopes`` its scopes.
    """

    name: str
    kind: str
    cloud: str = ""
    issuer: str = ""
    tenant: str = ""
    client_id: str = ""
    client_secret: Secret | None = None
    certificate: str = ""
    private_key: Secret | None = None
    service_account: Secret | None = None
    grant: GrantKind | None = None
    scopes: tuple[str, ...] = ()
