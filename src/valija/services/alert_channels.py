"""How something is told: mail by the queue, a signed webhook, syslog. One try each; what goes wrong is a text, never raised."""

from __future__ import annotations

import hashlib
import json
import ssl
from typing import Final

from valija.domain.alert import Level
from valija.domain.alert_settings import AlertSettings, parse_syslog
from valija.domain.alert_telling import (
    Channel,
    Telling,
    TellingKind,
    TellingLine,
)
from valija.domain.clock import Clock
from valija.domain.errors import ValijaError
from valija.domain.explanations import Explainer
from valija.domain.text import N_
from valija.net import syslog, webhook
from valija.protocol.syslog import format_message
from valija.services.alert_words import Say, Words, plain
from valija.services.outgoing import Outgoing, OutgoingMail
from valija.services.preferences import zone_of
from valija.services.status_report import StatusReport
from valija.store.port import Store

SEVERITIES: Final = {Level.INFO: 6, Level.WARNING: 4, Level.CRITICAL: 2}  # RFC 5424 section 6.2.1
AUTOMATIC: Final = (("Auto-Submitted", "auto-generated"), ("Precedence", "bulk"))
TEST_SUBJECT: Final = N_("test of the alerts")
TEST_TEXT: Final = N_("This is a test: alerts of this machine arrive here.")


class Channels:
    """All of them."""

    def __init__(
        self,
        store: Store,
        outgoing: Outgoing,
        report: StatusReport,
        explainer: Explainer,
        clock: Clock,
        say: Say,
        tls: ssl.SSLContext,
        host: str,
    ) -> None:
        self._store = store
        self._outgoing = outgoing
        self._report = report
        self._explainer = explainer
        self._clock = clock
        self._say = say
        self._tls = tls
        self._host = host

    async def words(self) -> Words:
        """Return how the machine speaks."""
        preferences = await self._store.load_preferences()
        return Words(self._say, self._explainer, preferences.language or "en", zone_of(preferences))

    async def send(self, channel: Channel, telling: Telling, settings: AlertSettings) -> str | None:
        """Hand a telling to a channel; return why it could not be done, None if it was."""
        words = await self.words()
        level = {
            Channel.MAIL: settings.mail_level,
            Channel.WEBHOOK: settings.webhook_level,
            Channel.SYSLOG: settings.syslog_level,
        }[channel]
        lines = tuple(line for line in telling.lines if line.condition.level.rank >= level.rank)
        if telling.kind is TellingKind.ALERTS and not lines:
            return None
        try:
            if channel is Channel.MAIL:
                return await self._mail(telling, lines, settings, words)
            if channel is Channel.WEBHOOK:
                return await self._webhook(telling, lines, settings, words)
            return await self._syslog(telling, lines, settings, words)
        except ValijaError as error:
            return words.text(error.what)

    async def _mail(
        self, telling: Telling, lines: tuple[TellingLine, ...], settings: AlertSettings, words: Words
    ) -> str | None:
        to = telling.to or settings.alert_to
        if not to:
            return None
        machine = (await self._store.load_preferences()).name
        if telling.kind is TellingKind.STATUS:
            subject, text = await self._report.mail(telling.name.split(" ")[0], telling.since, words)
        elif telling.kind is TellingKind.TEST:
            subject, text = f"{machine}: {words.text(TEST_SUBJECT)}", words.text(TEST_TEXT) + "\n"
        else:
            subject, text = words.subject(machine, telling, lines), words.body(telling, lines)
        # the same telling has the same Message-ID, also after a crash between here and noting that it is done
        local = hashlib.sha256(f"{telling.name}|{telling.at.isoformat()}".encode()).hexdigest()[:32]
        await self._outgoing.queue(
            OutgoingMail(to, subject, text, fields=AUTOMATIC, message_id=f"{local}@{self._host}.valija.invalid")
        )
        return None

    async def _webhook(
        self, telling: Telling, lines: tuple[TellingLine, ...], settings: AlertSettings, words: Words
    ) -> str | None:
        if not settings.webhook_url:
            return None
        machine = (await self._store.load_preferences()).name
        body = json.dumps(plain(telling, lines, words, machine), ensure_ascii=False).encode()
        return await webhook.post(self._tls, settings.webhook_url, settings.webhook_secret, body, self._clock.now())

    async def _syslog(
        self, telling: Telling, lines: tuple[TellingLine, ...], settings: AlertSettings, words: Words
    ) -> str | None:
        target = parse_syslog(settings.syslog) if settings.syslog else None
        if target is None:
            return None
        if telling.kind is TellingKind.TEST:
            found = [format_message(6, telling.at, self._host, "test", {}, words.text(TEST_TEXT))]
        else:
            found = [
                format_message(
                    SEVERITIES[line.condition.level],
                    telling.at,
                    self._host,
                    line.condition.kind.value,
                    {"word": line.word.value, "subject": line.condition.subject, "telling": telling.name},
                    words.sentence(line.condition),
                )
                for line in lines
            ]
        return await syslog.send(target, found)
