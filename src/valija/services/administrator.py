"""The administrator's password, log-in and sessions: one set of rules for the panel, the web page and whatever comes."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from valija.domain.account import Actor, Presence
from valija.domain.administrator import (
    LONGEST_IDLE,
    Lockout,
    Session,
    attempts_left,
    count_wrong,
    password_problem,
    session_ended,
    settle_lockout,
    touch_due,
)
from valija.domain.clock import Clock
from valija.domain.errors import FieldProblem, InvalidFields, NotAtTheMachine, RequestError, StoreFull, TryLater
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.text import N_, Message, message
from valija.secret import Secret
from valija.services.events import EventBus, SettingsChanged
from valija.services.passwords import Passwords
from valija.store.port import Store

ADMINISTRATOR: Final = "administrator"
PASSWORD_FIELD: Final = "password"
TOKEN_OCTETS: Final = 32
T = TypeVar("T")


class PasswordAlreadySet(RequestError):
    """There is an administrator's password: it can be changed, not set anew."""

    code = "password_already_set"
    http_status = 409


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The password was right. ``session_token`` goes into the cookie, ``csrf`` into the forms."""

    session_token: Secret
    csrf: Secret


@dataclass(frozen=True, slots=True)
class PasswordChanged:
    """The new password holds; all other sessions have ended."""


@dataclass(frozen=True, slots=True)
class WrongPassword:
    """The password was wrong; ``left`` more are looked at."""

    left: int


@dataclass(frozen=True, slots=True)
class Locked:
    """After too many wrong passwords none is looked at ``until`` then."""

    until: datetime


class AdministratorDesk:
    """Where the administrator's password is set, changed and checked.

    One attempt at a time: the next one sees what the one before has counted. An attempt that has begun is counted and
    recorded also when its caller goes away.
    """

    def __init__(self, store: Store, clock: Clock, events: EventBus, passwords: Passwords | None = None) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._passwords = passwords or Passwords()
        self._attempt = asyncio.Lock()
        self._begun: set[asyncio.Task[Any]] = set()

    # --- the password ---------------------------------------------------------------------------------------------------

    async def is_set(self) -> bool:
        """Tell whether there is a password."""
        return await self._store.load_password_hash() is not None

    async def set_first_password(self, new: Secret, actor: Actor) -> None:
        """Set the password where none is set; a lock-out from before ends.

        Raises :class:`NotAtTheMachine`, :class:`PasswordAlreadySet`, :class:`InvalidFields`.
        """
        _demand_presence(actor, N_("The first password can only be set at the machine."))
        if await self.is_set():
            raise _already_set()
        _demand_good(new)
        await self._undisturbed(self._set_first(await self._passwords.hash(new), actor))

    async def _set_first(self, new: Secret, actor: Actor) -> None:
        async with self._attempt:
            if not await self._store.save_password_hash(None, new, self._record(AuditAction.PASSWORD_CHANGED, actor)):
                raise _already_set()
            await self._lift(actor)
        self._events.publish(SettingsChanged(ADMINISTRATOR, self._clock.now()))

    async def change_password(
        self, old: Secret, new: Secret, actor: Actor, session_token: str | None = None
    ) -> PasswordChanged | WrongPassword | Locked:
        """Change the password; all sessions but the one of ``session_token`` end. A wrong ``old`` counts as at log-in.

        Raises :class:`InvalidFields` if ``new`` is not good enough.
        """
        _demand_good(new)
        return await self._undisturbed(self._change(old, new, actor, session_token))

    async def _change(
        self, old: Secret, new: Secret, actor: Actor, session_token: str | None
    ) -> PasswordChanged | WrongPassword | Locked:
        async with self._attempt:
            checked = await self._check(old, actor)
            if not isinstance(checked, Secret):
                return checked
            new_hash = await self._passwords.hash(new)
            # the sessions end first: whatever happens next, none outlives the password that it was opened with
            await self._store.delete_sessions(None if session_token is None else session_key(session_token))
            record = self._record(AuditAction.PASSWORD_CHANGED, actor)
            _demand_written(await self._store.save_password_hash(checked, new_hash, record))
        self._events.publish(SettingsChanged(ADMINISTRATOR, self._clock.now()))
        return PasswordChanged()

    # --- log-in ---------------------------------------------------------------------------------------------------------

    async def log_in(self, password: Secret, face: str, actor: Actor) -> LoggedIn | WrongPassword | Locked:
        """Open a session for ``face`` where the actor is, if the password is right."""
        return await self._undisturbed(self._log_in(password, face, actor))

    async def _log_in(self, password: Secret, face: str, actor: Actor) -> LoggedIn | WrongPassword | Locked:
        async with self._attempt:
            checked = await self._check(password, actor)
            if not isinstance(checked, Secret):
                return checked
            if self._passwords.is_outdated(checked):
                await self._store.save_password_hash(checked, await self._passwords.hash(password), None)
            now = self._clock.now()
            await self._store.delete_sessions_before(now - LONGEST_IDLE)
            token, csrf = (Secret(secrets.token_urlsafe(TOKEN_OCTETS)) for _ in range(2))
            session = Session(session_key(token.reveal()), actor.presence, face, now, now, csrf)
            await self._store.add_session(session, self._record(AuditAction.LOGGED_IN, actor))
            return LoggedIn(token, csrf)

    async def find(self, session_token: str, *, presence: Presence | None = None) -> Session | None:
        """Return the open session of a token, and note its use; None if there is none or it has ended.

        With ``presence``, a session that was opened elsewhere is not found.
        """
        session = await self._store.load_session(session_key(session_token))
        if session is None or (presence is not None and session.presence is not presence):
            return None
        now = self._clock.now()
        ended = session_ended(session, now)
        with suppress(StoreFull):  # noting it is no must: a full disk keeps nobody out, and revives nothing
            if ended:
                await self._store.delete_session(session.key)
            elif touch_due(session, now):
                await self._store.touch_session(session.key, now)
        return None if ended else session

    async def log_out(self, session_token: str) -> None:
        """End a session."""
        await self._store.delete_session(session_key(session_token))

    # --- wrong passwords ------------------------------------------------------------------------------------------------

    async def lift_lockout(self, actor: Actor) -> bool:
        """End the lock-out; False if there is none. Raises :class:`NotAtTheMachine`."""
        _demand_presence(actor, N_("The lock can only be lifted at the machine."))
        return await self._undisturbed(self._lift_alone(actor))

    async def _lift_alone(self, actor: Actor) -> bool:
        async with self._attempt:
            return await self._lift(actor)

    async def _lift(self, actor: Actor) -> bool:
        stored = await self._store.load_lockout()
        if settle_lockout(stored, self._clock.now()).locked_until is None:
            return False
        record = self._record(AuditAction.LOCKOUT_LIFTED, actor)
        _demand_written(await self._store.save_lockout(stored, Lockout(), [record]))
        return True

    async def _check(self, password: Secret, actor: Actor) -> Secret | WrongPassword | Locked:
        """Return the hash that the password belongs to; otherwise count, record and say what follows."""
        stored, now = await self._store.load_lockout(), self._clock.now()
        lockout = settle_lockout(stored, now)
        if lockout.locked_until is not None:
            if lockout != stored:  # the clock was set back: the lock goes on from now, once
                _demand_written(await self._store.save_lockout(stored, lockout))
            return Locked(lockout.locked_until)
        known = await self._store.load_password_hash()
        if await self._passwords.matches(known, password) and known is not None:
            if stored != Lockout():
                _demand_written(await self._store.save_lockout(stored, Lockout()))
            return known
        return await self._count_wrong(stored, lockout, actor)

    async def _count_wrong(self, stored: Lockout, lockout: Lockout, actor: Actor) -> WrongPassword | Locked:
        after = count_wrong(lockout, self._clock.now())
        records = [self._record(AuditAction.LOGIN_REFUSED, actor)]
        if after.locked_until is not None:
            records.append(self._record(AuditAction.LOCKED_OUT, actor))
        _demand_written(await self._store.save_lockout(stored, after, records))
        return WrongPassword(attempts_left(after)) if after.locked_until is None else Locked(after.locked_until)

    def _record(self, action: AuditAction, actor: Actor) -> AuditRecord:
        return AuditRecord(self._clock.now(), actor, action, ADMINISTRATOR)

    async def _undisturbed(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` to its end also when the caller is cancelled."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return await asyncio.shield(task)


def session_key(session_token: str) -> str:
    """Return what the store knows a session by."""
    return hashlib.sha256(session_token.encode("utf-8", "surrogatepass")).hexdigest()


def _demand_presence(actor: Actor, sentence: str) -> None:
    if actor.presence is not Presence.AT_MACHINE:
        raise NotAtTheMachine(message(sentence), message(N_("Go to the machine's own panel.")))


def _demand_good(new: Secret) -> None:
    problem: Message | None = password_problem(new)
    if problem is not None:
        raise InvalidFields((FieldProblem(PASSWORD_FIELD, problem),))


def _demand_written(written: bool) -> None:
    if not written:
        raise TryLater(message(N_("Somebody else changes the same setting.")), message(N_("Try again.")))


def _already_set() -> PasswordAlreadySet:
    return PasswordAlreadySet(
        message(N_("The administrator's password is set already.")),
        message(N_("Log in with it; then it can be changed.")),
    )
