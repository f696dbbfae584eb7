"""Client registrations: added, changed, deleted; joined with the profile of their provider."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from valija.domain.account import Actor, GrantKind, Setting
from valija.domain.clock import Clock
from valija.domain.errors import ConfirmationNeeded, FieldProblem, InvalidFields, TryLater, UnknownName
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.registration import Registration
from valija.domain.text import N_, Message, message
from valija.domain.token import NotRetrieved
from valija.net.jose import KeyUnusable, SigningKey, check_pair, parse_service_account
from valija.oauth.catalogue import Catalogue, Profile
from valija.oauth.http_messages import is_safe_url
from valija.secret import Secret
from valija.services.events import PROVIDER_SUBJECT, EventBus, SettingsChanged
from valija.store.port import Store, VersionedRegistration

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_WORD: Final = re.compile(r"[\x21-\x7e]{1,255}")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,254}")
_SECRETS: Final = ("client_secret", "private_key", "service_account")
_OWNERS: Final = ("kind", "cloud", "issuer", "tenant", "client_id", "service_account")
KEY_LIMIT: Final = 65536
KINDS: Final = ("microsoft", "google", "yahoo", "aol", "custom")


PrepareRevocation = Callable[[str], Awaitable[Callable[[], None]]]


async def _nothing_to_revoke(_account: str) -> Callable[[], None]:
    return lambda: None


def provider_label(name: str, display_name: str) -> str:
    """Return how a registration is called: the provider's name, and its own where that says more."""
    return display_name if name.casefold() in (display_name.casefold(), *KINDS) else f"{display_name} · {name}"


class ProviderBook:
    """All registrations; ``builtin`` holds those that the program brings (the sandbox's), which cannot be changed."""

    def __init__(self, store: Store, catalogue: Catalogue, clock: Clock, events: EventBus) -> None:
        self._store = store
        self._catalogue = catalogue
        self._clock = clock
        self._events = events
        self.builtin: dict[str, tuple[Registration, Profile]] = {}
        self.prepare_revocation: PrepareRevocation = _nothing_to_revoke

    async def all(self) -> list[Registration]:
        """Return all registrations."""
        stored = [item.value for item in await self._store.list_registrations()]
        return [*(r for r, _p in self.builtin.values()), *(r for r in stored if r.name not in self.builtin)]

    async def find(self, name: str) -> tuple[Registration, Profile] | None:
        """Return a registration with its profile; None if there is none of that name."""
        if name in self.builtin:
            return self.builtin[name]
        stored = await self._store.load_registration(name)
        return None if stored is None else (stored.value, self._profile(stored.value))

    async def load(self, name: str) -> tuple[Registration, Profile]:
        """Return a registration with its profile. Raises :class:`UnknownName`."""
        found = await self.find(name)
        if found is None:
            raise _unknown(name)
        return found

    async def profile(self, name: str) -> Profile | None:
        """Return the profile behind a registration's name."""
        found = await self.find(name)
        return found[1] if found else None

    def offered(self) -> list[Profile]:
        """Return the first profile of each kind that has one: what can be registered."""
        found = (self._catalogue.profile(kind) for kind in KINDS)
        return [profile for profile in found if profile is not None]

    def of_kind(self, kind: str, cloud: str = "", tenant: str = "") -> Profile | None:
        """Return the profile of a kind, whether somebody registered there or not."""
        return self._catalogue.profile(kind, cloud, tenant)

    def clouds(self, kind: str) -> tuple[str, ...]:
        """Return the clouds of a kind."""
        return self._catalogue.clouds(kind)

    def _profile(self, registration: Registration) -> Profile:
        profile = self._catalogue.profile(registration.kind, registration.cloud, registration.tenant)
        if profile is None:  # a profile that a later version knows
            raise _unknown(f"{registration.kind} {registration.cloud}".strip())
        return profile

    async def users(self, name: str) -> list[Setting]:
        """Return the settings that use a registration."""
        return [s for s in Setting if (await self._store.load_settings(s)).value.provider == name]

    async def set(self, name: str, changes: Mapping[str, Any], *, confirm: bool, actor: Actor) -> Registration:
        """Add or change a registration, all of ``changes`` or none.

        Raises :class:`InvalidFields`, and :class:`ConfirmationNeeded` if it would delete a token and ``confirm`` is false.
        """
        if name in self.builtin:
            raise InvalidFields((FieldProblem("name", message(N_("belongs to the sandbox and cannot be changed"))),))
        for _try in range(5):
            stored = await self._store.load_registration(name)
            new = self._parse(name, stored, changes)
            if stored is not None and new == stored.value:
                return new
            forget = await self._tokens_lost(name, stored, new)
            if forget and not confirm:
                raise _ask_first(forget)
            action = AuditAction.PROVIDER_CHANGED
            record = AuditRecord(self._clock.now(), actor, action, name, {"fields": ", ".join(sorted(changes))})
            version = stored.version if stored else 0
            revoke = [await self.prepare_revocation(account) for account in forget]
            if await self._store.save_registration(version, new, record, forget_tokens=forget):
                for start in revoke:
                    start()
                self._events.publish(SettingsChanged(PROVIDER_SUBJECT + name, self._clock.now()))
                return new
        raise TryLater(message(N_("Somebody else changes the same provider.")), message(N_("Try again.")))

    async def delete(self, name: str, *, confirm: bool, actor: Actor) -> None:
        """Delete a registration and forget the tokens that were got with it."""
        if name in self.builtin or await self._store.load_registration(name) is None:
            raise _unknown(name)
        forget = await self._with_token(name)
        if forget and not confirm:
            raise _ask_first(forget)
        record = AuditRecord(self._clock.now(), actor, AuditAction.PROVIDER_DELETED, name)
        revoke = [await self.prepare_revocation(account) for account in forget]
        await self._store.delete_registration(name, record, forget_tokens=forget)
        for start in revoke:
            start()
        self._events.publish(SettingsChanged(PROVIDER_SUBJECT + name, self._clock.now()))

    async def _tokens_lost(self, name: str, stored: VersionedRegistration | None, new: Registration) -> list[str]:
        if stored is None or all(getattr(stored.value, f) == getattr(new, f) for f in _OWNERS):
            return []
        return await self._with_token(name)

    async def _with_token(self, name: str) -> list[str]:
        users = [setting.value for setting in await self.users(name)]
        return [a for a in users if not isinstance((await self._store.load_token(a)).state, NotRetrieved)]

    # --- reading what the operator said -------------------------------------------------------------------------------------

    def _parse(self, name: str, stored: VersionedRegistration | None, changes: Mapping[str, Any]) -> Registration:
        problems: list[FieldProblem] = []
        if _NAME.fullmatch(name) is None:
            problems.append(_bad("name", N_("must be a name of small letters, digits, dots and hyphens")))
        base = stored.value if stored else Registration(name, kind=name if name in KINDS else "")
        known = {f: v for f, v in changes.items() if f in _CHECKS}
        problems += [_bad(f, N_("is not a field of a provider")) for f in changes if f not in _CHECKS]
        problems += [FieldProblem(f, problem) for f, v in known.items() if (problem := _CHECKS[f](v)) is not None]
        if problems:
            raise InvalidFields(tuple(problems))
        values = {f: _convert(f, v) for f, v in known.items()}
        if "client_secret" in values and values["client_secret"] is not None:
            values |= {"private_key": None, "certificate": ""}
        elif values.get("private_key") is not None:
            values["client_secret"] = None
        new = replace(base, **values)
        problems = self._check_whole(new)
        if problems:
            raise InvalidFields(tuple(problems))
        return new

    def _check_whole(self, r: Registration) -> list[FieldProblem]:
        problems = []
        if r.kind not in KINDS:
            problems.append(_bad("kind", N_("must be microsoft, google, yahoo, aol or custom")))
        elif self._catalogue.profile(r.kind, r.cloud) is None:
            clouds = ", ".join(self._catalogue.clouds(r.kind))
            problems.append(FieldProblem("cloud", message(N_("must be one of {clouds}"), clouds=clouds)))
        if r.kind == "custom" and not r.issuer:
            problems.append(_bad("issuer", N_("is needed for a provider of the kind custom")))
        if r.certificate and r.private_key is None:
            problems.append(_bad("private_key", N_("is needed with a certificate")))
        return [*problems, *_check_keys(r)]


def _check_keys(r: Registration) -> list[FieldProblem]:
    problems = []
    try:
        if r.private_key is not None:
            check_pair(SigningKey(r.private_key, r.certificate))
    except KeyUnusable as error:
        problems.append(FieldProblem("private_key", message(N_("cannot be used: {why}"), why=str(error))))
    try:
        if r.service_account is not None:
            parse_service_account(r.service_account)
    except KeyUnusable as error:
        problems.append(FieldProblem("service_account", message(N_("cannot be used: {why}"), why=str(error))))
    return problems


def _bad(field: str, problem: str) -> FieldProblem:
    return FieldProblem(field, message(problem))


def _matches(pattern: re.Pattern[str], problem: str) -> Any:
    def check(value: Any) -> Message | None:
        fits = value is None or (isinstance(value, str) and (value == "" or pattern.fullmatch(value) is not None))
        return None if fits else message(problem)

    return check


def _issuer(value: Any) -> Message | None:
    fits = isinstance(value, str) and len(value) <= 500 and (value == "" or is_safe_url(value))
    return None if fits else message(N_("must be an https address; http only on this machine (loopback)"))


def _grant(value: Any) -> Message | None:
    fits = value is None or value in [g.value for g in GrantKind]
    return None if fits else message(N_("must be device, code, client-credentials or service-account"))


def _scopes(value: Any) -> Message | None:
    fits = isinstance(value, list | tuple) and len(value) <= 50
    fits = fits and all(isinstance(s, str) and _WORD.fullmatch(s) for s in value)
    return None if fits else message(N_("must be a list of scopes without spaces"))


def _key_text(value: Any) -> Message | None:
    fits = value is None or (isinstance(value, str) and len(value) <= KEY_LIMIT and "\0" not in value)
    return None if fits else message(N_("must be the text of a key or certificate file"))


_one_word = _matches(_WORD, N_("must be one word without spaces"))
_CHECKS: Final[Mapping[str, Any]] = {
    "kind": _one_word,
    "cloud": _one_word,
    "issuer": _issuer,
    "tenant": _matches(_TENANT, N_("must be a domain or an id")),
    "client_id": _one_word,
    "client_secret": _matches(re.compile(r"[\x20-\x7e]{1,4096}"), N_("must be one line of plain characters")),
    "certificate": _key_text,
    "private_key": _key_text,
    "service_account": _key_text,
    "grant": _grant,
    "scopes": _scopes,
}


def _convert(field: str, value: Any) -> Any:
    if field in _SECRETS:
        return Secret(value) if value else None
    if field == "grant":
        return GrantKind(value) if value else None
    if field == "scopes":
        return tuple(value)
    return value or ""


def _unknown(name: str) -> UnknownName:
    return UnknownName(
        message(N_("There is no provider {name}."), name=name),
        message(N_("Add it with `valija provider set`; `valija provider list` shows those that exist.")),
    )


def _ask_first(accounts: list[str]) -> ConfirmationNeeded:
    return ConfirmationNeeded(
        message(
            N_("Tokens were got with the present data ({accounts}). This change deletes them."),
            accounts=", ".join(accounts),
        ),
        message(N_("Confirm the change, or leave the provider as it is.")),
    )
