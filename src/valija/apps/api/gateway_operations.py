"""The API's operations on the queue and on the devices of the local network."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from valija.apps.api import gateway_models as models
from valija.apps.api.calls import NUMBER_LIMIT, Call
from valija.apps.api.gateway_views import (
    show_accounts,
    show_device,
    show_devices,
    show_learning,
    show_life,
    show_made,
    show_message,
)
from valija.apps.api.models import QueueAccountView
from valija.domain.errors import UnknownName
from valija.domain.queue import RecipientStateName
from valija.domain.text import N_, message
from valija.domain.traffic import SLOT
from valija.services.devices import ACCOUNTS

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
    return models.QueueView(
        accounts=await show_accounts(call.machine, call.views), messages=[show_message(call.views, m) for m in messages]
    )


async def show_queued(call: Call) -> models.MessageLifeView:
    stored = await call.machine.gateway.message(_number(call))
    return show_life(call.views, stored, await call.machine.gateway.life(stored))


async def show_traffic(call: Call) -> models.TrafficView:
    traffic = call.machine.gateway.traffic
    *before, now = traffic.picture(timedelta(hours=call.number("hours")))
    slots = [*before, replace(now, waiting=await traffic.waiting())]
    shown = [models.TrafficSlotView.model_validate(slot, from_attributes=True) for slot in slots]
    return models.TrafficView(slot_seconds=int(SLOT.total_seconds()), slots=shown)


async def act_on_messages(call: Call) -> list[models.QueuedMessageView]:
    body: models.ActOnMessages = await call.body(models.ActOnMessages)
    ids = [number for number in dict.fromkeys(body.ids) if 0 < number <= NUMBER_LIMIT]
    done = await call.machine.gateway.act(body.action, ids, call.actor)
    return [show_message(call.views, stored) for stored in done]


async def act_on_account(call: Call) -> QueueAccountView:
    body: models.ActOnAccount = await call.body(models.ActOnAccount)
    name = call.setting.value
    if name not in ACCOUNTS:
        raise UnknownName(message(N_("Nothing is sent by the setting {name}."), name=name))
    await call.machine.gateway.act_on_account(body.action, name, call.actor)
    return next(view for view in await show_accounts(call.machine, call.views) if view.account == name)


def _number(call: Call) -> int:
    text = call.request.path_params["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UnknownName(message(N_("There is no message {number} in the queue."), number=text[:20]))
    return int(text)


# --- devices --------------------------------------------------------------------------------------------------------------


async def list_devices(call: Call) -> models.DevicesView:
    return await show_devices(call.machine, call.views)


async def show_one_device(call: Call) -> models.DeviceView:
    desk = call.machine.gateway.devices
    device = desk.get(call.request.path_params["login"])
    return show_device(call.views, device, desk.sighting(device.login))


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
    return show_learning(call.machine)


async def stop_learning(call: Call) -> models.LearningView:
    await call.machine.gateway.learning.stop(call.actor)
    return show_learning(call.machine)
