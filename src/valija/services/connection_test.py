"""The connection test: stage by stage, what was found, and where it ends, why and who must act.

Stages: name, TCP, TLS, greeting, clock, token, scope, log-in, then the sender (MAIL FROM, RSET) or the maildrop (STAT).
Nothing is sent and nothing is fetched. A failed stage ends the test; a warning does not.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

from valija.domain.account import Authentication, Setting
from valija.domain.clock import Clock
from valija.domain.errors import ConsentNeeded, NotReady, TryLater, ValijaError
from valija.domain.settings import MailSettings, PopSettings, SmtpSettings
from valija.domain.text import N_, Message, message
from valija.domain.token import AwaitingAuthorization, Invalid, Retrieved, TokenSet, tokens_in_use, tokens_kept
from valija.domain.trouble import Trouble
from valija.net.errors import NetError
from valija.net.grant_driver import Http
from valija.net.pop3 import Pop3Connection, PopRefusal
from valija.net.smtp import SmtpConnection, SmtpRefused
from valija.net.tls import ClientContext
from valija.net.wire import Endpoint
from valija.oauth.http_messages import HttpRequest, HttpResponse
from valija.oauth.token_response import describe_access_token
from valija.services.delivery import Delivery, sender_address
from valija.services.login import LoginFailed, Troubles, endpoint_of
from valija.services.provider_client import ProviderClient, ResolvedAccount
from valija.services.retrieval import Retrieval
from valija.services.token_manager import TokenManager

CLOCK_TOLERANCE_S: Final = 120.0
UPDATE_FAILED: Final = N_("Token update failed. Please delete the token and obtain it again.")


class TestStage(StrEnum):
    """The stages by name."""

    SETTING = "setting"
    NAME = "name"
    TCP = "tcp"
    TLS = "tls"
    GREETING = "greeting"
    CLOCK = "clock"
    TOKEN = "token"
    SCOPE = "scope"
    AUTH = "auth"
    SENDER = "sender"
    MAILDROP = "maildrop"


class StageOutcome(StrEnum):
    """How a stage ended."""

    PASSED = "passed"
    WARNING = "warning"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage: what it found, for people, and its trouble if it has one."""

    stage: TestStage
    outcome: StageOutcome
    found: Message
    trouble: Trouble | None = None


class ConnectionTest:
    """Tests settings."""

    def __init__(
        self,
        delivery: Delivery,
        retrieval: Retrieval,
        tokens: TokenManager,
        client: ProviderClient,
        http: Http,
        troubles: Troubles,
        tls: ClientContext,
        clock: Clock,
    ) -> None:
        self._delivery = delivery
        self._retrieval = retrieval
        self._tokens = tokens
        self._client = client
        self._http = http
        self._troubles = troubles
        self._tls = tls
        self._clock = clock
        self.passed: Callable[[Setting], Awaitable[None]] | None = None  # told of a setting that works

    async def run(self, setting: Setting) -> AsyncIterator[StageReport]:
        """Yield each stage's report as it is done."""
        try:
            settings = await self._settings(setting)
            endpoint = endpoint_of(settings, plaintext_bearer=settings.port in self._delivery.sandbox_ports)
        except NotReady as error:
            yield StageReport(TestStage.SETTING, StageOutcome.FAILED, _said(error), self._not_ready())
            return
        last = None
        for report in await self._reach(setting, endpoint):
            yield report
            last = report
        if last is not None and last.outcome is StageOutcome.FAILED:
            return
        if settings.auth is Authentication.OAUTH2:
            async for report in self._token_stages(setting, settings):
                yield report
                last = report
            if last is not None and last.outcome is StageOutcome.FAILED:
                return
        reports = await self._log_in(setting, settings)
        if self.passed is not None and all(report.outcome is not StageOutcome.FAILED for report in reports):
            await self.passed(setting)
        for report in reports:
            yield report

    async def _settings(self, setting: Setting) -> MailSettings:
        return await (self._retrieval.settings(setting) if setting.is_pop else self._delivery.settings())

    def _not_ready(self) -> Trouble:
        return self._troubles.of_reason("not_ready")

    # --- the network --------------------------------------------------------------------------------------------------------

    async def _reach(self, setting: Setting, endpoint: Endpoint) -> list[StageReport]:
        reports: list[StageReport] = []

        def observe(stage: str, facts: dict[str, Any]) -> None:
            reports.append(StageReport(TestStage(stage), StageOutcome.PASSED, _describe(stage, facts, endpoint)))

        try:
            if setting.is_pop:
                pop = await Pop3Connection.open(endpoint, self._tls, observe=observe)
                await pop.quit()
            else:
                smtp = await SmtpConnection.open(endpoint, self._tls, observe=observe)
                await smtp.close()
        except (NetError, SmtpRefused, PopRefusal) as error:
            stage = error.stage if isinstance(error, NetError) else error.refused.stage.value
            if stage == "quit":
                return reports  # it only failed to say goodbye
            trouble = self._troubles.of_opening(error)
            where = {"ehlo": "greeting", "capa": "greeting", "starttls": "tls", "connect": "tcp"}
            reports.append(StageReport(TestStage(where.get(stage, stage)), StageOutcome.FAILED, message(""), trouble))
        return reports

    # --- the token ----------------------------------------------------------------------------------------------------------

    async def _token_stages(self, setting: Setting, settings: MailSettings) -> AsyncIterator[StageReport]:
        try:
            resolved = await self._client.resolve(setting.value)
        except ValijaError as error:
            yield StageReport(TestStage.TOKEN, StageOutcome.FAILED, _said(error), self._not_ready())
            return
        if isinstance(resolved, ResolvedAccount):
            yield await self._clock_stage(resolved)
        report = await self._token_stage(setting)
        yield report
        if report.outcome is not StageOutcome.FAILED:
            tokens = tokens_in_use((await self._tokens.state(setting.value)).state)
            if tokens is not None:
                yield self._scope_stage(settings, tokens)

    async def _clock_stage(self, resolved: ResolvedAccount) -> StageReport:
        url = resolved.server.token_endpoint
        answer = await self._http.perform(HttpRequest("GET", url))
        date = answer.headers.get("date", "") if isinstance(answer, HttpResponse) else ""
        try:
            off = (self._clock.now() - parsedate_to_datetime(date)).total_seconds()
        except (ValueError, TypeError):
            return StageReport(TestStage.CLOCK, StageOutcome.SKIPPED, message(N_("the provider does not say the time")))
        found = message(N_("{seconds} s off the provider's clock"), seconds=round(off))
        if abs(off) > CLOCK_TOLERANCE_S:
            return StageReport(TestStage.CLOCK, StageOutcome.WARNING, found, self._troubles.of_reason("clock_wrong"))
        return StageReport(TestStage.CLOCK, StageOutcome.PASSED, found)

    async def _token_stage(self, setting: Setting) -> StageReport:
        before = tokens_kept((await self._tokens.state(setting.value)).state)
        try:
            state = await self._tokens.refresh(setting.value)
        except ConsentNeeded as error:
            trouble = Trouble("no_token", self._troubles.explainer.explain("no_token").who_acts, "", self._clock.now())
            return StageReport(TestStage.TOKEN, StageOutcome.FAILED, message(error.what.msgid), trouble)
        except TryLater as error:
            return StageReport(
                TestStage.TOKEN, StageOutcome.FAILED, error.what, self._troubles.of_reason("store_failed")
            )
        current = state.before if isinstance(state, AwaitingAuthorization) else state
        tokens = tokens_in_use(state)  # also of an account that refuses them: the log-in tells whether it does still
        if tokens is not None and not tokens.is_expired(self._clock.now()):
            return _still_good(tokens, before, current.trouble if isinstance(current, Retrieved) else None)
        why = current.trouble if isinstance(current, Retrieved | Invalid) else None
        return StageReport(TestStage.TOKEN, StageOutcome.FAILED, message(UPDATE_FAILED), why)

    def _scope_stage(self, settings: MailSettings, tokens: TokenSet) -> StageReport:
        claims = describe_access_token(tokens.access_token)
        said = " ".join((claims.scopes if claims else ()) or tokens.scopes)
        if claims is None:
            found = message(N_("the token cannot be read; granted: {scopes}"), scopes=said or "—")
            return StageReport(TestStage.SCOPE, StageOutcome.PASSED if said else StageOutcome.SKIPPED, found)
        found = message(N_("for {audience}: {scopes}"), audience=" ".join(claims.audiences) or "—", scopes=said or "—")
        if claims.mailbox and claims.mailbox.lower() != settings.account.lower():
            trouble = self._troubles.of_reason("wrong_mailbox", claims.mailbox)
            return StageReport(TestStage.SCOPE, StageOutcome.WARNING, found, trouble)
        return StageReport(TestStage.SCOPE, StageOutcome.PASSED, found)

    # --- the mailbox --------------------------------------------------------------------------------------------------------

    async def _log_in(self, setting: Setting, settings: MailSettings) -> list[StageReport]:
        try:
            if isinstance(settings, SmtpSettings):
                return await self._try_sender(settings)
            return await self._try_maildrop(setting, settings)
        except LoginFailed as failed:
            return [StageReport(TestStage.AUTH, StageOutcome.FAILED, message(""), failed.trouble)]
        except ValijaError as error:
            return [StageReport(TestStage.AUTH, StageOutcome.FAILED, _said(error), self._not_ready())]

    async def _try_sender(self, settings: SmtpSettings) -> list[StageReport]:
        smtp = await self._delivery.open(settings)
        logged_in = StageReport(TestStage.AUTH, StageOutcome.PASSED, _as_whom(settings))
        address = sender_address(settings)
        try:
            reply = await smtp.verify_sender(address)
        except NetError as error:
            await smtp.close(politely=False)
            failed = StageReport(TestStage.SENDER, StageOutcome.FAILED, message(""), self._troubles.of_net(error))
            return [logged_in, failed]
        await smtp.close(politely=reply.code != 421)
        if reply.is_positive:
            found = message(N_("{address} is accepted"), address=address)
            return [logged_in, StageReport(TestStage.SENDER, StageOutcome.PASSED, found)]
        trouble = self._troubles.of_smtp("mail", reply)[0]
        return [logged_in, StageReport(TestStage.SENDER, StageOutcome.FAILED, message("{a}", a=address), trouble)]

    async def _try_maildrop(self, setting: Setting, settings: PopSettings) -> list[StageReport]:
        pop = await self._retrieval.open(setting, settings)
        logged_in = StageReport(TestStage.AUTH, StageOutcome.PASSED, _as_whom(settings))
        try:
            maildrop = await pop.stat()
            with contextlib.suppress(NetError):
                await pop.quit()
        except NetError as error:
            await pop.close()
            trouble = self._troubles.of_net(error)
        except PopRefusal as refusal:
            await pop.close()
            trouble = self._troubles.of_pop("stat", refusal.refused.status)[0]
        else:
            found = message(N_("messages that wait: {count}"), count=maildrop.count)
            return [logged_in, StageReport(TestStage.MAILDROP, StageOutcome.PASSED, found)]
        return [logged_in, StageReport(TestStage.MAILDROP, StageOutcome.FAILED, message(""), trouble)]


def _describe(stage: str, facts: dict[str, Any], endpoint: Endpoint) -> Message:
    match stage:
        case "name":
            return message("{host} → {addresses}", host=endpoint.host, addresses=", ".join(facts["addresses"][:4]))
        case "tcp":
            return message(N_("port {port} of {address} answers"), port=endpoint.port, address=facts["address"])
        case "tls":
            return message(
                N_("{version}; certificate {subject} by {issuer}, good until {until}"),
                version=facts["version"],
                subject=facts["subject"] or "—",
                issuer=facts["issuer"] or "—",
                until=_date(facts["not_after"]),
            )
        case _:
            return message(N_("the server greets"))


def _still_good(tokens: TokenSet, before: TokenSet | None, trouble: Trouble | None) -> StageReport:
    minutes = round((tokens.expires_at - tokens.refreshed_at).total_seconds() / 60)
    if before is not None and not tokens.is_same_answer(before):
        found = message(N_("refreshed; good for {minutes} min"), minutes=minutes)
        return StageReport(TestStage.TOKEN, StageOutcome.PASSED, found)
    if not tokens.can_be_renewed:
        found = message(N_("good for {minutes} min, then it ends: nothing renews it"), minutes=minutes)
        return StageReport(TestStage.TOKEN, StageOutcome.PASSED, found)
    found = message(N_("could not be refreshed now; the present one is still good"))
    return StageReport(TestStage.TOKEN, StageOutcome.WARNING, found, trouble)


def _as_whom(settings: MailSettings) -> Message:
    if settings.auth is Authentication.NONE:
        return message(N_("no log-in is set"))
    return message(N_("logged in as {account}"), account=settings.account)


def _said(error: ValijaError) -> Message:
    """Return an error's two sentences as one message."""
    return message("{what} {cure}", what=error.what, cure=error.cure) if error.cure else error.what


def _date(not_after: str) -> str:
    """Return a certificate's end as a date (the ssl module's text has an English month)."""
    if not not_after:
        return "—"
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(not_after), UTC).strftime("%Y-%m-%d")
