"""Devices of the local network: list, add, change, switch off, delete; what to type into them; strangers and learning mode."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from starlette.responses import FileResponse, Response

from valija.apps.api.gateway_models import DeviceView
from valija.apps.api.gateway_views import show_device, show_devices
from valija.apps.web.live import Parts, live, stream_of
from valija.apps.web.shown import as_shown, only_changed, shown_before
from valija.apps.web.visit import Visit, redirect
from valija.apps.what_to_type import what_to_type, what_to_type_for_pop3
from valija.domain.account import POP_SETTINGS, SETTING_LABELS
from valija.domain.device import DEVICE_LABELS, LANGUAGE_NAMES, REWRITING_LABELS, TLS_LABELS
from valija.domain.device_hints import refusal
from valija.domain.errors import InvalidFields, UnknownName
from valija.domain.learning import USUAL_MINUTES
from valija.domain.preferences import LANGUAGES
from valija.domain.text import N_, message
from valija.services.devices import MadeDevice
from valija.services.events import DevicesChanged

BASE: Final = "/devices"
TITLE: Final = N_("Devices")
DEVICE_STATES: Final = {
    "off": N_("Switched off"),
    "unseen": N_("Not seen yet"),
    "refused": N_("Refused last"),
    "works": N_("Works"),
}
TEXTS: Final = ("name", "ranges", "senders", "rewriting", "tls", "language", "mailbox")
SWITCHES: Final = ("lf_ends_message", "enabled")


# --- the list -------------------------------------------------------------------------------------------------------------


async def show_list(visit: Visit) -> Response:
    """Show the devices, who else tried, and learning mode."""
    for word, sentence in (("deleted", N_("Deleted.")), ("saved", N_("Saved."))):
        if word in visit.request.query_params:
            visit.notice("good", sentence)
    return await _list_page(visit)


async def _list_page(visit: Visit, status: int = 200) -> Response:
    values = await _list_values(visit)
    stream = stream_of("/events/devices", _parts_of_list(visit, values))
    return await visit.render("devices.html", status, stream=stream, crumbs=_crumbs(visit), **values)


async def watch_list(visit: Visit) -> Response:
    """Stream what changes on that page."""
    return live(visit, partial(_list_parts, visit), DevicesChanged)


async def _list_parts(visit: Visit) -> Parts:
    return _parts_of_list(visit, await _list_values(visit))


def _parts_of_list(visit: Visit, values: dict[str, Any]) -> Parts:
    common = {"zone": visit.zone, "csrf_token": visit.csrf}
    return {
        part: visit.pages.fragment(visit.language, "devices_live.html", common | values | {"part": part}).strip()
        for part in ("devices", "learning", "strangers")
    }


async def _list_values(visit: Visit) -> dict[str, Any]:
    there = await show_devices(visit.machine, visit.views)
    return {
        "there": there,
        "items": [_item(visit, device) for device in there.devices],
        "strangers": [(s, s.last_error_cure or visit.text(refusal(s.last_error))) for s in there.strangers],
        "minutes": USUAL_MINUTES,
    }


def _item(visit: Visit, device: DeviceView) -> dict[str, Any]:
    state = state_of(device)
    return {
        "device": device,
        "href": f"{BASE}/{device.login}",
        "state": state,
        "state_label": visit.text(DEVICE_STATES[state]),
        "error": device.last_error_cure or visit.text(refusal(device.last_error)),
    }


def state_of(device: DeviceView) -> str:
    """Return what a look at a device should say."""
    if not device.enabled:
        return "off"
    if device.last_seen_at is None:
        return "unseen"
    refused, taken = device.last_refused_at, device.last_accepted_at
    return "refused" if refused is not None and (taken is None or refused > taken) else "works"


async def give_authority(visit: Visit) -> Response:
    """Give out the certificate of the authority that signed the gateway's, for devices that check it."""
    path = visit.machine.gateway_authority
    if path is None:
        raise UnknownName(message(N_("There is no such page.")))
    headers = {"Content-Disposition": 'attachment; filename="valija-ca.crt"', "Cache-Control": "no-store"}
    return FileResponse(path, media_type="application/x-x509-ca-cert", headers=headers)


# --- strangers and learning mode ------------------------------------------------------------------------------------------


async def learn(visit: Visit) -> Response:
    """Begin or end learning mode."""
    form = await visit.form()
    if form.get("learn") == "off":
        await visit.machine.gateway.learning.stop(visit.actor)
    else:
        await visit.machine.gateway.learning.begin(USUAL_MINUTES, visit.actor)
    return redirect(BASE)


async def accept(visit: Visit) -> Response:
    """Make a device of a stranger."""
    form = await visit.form()
    try:
        made = await visit.machine.gateway.learning.accept(form.get("address", ""), {}, visit.actor)
    except InvalidFields as error:
        problem = visit.views.problem(error)
        visit.notice("bad", " ".join(f"{p.label}: {p.problem}." for p in problem.problems))
        return await _list_page(visit, 422)
    return _to_credentials(visit, made)


# --- one device -----------------------------------------------------------------------------------------------------------


async def show_new(visit: Visit) -> Response:
    """Show an empty form."""
    return await _form_page(visit, {}, new=True)


async def add(visit: Visit) -> Response:
    """Add a device, and show what to type into it."""
    form = await visit.form()
    try:
        made = await visit.machine.gateway.devices.add(_typed(form, new=True), visit.actor)
    except InvalidFields as error:
        return await _form_page(visit, form, 422, error, new=True)
    return _to_credentials(visit, made)


async def show_one(visit: Visit) -> Response:
    """Show a device, and what was seen of it."""
    return await _form_page(visit, {}, device=device_of(visit))


async def watch_one(visit: Visit) -> Response:
    """Stream what is seen of a device."""
    device_of(visit)
    return live(visit, partial(_seen_parts, visit), DevicesChanged)


async def _seen_parts(visit: Visit) -> Parts:
    try:
        return _parts_of_seen(visit, _seen_values(visit, device_of(visit)))
    except UnknownName:  # deleted meanwhile: what the page shows stays
        return {}


def _parts_of_seen(visit: Visit, values: dict[str, Any]) -> Parts:
    common = values | {"zone": visit.zone}
    return {
        part: visit.pages.fragment(visit.language, "devices_live.html", common | {"part": part}).strip()
        for part in ("device-state", "device-seen")
    }


def _seen_values(visit: Visit, device: DeviceView) -> dict[str, Any]:
    state = state_of(device)
    return {
        "device": device,
        "state": state,
        "state_label": visit.text(DEVICE_STATES[state]),
        "error": visit.text(refusal(device.last_error)),
    }


async def change(visit: Visit) -> Response:
    """Store what was typed, all or nothing."""
    form = await visit.form()
    device = device_of(visit)
    try:
        await visit.machine.gateway.devices.change(device.login, only_changed(form, _typed(form)), visit.actor)
    except InvalidFields as error:
        return await _form_page(visit, form, 422, error, device=device)
    return redirect(f"{BASE}?saved")


async def ask_password(visit: Visit) -> Response:
    """Ask whether a device should get a new password."""
    return await _question(visit, "device_password.html")


async def make_password(visit: Visit) -> Response:
    """Give a device a new password, and show what to type into it."""
    await visit.form()
    return _to_credentials(visit, await visit.machine.gateway.devices.new_password(device_of(visit).login, visit.actor))


async def ask_delete(visit: Visit) -> Response:
    """Ask whether a device should be deleted."""
    return await _question(visit, "delete_device.html")


async def delete(visit: Visit) -> Response:
    """Delete a device."""
    await visit.form()
    await visit.machine.gateway.devices.delete(device_of(visit).login, visit.actor)
    return redirect(f"{BASE}?deleted")


async def show_credentials(visit: Visit) -> Response:
    """Show what to type into a device, with its new password this once."""
    device, there = device_of(visit), await show_devices(visit.machine, visit.views)
    kept = visit.pending.take(_session(visit), visit.request.query_params.get("once", ""))
    password = kept.get("password", "") if kept is not None and kept.get("login") == device.login else ""
    rows = what_to_type(there.model_dump(), device.model_dump() | {"password": password}, visit.text)
    return await visit.render(
        "device_made.html",
        device=device,
        rows=rows,
        incoming=what_to_type_for_pop3(there.model_dump(), device.model_dump(), visit.text),
        there=there,
        password=password,
        base=f"{BASE}/{device.login}",
        crumbs=_crumbs(visit, device.name),
    )


def _to_credentials(visit: Visit, made: MadeDevice) -> Response:
    """Lead to what to type: the password waits here, so that neither address nor history has it, and is given out once."""
    login = made.device.login
    password = made.password.reveal() if made.password is not None else ""
    once = visit.pending.keep(_session(visit), {"login": login, "password": password})
    return redirect(f"{BASE}/{login}/credentials?once={once}")


def _session(visit: Visit) -> str:
    return visit.session.key if visit.session else ""


def device_of(visit: Visit) -> DeviceView:
    """Return the device that the address names. Raises :class:`~valija.domain.errors.UnknownName`."""
    desk = visit.machine.gateway.devices
    device = desk.get(str(visit.request.path_params["login"]))
    return show_device(visit.views, device, desk.sighting(device.login))


async def _question(visit: Visit, template: str) -> Response:
    device = device_of(visit)
    crumbs = _crumbs(visit, device.name)
    return await visit.render(template, device=device, base=f"{BASE}/{device.login}", crumbs=crumbs)


def _typed(form: dict[str, str], *, new: bool = False) -> dict[str, Any]:
    """Return the fields of a device as they were typed."""
    typed: dict[str, Any] = {name: form[name].strip() for name in TEXTS if name in form}
    if new and not typed.get("ranges"):
        typed.pop("ranges", None)
    return typed if new else typed | {name: form.get(name) == "on" for name in SWITCHES}


async def _form_page(
    visit: Visit,
    typed: dict[str, str],
    status: int = 200,
    error: InvalidFields | None = None,
    *,
    device: DeviceView | None = None,
    new: bool = False,
) -> Response:
    problems = visit.views.problem(error).problems if error else []
    stored = device.model_dump() if device is not None else {}
    filled = {name: typed.get(name, _text(stored.get(name, ""))) for name in TEXTS}
    switches = {name: typed.get(name) == "on" if typed else bool(stored.get(name)) for name in SWITCHES}
    there = await show_devices(visit.machine, visit.views)
    seen = _seen_values(visit, device) if device is not None else {"device": None}
    base = BASE if device is None else f"{BASE}/{device.login}"
    return await visit.render(
        "device.html",
        status,
        new=new,
        stream="" if device is None else stream_of(f"{base}/events", _parts_of_seen(visit, seen)),
        **seen,
        there=there,
        filled=filled,
        switches=switches,
        shown=shown_before(typed) if typed or new else as_shown(filled | switches),
        problems=problems,
        problem_of={p.field: p.problem for p in problems},
        labels={field: visit.text(label) for field, label in DEVICE_LABELS.items()},
        choices=_choices(visit),
        base=base,
        crumbs=_crumbs(visit, visit.text(N_("Add a device")) if device is None else device.name),
    )


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def _choices(visit: Visit) -> dict[str, list[tuple[str, str]]]:
    return {
        "tls": [(policy, visit.text(label)) for policy, label in TLS_LABELS.items()],
        "rewriting": [(kind, visit.text(label)) for kind, label in REWRITING_LABELS.items()],
        "language": [(name, visit.text(LANGUAGE_NAMES[name])) for name in ("", *LANGUAGES)],
        "mailbox": [("", "—"), *((s.value, visit.text(SETTING_LABELS[s])) for s in POP_SETTINGS)],
    }


def crumbs_of(visit: Visit, *last: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the way to a page of a device: (words, address), none for the page itself."""
    return [(visit.text(N_("Home")), "/"), (visit.text(TITLE), BASE), *last]


def _crumbs(visit: Visit, *last: str) -> list[tuple[str, str]]:
    return crumbs_of(visit, *((text, "") for text in last))
