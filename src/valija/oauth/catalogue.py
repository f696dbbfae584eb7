"""Providers' profiles, read from the data file ``providers.toml``: endpoints, grants, scopes, hosts, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class MailHost:
    """Where a provider's mail server is."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What a mailbox may do; ``octets`` is the size of a message."""

    connections: int = 3
    messages_per_minute: int = 30
    recipients_per_day: int = 10_000
    recipients_per_message: int = 100
    octets: int = 157_286_400


@dataclass(frozen=True, slots=True)
class Profile:
    """One provider in one cloud. Grants are names of RFC 6749 and its family as in ``providers.toml``."""

    name: str
    kind: str
    cloud: str
    display_name: str
    issuer: str
    grants: tuple[str, ...]
    authentication: str
    redirect_host: str
    redirect_path: str
    scopes_smtp: tuple[str, ...]
    scopes_pop: tuple[str, ...]
    app_scopes: tuple[str, ...]
    mechanisms: tuple[str, ...]
    authorization: tuple[tuple[str, str], ...]
    templated_issuer: bool
    discovery: bool
    default_tenant: str
    authorization_endpoint: str
    token_endpoint: str
    device_authorization_endpoint: str
    revocation_endpoint: str
    refresh_needs_redirect_uri: bool
    revocation_ends_all: bool
    refresh_token_idle_days: int | None
    smtp: MailHost | None
    pop: MailHost | None
    limits: Limits
    notes: tuple[str, ...]

    def with_tenant(self, template: str, tenant: str) -> str:
        """Fill the tenant into an address of this profile."""
        return template.replace("{tenant}", tenant or self.default_tenant)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All profiles."""

    profiles: tuple[Profile, ...]

    def profile(self, kind: str, cloud: str = "", tenant: str = "") -> Profile | None:
        """Return the profile of a kind in a cloud (default: global); tenant ``consumers`` is Outlook.com."""
        if kind == "microsoft" and tenant == "consumers" and not cloud:
            cloud = "consumers"
        wanted = cloud or "global"
        return next((p for p in self.profiles if p.kind == kind and p.cloud == wanted), None)

    def clouds(self, kind: str) -> tuple[str, ...]:
        """Return the clouds of a kind."""
        return tuple(p.cloud for p in self.profiles if p.kind == kind)


def parse_catalogue(table: Mapping[str, Any]) -> Catalogue:
    """Read ``providers.toml`` (parsed). Raises ``KeyError``/``TypeError``/``ValueError`` for a profile that is not complete."""
    raw: Mapping[str, Mapping[str, Any]] = table["profile"]
    return Catalogue(tuple(_parse_profile(name, _inherit(raw, name)) for name in raw))


def _inherit(raw: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    own = dict(raw[name])
    base = own.pop("base", None)
    return {**_inherit(raw, base), **own} if base else own


def _parse_profile(name: str, raw: dict[str, Any]) -> Profile:
    scopes = raw["scopes"]
    always = scopes.get("always", [])
    return Profile(
        name=name,
        kind=raw["kind"],
        cloud=raw["cloud"],
        display_name=raw["display_name"],
        issuer=raw["issuer"],
        grants=tuple(raw["grants"]),
        authentication=raw["authentication"],
        redirect_host=raw["redirect_host"],
        redirect_path=raw.get("redirect_path", ""),
        scopes_smtp=(*scopes["smtp"], *always),
        scopes_pop=(*scopes["pop"], *always),
        app_scopes=tuple(raw.get("app_scopes", ())),
        mechanisms=tuple(raw["mechanisms"]),
        authorization=tuple(raw.get("authorization", {}).items()),
        templated_issuer=raw.get("templated_issuer", False),
        discovery=raw.get("discovery", False),
        default_tenant=raw.get("default_tenant", ""),
        authorization_endpoint=raw.get("authorization_endpoint", ""),
        token_endpoint=raw.get("token_endpoint", ""),
        device_authorization_endpoint=raw.get("device_authorization_endpoint", ""),
        revocation_endpoint=raw.get("revocation_endpoint", ""),
        refresh_needs_redirect_uri=raw.get("refresh_needs_redirect_uri", False),
        revocation_ends_all=raw.get("revocation_ends_all", False),
        refresh_token_idle_days=raw.get("idle_days"),
        smtp=MailHost(**raw["smtp"]) if "smtp" in raw else None,
        pop=MailHost(**raw["pop"]) if "pop" in raw else None,
        limits=Limits(**raw.get("limits", {})),
        notes=tuple(raw.get("notes", ())),
    )
