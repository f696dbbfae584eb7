"""What other programs' files say: email-oauth2-proxy's configuration (INI), tokens of sasl-xoauth2 and of mutt (JSON). Pure.

Theory of operation
-------------------
email-oauth2-proxy (sections ``[SMTP-1587]``, ``[POP-1995]``: local servers and where they lead; ``[ana@example.com]``: an
account): its tokens are encrypted with a key made of the password that its clients log in with, so they come as
:class:`Sealed`. Files from before October 2023 say no number of rounds: it was 100,000 then. What an account's section does
not say is in those for all of its domain, ``[@example.com]``, and for everybody, ``[@]``.

sasl-xoauth2: one JSON object for each account (``access_token``, ``refresh_token``, ``expiry`` as text), usually in a file
named after it; what it does not say (``client_id``, ``client_secret``, ``token_endpoint``) is in ``/etc/sasl-xoauth2.conf``.
Its reader of JSON takes comments.

mutt's and neomutt's mutt_oauth2.py: one JSON object for each account, usually encrypted by gpg (it comes decrypted). Older
ones have the client's data in the script itself. ``access_token_expiration`` is local time of who knows where: not used.

The first two do not say which provider it is: that follows from the token endpoint's host.
"""

from __future__ import annotations

import base64
import binascii
import configparser
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from valija.domain.account import GrantKind
from valija.domain.errors import FieldProblem, InvalidFields
from valija.domain.text import N_, Message, message
from valija.secret import Secret

PROXY: Final = "email-oauth2-proxy"
XOAUTH2: Final = "sasl-xoauth2"
MUTT: Final = "mutt_oauth2.py"
TEXT_LIMIT: Final = 200_000
ROUNDS: Final = (1_200_000, 100_000)
ROUNDS_LIMIT: Final = 5_000_000
GOOGLE_TOKENS: Final = "https://accounts.google.com/o/oauth2/token"  # what sasl-xoauth2 takes where nothing is said
_SERVER: Final = re.compile(r"(SMTP|POP)-\d{1,5}")
_EXAMPLE: Final = "*** your"
# strings, and comments; what has no end goes to the end
_COMMENT: Final = re.compile(r'("(?:[^"\\]|\\.?)*+(?:"|\Z))|//[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)
_BELOW: Final = re.compile(
    r"(/(?!oauth2/v1/).+?)(?:/protocol/openid-connect|/oauth2|/v1)/token/?"
)  # Keycloak, ADFS, Okta
_PASSWORD_IS_SECRET: Final = "use_login_password_as_client_credentials_secret"
_NO_TOKEN: Final = N_("holds no refresh_token: it must be the account's token, not the program's configuration")
_YES: Final = ("yes", "true", "on", "1")
_GRANTS: Final = {
    "authorization_code": GrantKind.CODE,
    "device": GrantKind.DEVICE,
    "client_credentials": GrantKind.CLIENT_CREDENTIALS,
    "service_account": GrantKind.SERVICE_ACCOUNT,
}
_HOSTS: Final[Mapping[str, tuple[str, str]]] = {
    "login.microsoftonline.com": ("microsoft", ""),
    "login.windows.net": ("microsoft", ""),
    "login.live.com": ("microsoft", "consumers"),
    "login.microsoftonline.us": ("microsoft", "gcc-high"),
    "login.partner.microsoftonline.cn": ("microsoft", "21vianet"),
    "login.chinacloudapi.cn": ("microsoft", "21vianet"),
    "oauth2.googleapis.com": ("google", ""),
    "accounts.google.com": ("google", ""),
    "www.googleapis.com": ("google", ""),
    "api.login.yahoo.com": ("yahoo", ""),
    "api.login.aol.com": ("aol", ""),
}


@dataclass(frozen=True, slots=True)
class Sealed:
    """Texts encrypted by Fernet with a key of PBKDF2-HMAC-SHA256; ``rounds`` are to be tried; empty texts: not there."""

    salt: bytes
    rounds: tuple[int, ...]
    refresh_token: str = ""
    access_token: str = ""
    client_secret: str = ""


@dataclass(frozen=True, slots=True)
class FoundAccount:
    """An account. ``registration`` are changes for a provider, without secrets; ``expires_at`` in seconds since 1970."""

    login: str
    registration: Mapping[str, Any]
    client_secret: Secret | None = None
    refresh_token: Secret | None = None
    access_token: Secret | None = None
    expires_at: int = 0
    sealed: Sealed | None = None
    notes: tuple[Message, ...] = ()

    @property
    def grant(self) -> GrantKind:
        """Return how its token was got."""
        return GrantKind(self.registration.get("grant") or GrantKind.CODE)

    @property
    def has_token(self) -> bool:
        """Tell whether there is a token to take over, once it is opened."""
        return self.refresh_token is not None or (self.sealed is not None and bool(self.sealed.refresh_token))

    @property
    def is_secret_sealed(self) -> bool:
        """Tell whether the client's secret is to be had only by opening it."""
        return self.client_secret is None and self.sealed is not None and bool(self.sealed.client_secret)


@dataclass(frozen=True, slots=True)
class FoundServer:
    """Where a local server of email-oauth2-proxy leads."""

    is_pop: bool
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Found:
    """All that a file says."""

    program: str
    accounts: tuple[FoundAccount, ...]
    servers: tuple[FoundServer, ...] = ()


def parse_foreign(text: str, *, name: str, configuration: str = "") -> Found:
    """Read a file: ``name`` is the file's own, ``configuration`` the text of sasl-xoauth2.conf.

    Raises :class:`InvalidFields` for what is none of these programs'.
    """
    if len(text) > TEXT_LIMIT or len(configuration) > TEXT_LIMIT:
        raise _wrong("text", N_("is too long"))
    text, configuration = text.removeprefix("\ufeff"), configuration.removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        token, more = _json(text, "text"), _json(configuration or "{}", "configuration")
        if "registration" in token or "authflow" in token:
            return Found(MUTT, (_mutt_token(token, more),))
        return Found(XOAUTH2, (_token_file(token, more, name),))
    return _proxy_configuration(text)


# --- email-oauth2-proxy -----------------------------------------------------------------------------------------------------


def _proxy_configuration(text: str) -> Found:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except (configparser.DuplicateSectionError, configparser.DuplicateOptionError) as error:
        twice = error.option if isinstance(error, configparser.DuplicateOptionError) else error.section
        problem = message(N_("says {name} twice: leave one (line {line})"), name=twice[:80], line=error.lineno or 0)
        raise InvalidFields((FieldProblem("text", problem),)) from None
    except configparser.Error:
        raise _wrong(
            "text", N_("is no configuration of email-oauth2-proxy, no token of sasl-xoauth2 or of mutt")
        ) from None
    names = [name for name in parser.sections() if "@" in name]
    # Where nobody has logged in yet, an account is taken by its name from what is said for all.
    own = [name for name in names if "@" in name.strip()[1:]] or names
    accounts = tuple(_proxy_account(name.strip(), _with_what_is_for_all(parser, name)) for name in own)
    servers = (_proxy_server(name, parser[name]) for name in parser.sections() if _SERVER.fullmatch(name))
    found = tuple(server for server in servers if server is not None)
    if not accounts:
        raise _wrong("text", N_("names no account: it must have a section for each, such as [ana@example.com]"))
    return Found(PROXY, accounts, found)


def _with_what_is_for_all(parser: configparser.ConfigParser, name: str) -> Mapping[str, str]:
    """Return an account's section; what it leaves out as the section of its domain has it, or the one for everybody."""
    domain = "@" + name.strip().rpartition("@")[2]
    said = [dict(parser[section]) for section in dict.fromkeys(("emailproxy", "@", domain, name)) if section in parser]
    return {key: value for section in said for key, value in section.items()}


def _proxy_server(name: str, section: Mapping[str, str]) -> FoundServer | None:
    port = section.get("server_port", "")
    host = section.get("server_address", "")
    return FoundServer(name.startswith("POP"), host, int(port)) if host and re.fullmatch(r"\d{1,5}", port) else None


def _proxy_account(login: str, section: Mapping[str, str]) -> FoundAccount:
    notes: list[Message] = []
    if not section.get("token_url"):
        notes.append(message(N_("It has no token_url: which provider it is must be set with `valija provider set`.")))
    flow = section.get("oauth2_flow") or (
        "authorization_code" if section.get("permission_url") else "client_credentials"
    )
    grant = _GRANTS.get(flow)
    if grant is None:
        notes.append(message(N_("It logs in by {flow}, which Valija does not do: get a token anew."), flow=flow[:40]))
    if section.get("jwt_certificate_path"):
        notes.append(message(N_("It has a certificate: hand it over with `valija provider set`.")))
    client_id, secret = section.get("client_id", ""), section.get("client_secret", "")
    if client_id.startswith(_EXAMPLE):
        client_id = ""
        notes.append(message(N_("Its client id is the example's.")))
    if grant is GrantKind.SERVICE_ACCOUNT:
        notes.append(message(N_("It has a service account: hand over its key file with `valija provider set`.")))
        client_id = secret = ""  # they say where the key is
    if grant is GrantKind.CLIENT_CREDENTIALS and section.get(_PASSWORD_IS_SECRET, "").lower() in _YES:
        notes.append(message(N_("Its client secret is what its clients log in with: `valija provider set` takes it.")))
    sealed = _sealed(section)
    if sealed is None and (section.get("refresh_token") or section.get("client_secret_encrypted")):
        notes.append(message(N_("Its token cannot be opened: token_salt is missing or damaged. Get a new one.")))
    return FoundAccount(
        "" if login.startswith("@") else login,
        _registration(section.get("token_url", ""), client_id, section.get("oauth2_scope", ""), grant),
        Secret(secret) if secret and not secret.startswith(_EXAMPLE) else None,
        expires_at=_seconds(section.get("access_token_expiry")),
        sealed=sealed,
        notes=tuple(notes),
    )


def _sealed(section: Mapping[str, str]) -> Sealed | None:
    texts = [section.get(name, "") for name in ("refresh_token", "access_token", "client_secret_encrypted")]
    try:
        salt = base64.b64decode(section.get("token_salt", ""), validate=True)
    except (binascii.Error, ValueError):
        salt = b""
    if not salt or not any(texts):
        return None
    said = _seconds(section.get("token_iterations"))
    rounds = (said, *ROUNDS) if 0 < said <= ROUNDS_LIMIT else ROUNDS
    return Sealed(salt, tuple(dict.fromkeys(rounds)), *texts)


# --- sasl-xoauth2 -----------------------------------------------------------------------------------------------------------


def _token_file(token: Mapping[str, Any], configuration: Mapping[str, Any], name: str) -> FoundAccount:
    said = _reader(token, configuration)
    refresh, access = said("refresh_token"), said("access_token")
    by_program = said("use_client_credentials").lower() in _YES
    if not refresh and not by_program:
        raise _wrong("text", _NO_TOKEN)
    notes = () if said("client_id") else (message(N_("No client id: name sasl-xoauth2.conf as well.")),)
    grant = GrantKind.CLIENT_CREDENTIALS if by_program else GrantKind.CODE
    secret = said("client_secret")
    return FoundAccount(
        said("user") or (name.removesuffix(".json") if "@" in name else ""),
        _registration(said("token_endpoint") or GOOGLE_TOKENS, said("client_id"), said("scope"), grant),
        Secret(secret) if secret else None,
        Secret(refresh) if refresh else None,
        Secret(access) if access else None,
        _seconds(said("expiry")),
        notes=notes,
    )


# --- mutt_oauth2.py ---------------------------------------------------------------------------------------------------------


def _mutt_token(token: Mapping[str, Any], configuration: Mapping[str, Any]) -> FoundAccount:
    said = _reader(token, configuration)
    refresh, kind = said("refresh_token"), said("registration").lower()
    if not refresh:
        raise _wrong("text", _NO_TOKEN)
    registration: dict[str, Any] = {"client_id": said("client_id"), "kind": kind}
    notes: list[Message] = []
    if kind == "microsoft":
        registration["tenant"] = said("tenant") or "common"
    elif kind != "google":
        registration |= {"kind": "custom", "issuer": ""}
        notes.append(message(N_("Its provider, {name}, is not known by that name."), name=kind[:40]))
    if not said("client_id"):
        notes.append(
            message(N_("No client id: name a JSON file with the script's client_id (and client_secret) with --config."))
        )
    if said("authflow") == "devicecode":
        registration["grant"] = GrantKind.DEVICE.value
    secret, access = said("client_secret"), said("access_token")
    return FoundAccount(
        said("email"),
        registration,
        Secret(secret) if secret else None,
        Secret(refresh),
        Secret(access) if access else None,
        notes=tuple(notes),
    )


# --- all --------------------------------------------------------------------------------------------------------------------


def _reader(token: Mapping[str, Any], configuration: Mapping[str, Any]) -> Callable[[str], str]:
    """Return what reads a field of a token, or what its program's configuration says instead."""

    def said(key: str) -> str:
        value = token.get(key) or configuration.get(key) or ""
        return value if isinstance(value, str) else str(value)

    return said


def _json(text: str, field: str) -> Mapping[str, Any]:
    try:
        found = json.loads(_COMMENT.sub(lambda part: part[1] or " ", text))
    except (ValueError, RecursionError):
        raise _wrong(field, N_("is not JSON")) from None
    if not isinstance(found, dict):
        raise _wrong(field, N_("must be a JSON object"))
    return found


def _registration(token_url: str, client_id: str, scopes: str, grant: GrantKind | None) -> dict[str, Any]:
    try:
        url = urlsplit(token_url)
        host = (url.hostname or "").lower()
    except ValueError:
        raise _wrong("text", N_("holds a token address that cannot be read")) from None
    changes: dict[str, Any] = {"client_id": client_id}
    if host in _HOSTS:
        kind, cloud = _HOSTS[host]
        changes["kind"] = kind
        tenant = url.path.strip("/").partition("/")[0] if kind == "microsoft" else ""
        if cloud == "consumers":
            changes["tenant"] = cloud
        else:
            changes |= ({"cloud": cloud} if cloud else {}) | ({"tenant": tenant} if tenant else {})
    else:
        below = _BELOW.fullmatch(url.path)
        changes |= {
            "kind": "custom",
            "issuer": f"{url.scheme}://{url.netloc}{below[1] if below else ''}" if host else "",
        }
    if grant is not None and grant is not GrantKind.CODE:
        changes["grant"] = grant.value
    words = scopes.split()
    return changes | ({"scopes": words} if words and (changes["kind"] == "custom" or grant != GrantKind.CODE) else {})


def _seconds(text: str | None) -> int:
    return int(text) if text is not None and re.fullmatch(r"\d{1,12}", text) else 0


def _wrong(field: str, problem: str) -> InvalidFields:
    return InvalidFields((FieldProblem(field, message(problem)),))
