"""Other programs' accounts taken over: the registration, the setting, the token (refreshed at once to prove it), a device.

Nothing is done by :meth:`Importer.look`. What is done by :meth:`Importer.take` goes through the same desks as if a person had
typed it, one after the other; each step says what became of it. The other program must be stopped before: the two would use
up each other's refresh tokens.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken

from valija.domain.account import Actor, Authentication, GrantKind, Setting
from valija.domain.clock import Clock
from valija.domain.errors import ConfirmationNeeded, FieldProblem, InvalidFields
from valija.domain.imported import Found, FoundAccount, FoundServer, Sealed, parse_foreign
from valija.domain.record import AuditAction
from valija.domain.text import N_, message
from valija.domain.token import Authorization, AuthorizationStarted, TokenObtained, TokenSet, tokens_kept
from valija.secret import Secret
from valija.services.devices import DeviceDesk, MadeDevice
from valija.services.mail_settings import MailSettingsDesk
from valija.services.providers import ProviderBook
from valija.services.token_manager import TokenManager

PASSWORD_LIMIT: Final = 1000
UNKNOWN_LIFE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be taken over. ``account``: empty for the only one; ``provider``: empty for a name of its kind."""

    setting: Setting
    account: str = ""
    provider: str = ""
    server: str = ""
    password: Secret | None = None
    with_token: bool = True
    device: str = ""
    confirm: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done: ``provider`` is the registration's name, ``setting`` what is changed in the mail setting."""

    account: FoundAccount
    provider: str
    setting: Mapping[str, Any]
    device: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What was done; ``token``: whether one was handed over (its state says whether it works)."""

    plan: Plan
    token: bool
    device: MadeDevice | None


class Importer:
    """Takes accounts over."""

    def __init__(
        self,
        providers: ProviderBook,
        settings: MailSettingsDesk,
        tokens: TokenManager,
        devices: DeviceDesk,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._settings = settings
        self._tokens = tokens
        self._devices = devices
        self._clock = clock

    async def look(self, found: Found, wanted: Wanted) -> Plan:
        """Return what would be done. Raises :class:`InvalidFields`."""
        account = _chosen(found, wanted.account)
        kind = account.registration["kind"]
        server = _server_of(found, wanted, kind) or self._own_server(account, wanted.setting)
        changes: dict[str, Any] = {"auth": Authentication.OAUTH2.value, "account": account.login}
        if server is not None:
            changes |= {"server": server.host, "port": server.port}
        if wanted.setting is Setting.SMTP:
            changes["sender_address"] = account.login
        name = wanted.provider or await self._free_name(kind, account)
        changes["provider"] = name
        return Plan(account, name, changes, wanted.device)

    def _own_server(self, account: FoundAccount, setting: Setting) -> FoundServer | None:
        """Return the provider's own mail server: the one that the setting had before belongs to another account."""
        place = (account.registration.get(name, "") for name in ("kind", "cloud", "tenant"))
        profile = self._providers.of_kind(*place)
        host = None if profile is None else profile.pop if setting.is_pop else profile.smtp
        return None if host is None else FoundServer(setting.is_pop, host.host, host.port)

    async def take(self, found: Found, wanted: Wanted, actor: Actor) -> Taken:
        """Do it. Raises :class:`InvalidFields`, :class:`~valija.domain.errors.ConfirmationNeeded`."""
        plan = await self.look(found, wanted)
        account = await self._opened(plan.account, wanted)
        with_token = wanted.with_token and account.refresh_token is not None
        if with_token and not wanted.confirm:
            await self._ask_first(wanted.setting)
        registration = {
            name: value for name, value in account.registration.items() if value != ""
        }  # not said: as it is
        if account.client_secret is not None:
            registration["client_secret"] = account.client_secret.reveal()
        await self._providers.set(plan.provider, registration, confirm=wanted.confirm, actor=actor)
        await self._settings.change(wanted.setting, plan.setting, confirm=wanted.confirm, actor=actor)
        if with_token:
            await self._hand_over(wanted.setting.value, account, actor)
        made = await self._devices.add({"name": plan.device}, actor) if plan.device else None
        return Taken(replace(plan, account=account), with_token, made)

    async def _ask_first(self, setting: Setting) -> None:
        state = (await self._tokens.state(setting.value)).state
        if tokens_kept(state) is not None:
            raise ConfirmationNeeded(
                message(N_("There is a token already. The one that is taken over replaces it.")),
                message(N_("Confirm it, or leave the token that is there.")),
            )

    async def _hand_over(self, name: str, account: FoundAccount, actor: Actor) -> None:
        now = self._clock.now()
        tokens = _token_set(account, now)
        asked = Authorization(secrets.token_hex(16), tokens.grant, now, now + UNKNOWN_LIFE)
        await self._tokens.apply(name, AuthorizationStarted(asked))
        event = TokenObtained(asked.authorization_id, tokens)
        await self._tokens.apply(name, event, actor=actor, action=AuditAction.TOKEN_IMPORTED)
        self._tokens.forget_pauses(name)
        await self._tokens.refresh(name)

    async def _opened(self, account: FoundAccount, wanted: Wanted) -> FoundAccount:
        sealed = account.sealed
        if sealed is None or not wanted.with_token or not (sealed.refresh_token or account.is_secret_sealed):
            return account  # an access token alone is not worth asking for a password
        if wanted.password is None:
            raise _wrong("password", N_("is needed: the tokens are encrypted with what the clients log in with"))
        opened = await asyncio.to_thread(_open, sealed, wanted.password)
        if opened is None:
            raise _wrong("password", N_("does not open the tokens: it is the one that the clients log in with"))
        refresh, access, secret = opened
        return replace(
            account,
            refresh_token=refresh or account.refresh_token,
            access_token=access or account.access_token,
            client_secret=account.client_secret or secret,
        )

    async def _free_name(self, kind: str, account: FoundAccount) -> str:
        wanted = "imported" if kind == "custom" else kind
        name, number = wanted, 2
        while (there := await self._providers.find(name)) is not None:
            if there[0].client_id == account.registration["client_id"] and name not in self._providers.builtin:
                return name
            name, number = f"{wanted}-{number}", number + 1
        return name


def read(text: str, *, name: str, configuration: str = "") -> Found:
    """Read another program's file. Raises :class:`InvalidFields`."""
    return parse_foreign(text, name=name, configuration=configuration)


def is_clear(found: Found, login: str) -> bool:
    """Tell whether it is said which account is meant: by name, or because there is one."""
    return bool(login) or (len(found.accounts) == 1 and bool(found.accounts[0].login))


def _chosen(found: Found, login: str) -> FoundAccount:
    names = ", ".join(account.login or "?" for account in found.accounts)
    if not login and is_clear(found, login):
        return found.accounts[0]
    if not login and not any(account.login for account in found.accounts):
        raise _wrong("account", N_("must be said: the file does not name it"))
    if not login:
        raise InvalidFields((FieldProblem("account", message(N_("must be one of {names}"), names=names)),))
    chosen = next((account for account in found.accounts if account.login == login), None)
    if chosen is None and len(found.accounts) == 1 and not found.accounts[0].login:
        return replace(found.accounts[0], login=login)
    if chosen is None:
        raise InvalidFields((FieldProblem("account", message(N_("must be one of {names}"), names=names)),))
    return chosen


def _server_of(found: Found, wanted: Wanted, kind: str) -> FoundServer | None:
    """Return the mail server that is named; None for the provider's own."""
    if wanted.server:
        host, _colon, port = wanted.server.rpartition(":")
        if not host or not port.isdigit():
            raise _wrong("server", N_("must be a server and its port, such as smtp.example.com:587"))
        return FoundServer(wanted.setting.is_pop, host, int(port))
    if kind != "custom":
        return None
    fitting = [server for server in found.servers if server.is_pop is wanted.setting.is_pop]
    if len(fitting) != 1:
        raise _wrong("server", N_("must be named: the file does not say which one belongs to the account"))
    return fitting[0]


def _token_set(account: FoundAccount, now: datetime) -> TokenSet:
    expires_at = now
    if account.access_token is not None and account.expires_at:
        expires_at = datetime.fromtimestamp(min(account.expires_at, (now + timedelta(days=1)).timestamp()), UTC)
    return TokenSet(
        grant_id=secrets.token_hex(16),
        grant=account.grant if account.grant is not GrantKind.CLIENT_CREDENTIALS else GrantKind.CODE,
        access_token=account.access_token or Secret(""),
        expires_at=expires_at,
        refresh_token=account.refresh_token,
        scopes=tuple(account.registration.get("scopes", ())),
        obtained_at=now,
        refreshed_at=now,
    )


def _open(sealed: Sealed, password: Secret) -> tuple[Secret | None, Secret | None, Secret | None] | None:
    """Decrypt; blocking, up to seconds. None if the password is another one."""
    for rounds in sealed.rounds:
        key = hashlib.pbkdf2_hmac("sha256", password.reveal().encode("utf-8"), sealed.salt, rounds, 32)
        fernet = Fernet(base64.urlsafe_b64encode(key))
        try:
            opened = [
                Secret(fernet.decrypt(text.encode()).decode()) if text else None
                for text in (sealed.refresh_token, sealed.access_token, sealed.client_secret)
            ]
        except (InvalidToken, UnicodeDecodeError):
            continue
        return opened[0], opened[1], opened[2]
    return None


def _wrong(field: str, problem: str) -> InvalidFields:
    return InvalidFields((FieldProblem(field, message(problem)),))
