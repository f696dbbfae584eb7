"""Logging in to a mail server with an account: one forced refresh and one retry where a token is refused."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from valija.domain.account import Authentication, Setting
from valija.domain.clock import Clock
from valija.domain.errors import NotReady, ValijaError
from valija.domain.explanations import Effect, Explainer
from valija.domain.settings import MailSettings, uses_implicit_tls
from valija.domain.text import N_, message
from valija.domain.trouble import Trouble, WhoActs
from valija.net.errors import NetError
from valija.net.pop3 import Pop3Connection, PopRefusal
from valija.net.smtp import SmtpConnection, SmtpRefused
from valija.net.wire import Endpoint, TlsMode
from valija.protocol.pop3_client import PopAuthOutcome, PopAuthRefused, PopStatus
from valija.protocol.sasl import BearerCredentials, Credentials, ErrorChallenge, PasswordCredentials
from valija.protocol.smtp_client import AuthOutcome, AuthRefused, NoCommonMechanism
from valija.protocol.smtp_reply import SmtpReply
from valija.services.token_manager import Bearer, TokenManager

log: Final = logging.getLogger(__name__)
Outcome = AuthOutcome | PopAuthOutcome


class Connection(Protocol):
    """What can log in."""

    async def authenticate(self, credentials: Credentials, preference: tuple[str, ...] = ()) -> Outcome:
        """Log in."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...


C = TypeVar("C", SmtpConnection, Pop3Connection)


class LoginFailed(Exception):
    """The connection or the log-in failed; ``trouble`` says why."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.reason)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Troubles:
    """Turns what the wire says into troubles."""

    explainer: Explainer
    clock: Clock

    def of_reason(self, reason: str, words: str = "") -> Trouble:
        """Return the trouble of a reason."""
        return Trouble(reason, self.explainer.explain(reason).who_acts, words, self.clock.now())

    def of_net(self, error: NetError) -> Trouble:
        """Return the trouble of a connection."""
        return self.of_reason(error.reason, error.words)

    def of_smtp(self, stage: str, reply: SmtpReply) -> tuple[Trouble, Effect]:
        """Return the trouble of an SMTP refusal and what it calls for; an answer that is none is nonsense."""
        if reply.code < 400:
            return self.of_reason("peer_nonsense", reply.server_words), Effect.RETRY
        row = self.explainer.classify("smtp", stage, str(reply.code), reply.enhanced, reply.text)
        return self.of_reason(row.explanation.reason, reply.server_words), row.effect

    def of_pop(self, stage: str, status: PopStatus) -> tuple[Trouble, Effect]:
        """Return the trouble of a POP3 refusal and what it calls for."""
        row = self.explainer.classify("pop3", stage, status.code, "", status.text)
        return self.of_reason(row.explanation.reason, status.server_words), row.effect

    def of_login(self, outcome: AuthRefused | PopAuthRefused | NoCommonMechanism) -> tuple[Trouble, Effect]:
        """Return the trouble of a log-in and what it calls for; a challenge's own words are kept too."""
        if isinstance(outcome, NoCommonMechanism):
            return self.of_reason("no_common_mechanism", " ".join(outcome.offered)), Effect.ACCOUNT
        if isinstance(outcome, AuthRefused):
            trouble, effect = self.of_smtp("auth", outcome.reply)
        else:
            trouble, effect = self.of_pop("auth", outcome.status)
        return _with_challenge(trouble, outcome.challenge), effect

    def of_opening(self, error: NetError | SmtpRefused | PopRefusal) -> Trouble:
        """Return the trouble of a connection that could not be opened."""
        match error:
            case NetError():
                return self.of_net(error)
            case SmtpRefused():
                return self.of_smtp(error.refused.stage.value, error.refused.reply)[0]
            case PopRefusal():
                return self.of_pop(error.refused.stage.value, error.refused.status)[0]


def _with_challenge(trouble: Trouble, challenge: ErrorChallenge | None) -> Trouble:
    if challenge is None or not challenge.text:
        return trouble
    words = f"{trouble.server_words} ({challenge.text})"
    return Trouble(trouble.reason, trouble.who_acts, words[:600], trouble.at)


def endpoint_of(settings: MailSettings, *, plaintext_bearer: bool) -> Endpoint:
    """Return where a setting's server is. Raises :class:`NotReady` if it is not set."""
    if not settings.server:
        raise NotReady(message(N_("The server is not set.")), message(N_("Set it first: --server HOST --port NUMBER")))
    secured = {True: TlsMode.IMPLICIT, False: TlsMode.STARTTLS, None: TlsMode.DETECT}[uses_implicit_tls(settings)]
    mode = secured if settings.tls else TlsMode.NONE
    return Endpoint(settings.server, settings.port, mode, float(settings.timeout), plaintext_bearer)


class Login:
    """Opens connections that are logged in."""

    def __init__(self, tokens: TokenManager, troubles: Troubles) -> None:
        self._tokens = tokens
        self.troubles = troubles

    async def open(
        self,
        setting: Setting,
        settings: MailSettings,
        connect: Callable[[], Awaitable[C]],
        preference: tuple[str, ...],
    ) -> C:
        """Connect and log in.

        Raises :class:`LoginFailed`; :class:`ConsentNeeded` and :class:`TryLater` where there is no usable token; nothing
        stays open then.
        """
        if settings.auth is not Authentication.OAUTH2:
            return await self._open_with_password(settings, connect)
        bearer = await self._tokens.bearer(setting.value)
        connection = await self._connect(connect)
        refused = await self._try(connection, _bearer(settings, bearer), preference)
        if refused is not None and refused[1] is Effect.REFRESH:
            bearer = await self._tokens.bearer(setting.value, refused=bearer.token)
            connection = await self._connect(connect)
            refused = await self._try(connection, _bearer(settings, bearer), preference)
            if refused is not None and refused[1] is Effect.REFRESH:
                await self._note(setting, bearer, refused[0])
        if refused is not None:
            raise LoginFailed(refused[0])
        if not bearer.in_favour:
            try:
                await self._note(setting, bearer, None)
            except BaseException:
                await connection.close()
                raise
        return connection

    async def _note(self, setting: Setting, bearer: Bearer, trouble: Trouble | None) -> None:
        """Note what the server said of the token; where that cannot be written, the next log-in does it."""
        try:
            await self._tokens.report_login(setting.value, bearer.grant_id, trouble)
        except ValijaError as error:
            log.warning("login_not_noted", extra={"fields": {"account": setting.value, "why": str(error)}})

    async def _open_with_password(self, settings: MailSettings, connect: Callable[[], Awaitable[C]]) -> C:
        connection = await self._connect(connect)
        if settings.auth is Authentication.PASSWORD and settings.password is not None:
            refused = await self._try(connection, PasswordCredentials(settings.account, settings.password), ())
            if refused is not None:
                raise LoginFailed(refused[0])
        return connection

    async def _connect(self, connect: Callable[[], Awaitable[C]]) -> C:
        try:
            return await connect()
        except (NetError, SmtpRefused, PopRefusal) as error:
            raise LoginFailed(self.troubles.of_opening(error)) from None

    async def _try(
        self, connection: Connection, credentials: Credentials, preference: tuple[str, ...]
    ) -> tuple[Trouble, Effect] | None:
        """Log in; return why not, with the connection closed then."""
        try:
            outcome = await connection.authenticate(credentials, preference)
        except NetError as error:
            await connection.close()
            return self.troubles.of_net(error), Effect.RETRY
        except BaseException:
            await connection.close()
            raise
        if isinstance(outcome, AuthRefused | PopAuthRefused | NoCommonMechanism):
            await connection.close()
            return self.troubles.of_login(outcome)
        return None


def _bearer(settings: MailSettings, bearer: Bearer) -> BearerCredentials:
    return BearerCredentials(settings.account, bearer.token, settings.server, settings.port)


EXIT_STATUS = {WhoActs.NOBODY: 5, WhoActs.USER: 3, WhoActs.ADMINISTRATOR: 4, WhoActs.OPERATOR: 4}
