"""Asks providers on behalf of accounts: joins setting, registration and profile, then runs the grant that fits."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, TypeVar

from valija.domain.account import Authentication, GrantKind, Setting
from valija.domain.clock import Clock
from valija.domain.errors import NotReady, ValijaError
from valija.domain.registration import Registration
from valija.domain.settings import MailSettings
from valija.domain.text import N_, message
from valija.domain.token import TokenSet, tokens_kept
from valija.domain.trouble import Trouble
from valija.net.data_files import WHO_ACTS
from valija.net.grant_driver import Http, run_grant
from valija.net.jose import KeyUnusable, ServiceAccount, SigningKey, parse_service_account, sign
from valija.oauth import grants
from valija.oauth.catalogue import Profile
from valija.oauth.classification import Action, ErrorTable, GrantFailure
from valija.oauth.client import Client, ClientAuthentication, KeyUse, SignAssertion, SigningFailed, Step
from valija.oauth.discovery import ServerMetadata, discover
from valija.oauth.token_response import TokenResponse
from valija.secret import Secret
from valija.services.providers import ProviderBook
from valija.services.token_manager import Refreshed, RefreshFailed
from valija.store.port import Store

METADATA_LIFE_S: Final = 3600.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ResolvedAccount:
    """An account with all that is needed to ask its provider."""

    setting: Setting
    settings: MailSettings
    registration: Registration
    profile: Profile
    server: ServerMetadata
    context: grants.Context
    service_account: ServiceAccount | None

    def scopes(self, grant: GrantKind) -> tuple[str, ...]:
        """Return the scopes to ask for."""
        if self.registration.scopes:
            return self.registration.scopes
        if grant.asks_anew and self.profile.app_scopes:
            return self.profile.app_scopes
        return self.profile.scopes_pop if self.setting.is_pop else self.profile.scopes_smtp

    def available_grants(self) -> list[GrantKind]:
        """Return the grants that can be used, best first."""
        chosen = [self.registration.grant] if self.registration.grant else []
        order = dict.fromkeys([*chosen, *(GrantKind(name) for name in self.profile.grants)])
        return [grant for grant in order if self._can(grant)]

    def _can(self, grant: GrantKind) -> bool:
        r = self.registration
        match grant:
            case GrantKind.DEVICE:
                return bool(self.server.device_authorization_endpoint)
            case GrantKind.CODE:
                return bool(self.server.authorization_endpoint)
            case GrantKind.CLIENT_CREDENTIALS:
                return r.client_secret is not None or r.private_key is not None
            case GrantKind.SERVICE_ACCOUNT:
                return self.service_account is not None


class ProviderClient:
    """One for the program."""

    def __init__(self, store: Store, book: ProviderBook, http: Http, errors: ErrorTable, clock: Clock) -> None:
        self._store = store
        self._book = book
        self._http = http
        self._errors = errors
        self._clock = clock
        self._metadata: dict[str, tuple[float, ServerMetadata]] = {}

    # --- resolving ----------------------------------------------------------------------------------------------------------

    async def resolve(self, account: str) -> ResolvedAccount | GrantFailure:
        """Join what is known about an account. Raises :class:`NotReady` if a setting lacks something."""
        setting = Setting(account)
        settings = (await self._store.load_settings(setting)).value
        _check_ready(settings)
        registration, profile = await self._book.load(settings.provider)
        if not registration.client_id and registration.service_account is None:
            raise NotReady(
                message(N_("The provider {name} has no client id."), name=registration.name),
                message(N_("Register an application and set it: valija provider set NAME --client-id ID")),
            )
        server = await self._server(registration, profile)
        if isinstance(server, GrantFailure):
            return server
        account_key = None
        if registration.service_account is not None:
            try:
                account_key = parse_service_account(registration.service_account)
            except KeyUnusable as error:
                return GrantFailure("signing_key_wrong", Action.CONFIGURATION, server_words=str(error))
        context = grants.Context(
            client=_client(registration, profile, server),
            errors=self._errors,
            now_epoch=lambda: self._clock.now().timestamp(),
            jwt_ids=_jwt_ids(),
        )
        return ResolvedAccount(setting, settings, registration, profile, server, context, account_key)

    async def _server(self, registration: Registration, profile: Profile) -> ServerMetadata | GrantFailure:
        tenant = registration.tenant
        issuer = registration.issuer or profile.with_tenant(profile.issuer, tenant)
        if profile.discovery:
            return await self._discover(issuer)
        return ServerMetadata(
            issuer="" if profile.templated_issuer else issuer,
            authorization_endpoint=profile.with_tenant(profile.authorization_endpoint, tenant),
            token_endpoint=profile.with_tenant(profile.token_endpoint, tenant),
            device_authorization_endpoint=profile.with_tenant(profile.device_authorization_endpoint, tenant),
            revocation_endpoint=profile.with_tenant(profile.revocation_endpoint, tenant),
        )

    async def _discover(self, issuer: str) -> ServerMetadata | GrantFailure:
        kept = self._metadata.get(issuer)
        if kept is not None and self._clock.monotonic() - kept[0] < METADATA_LIFE_S:
            return kept[1]
        found = await self.run(discover(issuer), None)
        if isinstance(found, ServerMetadata):
            self._metadata[issuer] = (self._clock.monotonic(), found)
            return found
        # what was true an hour ago is better than nothing while the server is down
        return kept[1] if kept is not None and found.action is Action.RETRY else found

    def forget_metadata(self) -> None:
        """Ask servers anew about themselves."""
        self._metadata.clear()

    # --- running ------------------------------------------------------------------------------------------------------------

    async def run(self, grant: Generator[Step, Any, T], account: ResolvedAccount | None) -> T:
        """Run a grant."""

        def sign_with_its_key(step: SignAssertion) -> Secret | SigningFailed:
            key = _signing_key(step.use, account)
            return SigningFailed("no private key is set") if key is None else sign(step, key)

        return await run_grant(grant, self._http, sign_with_its_key, self._clock.sleep)

    async def refresh(self, account: str, tokens: TokenSet) -> Refreshed | RefreshFailed:
        """Ask for a new access token: by refresh token, or anew where the grant needs no person."""
        try:
            resolved = await self.resolve(account)
        except ValijaError as error:
            failure = GrantFailure("not_ready", Action.CONFIGURATION, server_words=str(error))
            return self.failed(failure)
        if isinstance(resolved, GrantFailure):
            return self.failed(resolved)
        found = await self.run(self._renewal(resolved, tokens), resolved)
        if isinstance(found, GrantFailure):
            # nothing of such a grant can end: its registration is asked anew each time
            return self.failed(replace(found, ends_grant=False) if tokens.grant.asks_anew else found)
        new = self.token_set(found, tokens.grant, tokens)

        async def discard() -> None:
            await self.revoke(resolved, new)

        return Refreshed(new, discard)

    def _renewal(self, resolved: ResolvedAccount, tokens: TokenSet) -> grants.Granted:
        if tokens.refresh_token is None or tokens.grant.asks_anew:
            return self.request_without_person(resolved, tokens.grant)
        needs_redirect = resolved.profile.refresh_needs_redirect_uri
        extra = (("redirect_uri", f"http://{resolved.profile.redirect_host}"),) if needs_redirect else ()
        return grants.refresh(resolved.context, tokens.refresh_token, extra)

    def request_without_person(self, resolved: ResolvedAccount, grant: GrantKind) -> grants.Granted:
        """Return the grant that asks for the application's own token."""
        scopes = resolved.scopes(grant)
        if grant is GrantKind.SERVICE_ACCOUNT and resolved.service_account is not None:
            email, mailbox = resolved.service_account.email, resolved.settings.account
            return grants.service_account(resolved.context, email=email, mailbox=mailbox, scopes=scopes)
        return grants.client_credentials(resolved.context, scopes)

    async def revoke(self, resolved: ResolvedAccount, tokens: TokenSet) -> str:
        """Revoke tokens at the provider; return "revoked", "not_supported", "in_use" or "failed".

        "in_use": nothing was revoked, because that would have ended another token that is kept here.
        """
        endpoint = resolved.server.revocation_endpoint
        if not endpoint:
            return "not_supported"
        if resolved.profile.revocation_ends_all and await self._is_in_use(resolved, tokens):
            return "in_use"
        token, hint = (
            (tokens.refresh_token, "refresh_token") if tokens.refresh_token else (tokens.access_token, "access_token")
        )
        failure = await self.run(grants.revoke(resolved.context, endpoint, token, hint), resolved)
        return "revoked" if failure is None else "failed"

    async def _is_in_use(self, resolved: ResolvedAccount, tokens: TokenSet) -> bool:
        """Tell whether another grant of the same mailbox and project is kept, by any setting."""
        mailbox, project = resolved.settings.account.casefold(), _project(resolved.registration)
        for setting in Setting:
            kept = tokens_kept((await self._store.load_token(setting.value)).state)
            settings = (await self._store.load_settings(setting)).value
            if kept is None or kept.grant_id == tokens.grant_id or settings.account.casefold() != mailbox:
                continue
            found = await self._book.find(settings.provider)
            if found is not None and _project(found[0]) == project:
                return True
        return False

    # --- values -------------------------------------------------------------------------------------------------------------

    def token_set(self, response: TokenResponse, grant: GrantKind, before: TokenSet | None = None) -> TokenSet:
        """Return the tokens of an answer; what it does not say is kept from ``before``."""
        now = self._clock.now()
        life = response.refresh_token_expires_in
        kept = before.refresh_token if before else None
        return TokenSet(
            grant_id=before.grant_id if before else secrets.token_hex(16),
            grant=grant,
            access_token=response.access_token,
            expires_at=now + timedelta(seconds=response.expires_in),
            # some give one that ends with an idle session, where to ask anew would always do (RFC 6749 section 4.4.3)
            refresh_token=None if grant.asks_anew else response.refresh_token or kept,
            scopes=response.scopes or (before.scopes if before else ()),
            obtained_at=before.obtained_at if before else now,
            refreshed_at=now,
            refresh_token_expires_at=now + timedelta(seconds=life)
            if life
            else (before.refresh_token_expires_at if before else None),
        )

    def failed(self, failure: GrantFailure) -> RefreshFailed:
        """Return a failure as the token manager knows it."""
        return RefreshFailed(self.trouble(failure), failure.ends_grant, failure.retry_after)

    def trouble(self, failure: GrantFailure) -> Trouble:
        """Return a failure as a trouble for people."""
        return Trouble(failure.reason, WHO_ACTS[failure.action], failure.server_words, self._clock.now())


def _project(registration: Registration) -> tuple[str, str]:
    """Return what a consent is given to: Google's client ids begin with the number of their project."""
    return registration.kind, registration.client_id.partition("-")[0]


def _check_ready(settings: MailSettings) -> None:
    if settings.auth is not Authentication.OAUTH2:
        raise NotReady(
            message(N_("Authentication Option is not OAuth 2.0.")),
            message(N_("Set it first: --auth oauth2")),
        )
    if not settings.provider or not settings.account:
        raise NotReady(
            message(N_("Provider and Account Name are not set.")),
            message(N_("Set them first: --provider NAME --account ADDRESS")),
        )


def _client(registration: Registration, profile: Profile, server: ServerMetadata) -> Client:
    if registration.private_key is not None:
        authentication = ClientAuthentication.PRIVATE_KEY_JWT
    elif registration.client_secret is not None:
        offered = server.token_authentication
        fits = not offered or profile.authentication in offered
        other = "client_secret_post" if profile.authentication == "client_secret_basic" else "client_secret_basic"
        authentication = ClientAuthentication(profile.authentication if fits or other not in offered else other)
    else:
        authentication = ClientAuthentication.NONE
    return Client(
        client_id=registration.client_id,
        authentication=authentication,
        token_endpoint=server.token_endpoint,
        client_secret=registration.client_secret,
        assertion_algorithm="PS256" if registration.certificate else "RS256",
    )


def _signing_key(use: KeyUse, account: ResolvedAccount | None) -> SigningKey | None:
    if account is None:
        return None
    if use is KeyUse.SERVICE_ACCOUNT:
        return account.service_account.key if account.service_account else None
    key = account.registration.private_key
    return SigningKey(key, account.registration.certificate) if key is not None else None


def _jwt_ids() -> Iterator[str]:
    while True:
        yield secrets.token_hex(16)
