"""An old printer: hands in mail by SMTP as such machines do, with what they can."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from typing import Any

from driver import Daemon

TIMEOUT_S = 20
SENDER = "scanner@office.local"


class Printer:
    """One device of a machine; without ``made`` it has no login."""

    def __init__(self, machine: Daemon, made: dict[str, Any] | None = None, *, tls: bool = True) -> None:
        self._made = made
        self._tls = tls
        self.ports: dict[str, int] = machine.json("device", "list")["ports"]

    def connect(self, *, log_in: bool = True) -> smtplib.SMTP:
        """Open a session; log in by AUTH LOGIN, which is all that it knows."""
        session = smtplib.SMTP("127.0.0.1", self.ports["smtp"], timeout=TIMEOUT_S)
        session.ehlo("printer")
        if self._tls:
            session.starttls(context=ssl._create_unverified_context())
            session.ehlo("printer")
        if self._made is not None and log_in:
            session.user, session.password = self._made["login"], self._made["password"]
            try:
                session.auth("LOGIN", session.auth_login)
            except smtplib.SMTPException:
                session.close()
                raise
        return session

    def scan(self, to: str, subject: str, octets: int = 200, sender: str = SENDER) -> str:
        """Send a scan; return the server's words for it."""
        with self.connect() as session:
            session.mail(sender)
            code, words = session.rcpt(to)
            assert code == 250, (code, words)
            code, words = session.data(scan_of(to, subject, octets, sender))
            assert code == 250, (code, words)
            return words.decode()


def scan_of(to: str, subject: str, octets: int = 200, sender: str = SENDER) -> bytes:
    """Return a message with an attachment of so many octets."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = f"Scanner <{sender}>", to, subject
    message.set_content("Escaneado.")
    message.add_attachment(bytes(range(256)) * (octets // 256 + 1), "application", "pdf", filename="scan.pdf")
    return message.as_bytes()
