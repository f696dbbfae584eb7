"""SMTP for the devices of the local network: who is known, whose name may stand on the mail, what is taken.

A device logs in with its own password, or is known by its address. Nothing is relayed for anybody else: without a log-in, MAIL
is refused before any recipient is named.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from valija.domain.clock import Clock
from valija.domain.device import Device, SenderDecision, TlsPolicy, decide_sender, is_own, plain_address, qualify
from valija.domain.device_hints import LOGIN_IN_CLEAR, MAIL_IN_CLEAR, MAY_NOT_SEND, NOT_KNOWN, NOTHING_SENT
from valija.domain.errors import ValijaError
from valija.domain.queued_message import QueuedRecipient
from valija.domain.sighting import Attempt, Seen
from valija.net.visits import (
    LoginAccepted,
    LoginRefused,
    Maybe,
    MessageSink,
    Peer,
    SmtpHandler,
    SmtpVisit,
    Transaction,
    Verdict,
)
from valija.protocol.sasl_server import Shown
from valija.protocol.smtp_path import Path, decode_xtext, is_address
from valija.protocol.smtp_server_events import SmtpPolicy
from valija.services.admission import NotAdmitted, admit, known_at_once
from valija.services.devices import DeviceDesk
from valija.services.intake import NO_SENDER, IncomingEnvelope, IncomingMail, Intake, Origin

PROTOCOL: Final = "smtp"
SETTINGS_FRESH_S: Final = 2.0
SENDER_OK: Final = Verdict(250, "2.1.0", "OK")
RECIPIENT_OK: Final = Verdict(250, "2.1.5", "OK")
NO_ROOM: Final = Verdict(452, "4.3.1", "Insufficient system storage")
NOT_NOW: Final = Verdict(451, "4.3.0", "Local error in processing")
SIZE_LIMIT: Final = 157_286_400
ENVELOPE_ID_LIMIT: Final = 100
HEAD_ROOM: Final = 4096  # octets: trace, Reply-To and the like
NOT_KNOWN_YET: Final = Verdict(450, "4.7.1", "Not known here yet: the administrator sees that you tried")
REVOKED: Final = Verdict(554, "5.7.1", "This device may not send any more")
TLS_FIRST: Final = Verdict(530, "5.7.0", "Must issue a STARTTLS command first")  # RFC 3207 section 4
_NOTIFY: Final = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}", re.I)


@dataclass(frozen=True, slots=True)
class Upstream:
    """What mail goes out as: the mailbox's address, empty while none is set; the provider's limit of a message in octets."""

    mailbox: str
    octets: int | None


class Submission(SmtpHandler):
    """The server's side of all devices."""

    def __init__(
        self,
        devices: DeviceDesk,
        intake: Intake,
        upstream: Callable[[], Awaitable[Upstream]],
        clock: Clock,
        *,
        host_name: str,
        tls: bool,
        is_learning: Callable[[], bool] = lambda: False,
        size_limit: int = SIZE_LIMIT,
        may_send_as: tuple[str, ...] = (),
    ) -> None:
        self.devices = devices
        self.intake = intake
        self.clock = clock
        self.host_name = host_name
        self.tls = tls
        self.size_limit = size_limit
        self.is_learning = is_learning
        self.may_send_as = may_send_as
        self._ask_upstream = upstream
        self._upstream = Upstream("", None)
        self._upstream_read = float("-inf")
        self._policies: dict[tuple[bool, bool, int], SmtpPolicy] = {}

    def open(self, peer: Peer) -> SmtpVisit:
        """Return who decides for a session."""
        return DeviceVisit(self, peer)

    def policy(self, *, may_ask: bool) -> SmtpPolicy:
        """Return what a session is offered; ``may_ask``: MAIL without a log-in is not refused at once."""
        auth_needs_tls = self.tls and not self.devices.any_in_clear()
        kind = may_ask, auth_needs_tls, self._size_limit()
        found = self._policies.get(kind)
        if found is None:
            found = self._policies[kind] = SmtpPolicy(
                self.host_name,
                ("PLAIN", "LOGIN"),
                tls_offered=self.tls,
                auth_needs_tls=auth_needs_tls,
                auth_required=not may_ask,
                reports_offered=True,
                old_auth_line=True,
                size_limit=kind[2],
            )
        return found

    def _size_limit(self) -> int:
        """Return what is the smaller: our limit, or the provider's less what is added to a head here."""
        theirs = self._upstream.octets
        return self.size_limit if theirs is None else max(min(self.size_limit, theirs - HEAD_ROOM), HEAD_ROOM)

    def upstream(self) -> Maybe[Upstream]:
        """Return what mail goes out as, read again every two seconds at the most."""
        now = self.clock.monotonic()
        return self._upstream if now - self._upstream_read <= SETTINGS_FRESH_S else self._read_upstream(now)

    async def _read_upstream(self, now: float) -> Upstream:
        before, self._upstream = self._upstream, await self._ask_upstream()
        if self._upstream.octets != before.octets:
            self._policies.clear()
        self._upstream_read = now
        return self._upstream


class DeviceVisit(SmtpVisit):
    """One session of a device."""

    def __init__(self, server: Submission, peer: Peer) -> None:
        self._server = server
        self._peer = peer
        self._device = server.devices.by_peer(peer.address, peer.port)
        self._by_login = False
        self._tls = ""
        self._named = ""
        self._mailbox = ""
        self._sender: SenderDecision | None = None
        self._noted = False
        known = self._device
        self.is_stranger = known is None and server.is_learning()
        self._attempt = Attempt(peer.listener) if self.is_stranger else None
        open_door = known is not None and known.password is None
        self.policy = server.policy(may_ask=open_door or self.is_stranger)

    def secured(self, version: str) -> None:
        """Note the TLS version."""
        self._tls = version

    def not_secured(self, why: str) -> None:
        """Note why there is no TLS: most often the device is too old, or does not trust the certificate."""
        self._saw(self._device, f"TLS: {why}")

    def heard(self, helo: str, mechanism: str) -> None:
        """Note how a stranger greets."""
        if self._attempt is not None:
            self._attempt = replace(self._attempt, helo=helo, mechanism=mechanism)

    def login(self, shown: Shown) -> Maybe[LoginAccepted | LoginRefused]:
        """Check a device's own password."""
        server, address, secure = self._server, self._peer.address, bool(self._tls)
        device = known_at_once(server.devices, shown, address, secure=secure, tls_there=server.tls)
        return self._let_in(device) if device is not None else self._look_at(shown)

    async def _look_at(self, shown: Shown) -> LoginAccepted | LoginRefused:
        server = self._server
        device = await admit(server.devices, shown, self._peer.address, secure=bool(self._tls), tls_there=server.tls)
        if isinstance(device, NotAdmitted):
            self._saw(device.device or (None if device.later else self._device), device.why, shown.user)
            return LoginRefused(temporary=device.later)
        return self._let_in(device)

    def _let_in(self, device: Device) -> LoginAccepted:
        self._device, self._by_login = device, True
        return LoginAccepted(device.login)

    def sender(self, path: Path) -> Maybe[Verdict]:
        """Decide whose name stands on the mail."""
        device = self._device = self._as_it_is()
        if device is None and self._attempt is not None:
            self._attempt = replace(self._attempt, sender=path.address)
            return SENDER_OK
        if device is None:
            return Verdict(530, "5.7.0", "Authentication required")
        if device.tls is not TlsPolicy.OFFERED and self._server.tls and not self._tls:
            self._saw(device, MAIL_IN_CLEAR)
            return TLS_FIRST
        if path.parameters.get("RET", "FULL").upper() not in ("FULL", "HDRS"):
            return Verdict(501, "5.5.4", "Bad RET")
        if not _is_envelope_id(path.parameters.get("ENVID", "")):
            return Verdict(501, "5.5.4", "Bad ENVID")
        upstream = self._server.upstream()
        if isinstance(upstream, Upstream):
            return self._decide(device, path, upstream)
        return self._decide_later(device, path, upstream)

    async def _decide_later(self, device: Device, path: Path, upstream: Awaitable[Upstream]) -> Verdict:
        try:
            known = await upstream
        except ValijaError:  # the store is away: the device tries again
            self._saw(device, f"{NOT_NOW.code} {NOT_NOW.enhanced} {NOT_NOW.text}")
            return NOT_NOW
        return self._decide(device, path, known)

    def _decide(self, device: Device, path: Path, upstream: Upstream) -> Verdict:
        if not self._server.intake.has_room(int(path.parameters.get("SIZE", "0"))):
            self._saw(device, f"{NO_ROOM.code} {NO_ROOM.enhanced} {NO_ROOM.text}")
            return NO_ROOM
        self._mailbox = upstream.mailbox
        named = qualify(path.address, upstream.mailbox)
        decision = decide_sender(device, named, upstream.mailbox, self._server.may_send_as)
        if not decision.allowed:
            self._saw(device, f"{MAY_NOT_SEND} {named}")
            return NO_SENDER
        if decision.reverse_path and not is_address(decision.reverse_path):
            return Verdict(501, "5.1.7", "Bad sender address")
        self._named, self._sender = named, decision
        return SENDER_OK

    def _as_it_is(self) -> Device | None:
        """Return the device as it is now: one that was switched off or got another password meanwhile is nobody."""
        desk = self._server.devices
        if self._device is None or self._by_login:
            return None if self._device is None else desk.as_it_is(self._device)
        found = desk.by_peer(self._peer.address, self._peer.port)
        return found if found is not None and found.password is None else None

    @property
    def is_revoked(self) -> bool:
        """Tell whether the device was switched off or deleted, or got another password, since MAIL."""
        return self._as_it_is() is None

    def recipient(self, path: Path) -> Verdict:
        """Take any address: the provider knows better. Of a stranger, none."""
        if self._device is None:
            return self._not_known_yet()
        if not is_address(qualify(path.address, self._mailbox)):
            return Verdict(501, "5.1.3", "Bad recipient address")
        if "NOTIFY" in path.parameters and not _NOTIFY.fullmatch(path.parameters["NOTIFY"]):
            return Verdict(501, "5.5.4", "Bad NOTIFY")
        return RECIPIENT_OK

    def _not_known_yet(self) -> Verdict:
        if self._attempt is not None:
            self._attempt = replace(self._attempt, recipients=self._attempt.recipients + 1)
            self._noted = False
        return NOT_KNOWN_YET

    def message(self, transaction: Transaction) -> MessageSink | Verdict:
        """Begin to take a message."""
        device, decision = self._device, self._sender
        if device is None or decision is None:
            return Verdict(503, "5.5.1", "MAIL first")
        if self.is_revoked:
            return Verdict(530, "5.7.0", "Authentication required")
        self.lf_ends_message = device.lf_ends_message
        envelope = IncomingEnvelope(
            device.account,
            decision.reverse_path,
            self._named,
            decision.rewritten,
            tuple(_recipient(path, self._mailbox) for path in transaction.recipients),
            decode_xtext(transaction.sender.parameters.get("ENVID", "")),
            transaction.sender.parameters.get("RET", "").upper(),
            decision.in_head,
            () if decision.in_head else device.senders,
            partial(is_own, device, self._server.may_send_as) if self._server.may_send_as else None,
        )
        kind = "ESMTP" if transaction.extended else "SMTP"
        kind += ("S" if transaction.secure else "") + ("A" if self._by_login else "")  # RFC 3848
        origin = Origin(device.login, plain_address(self._peer.address), transaction.helo, kind, self._tls)
        return _Watched(self._server.intake.begin(origin, envelope), self, device)

    def ended(self) -> None:
        """Note a stranger who was not noted yet."""
        if self._device is not None or self._noted:
            return
        asked = self._attempt is not None and self._attempt.recipients > 0
        in_clear = self._attempt is not None and self._attempt.mechanism and not self._tls
        self._saw(None, NOT_KNOWN if asked else LOGIN_IN_CLEAR if in_clear else NOTHING_SENT)

    def saw(self, device: Device, verdict: Verdict, forbidden: str = "") -> None:
        """Note what became of a message; ``forbidden``: a sender in it that the device may not name."""
        error = f"{verdict.code} {verdict.enhanced} {verdict.text}" if verdict.code != 250 else ""
        self._saw(device, f"{MAY_NOT_SEND} {forbidden}" if forbidden else error)

    def _saw(self, device: Device | None, error: str, tried: str = "") -> None:
        self._noted = True
        address = plain_address(self._peer.address)
        attempt = self._attempt if device is None else None
        seen = Seen(self._server.clock.now(), address, PROTOCOL, self._tls, tried, error, attempt)
        self._server.devices.saw(device.login if device else None, seen)


class _Watched:
    """A message on its way in whose end is noted."""

    def __init__(self, inside: IncomingMail, visit: DeviceVisit, device: Device) -> None:
        self._inside = inside
        self._visit = visit
        self._device = device
        self.write = inside.write
        self.unheard = inside.unheard
        self.abandon = inside.abandon

    async def commit(self) -> Verdict:
        if self._visit.is_revoked:
            await self._inside.abandon()
            verdict = REVOKED
        else:
            verdict = await self._inside.commit()
        self._visit.saw(self._device, verdict, self._inside.forbidden)
        return verdict


def _is_envelope_id(said: str) -> bool:
    """Tell whether it is one (RFC 3461 section 4.4): who says another one upstream hears that the sender is refused."""
    read = decode_xtext(said)
    return len(said) <= ENVELOPE_ID_LIMIT and read.isascii() and read.isprintable()


def _recipient(path: Path, mailbox: str) -> QueuedRecipient:
    kind, _semicolon, original = path.parameters.get("ORCPT", "").partition(";")
    is_mail = kind.lower() == "rfc822"  # no other kind is understood, so none is passed on
    notify = path.parameters.get("NOTIFY", "").upper()
    return QueuedRecipient(qualify(path.address, mailbox), notify, decode_xtext(original) if is_mail else "")
