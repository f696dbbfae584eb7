"""The API's operations on the queue and on the devices of the local network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Final

from valija.apps.api import gateway_models as models
from valija.apps.api.calls import NUMBER_LIMIT, Call
from valija.apps.api.views import Views
from valija.domain.account_gate import Gate
from valija.domain.device import Device
from valija.domain.device_hints import hint
from valija.domain.errors import UnknownName
from valija.domain.message_life import LifeEvent, LifeWord
from valija.domain.queue import Delivered, Failed, Held, InFlight, RecipientStateName, due_at
from valija.domain.queued_message import RecipientEntry
from valija.domain.sighting import Sighting
from valija.domain.text import N_, message
from valija.domain.traffic import SLOT
from valija.services.devices import ACCOUNTS, MadeDevice
from valija.store.queue_port import StoredQueued

STATE_LABELS: Final = {
    RecipientStateName.QUEUED: N_("Waiting"),
    RecipientStateName.IN_FLIGHT: N_("On its way"),
    RecipientStateName.DEFERRED: N_("Tried again later"),
    RecipientStateName.HELD: N_("Held"),
    RecipientStateName.DELIVERED: N_("Delivered"),
    RecipientStateName.FAILED: N_("Failed"),
}

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


# --- the queue ------------------------------------------------------------------------------------------------------------


async def show_queue(call: Call) -> models.QueueView:
    queue = call.machine.store.queue
    state = call.choice("state")
    messages = await queue.list_messages(
        account=call.choice("account") or None,
        state=RecipientStateName(state) if state else None,
        limit=call.number("limit"),
        before_id=call.number("before") or None,
        device=call.text("device"),
        text=call.text("text") or "",
    )
    return models.QueueView(accounts=await accounts(call), messages=[show_message(call.views, m) for m in messages])


async def accounts(call: Call) -> list[models.QueueAccountView]:
    """Show all accounts that have mail or a gate."""
    dispatcher = call.machine.gateway.dispatcher
    counts, gates = await call.machine.gateway.counts.read(), await call.machine.store.queue.gates()
    names = sorted({account for account, _state in counts} | set(gates) | set(ACCOUNTS))
    views = []
    for name in names:
        found = {state.value: count for (account, state), count in counts.items() if account == name}
        views.append(_account(call.views, name, gates.get(name, Gate()), found, dispatcher.pause_of(name)))
    return views


async def show_queued(call: Call) -> models.MessageLifeView:
    stored = await call.machine.gateway.message(_number(call))
    return show_life(call.views, stored, await call.machine.gateway.life(stored))


async def show_traffic(call: Call) -> models.TrafficView:
    slots = call.machine.gateway.traffic.picture(timedelta(hours=call.number("hours")))
    shown = [models.TrafficSlotView.model_validate(slot, from_attributes=True) for slot in slots]
    return models.TrafficView(slot_seconds=int(SLOT.total_seconds()), slots=shown)


async def act_on_messages(call: Call) -> list[models.QueuedMessageView]:
    body: models.ActOnMessages = await call.body(models.ActOnMessages)
    ids = [number for number in dict.fromkeys(body.ids) if 0 < number <= NUMBER_LIMIT]
    done = await call.machine.gateway.act(body.action, ids, call.actor)
    return [show_message(call.views, stored) for stored in done]


async def act_on_account(call: Call) -> models.QueueAccountView:
    body: models.ActOnAccount = await call.body(models.ActOnAccount)
    name = call.setting.value
    if name not in ACCOUNTS:
        raise UnknownName(message(N_("Nothing is sent by the setting {name}."), name=name))
    await call.machine.gateway.act_on_account(body.action, name, call.actor)
    return next(view for view in await accounts(call) if view.account == name)


def _number(call: Call) -> int:
    text = call.request.path_params["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UnknownName(message(N_("There is no message {number} in the queue."), number=text[:20]))
    return int(text)


def _account(
    views: Views, name: str, gate: Gate, counts: dict[str, int], pause: tuple[object, str] | None
) -> models.QueueAccountView:
    return models.QueueAccountView(
        account=name,
        open=gate.is_open,
        held=gate.held_at is not None,
        closed_at=gate.closed_at,
        trouble=views.raw_trouble(gate.blocked.trouble) if gate.blocked else None,
        probe_at=gate.blocked.probe_at if gate.blocked else None,
        paused_until=pause[0] if pause else None,  # type: ignore[arg-type]
        paused_why=pause[1] if pause else "",
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


# --- devices --------------------------------------------------------------------------------------------------------------


async def list_devices(call: Call) -> models.DevicesView:
    desk = call.machine.gateway.devices
    return models.DevicesView(
        host=call.machine.gateway.intake.host_name,
        addresses=await asyncio.to_thread(call.machine.gateway_addresses),
        sender=await call.machine.gateway.dispatcher.route.mailbox(ACCOUNTS[0]),
        authority=str(call.machine.gateway_authority or ""),
        warnings=[call.views.text(warning) for warning in call.machine.warnings()],
        learning=show_learning(call),
        ports=call.machine.gateway_ports,
        devices=[show_device(call.views, device, desk.sighting(device.login)) for device in desk.all()],
        strangers=[_stranger(call.views, sighting) for sighting in desk.strangers()],
    )


async def add_device(call: Call) -> models.MadeDeviceView:
    body: models.NewDevice = await call.body(models.NewDevice)
    devices = call.machine.gateway.devices
    return show_made(call.views, await devices.add(body.changes, call.actor, with_password=body.with_password), None)


async def change_device(call: Call) -> models.DeviceView:
    body: models.DeviceChanges = await call.body(models.DeviceChanges)
    desk = call.machine.gateway.devices
    device = await desk.change(call.request.path_params["login"], body.changes, call.actor)
    return show_device(call.views, device, desk.sighting(device.login))


async def make_device_password(call: Call) -> models.MadeDeviceView:
    desk = call.machine.gateway.devices
    made = await desk.new_password(call.request.path_params["login"], call.actor)
    return show_made(call.views, made, desk.sighting(made.device.login))


async def delete_device(call: Call) -> models.DeviceView:
    desk = call.machine.gateway.devices
    login = call.request.path_params["login"]
    shown = show_device(call.views, desk.get(login), desk.sighting(login))
    await desk.delete(login, call.actor)
    return shown


async def accept_stranger(call: Call) -> models.MadeDeviceView:
    body: models.AcceptStranger = await call.body(models.AcceptStranger)
    return show_made(
        call.views, await call.machine.gateway.learning.accept(body.address, body.changes, call.actor), None
    )


async def start_learning(call: Call) -> models.LearningView:
    body: models.StartLearning = await call.body(models.StartLearning)
    await call.machine.gateway.learning.begin(body.minutes, call.actor)
    return show_learning(call)


async def stop_learning(call: Call) -> models.LearningView:
    await call.machine.gateway.learning.stop(call.actor)
    return show_learning(call)


def show_learning(call: Call) -> models.LearningView:
    """Show whether the machine learns."""
    desk = call.machine.gateway.learning
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
    return views.text(found) if found is not None else ""


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
