"""The administrator's log-in: when a session ends, when wrong passwords lock, which passwords are good enough. Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from valija.domain.account import Presence
from valija.domain.text import N_, Message, message
from valija.secret import Secret

WRONG_LIMIT: Final = 3
LOCK_SPAN: Final = timedelta(minutes=5)

PANEL: Final = "panel"
WEB: Final = "web"
IDLE_SPANS: Final = MappingProxyType({PANEL: timedelta(minutes=10), WEB: timedelta(minutes=15)})
SHORTEST_IDLE: Final = min(IDLE_SPANS.values())
LONGEST_IDLE: Final = max(IDLE_SPANS.values())
SESSION_SPAN: Final = timedelta(hours=12)
TOUCH_SPAN: Final = timedelta(minutes=1)
CLOCK_SLACK: Final = timedelta(minutes=1)

SHORTEST: Final = 8
LONGEST: Final = 128
READ_LIMIT: Final = 8 * LONGEST  # a character of a password is written as a few at most
_TOO_COMMON: Final = """
    abcdefgh abcdefghi admin administrador administrator adminadmin asdfghjk asdfghjkl baseball bienvenido changeme computer
    contrasena contraseña default device football hola iloveyou internet letmein machine maquina máquina oficina office
    operador operator p@ssw0rd p@ssword passw0rd passwort password passwordpassword princess printer qazwsxedc qwerty qwertyui
    qwertyuiop qwertz root scanner secret secreto starwars sunshine superman supervisor system trustno user usuario
    valija valijavalija welcome zxcvbnm
    1q2w3e4r 1q2w3e4r5t 1qaz2wsx a1b2c3d4 aa123456 abc12345 abcd1234 q1w2e3r4
    01234567 012345678 0123456789 0987654321 11223344 12121212 12341234 12344321 12345678 123456789 1234567890
    87654321 987654321 9876543210
"""
TOO_COMMON: Final = frozenset(_TOO_COMMON.split())


@dataclass(frozen=True, slots=True)
class Session:
    """A log-in that lasts: ``key`` is the SHA-256 of its token in hex (the token itself is nowhere here).

    It counts only where it was opened: ``presence`` and ``face`` say where. ``csrf`` goes into each of its forms.
    """

    key: str
    presence: Presence
    face: str
    created_at: datetime
    last_seen_at: datetime
    csrf: Secret


@dataclass(frozen=True, slots=True)
class Lockout:
    """How many wrong passwords came since the last right one, and until when none is looked at."""

    wrong: int = 0
    locked_until: datetime | None = None


def session_ended(session: Session, now: datetime) -> bool:
    """Tell whether a session is over: not used for its face's span, too old, or from a time that has not come yet.

    The last means that the clock was set back: how old the session is cannot be known then.
    """
    if max(session.created_at, session.last_seen_at) > now + CLOCK_SLACK:
        return True
    idle = IDLE_SPANS.get(session.face, SHORTEST_IDLE)
    return now - session.last_seen_at >= idle or now - session.created_at >= SESSION_SPAN


def touch_due(session: Session, now: datetime) -> bool:
    """Tell whether the session's last use should be noted again."""
    return now - session.last_seen_at >= TOUCH_SPAN


def settle_lockout(lockout: Lockout, now: datetime) -> Lockout:
    """Return the lock-out as it holds now: over when its time is over.

    It is never longer than ``LOCK_SPAN`` from now, also when the clock was set back meanwhile.
    """
    if lockout.locked_until is None:
        return lockout
    if lockout.locked_until <= now:
        return Lockout()
    if lockout.locked_until > now + LOCK_SPAN:
        return Lockout(lockout.wrong, now + LOCK_SPAN)
    return lockout


def count_wrong(lockout: Lockout, now: datetime) -> Lockout:
    """Return the lock-out after one more wrong password; ``lockout`` is settled and not locked."""
    wrong = lockout.wrong + 1
    return Lockout(wrong, now + LOCK_SPAN if wrong >= WRONG_LIMIT else None)


def attempts_left(lockout: Lockout) -> int:
    """Return how many wrong passwords are left before the lock."""
    return max(WRONG_LIMIT - lockout.wrong, 0)


def normalized(password: str) -> str:
    """Return a password in the one form that is compared: keyboards write ``ñ`` or ``é`` in two ways (Unicode NFC).

    Of what is far longer than any password only the beginning is looked at; it is still too long, and wrong.
    """
    return unicodedata.normalize("NFC", password[:READ_LIMIT])


def password_problem(password: Secret) -> Message | None:
    """Return what is wrong with a new password, to go on after the field's label; None if it is good enough."""
    text = normalized(password.reveal())
    if not text.strip():
        return message(N_("must not be empty or only spaces"))
    if not SHORTEST <= len(text) <= LONGEST:
        return message(N_("must have from {low} to {high} characters"), low=SHORTEST, high=LONGEST)
    if _too_common(text):
        return message(N_("is one of those that are tried first; choose another one"))
    return None


def _too_common(text: str) -> bool:
    """Look for well-known words, also with digits and signs after them, and for one or two characters again and again."""
    folded = text.strip().casefold()
    word = folded
    while word and not word[-1].isalpha():
        word = word[:-1]
    return folded in TOO_COMMON or word in TOO_COMMON or len(set(folded)) <= 2
