"""The queue: its accounts, the picture of the last hours, its messages, and the life of one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from valija.apps.api.gateway_models import MessageLifeView, QueuedMessageView
from valija.apps.api.gateway_views import show_accounts, show_life, show_message
from valija.apps.api.models import QueueAccountView
from valija.apps.web import chart
from valija.apps.web.alert_views import home_alerts
from valija.apps.web.live import Parts, live, stream_of
from valija.apps.web.visit import Visit, lamp_of, lamps, redirect
from valija.domain.account import SETTING_LABELS, Setting
from valija.domain.device import LOGIN_PATTERN
from valija.domain.errors import UnknownName
from valija.domain.queue import RecipientStateName
from valija.domain.queued_message import STATE_LABELS, STILL_SENT
from valija.domain.text import N_, message
from valija.services.devices import ACCOUNTS
from valija.services.events import AlertsChanged, DevicesChanged, QueueChanged, SettingsChanged, TokenChanged

BASE: Final = "/queue"
TITLE: Final = N_("Mail queue")
SHOWN: Final = 20  # messages on a page
TEXT_LIMIT: Final = 100
NUMBER_DIGITS: Final = 15
DAY: Final = timedelta(hours=24)
HALF_DAY: Final = timedelta(hours=12)
REASONS: Final = (QueueChanged, TokenChanged, SettingsChanged)
ACCOUNT_STATES: Final = {
    "open": N_("Mail goes out"),
    "paused": N_("Waits"),
    "held": N_("Held"),
    "blocked": N_("Stopped"),
    "unready": N_("Cannot send"),
}
# which state of its recipients stands for a message: what somebody should look at first
WORST_FIRST: Final = ("failed", "held", "deferred", "in_flight", "queued", "delivered")
FILTERS: Final = ("queued", "deferred", "held", "failed", "delivered")
ACTIONS: Final = ("hold", "release", "retry")
MESSAGE_PARTS: Final = ("lamps", "message")
WAITING: Final = ("queued", "deferred", "held", "in_flight")


# --- what several pages show ----------------------------------------------------------------------------------------------


async def mail_now(visit: Visit, length: timedelta) -> dict[str, Any]:
    """Return the accounts with what is wrong with them, and the picture of the last hours."""
    accounts = [await _account(visit, view) for view in await show_accounts(visit.machine, visit.views)]
    waiting = sum(account["waiting"] for account in accounts)
    *before, now = visit.machine.gateway.traffic.picture(length)
    return {
        "accounts": accounts,
        "alerts": [account for account in accounts if account["state"] in ("blocked", "held")],
        "waiting": waiting,
        "chart": chart.draw([*before, replace(now, waiting=waiting)], visit.zone),
    }


async def _account(visit: Visit, view: QueueAccountView) -> dict[str, Any]:
    state = "blocked" if view.trouble else "held" if view.held else "paused" if view.paused_until else "open"
    label, why = view.account, ""
    if view.account in {s.value for s in Setting}:
        setting = Setting(view.account)
        label, lamp = SETTING_LABELS[setting], await lamp_of(visit, setting)
        if state == "open" and not lamp["ok"]:  # nobody has tried yet
            state, why = "unready", lamp["why"]
    return {
        "name": view.account,
        "label": visit.text(label),
        "state": state,
        "state_label": visit.text(ACCOUNT_STATES[state]),
        "why": why,
        "view": view,
        "counts": [(name, visit.text(STATE_LABELS[name]), view.counts.get(name.value, 0)) for name in STATE_LABELS],
        "waiting": sum(view.counts.get(name, 0) for name in WAITING),
    }


async def watch_home(visit: Visit) -> Response:
    """Stream what home says of the mail."""

    async def draw() -> Parts:
        return home_parts(visit, await home_values(visit))

    return live(visit, draw, *REASONS, AlertsChanged)


async def home_values(visit: Visit) -> dict[str, Any]:
    """Return what home says of the mail and of the machine."""
    now = await mail_now(visit, HALF_DAY)
    return now | {"lamps": await lamps(visit), "machine_alerts": await home_alerts(visit)}


def home_parts(visit: Visit, values: dict[str, Any]) -> Parts:
    """Draw what changes on the home page."""
    return _fragments(visit, values, "lamps", "alerts", "mail-now")


def _fragments(visit: Visit, values: dict[str, Any], *names: str) -> Parts:
    """Return parts of pages by the ids of the elements that hold them."""
    common = {"zone": visit.zone, "csrf_token": visit.csrf, "at_machine": visit.face.at_machine, "base": BASE}
    return {
        name: visit.pages.fragment(visit.language, "queue_live.html", common | values | {"part": name}).strip()
        for name in names
    }


# --- the list -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages a page shows."""

    state: RecipientStateName | None
    device: str | None
    text: str
    before: int | None

    def address(self, **changes: Any) -> str:
        """Return the address of the page with other wishes."""
        kept = {"state": self.state, "device": self.device, "text": self.text, "before": self.before} | changes
        asked = urlencode({name: str(value) for name, value in kept.items() if value not in (None, "")})
        return f"{BASE}?{asked}" if asked else BASE


def _wanted(visit: Visit) -> Wanted:
    """Read the page's address; what cannot be is as if it was not there."""
    asked = visit.request.query_params
    state, device, before = asked.get("state", ""), asked.get("device", ""), asked.get("before", "")
    return Wanted(
        RecipientStateName(state) if state in FILTERS else None,
        device if re.fullmatch(LOGIN_PATTERN, device) else None,
        "".join(c for c in asked.get("text", "") if c.isprintable()).strip()[:TEXT_LIMIT],
        int(before) if re.fullmatch(rf"[1-9][0-9]{{0,{NUMBER_DIGITS - 1}}}", before) else None,
    )


async def show_queue(visit: Visit) -> Response:
    """Show accounts, picture and messages."""
    wanted = _wanted(visit)
    values = await _queue_values(visit, wanted)
    devices = [("", visit.text(N_("All devices")))]
    devices += [(device.login, device.name) for device in visit.machine.gateway.devices.all()]
    stream = stream_of(wanted.address().replace(BASE, f"{BASE}/events", 1), _parts_of_queue(visit, values))
    return await visit.render("queue.html", devices=devices, stream=stream, crumbs=_crumbs(visit), **values)


async def watch_queue(visit: Visit) -> Response:
    """Stream what changes on that page."""
    return live(visit, partial(_queue_parts, visit, _wanted(visit)), *REASONS, DevicesChanged)


async def _queue_parts(visit: Visit, wanted: Wanted) -> Parts:
    return _parts_of_queue(visit, await _queue_values(visit, wanted))


def _parts_of_queue(visit: Visit, values: dict[str, Any]) -> Parts:
    cards = [f"{part}-{a['name']}" for a in values["accounts"] for part in ("account", "counts", "keys")]
    return _fragments(visit, values, "lamps", *cards, "traffic", "traffic-table", "filters", "messages")


async def _queue_values(visit: Visit, wanted: Wanted) -> dict[str, Any]:
    found = await visit.machine.store.queue.list_messages(
        account=None,
        state=wanted.state,
        limit=SHOWN + 1,
        before_id=wanted.before,
        device=wanted.device,
        text=wanted.text,
    )
    names = {device.login: device.name for device in visit.machine.gateway.devices.all()}
    rows = [_row(visit, show_message(visit.views, stored), names, wanted) for stored in found[:SHOWN]]
    values = await mail_now(visit, DAY)
    counts = {state: sum(a["view"].counts.get(state, 0) for a in values["accounts"]) for state in FILTERS}
    filters = [(visit.text(N_("All")), None, wanted.address(state=None, before=None), wanted.state is None)]
    filters += [
        (visit.text(STATE_LABELS[name]), counts[name], wanted.address(state=name, before=None), wanted.state == name)
        for name in map(RecipientStateName, FILTERS)
    ]
    older = wanted.address(before=found[SHOWN - 1].id) if len(found) > SHOWN else ""
    newest = wanted.address(before=None) if wanted.before else ""
    return values | {
        "wanted": wanted,
        "rows": rows,
        "filters": filters,
        "older": older,
        "newest": newest,
        "hours": chart.hourly(values["chart"].bars),
        "lamps": await lamps(visit),
    }


def _row(visit: Visit, view: QueuedMessageView, names: dict[str, str], wanted: Wanted) -> dict[str, Any]:
    states: dict[str, str] = {recipient.state: recipient.state_label for recipient in view.recipients}
    state = str(wanted.state) if wanted.state in states else next(name for name in WORST_FIRST if name in states)
    first = view.recipients[0].address
    more = len(view.recipients) - 1
    return {
        "href": f"{BASE}/{view.id}",
        "subject": view.subject or visit.text(N_("(no subject)")),
        "device": names.get(view.device, view.device) or visit.text(N_("this machine")),
        "to": f"{first} +{more}" if more else first,
        "at": view.accepted_at,
        "state": state,
        "state_label": states[state],
    }


async def act_on_account(visit: Visit) -> Response:
    """Hold or release all mail of an account, or try at once whether it works again."""
    await visit.form()
    account, action = visit.request.path_params["account"], visit.request.path_params["action"]
    if account not in ACCOUNTS or action not in ACTIONS:
        raise UnknownName(message(N_("There is no such page.")))
    await visit.machine.gateway.act_on_account(action, account, visit.actor)
    return redirect(BASE)


# --- one message ----------------------------------------------------------------------------------------------------------


async def show_one(visit: Visit) -> Response:
    """Show a message with its life."""
    values = await _message_values(visit)
    if (done := visit.request.query_params.get("done")) is not None:
        still_sent = any(r.state == RecipientStateName.IN_FLIGHT.value for r in values["mail"].recipients)
        if done in STILL_SENT and still_sent:
            visit.notice("warn", message(STILL_SENT[done], number=values["mail"].id))
        else:
            visit.notice("good", N_("Done."))
    stream = stream_of(f"{values['base']}/events", _fragments(visit, values, *MESSAGE_PARTS))
    return await visit.render("message.html", stream=stream, **values)


async def watch_one(visit: Visit) -> Response:
    """Stream what changes of a message."""
    await _message_values(visit)
    return live(visit, partial(_message_parts, visit), *REASONS)


async def _message_parts(visit: Visit) -> Parts:
    return _fragments(visit, await _message_values(visit), *MESSAGE_PARTS)


async def act_on_one(visit: Visit) -> Response:
    """Hold, release or try a message at once."""
    await visit.form()
    number, action = _number(visit), visit.request.path_params["action"]
    if action not in ACTIONS:
        raise UnknownName(message(N_("There is no such page.")))
    await visit.machine.gateway.act(action, [number], visit.actor)
    return redirect(f"{BASE}/{number}?done={action}")


async def ask_cancel(visit: Visit) -> Response:
    """Ask whether a message should be cancelled."""
    return await visit.render("cancel_message.html", **await _message_values(visit))


async def cancel(visit: Visit) -> Response:
    """Cancel a message: nobody gets it who has not got it yet."""
    await visit.form()
    number = _number(visit)
    await visit.machine.gateway.act("cancel", [number], visit.actor)
    return redirect(f"{BASE}/{number}?done=cancel")


async def _message_values(visit: Visit) -> dict[str, Any]:
    number = _number(visit)
    gateway = visit.machine.gateway
    stored = await gateway.message(number)
    view = show_life(visit.views, stored, await gateway.life(stored))
    states = {recipient.state: recipient.state_label for recipient in view.recipients}
    state = next(name for name in WORST_FIRST if name in states)
    subject = view.subject or visit.text(N_("(no subject)"))
    device = next((d.name for d in gateway.devices.all() if d.login == view.device), view.device)
    return {
        "base": f"{BASE}/{number}",
        "mail": view,
        "subject": subject,
        "device": device or visit.text(N_("this machine")),
        "state": state,
        "state_label": states[state],
        "can": _can(view),
        "crumbs": _crumbs(visit, subject),
        "who": {word: visit.text(text) for word, text in WHO_WORDS.items()},
        "lamps": await lamps(visit),
    }


def _can(view: MessageLifeView) -> set[str]:
    """Return what can be asked for."""
    states = {recipient.state for recipient in view.recipients}
    can: dict[str, Callable[[], bool]] = {
        "hold": lambda: bool(states & {"queued", "deferred", "in_flight"}),
        "release": lambda: "held" in states,
        "retry": lambda: "deferred" in states,
        "cancel": lambda: bool(states & set(WAITING)),
    }
    return {name for name, possible in can.items() if possible()}


WHO_WORDS: Final = {"administrator": N_("administrator"), "valija": N_("the machine itself")}


def _number(visit: Visit) -> int:
    text = str(visit.request.path_params["id"])
    if not re.fullmatch(rf"[1-9][0-9]{{0,{NUMBER_DIGITS - 1}}}", text):
        raise UnknownName(message(N_("There is no message {number} in the queue."), number=text[:20]))
    return int(text)


def _crumbs(visit: Visit, *last: str) -> list[tuple[str, str]]:
    home = visit.text(N_("Home"))
    return [(home, "/"), (visit.text(TITLE), BASE), *((text, "") for text in last)]
