"""What a face shows of an account's token, apart from language: one report for all faces."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from valija.domain.account import GrantKind, Setting
from valija.domain.clock import Clock
from valija.domain.explanations import Explainer, Explanation
from valija.domain.refresh_policy import idle_limit_at
from valija.domain.token import (
    Authorization,
    AwaitingAuthorization,
    StateName,
    TokenSet,
    tokens_in_use,
    tokens_kept,
    trouble_of,
)
from valija.domain.trouble import Trouble
from valija.services.providers import ProviderBook, provider_label
from valija.store.port import Store, VersionedToken


@dataclass(frozen=True, slots=True)
class ExplainedTrouble:
    """A trouble with its explanation."""

    trouble: Trouble
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class TokenReport:
    """An account's token as a person may see it; no secrets."""

    setting: Setting
    version: int
    state: StateName
    account: str
    provider: str
    provider_name: str
    in_use: bool
    expired: bool
    grant: GrantKind | None
    obtained_at: datetime | None
    refreshed_at: datetime | None
    expires_at: datetime | None
    idle_limit_at: datetime | None
    scopes: tuple[str, ...]
    authorization: Authorization | None
    trouble: ExplainedTrouble | None
    unsaved: bool


class StatusDesk:
    """Makes token reports."""

    def __init__(self, store: Store, providers: ProviderBook, explainer: Explainer, clock: Clock) -> None:
        self._store = store
        self._providers = providers
        self.explainer = explainer
        self._clock = clock

    async def report(self, setting: Setting, *, unsaved: frozenset[str] = frozenset()) -> TokenReport:
        """Report one setting's token."""
        stored = await self._store.load_token(setting.value)
        settings = (await self._store.load_settings(setting)).value
        profile = await self._providers.profile(settings.provider) if settings.provider else None
        tokens = tokens_in_use(stored.state) or tokens_kept(stored.state)
        return TokenReport(
            setting=setting,
            version=stored.version,
            state=stored.state.name,
            account=settings.account,
            provider=settings.provider,
            provider_name=provider_label(settings.provider, profile.display_name) if profile else settings.provider,
            in_use=tokens_in_use(stored.state) is not None,
            expired=tokens is not None and tokens.is_expired(self._clock.now()),
            grant=tokens.grant if tokens else None,
            obtained_at=tokens.obtained_at if tokens else None,
            refreshed_at=tokens.refreshed_at if tokens else None,
            expires_at=tokens.expires_at if tokens else None,
            idle_limit_at=self._idle_limit(tokens, profile.refresh_token_idle_days if profile else None),
            scopes=tokens.scopes if tokens else (),
            authorization=stored.state.authorization if isinstance(stored.state, AwaitingAuthorization) else None,
            trouble=self._trouble(stored),
            unsaved=setting.value in unsaved,
        )

    def explain(self, trouble: Trouble) -> ExplainedTrouble:
        """Join a trouble with its explanation."""
        return ExplainedTrouble(trouble, self.explainer.explain(trouble.reason))

    def meaning(self, reason: str) -> str:
        """Return what a reason means; empty for what is none."""
        known = self.explainer.by_reason.get(reason)
        return known.meaning if known else ""

    def _idle_limit(self, tokens: TokenSet | None, idle_days: int | None) -> datetime | None:
        return idle_limit_at(tokens, idle_days) if tokens else None

    def _trouble(self, stored: VersionedToken) -> ExplainedTrouble | None:
        trouble = trouble_of(stored.state)
        return self.explain(trouble) if trouble else None
