"""The API's operations on e-mail print."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Final

from valija.apps.api import print_models as models
from valija.apps.api.calls import Call
from valija.apps.api.views import Views
from valija.domain.print_job import PrintSettings
from valija.domain.printer import REASON_TEXTS, PrinterReason, PrinterState, PrinterStateName
from valija.domain.text import N_, Message, message

STATE_TEXTS: Final = {
    PrinterStateName.IDLE: N_("Ready"),
    PrinterStateName.PROCESSING: N_("Printing"),
    PrinterStateName.STOPPED: N_("Stopped"),
    PrinterStateName.UNREACHABLE: N_("Off, or not to be reached"),
    PrinterStateName.UNKNOWN: N_("Unknown"),
}
NONE_TEXT: Final = N_("No printer to ask")


async def show_print_settings(call: Call) -> models.PrintSettingsView:
    return settings_view(await call.machine.printing.settings.load())


async def change_print_settings(call: Call) -> models.PrintSettingsView:
    body: models.PrintSettingsChanges = await call.body(models.PrintSettingsChanges)
    return settings_view(await call.machine.printing.settings.change(body.changes, actor=call.actor))


def settings_view(settings: PrintSettings) -> models.PrintSettingsView:
    """Show the settings, without the password."""
    shown = {f.name: _shown(getattr(settings, f.name)) for f in fields(settings) if f.name != "password"}
    return models.PrintSettingsView.model_validate(shown | {"has_password": settings.password is not None})


def _shown(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


async def show_printer(call: Call) -> models.PrinterView:
    settings = await call.machine.printing.settings.load()
    return printer_view(call.views, settings.target, await call.machine.printing.printer_state())


def printer_view(views: Views, target: str, state: PrinterState | None) -> models.PrinterView:
    """Show how a printer is."""
    if state is None:
        state, name, label = PrinterState(PrinterStateName.UNKNOWN), "none", NONE_TEXT
    else:
        name, label = state.state.value, STATE_TEXTS[state.state]
    trouble = views.meaning(state.trouble)
    return models.PrinterView(
        target=target,
        state=name,
        state_label=views.text(label),
        can_print=state.can_print,
        model=state.model,
        words=" ".join(filter(None, (trouble, state.words))),
        reasons=[_reason(views, reason) for reason in state.reasons],
        supplies=[models.SupplyView(**asdict(supply)) for supply in state.supplies],
    )


def _reason(views: Views, reason: PrinterReason) -> models.PrinterReasonView:
    known = REASON_TEXTS.get(reason.keyword)
    text = views.text(known) if known else reason.keyword
    return models.PrinterReasonView(keyword=reason.keyword, severity=reason.severity.value, text=text)


def said_by_printer(views: Views, about: str) -> Message | str:
    """Return what the printer says, as a sentence: it is keywords of IPP, or a reason and the other side's words."""
    first, _space, rest = about.partition(" ")
    if meaning := views.meaning(first):
        return f"{meaning} {rest}".strip()
    if first in REASON_TEXTS:
        return " ".join(views.text(REASON_TEXTS[word]) if word in REASON_TEXTS else word for word in about.split())
    return message(N_("The printer: {about}"), about=about)
