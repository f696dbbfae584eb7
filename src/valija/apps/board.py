"""The live board on a terminal: what runs where, the mail settings with their token states, what to type next."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from valija import __version__
from valija.apps.api.gateway_views import show_accounts
from valija.apps.api.views import STATE_LABELS, Views
from valija.apps.cli.output import STATE_COLOURS
from valija.apps.language import translate
from valija.apps.machine import Machine
from valija.domain.account import SETTING_LABELS, Setting
from valija.domain.text import N_
from valija.domain.token import StateName
from valija.services.status import TokenReport

REDRAW_S: Final = 1.0


class Board:
    """Draws until it is cancelled; what is logged meanwhile goes above it."""

    def __init__(self, machine: Machine, language: str) -> None:
        self._machine = machine
        self._language = language

    async def run(self) -> None:
        """Redraw when something happens, and once a second."""
        console = Console()
        async with self._machine.events.subscribe() as queue:
            with Live(await self._draw(), console=console, auto_refresh=False) as live, _logs_above():
                while True:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(queue.get(), REDRAW_S)
                    live.update(await self._draw(), refresh=True)

    async def _draw(self) -> RenderableType:
        reports = [await self._machine.status.report(s, unsaved=self._machine.tokens.unsaved) for s in Setting]
        parts: list[RenderableType] = [Text(f" Valija {__version__}", style="bold"), self._places(), Text()]
        parts += [self._settings(reports), *await self._stopped(), Text(), *self._next(reports)]
        return Group(*parts)

    def _text(self, sentence: str) -> str:
        return translate(sentence, self._language)

    def _places(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row(" " + self._text(N_("State")), str(self._machine.state_dir))
        if self._machine.new_panel_address is not None:
            table.add_row(" " + self._text(N_("Panel")), "valija panel --open")
        if self._machine.web_address:
            table.add_row(" " + self._text(N_("Web page")), self._machine.web_address)
        if self._machine.gateway_ports:
            ports = "  ·  ".join(f"{name} {port}" for name, port in self._machine.gateway_ports.items())
            table.add_row(" " + self._text(N_("For devices")), ports)
        s = self._machine.sandbox
        if s is not None:
            host = s["server"]
            table.add_row(" " + self._text(N_("Provider (sandbox)")), f"{s['issuer']}  ·  {s['device_page']}")
            table.add_row(
                " " + self._text(N_("SMTP (sandbox)")),
                f"{host}:{s['smtp_port']} STARTTLS  ·  {host}:{s['smtps_port']} SSL/TLS",
            )
            table.add_row(
                " " + self._text(N_("POP3 (sandbox)")),
                f"{host}:{s['pop3_port']} STLS  ·  {host}:{s['pop3s_port']} SSL/TLS",
            )
            table.add_row(" " + self._text(N_("Sample scan")), _near(s["sample"]))
        return table

    def _settings(self, reports: list[TokenReport]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 1), header_style="dim")
        for title in (N_("Setting"), N_("Token"), N_("Account"), N_("Provider"), N_("Note")):
            table.add_column(self._text(title), no_wrap=title != N_("Note"))
        now = self._machine.clock.now()
        for report in reports:
            state = report.state.value
            table.add_row(
                self._text(SETTING_LABELS[report.setting]),
                Text("● " + self._text(STATE_LABELS[state]), style=f"bold {STATE_COLOURS[state]}"),
                report.account or "—",
                report.provider_name or "—",
                self._note(report, now),
            )
        return table

    async def _stopped(self) -> list[RenderableType]:
        """Say which account's mail does not leave, and why."""
        views = Views(self._language, self._machine.status)
        lines: list[RenderableType] = []
        for account in await show_accounts(self._machine, views):
            waiting = sum(number for state, number in account.counts.items() if state not in ("delivered", "failed"))
            why = account.trouble.meaning if account.trouble else self._text(N_("An operator has stopped all mail."))
            if not account.open:
                count = self._text(N_("{n} wait")).format(n=waiting)
                name = self._text(SETTING_LABELS[Setting(account.account)])
                lines.append(
                    Text(f" ● {name}: {why} ({count})", style="bold red" if account.trouble else "bold yellow")
                )
                if account.trouble:
                    lines.append(Text(f"   {account.trouble.cure}"))
        return [Text(), *lines] if lines else []

    def _note(self, report: TokenReport, now: datetime) -> str:
        if report.authorization is not None:
            left = _clock(report.authorization.expires_at - now)
            if report.authorization.user_code:
                where = f"{report.authorization.verification_uri} · {report.authorization.user_code}"
                return f"{where} · {left}"
            return left
        if report.trouble is not None:
            return self._text(report.trouble.explanation.meaning)
        if report.expires_at is not None:
            return self._text(N_("expires in {time}, refreshed by itself")).format(time=_clock(report.expires_at - now))
        return ""

    def _next(self, reports: list[TokenReport]) -> list[RenderableType]:
        """Say what to type in a second shell, as far as this machine has come."""
        lines: list[RenderableType] = [Text(" " + self._text(N_("In a second shell:")), style="dim")]
        lines += [Text("   " + command, style="cyan", overflow="fold") for command in self._commands(reports)]
        return [*lines, Text(" " + self._text(N_("Ctrl-C stops the machine.")), style="dim")]

    def _commands(self, reports: list[TokenReport]) -> list[str]:
        s = self._machine.sandbox
        if s is None:
            return ["valija token status"]
        smtp, fax = reports[0], reports[1]
        commands = [f". {_near(str(self._machine.state_dir / 'env'))}"]
        if not smtp.account:
            commands.append(
                f"valija smtp set --server {s['server']} --port {s['smtp_port']} --sender-name Ana \\\n"
                "     --sender-address ana@sandbox.test --auth oauth2 --provider sandbox --account ana@sandbox.test"
            )
        elif smtp.state is not StateName.RETRIEVED:
            commands.append("valija token get smtp")
        else:
            commands.append("valija test smtp")
            commands.append(f"valija send {_near(s['sample'])} --to luis@sandbox.test --subject Contrato")
            if not self._machine.gateway.devices.all():
                commands.append('valija device add "Ricoh 2"')
        if smtp.state is StateName.RETRIEVED and not fax.account:
            commands.append(
                f"valija pop set internet-fax --server {s['server']} --port {s['pop3s_port']} \\\n"
                "     --auth oauth2 --provider sandbox --account luis@sandbox.test"
            )
        elif fax.account and fax.state is not StateName.RETRIEVED:
            commands.append("valija token get internet-fax")
        elif fax.account:
            commands.append("valija receive internet-fax")
        return [*commands, "valija token status"]


@contextlib.contextmanager
def _logs_above() -> Iterator[None]:
    """Let the log go through the board's standard error, so that lines do not tear it."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler)]
    before = [h.setStream(sys.stderr) for h in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)


def _near(path: str) -> str:
    """Return a path as one would type it here."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else str(Path(relative))


def _clock(left: timedelta) -> str:
    seconds = max(0, int(left.total_seconds()))
    return f"{seconds // 60}:{seconds % 60:02}"
