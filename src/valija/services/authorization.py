"""Getting and deleting tokens: what the keys [Get Token] and [Delete] do.

A permission that is being asked for is in the store from the moment the provider gave leave until it is decided, so a
restart resumes it: polling goes on, and a redirected address can still come or be pasted. At most one task per account
follows it; a second [Get Token] replaces the first. Only the administrator at the machine may get a token.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from valija.domain.account import MACHINE, Actor, GrantKind, Setting
from valija.domain.clock import Clock
from valija.domain.errors import (
    NotReady,
    RequestError,
    StoreError,
    StoreFull,
    UnknownName,
    ValijaError,
)
from valija.domain.explanations import Explainer
from valija.domain.record import AuditAction
from valija.domain.text import N_, message
from valija.domain.token import (
    Authorization,
    AuthorizationFailed,
    AuthorizationStarted,
    AwaitingAuthorization,
    TokenEvent,
    TokenObtained,
    TokenSet,
    tokens_kept,
)
from valija.domain.trouble import Trouble, WhoActs
from valija.net.redirect_listener import REDIRECT_PAGE, RedirectListener
from valija.oauth import grants
from valija.oauth.classification import GrantFailure
from valija.oauth.token_response import TokenResponse
from valija.secret import Secret
from valija.services.authorization_refusals import ProviderRefused, choose, demand_presence, no_address
from valija.services.followers import Followers
from valija.services.provider_client import ProviderClient, ResolvedAccount
from valija.services.token_manager import TokenManager
from valija.store.port import VersionedToken

log: Final = logging.getLogger(__name__)
CODE_LIFE: Final = timedelta(minutes=15)
WITHOUT_PERSON_LIFE: Final = timedelta(minutes=2)
STORE_RETRY_S: Final = 2.0
STORE_RETRIES: Final = 1800
CLOSE_S: Final = 20.0  # an answer of a provider takes less


class AuthorizationDesk:
    """One for the program."""

    def __init__(
        self,
        tokens: TokenManager,
        client: ProviderClient,
        explainer: Explainer,
        clock: Clock,
        *,
        redirect_port: int = 0,
    ) -> None:
        self._tokens = tokens
        self._client = client
        self._explainer = explainer
        self._clock = clock
        self._redirect_port = redirect_port
        self._followers = Followers("authorization")
        self._used: set[str] = set()  # authorizations whose redirected address has come

    # --- get ----------------------------------------------------------------------------------------------------------------

    async def start(self, setting: Setting, grant: GrantKind | None, actor: Actor) -> VersionedToken:
        """Ask the provider for leave to get a token; a grant without a person ends at once.

        Raises :class:`NotAtTheMachine`, :class:`NotReady`, :class:`ProviderRefused`; the state is as before then.
        """
        demand_presence(actor)
        resolved = self._or_refused(await self._client.resolve(setting.value))
        chosen = choose(resolved, grant)
        await self._followers.stop(setting.value)
        try:
            return await self._start(resolved, chosen, actor)
        except ValijaError:
            await self._resume(setting.value)  # what was being asked for before goes on
            raise

    async def _start(self, resolved: ResolvedAccount, grant: GrantKind, actor: Actor) -> VersionedToken:
        account = resolved.setting.value
        if grant is GrantKind.CODE:
            return await self._start_code(resolved, actor)
        if grant is GrantKind.DEVICE:
            authorization = await self._start_device(resolved)
            stored = await self._note_start(account, authorization, actor)
            self._followers.follow(account, self._poll(resolved, authorization))
            return stored
        authorization = self._authorization(grant, WITHOUT_PERSON_LIFE)
        await self._note_start(account, authorization, actor)
        work = self._client.request_without_person(resolved, grant)
        return await self._to_its_end(account, authorization, work, resolved)

    def _authorization(self, grant: GrantKind, life: timedelta) -> Authorization:
        now = self._clock.now()
        return Authorization(secrets.token_hex(8), grant, now, now + life)

    async def _note_start(self, account: str, authorization: Authorization, actor: Actor) -> VersionedToken:
        event = AuthorizationStarted(authorization)
        return await self._tokens.apply(account, event, actor=actor, action=AuditAction.TOKEN_REQUESTED)

    async def _start_device(self, resolved: ResolvedAccount) -> Authorization:
        endpoint = resolved.server.device_authorization_endpoint
        scopes = resolved.scopes(GrantKind.DEVICE)
        found = self._or_refused(
            await self._client.run(grants.request_device_code(resolved.context, endpoint, scopes), resolved)
        )
        return replace(
            self._authorization(GrantKind.DEVICE, timedelta(seconds=found.expires_in)),
            verification_uri=found.verification_uri,
            verification_uri_complete=found.verification_uri_complete,
            user_code=found.user_code,
            device_code=found.device_code,
            interval=float(found.interval),
        )

    async def _start_code(self, resolved: ResolvedAccount, actor: Actor) -> VersionedToken:
        account = resolved.setting.value
        profile = resolved.profile
        listener = self._listener(account, profile.redirect_path)
        try:
            await listener.start(self._redirect_port)
        except OSError as error:
            raise NotReady(
                message(N_("This machine cannot listen for the browser: {why}."), why=error.strerror or str(error)),
                message(N_("Set another redirect.port in the configuration, or 0 for any free one.")),
            ) from None
        redirect_uri = f"http://{profile.redirect_host}:{listener.port}{profile.redirect_path}"
        state, verifier = Secret(secrets.token_urlsafe(32)), Secret(secrets.token_urlsafe(48))
        url = grants.build_authorization_url(
            resolved.server.authorization_endpoint,
            client_id=resolved.registration.client_id,
            redirect_uri=redirect_uri,
            scopes=resolved.scopes(GrantKind.CODE),
            state=state,
            verifier=verifier,
            extra=(*profile.authorization, ("login_hint", resolved.settings.account)),
        )
        authorization = replace(
            self._authorization(GrantKind.CODE, CODE_LIFE),
            authorization_url=url,
            redirect_uri=redirect_uri,
            state=state,
            code_verifier=verifier,
        )
        try:
            stored = await self._note_start(account, authorization, actor)
        except BaseException:
            await listener.stop()
            raise
        await self._follow_until_expiry(account, authorization, listener)
        return stored

    async def paste(self, setting: Setting, address: str, actor: Actor = MACHINE) -> VersionedToken:
        """Take the address that the browser was sent to, from the listener or pasted by a person. It is used once.

        Raises :class:`RequestError` if it does not belong to what is being asked for; then the right one may still come.
        """
        demand_presence(actor)
        account = setting.value
        state = (await self._tokens.state(account)).state
        asked = state.authorization if isinstance(state, AwaitingAuthorization) else None
        if asked is None or asked.state is None or asked.code_verifier is None or asked.redirect_uri is None:
            raise no_address()
        resolved = self._or_refused(await self._client.resolve(account))
        issuer, required = resolved.server.issuer, resolved.server.issuer_in_response
        try:
            found = grants.parse_redirect(
                address,
                state=asked.state,
                issuer=issuer,
                issuer_required=required,
                errors=resolved.context.errors,
            )
        except grants.NotThisRequest:
            explanation = self._explainer.explain("redirect_state_mismatch")
            raise RequestError(message(explanation.meaning), message(explanation.cure)) from None
        if asked.authorization_id in self._used:
            raise no_address()
        self._used.add(asked.authorization_id)
        await self._followers.stop(account)
        if isinstance(found, GrantFailure):
            return await self._finish(account, asked, found)
        exchange = grants.exchange_code(
            resolved.context, found, redirect_uri=asked.redirect_uri, verifier=asked.code_verifier
        )
        return await self._to_its_end(account, asked, exchange, resolved)

    async def _to_its_end(
        self, account: str, asked: Authorization, work: grants.Granted, resolved: ResolvedAccount
    ) -> VersionedToken:
        """Ask for the token and store what comes, also if whoever wanted it has gone: a code is good once."""

        async def ask() -> VersionedToken:
            return await self._finish(account, asked, await self._client.run(work, resolved), resolved)

        return await asyncio.shield(self._followers.aside(ask()))

    async def cancel(self, setting: Setting, actor: Actor) -> VersionedToken:
        """Stop waiting; what was there before stays."""
        await self._followers.stop(setting.value)
        state = (await self._tokens.state(setting.value)).state
        if not isinstance(state, AwaitingAuthorization):
            return await self._tokens.state(setting.value)
        trouble = Trouble("consent_cancelled", WhoActs.NOBODY, "", self._clock.now())
        event = AuthorizationFailed(state.authorization.authorization_id, trouble)
        action = AuditAction.TOKEN_AUTHORIZATION_FAILED
        return await self._tokens.apply(setting.value, event, actor=actor, action=action)

    # --- delete ---------------------------------------------------------------------------------------------------------------

    async def delete(self, setting: Setting, actor: Actor) -> tuple[VersionedToken, str]:
        """Forget the token here, then revoke it at the provider.

        Returns the state and "revoked", "not_supported", "in_use", "failed" or "nothing" (there was none).
        """
        await self._followers.stop(setting.value)
        kept = await self._tokens.delete(setting.value, actor)
        stored = await self._tokens.state(setting.value)
        if kept is None:
            return stored, "nothing"
        return stored, await self._revoke(setting, kept)

    async def _revoke(self, setting: Setting, kept: TokenSet) -> str:
        try:
            resolved = await self._client.resolve(setting.value)
        except ValijaError:
            return "failed"
        return "failed" if isinstance(resolved, GrantFailure) else await self._client.revoke(resolved, kept)

    async def prepare_revocation(self, account: str) -> Callable[[], None]:
        """Before a change that deletes an account's token: return what to call after it, to revoke and to stop waiting."""
        kept = tokens_kept((await self._tokens.state(account)).state)
        try:
            resolved: ResolvedAccount | GrantFailure | None = await self._client.resolve(account)
        except ValijaError:
            resolved = None

        async def forget() -> None:
            await self._followers.stop(account)
            await self._tokens.let_go(account)
            if kept is not None and isinstance(resolved, ResolvedAccount):
                await self._client.revoke(resolved, kept)

        def start() -> None:
            self._followers.aside(forget())

        return start

    # --- following ------------------------------------------------------------------------------------------------------------

    async def resume(self) -> None:
        """After a start: go on with every permission that was being asked for, or say that it cannot be gone on with."""
        for account in await self._tokens.states():
            await self._resume(account)

    async def _resume(self, account: str) -> None:
        state = (await self._tokens.state(account)).state
        if not isinstance(state, AwaitingAuthorization):
            return
        asked = state.authorization
        if asked.expires_at <= self._clock.now():
            await self._fail(account, asked, "authorization_timed_out")
        elif asked.grant is GrantKind.DEVICE:
            self._followers.follow(account, self._resume_poll(account, asked))
        elif asked.grant is GrantKind.CODE:
            path = "/" + (asked.redirect_uri or "").partition("://")[2].partition("/")[2]
            listener = self._listener(account, path)
            port = (asked.redirect_uri or "").rpartition(":")[2].partition("/")[0]
            try:
                await listener.start(int(port))
            except (OSError, ValueError) as error:
                # the address can still be pasted
                log.warning("redirect_port_taken", extra={"fields": {"account": account, "why": str(error)}})
            await self._follow_until_expiry(account, asked, listener)
        else:
            await self._fail(account, asked, "authorization_interrupted")

    async def _resume_poll(self, account: str, asked: Authorization) -> None:
        try:
            resolved = await self._client.resolve(account)
            while isinstance(resolved, GrantFailure) and asked.expires_at > self._clock.now():
                await self._clock.sleep(asked.interval)
                resolved = await self._client.resolve(account)
        except (NotReady, UnknownName):
            await self._fail(account, asked, "authorization_interrupted")
            return
        if isinstance(resolved, GrantFailure):
            await self._finish(account, asked, resolved)
            return
        await self._poll(resolved, asked)

    async def _poll(self, resolved: ResolvedAccount, asked: Authorization) -> None:
        left = (asked.expires_at - self._clock.now()).total_seconds()
        code = asked.device_code or Secret("")
        poll = grants.poll_device_token(resolved.context, code, interval=asked.interval, expires_in=left)
        found = await self._client.run(poll, resolved)
        # the code is used up: whoever ends the following from now on does not end the storing
        await asyncio.shield(self._followers.aside(self._finish(resolved.setting.value, asked, found, resolved)))

    async def _follow_until_expiry(self, account: str, asked: Authorization, listener: RedirectListener) -> None:
        self._followers.follow(account, self._expire(account, asked, listener))
        await asyncio.sleep(0)  # lets it begin: whatever cancels it from now on also stops the listener

    async def _expire(self, account: str, asked: Authorization, listener: RedirectListener) -> None:
        try:
            while (left := (asked.expires_at - self._clock.now()).total_seconds()) > 0:
                await self._clock.sleep(min(left, 30.0))
            await self._fail(account, asked, "authorization_timed_out")
        finally:
            await listener.stop()

    def _listener(self, account: str, path: str) -> RedirectListener:
        def take(target: str) -> str:
            self._followers.aside(self._take_redirect(account, target))
            return REDIRECT_PAGE

        return RedirectListener(path, take)

    async def _take_redirect(self, account: str, target: str) -> None:
        try:
            await self.paste(Setting(account), target)
        except ValijaError as error:
            log.warning("redirect_refused", extra={"fields": {"account": account, "why": str(error)}})

    async def _finish(
        self,
        account: str,
        asked: Authorization,
        found: TokenResponse | GrantFailure,
        resolved: ResolvedAccount | None = None,
    ) -> VersionedToken:
        """Store what came; a token that nobody waits for any more is revoked at ``resolved``, the provider that gave it."""
        if isinstance(found, GrantFailure):
            return await self._fail_with(account, asked, self._client.trouble(found))
        tokens = self._client.token_set(found, asked.grant)
        self._tokens.forget_pauses(account)
        event = TokenObtained(asked.authorization_id, tokens)
        stored = await self._write(account, event, AuditAction.TOKEN_OBTAINED)
        kept = tokens_kept(stored.state)
        if resolved is not None and (kept is None or kept.grant_id != tokens.grant_id):
            await self._client.revoke(resolved, tokens)
        return stored

    async def _write(self, account: str, event: TokenEvent, action: AuditAction) -> VersionedToken:
        """Bring the end of an authorization to the store; the only copy is in memory: keep trying while the disk is full."""
        for _try in range(STORE_RETRIES):
            try:
                return await self._tokens.apply(account, event, action=action)
            except (StoreFull, StoreError) as error:
                log.error("token_not_saved", extra={"fields": {"account": account, "why": str(error)}})  # noqa: TRY400
                await self._clock.sleep(STORE_RETRY_S)
        return await self._tokens.apply(account, event, action=action)

    async def _fail(self, account: str, asked: Authorization, reason: str) -> None:
        who = self._explainer.explain(reason).who_acts
        await self._fail_with(account, asked, Trouble(reason, who, "", self._clock.now()))

    async def _fail_with(self, account: str, asked: Authorization, trouble: Trouble) -> VersionedToken:
        event = AuthorizationFailed(asked.authorization_id, trouble)
        return await self._write(account, event, AuditAction.TOKEN_AUTHORIZATION_FAILED)

    async def close(self) -> None:
        """Stop following; what waits is resumed at the next start."""
        await self._followers.close(CLOSE_S)

    def _or_refused(self, found: Any) -> Any:
        if isinstance(found, GrantFailure):
            trouble = self._client.trouble(found)
            raise ProviderRefused(message(self._explainer.explain(trouble.reason).meaning), trouble)
        return found
