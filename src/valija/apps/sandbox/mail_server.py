"""The sandbox's mail server: SMTP submission and POP3, by XOAUTH2 and OAUTHBEARER, or the password ``sandbox``.

As at Exchange, the sender must be the mailbox that logged in. Mail goes to mailboxes of ``sandbox.test`` only.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from valija.apps.http_server import port_taken
from valija.apps.sandbox.authorization import Refusal, TokenInfo
from valija.apps.sandbox.maildrop import IncomingMessage, Maildrops, SandboxMaildrop, mailbox_name
from valija.net.listeners import Listener, pop3_listener, smtp_listener
from valija.net.visits import (
    OK,
    LoginAccepted,
    LoginRefused,
    Peer,
    PopHandler,
    PopVisit,
    SmtpHandler,
    SmtpVisit,
    Transaction,
    Verdict,
)
from valija.protocol.pop3_server_events import PopPolicy
from valija.protocol.sasl_server import MECHANISMS, Shown
from valija.protocol.smtp_path import Path as SmtpPath
from valija.protocol.smtp_server_events import SmtpPolicy
from valija.secret import Secret

HOST: Final = "127.0.0.1"
PASSWORD: Final = Secret("sandbox")
VerifyToken = Callable[[Secret], TokenInfo | Refusal]


def _login(shown: Shown, verify: VerifyToken, scope: str) -> LoginAccepted | LoginRefused:
    """Check a token or the sandbox's password; the user named must be the one who signed in."""
    if shown.token is None:
        good = shown.password == PASSWORD and mailbox_name(shown.user) is not None
        return LoginAccepted(shown.user.lower()) if good else LoginRefused()
    found = verify(shown.token)
    if isinstance(found, Refusal):
        return LoginRefused(status=found.status, scope=scope)
    if scope not in found.scopes or shown.user.lower() != found.mailbox:
        return LoginRefused(status="403", scope=scope)
    return LoginAccepted(found.mailbox)


class _Smtp(SmtpHandler):
    def __init__(self, maildrops: Maildrops, verify: VerifyToken) -> None:
        self.maildrops = maildrops
        self.verify = verify

    def open(self, _peer: Peer) -> SmtpVisit:
        return _SmtpVisit(self)


class _SmtpVisit(SmtpVisit):
    policy = SmtpPolicy("localhost", MECHANISMS, tls_offered=True)

    def __init__(self, server: _Smtp) -> None:
        self._server = server
        self._user = ""

    def login(self, shown: Shown) -> LoginAccepted | LoginRefused:
        found = _login(shown, self._server.verify, "smtp")
        self._user = found.user if isinstance(found, LoginAccepted) else ""
        return found

    def sender(self, path: SmtpPath) -> Verdict:
        if path.address.lower() != self._user:
            text = f"SendAsDenied; {self._user} not allowed to send as {path.address or '<>'}"
            return Verdict(550, "5.7.60", text)
        return OK

    def recipient(self, path: SmtpPath) -> Verdict:
        if mailbox_name(path.address) is None:
            return Verdict(550, "5.7.1", "Nothing leaves the sandbox: recipients are NAME@sandbox.test")
        return Verdict(250, "2.1.5", "OK")

    def message(self, transaction: Transaction) -> IncomingMessage | Verdict:
        names = [mailbox_name(path.address) for path in transaction.recipients]
        kept = [name for name in names if name is not None]
        return self._server.maildrops.new_message(kept, transaction.sender.address)


class _Pop(PopHandler):
    def __init__(self, maildrops: Maildrops, verify: VerifyToken) -> None:
        self.maildrops = maildrops
        self.verify = verify

    def open(self, _peer: Peer) -> PopVisit:
        return _PopVisit(self)


class _PopVisit(PopVisit):
    policy = PopPolicy("localhost", MECHANISMS, tls_offered=True)

    def __init__(self, server: _Pop) -> None:
        self._server = server

    async def login(self, shown: Shown, *, utf8: bool) -> SandboxMaildrop | LoginRefused | None:
        found = _login(shown, self._server.verify, "pop")
        if isinstance(found, LoginRefused):
            return found
        name = mailbox_name(found.user)
        return LoginRefused() if name is None else await self._server.maildrops.open(name)


@dataclass(frozen=True, slots=True)
class MailPorts:
    """Where the sandbox's mail server listens."""

    smtp: int
    smtps: int
    pop3: int
    pop3s: int


class SandboxMail:
    """The four listeners."""

    def __init__(self, maildrops: Maildrops, verify: VerifyToken, tls: ssl.SSLContext) -> None:
        self._tls = tls
        smtp, pop = _Smtp(maildrops, verify), _Pop(maildrops, verify)
        self._listeners: list[tuple[Listener, bool]] = [
            (smtp_listener(smtp, tls), False),
            (smtp_listener(smtp, tls), True),
            (pop3_listener(pop, tls), False),
            (pop3_listener(pop, tls), True),
        ]

    async def start(self, ports: MailPorts) -> MailPorts:
        """Listen on loopback; return the ports that were bound. Raises :class:`ConfigurationError` for a taken one."""
        wanted = (ports.smtp, ports.smtps, ports.pop3, ports.pop3s)
        for (listener, implicit), port in zip(self._listeners, wanted, strict=True):
            try:
                await listener.start(HOST, port, implicit_tls=implicit)
            except OSError as error:
                raise port_taken(port, error) from None
        return MailPorts(*(listener.port for listener, _implicit in self._listeners))

    async def stop(self) -> None:
        """Stop listening."""
        for listener, _implicit in self._listeners:
            await listener.stop()
