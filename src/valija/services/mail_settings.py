"""The four mail settings: read, change; a change of what a token belongs to asks first, then deletes the token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from valija.domain.account import Actor, Authentication, Setting
from valija.domain.clock import Clock
from valija.domain.errors import ConfirmationNeeded, FieldProblem, InvalidFields, TryLater
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.settings import MailSettings, parse_changes
from valija.domain.text import N_, message
from valija.domain.token import NotRetrieved, tokens_kept
from valija.services.authorization import AuthorizationDesk
from valija.services.events import EventBus, SettingsChanged
from valija.services.providers import ProviderBook
from valija.store.port import Store

_OWNERS = ("provider", "account")
_TRIES = 5


class MailSettingsDesk:
    """Where the settings are changed, whatever the face."""

    def __init__(
        self, store: Store, providers: ProviderBook, desk: AuthorizationDesk, clock: Clock, events: EventBus
    ) -> None:
        self._store = store
        self._providers = providers
        self._desk = desk
        self._clock = clock
        self._events = events

    async def load(self, setting: Setting) -> MailSettings:
        """Return a setting's fields; its defaults if it was never set."""
        return (await self._store.load_settings(setting)).value

    async def change(
        self, setting: Setting, changes: Mapping[str, Any], *, confirm: bool, actor: Actor
    ) -> MailSettings:
        """Apply ``changes``, all or none.

        Raises :class:`InvalidFields` for what is out of its limits, and :class:`ConfirmationNeeded` if it would delete a
        token and ``confirm`` is false.
        """
        for _try in range(_TRIES):
            stored = await self._store.load_settings(setting)
            new = await self._complete(setting, parse_changes(stored.value, changes), changes)
            if new == stored.value:
                return new
            changed = tuple(f.name for f in fields(new) if getattr(new, f.name) != getattr(stored.value, f.name))
            record = AuditRecord(
                self._clock.now(), actor, AuditAction.SETTINGS_CHANGED, setting.value, {"fields": ", ".join(changed)}
            )
            forget = any(name in changed for name in _OWNERS) and await self._has_token(setting)
            if forget and not confirm:
                raise _ask_first()
            revoke = await self._desk.prepare_revocation(setting.value) if forget else None
            written = (
                await self._store.save_settings_and_forget_token(setting, stored.version, new, record)
                if forget
                else await self._store.save_settings(setting, stored.version, new, record)
            )
            if written is None:
                continue
            if revoke is not None:
                revoke()
            self._events.publish(SettingsChanged(setting.value, self._clock.now()))
            return new
        raise TryLater(message(N_("Somebody else changes the same setting.")), message(N_("Try again.")))

    async def _has_token(self, setting: Setting) -> bool:
        state = (await self._store.load_token(setting.value)).state
        return tokens_kept(state) is not None or not isinstance(state, NotRetrieved)

    async def _complete(self, setting: Setting, new: MailSettings, changes: Mapping[str, Any]) -> MailSettings:
        """Check the provider; fill server and port from its profile where they were never set and are not set now."""
        if new.auth is not Authentication.OAUTH2 and "provider" not in changes:
            return new
        if not new.provider:
            return new
        profile = await self._providers.profile(new.provider)
        if profile is None:
            problem = message(N_("names no provider; `valija provider list` shows those that exist"))
            raise InvalidFields((FieldProblem("provider", problem),))
        if new.server or "server" in changes:
            return new
        host = profile.pop if setting.is_pop else profile.smtp
        if host is None:
            return new
        return replace(new, server=host.host, port=new.port if "port" in changes else host.port)


def _ask_first() -> ConfirmationNeeded:
    return ConfirmationNeeded(
        message(N_("The token that is there belongs to the present account. This change deletes it.")),
        message(N_("Confirm the change, or leave provider and account as they are.")),
    )
