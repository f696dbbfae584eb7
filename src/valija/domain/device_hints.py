"""What to do about what a device was refused for; the refusals are ours, OpenSSL's words on a handshake its own. Pure."""

from __future__ import annotations

import re
from typing import Final

from valija.domain.account import POP_SETTINGS, SETTING_LABELS, Setting
from valija.domain.device import TLS_LABELS, TlsPolicy
from valija.domain.text import N_, Message, message

NEW_PASSWORD: Final = N_("New password")  # keys of the pages
LET_IN: Final = N_("Let it in")
TLS_FAILED: Final = "TLS: "  # then OpenSSL's reason
WRONG: Final = N_("wrong login or password")
LOCKED: Final = N_("too many wrong passwords")
NOT_CHECKED: Final = N_("the password could not be checked now")
LOGIN_IN_CLEAR: Final = N_("log-in without TLS")
MAIL_IN_CLEAR: Final = N_("mail without TLS")
NO_MAILBOX: Final = N_("it has no mailbox to fetch")
NOTHING_SENT: Final = N_("connected, and sent nothing")
NO_LOGIN: Final = N_("connected, and did not log in")
TAKEN_AWAY: Final = N_("revoked while its mailbox was opened")
NOT_KNOWN: Final = N_("not known yet")
MAY_NOT_SEND: Final = "may not send as"  # then the sender
_MAILBOX: Final = re.compile(
    rf"({'|'.join(POP_SETTINGS)}): ([a-z_]+) ?(.*)"
)  # what kept it from its mailbox, with words
_TOO_OLD: Final = (
    "UNSUPPORTED_PROTOCOL",
    "NO_SHARED_CIPHER",
    "NO_SUITABLE_SIGNATURE_ALGORITHM",
    "NO_SHARED_SIGNATURE_ALGORITHMS",
    "VERSION_TOO_LOW",
    "INAPPROPRIATE_FALLBACK",
)
_NOT_TRUSTED: Final = ("UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED", "BROKEN_OFF")


def is_too_old_for_tls(error: str) -> bool:
    """Tell whether a handshake failed because the device knows only what modern TLS has dropped."""
    return error.startswith(TLS_FAILED) and any(word in error for word in _TOO_OLD)


def refusal(error: str) -> Message:
    """Return a refusal as a sentence; what is not ours (a reply, OpenSSL's words) stays as it is."""
    if error.startswith(f"{MAY_NOT_SEND} "):
        return message(N_("may not send as {sender}"), sender=error.removeprefix(f"{MAY_NOT_SEND} "))
    if mailbox := _MAILBOX.match(error):
        setting = Message(SETTING_LABELS[Setting(mailbox[1])])
        words = f": {mailbox[3]}" if mailbox[3].startswith("-ERR") else ""
        return message(N_("the mailbox of {setting} cannot be read{words}"), setting=setting, words=words)
    return Message(error)


def why_not_opened(error: str) -> str:
    """Return the reason that kept a device from the mailbox that it fetches; empty for another refusal."""
    found = _MAILBOX.match(error)
    return found[2] if found else ""


def hint(error: str, *, login: str = "", address: str = "") -> Message | None:
    """Return what to do about a refusal of a device (``login``) or of a stranger (empty); None where nothing is to be done."""
    subject = login or "LOGIN"
    if is_too_old_for_tls(error):
        return _lets_use_old_tls(login, address)
    if error.startswith(TLS_FAILED) and any(word in error for word in _NOT_TRUSTED):
        return message(
            N_("It does not trust this machine's certificate: import its authority, or switch the check off.")
        )
    if error in (LOGIN_IN_CLEAR, MAIL_IN_CLEAR):
        text = N_(
            "It does not use TLS: switch STARTTLS on in it, or choose “{choice}” for it: "
            "valija device set {login} --tls offered"
        )
        return message(text, choice=Message(TLS_LABELS[TlsPolicy.OFFERED]), login=subject)
    if error == WRONG and login:
        text = N_(
            "User name or password typed into it are wrong; “{key}” makes one to type in: valija device password {login}"
        )
        return message(text, key=Message(NEW_PASSWORD), login=subject)
    if error == NO_MAILBOX:
        text = N_("Choose which mailbox it may fetch: valija device set {login} --mailbox SETTING")
        return message(text, login=subject)
    if error.startswith(MAY_NOT_SEND):
        text = N_(
            "Add that sender to its allowed senders, or name all of them: "
            "valija device set {login} --sender ADDRESS --sender ADDRESS"
        )
        return message(text, login=subject)
    if error == LOCKED:
        text = N_(
            "After too many wrong passwords nothing is looked at for a few minutes: "
            "correct what is typed into it, then wait."
        )
        return message(text)
    return None


def _lets_use_old_tls(login: str, address: str) -> Message:
    choice = Message(TLS_LABELS[TlsPolicy.LEGACY])
    if not login:
        text = N_("It only knows old TLS: “{key}” lets it use that: valija device accept {address}")
        return message(text, key=Message(LET_IN), address=address)
    if address:  # by which it was known: one of its ranges has it, and the others must stay
        text = N_("It only knows old TLS: choose “{choice}” for it: valija device set {login} --tls legacy")
        return message(text, choice=choice, login=login)
    text = N_(
        "It only knows old TLS: choose “{choice}” for it and enter its address: "
        "valija device set {login} --tls legacy --range ADDRESS"
    )
    return message(text, choice=choice, login=login)
