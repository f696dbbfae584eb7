"""Queue and devices as the API's answers, in a language; the pages show the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from valija.apps.api import gateway_models as models
from valija.apps.api.models import QueueAccountView
from valija.apps.api.views import Views
from valija.apps.machine import Machine
from valija.domain.account_gate import Gate
from valija.domain.device import Device
from valija.domain.device_hints import hint, why_not_opened
from valija.domain.message_life import LifeEvent, LifeWord
from valija.domain.queue import Delivered, Failed, Held, InFlight, due_at
from valija.domain.queued_message import STATE_LABELS, RecipientEntry
from valija.domain.sighting import Sighting
from valija.domain.text import N_, message
from valija.services.devices import ACCOUNTS, MadeDevice
from valija.services.lane_leasing import Pause
from valija.store.queue_port import StoredQueued

LIFE_LABELS: Final = {
    LifeWord.ACCEPTED: N_("Accepted"),
    LifeWord.TRY_FAILED: N_("Try {number} failed"),
    LifeWord.IN_DOUBT: N_("Try {number} broke off at its end: it may have arrived"),
    LifeWord.REFUSED: N_("Refused by the server"),
    LifeWord.LEASE_ENDED: N_("The machine stopped during a try: it may have arrived"),
    LifeWord.EXPIRED: N_("Given up: it has waited as long as is allowed"),
    LifeWord.HELD: N_("Held"),
    LifeWord.HOLD_WISHED: N_("Asked to hold it, while it was on its way"),
    LifeWord.RELEASED: N_("Released"),
    LifeWord.RETRIED: N_("Asked to try at once"),
    LifeWord.CANCELLED: N_("Cancelled"),
    LifeWord.CANCEL_WISHED: N_("Asked to cancel it, while it was on its way"),
    LifeWord.DELIVERED: N_("Delivered"),
    LifeWord.ACCOUNT_BLOCKED: N_("The account's mail stopped"),
    LifeWord.ACCOUNT_OPENED: N_("The account's mail goes on"),
    LifeWord.ACCOUNT_HELD: N_("All mail of the account was held"),
    LifeWord.ACCOUNT_RELEASED: N_("All mail of the account was released"),
}


async def show_accounts(machine: Machine, views: Views) -> list[QueueAccountView]:
    """Show all accounts that have mail or a gate."""
    dispatcher = machine.gateway.dispatcher
    counts, gates = await machine.gateway.counts.read(), await machine.store.queue.gates()
    names = sorted({account for account, _state in counts} | set(gates) | set(ACCOUNTS))
    shown = []
    for name in names:
        found = {state.value: count for (account, state), count in counts.items() if account == name}
        shown.append(_account(views, name, gates.get(name, Gate()), found, dispatcher.pause_of(name)))
    return shown


def _account(views: Views, name: str, gate: Gate, counts: dict[str, int], pause: Pause | None) -> QueueAccountView:
    return QueueAccountView(
        account=name,
        open=gate.is_open,
        held=gate.held_at is not None,
        closed_at=gate.closed_at,
        trouble=views.raw_trouble(gate.blocked.trouble) if gate.blocked else None,
        probe_at=gate.blocked.probe_at if gate.blocked else None,
        paused_until=pause.until if pause else None,
        paused_why=pause.words if pause else "",
        paused_meaning=views.meaning(pause.reason) if pause else "",
        counts=counts,
    )


def show_message(views: Views, stored: StoredQueued) -> models.QueuedMessageView:
    """Show a message."""
    m = stored.message
    return models.QueuedMessageView(
        id=stored.id,
        account=m.account,
        device=m.device,
        sender=m.reverse_path,
        named_sender=m.report_to or m.reverse_path,
        message_id=m.message_id,
        subject=m.subject,
        size=m.size,
        accepted_at=m.accepted_at,
        address=m.address,
        via=m.via,
        tls=m.tls,
        recipients=[_recipient(views, entry) for entry in stored.entries],
    )


def show_life(views: Views, stored: StoredQueued, life: Sequence[LifeEvent]) -> models.MessageLifeView:
    """Show a message with its life."""
    shown = show_message(views, stored).model_dump()
    return models.MessageLifeView(**shown, life=[_life_event(views, event) for event in life])


def _life_event(views: Views, event: LifeEvent) -> models.LifeEventView:
    return models.LifeEventView(
        at=event.at,
        event=event.word.value,
        text=views.text(message(LIFE_LABELS[event.word], number=event.tries)),
        recipients=list(event.recipients),
        who=event.who,
        tries=event.tries,
        next_at=event.next_at,
        server_words=event.server_words,
        trouble=views.raw_trouble(event.trouble),
    )


def _recipient(views: Views, entry: RecipientEntry) -> models.QueuedRecipientView:
    state = entry.state
    waiting = state.before if isinstance(state, InFlight | Held) else state
    return models.QueuedRecipientView(
        address=entry.recipient.address,
        state=state.name.value,
        state_label=views.text(STATE_LABELS[state.name]),
        tries=getattr(waiting, "tries", 0),
        in_doubt=getattr(waiting, "in_doubt", False),
        due_at=due_at(state),
        ended_at=state.at if isinstance(state, Delivered | Failed) else None,
        cause=state.cause.value if isinstance(state, Failed) else "",
        server_words=state.server_words if isinstance(state, Delivered) else "",
        trouble=views.raw_trouble(getattr(waiting, "trouble", None)),
    )


# --- devices ------------------------------------------------------------------------------------------------------------


async def show_devices(machine: Machine, views: Views) -> models.DevicesView:
    """Show all devices, who else tried, and where devices connect to."""
    desk = machine.gateway.devices
    return models.DevicesView(
        host=machine.gateway.intake.host_name,
        addresses=await asyncio.to_thread(machine.gateway_addresses),
        sender=await machine.gateway.dispatcher.route.mailbox(ACCOUNTS[0]),
        authority=str(machine.gateway_authority or ""),
        warnings=[views.text(warning) for warning in machine.warnings()],
        learning=show_learning(machine),
        ports=machine.gateway_ports,
        devices=[show_device(views, device, desk.sighting(device.login)) for device in desk.all()],
        strangers=[_stranger(views, sighting) for sighting in desk.strangers()],
    )


def show_learning(machine: Machine) -> models.LearningView:
    """Show whether the machine learns."""
    desk = machine.gateway.learning
    on = desk.is_on()
    return models.LearningView(
        on=on, ends_at=desk.state.ends_at if on else None, started_by=desk.state.started_by if on else ""
    )


def show_made(views: Views, made: MadeDevice, seen: Sighting | None) -> models.MadeDeviceView:
    """Show a device that was just made, with its password."""
    password = made.password.reveal() if made.password is not None else None
    return models.MadeDeviceView(**show_device(views, made.device, seen).model_dump(), password=password)


def show_device(views: Views, device: Device, seen: Sighting | None) -> models.DeviceView:
    """Show a device: never its password."""
    return models.DeviceView(
        login=device.login,
        name=device.name,
        account=device.account,
        mailbox=device.mailbox,
        has_password=device.password is not None,
        ranges=list(device.ranges),
        senders=list(device.senders),
        rewriting=device.rewriting.value,
        tls=device.tls.value,
        language=device.language,
        lf_ends_message=device.lf_ends_message,
        enabled=device.enabled,
        created_at=device.created_at,
        created_by=device.created_by,
        last_seen_at=seen.last_at if seen else None,
        last_accepted_at=seen.accepted_at if seen else None,
        last_refused_at=seen.refused_at if seen else None,
        last_error=seen.last_error if seen else "",
        last_error_cure=_cure(views, seen),
        last_address=seen.address if seen else "",
        last_tls=seen.tls if seen else "",
        accepted=seen.accepted if seen else 0,
        refused=seen.refused if seen else 0,
    )


def _cure(views: Views, seen: Sighting | None) -> str:
    if seen is None or seen.refused_at is None or (seen.accepted_at is not None and seen.accepted_at > seen.refused_at):
        return ""  # it works by now
    found = hint(seen.last_error, login=seen.subject if seen.is_known else "", address=seen.address)
    if found is not None:
        return views.text(found)
    reason = why_not_opened(seen.last_error)
    return views.explained(reason) if reason else ""


def _stranger(views: Views, seen: Sighting) -> models.StrangerView:
    return models.StrangerView(
        address=seen.address,
        protocol=seen.protocol,
        tls=seen.tls,
        tried=seen.tried,
        last_error=seen.last_error,
        last_error_cure=_cure(views, seen),
        tries=seen.refused,
        first_seen_at=seen.first_at,
        last_seen_at=seen.last_at,
        attempt=models.AttemptView(**asdict(seen.attempt)) if seen.attempt is not None else None,
    )
