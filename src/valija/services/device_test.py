"""A device is played: what it would do is done here, towards the gateway's own listener, each stage with its meaning.

Its own password need not be known: it logs in with one that is good once. A device that is known by its address is played from
here, by a connection that counts as its own. Unless a test page is wanted, nothing is sent: the session ends after the
recipient was taken. What was said is kept in the state directory, credentials blanked.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from enum import StrEnum
from pathlib import Path
from typing import Final

from valija.domain.clock import Clock
from valija.domain.device import Device, TlsPolicy, qualify
from valija.domain.device_hints import LOCKED, LOGIN_IN_CLEAR, MAIL_IN_CLEAR, MAY_NOT_SEND, WRONG, hint
from valija.domain.errors import FieldProblem, InvalidFields, NotReady
from valija.domain.text import N_, Message, message
from valija.net.played_device import PlayedDevice
from valija.protocol.errors import RemoteProtocolError
from valija.protocol.smtp_path import is_address
from valija.protocol.smtp_reply import SmtpReply
from valija.secret import Secret
from valija.services.devices import DeviceDesk

LIMIT_S: Final = 60.0
log: Final = logging.getLogger(__name__)
KEPT: Final = 20  # transcripts
DIRECTORY: Final = "device-tests"
NAME: Final = "device-test.valija.invalid"  # what it calls itself
NOBODY: Final = "somebody@example.com"  # named, and nothing is sent there
Translate = Callable[[Message | str, str], str]


class PlayStage(StrEnum):
    """The stages by name."""

    CONNECT = "connect"
    GREETING = "greeting"
    TLS = "tls"
    AUTH = "auth"
    SENDER = "sender"
    RECIPIENT = "recipient"
    PAGE = "page"
    END = "end"


class PlayTls(StrEnum):
    """How it encrypts."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class PlayAuth(StrEnum):
    """How it logs in."""

    LOGIN = "login"
    PLAIN = "plain"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Play:
    """How the device is played. None: as its policy says. ``to``: really send a test page; empty for nothing.

    ``language``: of who asks, for the test page of a device that has none of its own.
    """

    tls: PlayTls | None = None
    auth: PlayAuth | None = None
    helo: bool = False
    to: str = ""
    sender: str = ""
    password: Secret | None = None
    language: str = "en"


@dataclass(frozen=True, slots=True)
class PlayedStage:
    """One stage: what the server said, what that means, what to do about it."""

    stage: PlayStage
    passed: bool
    said: str
    meaning: Message
    cure: Message | None = None


@dataclass
class Played:
    """What was found. ``file``: the transcript, relative to the state directory; empty if it could not be kept."""

    stages: list[PlayedStage] = field(default_factory=list)
    transcript: list[str] = field(default_factory=list)
    file: str = ""

    @property
    def passed(self) -> bool:
        """Tell whether all went well."""
        return all(stage.passed for stage in self.stages)


class DeviceTest:
    """Plays devices. ``places``, set by who listens, gives the gateway's address and its ports by the listeners' names."""

    def __init__(
        self,
        devices: DeviceDesk,
        mailbox: Callable[[], Awaitable[str]],
        clock: Clock,
        state_dir: Path,
        translate: Translate,
    ) -> None:
        self.devices = devices
        self.mailbox = mailbox
        self.clock = clock
        self.translate = translate
        self.places: Callable[[], tuple[str, dict[str, int]]] = lambda: ("", {})
        self._state_dir = state_dir

    async def run(self, login: str, play: Play) -> Played:
        """Play a device. Raises :class:`~valija.domain.errors.UnknownName`, :class:`NotReady`, :class:`InvalidFields`."""
        device = self.devices.get(login)
        if play.to and not is_address(play.to):
            raise InvalidFields(
                (FieldProblem("to", message(N_("must be an e-mail address such as scanner@example.com"))),)
            )
        if play.sender and not is_address(qualify(play.sender, NOBODY)):  # a name alone will do, as of many devices
            problem = message(N_("must be an e-mail address such as scanner@example.com"))
            raise InvalidFields((FieldProblem("sender", problem),))
        played, session = Played(), _Session(self, device, play)
        try:
            async with asyncio.timeout(LIMIT_S):
                async for stage in session.stages():
                    played.stages.append(stage)
        except (OSError, TimeoutError, RemoteProtocolError) as error:
            played.stages.append(session.broken_off(error))
        finally:
            session.client.close()
            self.devices.played(device.login)
        played.transcript = session.client.transcript
        try:
            played.file = await asyncio.to_thread(self._keep, device.login, played)
        except OSError as error:  # what was found is said all the same
            log.warning("device_test_not_kept", extra={"fields": {"login": device.login, "why": str(error)}})
        return played

    def _keep(self, login: str, played: Played) -> str:
        directory = self._state_dir / DIRECTORY
        directory.mkdir(mode=0o700, exist_ok=True)
        file = directory / f"{self.clock.now():%Y%m%d-%H%M%S-%f}-{login}.txt"
        lines = [*played.transcript, "", *(f"{s.stage.value}: {s.meaning}" for s in played.stages)]
        file.write_text("\n".join(lines) + "\n", "utf-8")
        for old in sorted(directory.glob("*.txt"))[:-KEPT]:
            old.unlink(missing_ok=True)
        return str(file.relative_to(self._state_dir))


class _Session:
    """One test under way."""

    def __init__(self, test: DeviceTest, device: Device, play: Play) -> None:
        in_clear = device.tls is TlsPolicy.OFFERED
        self.client = PlayedDevice()
        self._test = test
        self._device = device
        self._play = play
        self._tls = play.tls or (PlayTls.NONE if in_clear else PlayTls.STARTTLS)
        self._auth = play.auth or (PlayAuth.LOGIN if device.password is not None else PlayAuth.NONE)
        self._stage = PlayStage.CONNECT

    async def stages(self) -> AsyncIterator[PlayedStage]:
        """Yield stage by stage, up to the first that fails."""
        steps = [self._connect, self._greet, self._log_in, self._sender, self._recipient, self._page]
        for step in steps:
            found = await step()
            if found is not None:
                yield found
            if found is not None and not found.passed:
                return

    def broken_off(self, error: Exception) -> PlayedStage:
        """Return how it ended."""
        said = str(error) or type(error).__name__
        if self._stage is PlayStage.TLS:
            cure = hint(f"TLS: {getattr(error, 'reason', '') or ''}", login=self._device.login)
            return PlayedStage(self._stage, False, said, message(N_("The handshake failed.")), cure)
        return PlayedStage(self._stage, False, said, message(N_("The connection broke off.")), message(_LOOK_AT_LOG))

    async def _connect(self) -> PlayedStage:
        host, ports = self._test.places()
        implicit = self._tls is PlayTls.IMPLICIT
        port = ports.get("submissions") if implicit else ports.get("smtp") or ports.get("submission")
        if port is None:
            text = N_("The gateway does not listen there.")
            raise NotReady(
                message(text), message(N_("Switch the listener on: section gateway of the configuration file."))
            )
        login = self._device.login

        def ready(address: str, local_port: int) -> None:
            if self._auth is PlayAuth.NONE and self._device.ranges and self._device.password is None:
                self._test.devices.play(login, address, local_port)

        if implicit:
            self._stage = PlayStage.TLS
        await self.client.connect(host, port, tls=implicit, ready=ready)
        self._stage = PlayStage.CONNECT
        reply = await self.client.reply()
        return self._found(reply, 220, message(N_("The gateway answers on port {port}."), port=port))

    async def _greet(self) -> PlayedStage:
        self._stage = PlayStage.GREETING
        word = "HELO" if self._play.helo else "EHLO"
        reply = await self.client.say(f"{word} {NAME}")
        if self._tls is not PlayTls.STARTTLS or not reply.is_positive:
            text = message(N_("It may greet with {word}."), word=word)
            if self.client.tls_version:
                text = message(N_("It may greet, encrypted with {version}."), version=self.client.tls_version)
            return self._found(reply, 250, text)
        self._stage = PlayStage.TLS
        reply = await self.client.say("STARTTLS")
        if reply.code != 220:
            return self._found(reply, 220, message(N_("It may encrypt.")))
        await self.client.start_tls()
        reply = await self.client.say(f"{word} {NAME}")
        version = self.client.tls_version
        return self._found(reply, 250, message(N_("It encrypts with {version}."), version=version))

    async def _log_in(self) -> PlayedStage | None:
        if self._auth is PlayAuth.NONE:
            return None
        self._stage = PlayStage.AUTH
        login = self._device.login
        password = self._play.password or self._test.devices.one_time_password(login)
        if self._auth is PlayAuth.PLAIN:
            proof = base64.b64encode(f"\0{login}\0{password.reveal()}".encode()).decode()
            reply = await self.client.say(f"AUTH PLAIN {proof}", secret=True)
        else:
            reply = await self.client.say("AUTH LOGIN")
            for word in (login, password.reveal()):
                if reply.code == 334:
                    reply = await self.client.say(base64.b64encode(word.encode()).decode(), secret=True)
        found = self._found(reply, 235, message(N_("It logs in as {login}."), login=login))
        if found.passed and self._play.password is None:
            text = N_("It may log in as {login}; its own password was not tried.")
            return PlayedStage(found.stage, True, found.said, message(text, login=login))
        return found

    async def _sender(self) -> PlayedStage:
        self._stage = PlayStage.SENDER
        mailbox = await self._test.mailbox()
        sender = self._play.sender or next((s for s in self._device.senders if not s.startswith("@")), "") or mailbox
        if not self._play.sender and not is_address(sender):
            sender = f"{self._device.login}@localhost"
        self._sender_said = sender
        reply = await self.client.say(f"MAIL FROM:<{sender}>")
        text = message(N_("It may send as {sender}."), sender=sender)
        if not mailbox:
            text = message(N_("It may send as {sender}; it waits until the machine has a mailbox."), sender=sender)
        return self._found(reply, 250, text)

    async def _recipient(self) -> PlayedStage:
        self._stage = PlayStage.RECIPIENT
        to = self._play.to or NOBODY
        reply = await self.client.say(f"RCPT TO:<{to}>")
        return self._found(reply, 250, message(N_("Mail to {to} is taken."), to=to))

    async def _page(self) -> PlayedStage:
        client = self.client
        if not self._play.to:
            self._stage = PlayStage.END
            reply = await client.say("RSET")
            await client.say("QUIT")
            return self._found(
                reply, 250, message(N_("Nothing was sent: the test ends here (--to sends a test page)."))
            )
        self._stage = PlayStage.PAGE
        reply = await client.say("DATA")
        if reply.code == 354:
            await client.send(self._test_page() + b".\r\n")
            client.transcript.append("C: (the test page)")
            reply = await client.reply()
        found = self._found(reply, 250, message(N_("The test page is taken; it is in the queue.")))
        if found.passed:
            await client.say("QUIT")
        return found

    def _test_page(self) -> bytes:
        page = EmailMessage(policy=SMTP)
        language = self._device.language or self._play.language
        say = self._test.translate
        page["From"], page["To"] = self._sender_said, self._play.to
        page["Subject"] = say(message(N_("Test page of {name}"), name=self._device.name), language)
        text = say(N_("This page was sent by a test of the device: what it hands in arrives."), language)
        page.set_content(text, cte="quoted-printable")
        return page.as_bytes()

    def _found(self, reply: SmtpReply, wanted: int, meaning: Message) -> PlayedStage:
        said = reply.server_words
        if reply.code == wanted:
            return PlayedStage(self._stage, True, said, meaning)
        return PlayedStage(self._stage, False, said, message(N_("It is refused.")), self._cure(reply, said))

    def _cure(self, reply: SmtpReply, said: str) -> Message:
        login = self._device.login
        if not self._device.enabled:
            return message(N_("It is switched off; switch it on: valija device set {login} --on"), login=login)
        if self._stage is PlayStage.SENDER and reply.code == 530 and "STARTTLS" not in said:
            text = N_(
                "Switch SMTP authentication on in it; one that cannot is deleted, and added anew by its address alone: "
                "valija device delete {login}, then valija device add NAME --range ADDRESS"
            )
            return message(text, login=login)
        in_clear = self._stage is PlayStage.AUTH and not self.client.tls_version
        if in_clear and self._device.tls is not TlsPolicy.OFFERED:  # a right password would not do either
            return hint(LOGIN_IN_CLEAR, login=login) or message(_LOOK_AT_LOG)
        error = {454: LOCKED, 530: MAIL_IN_CLEAR, 535: WRONG, 538: LOGIN_IN_CLEAR, 553: MAY_NOT_SEND}.get(
            reply.code, said
        )
        return hint(error, login=login) or message(_LOOK_AT_LOG)


_LOOK_AT_LOG: Final = N_("Look at the machine's log, and at what was said.")
