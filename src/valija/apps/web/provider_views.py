"""The client registrations: list, add, change, delete. Secrets go in and are never shown."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from valija.apps.api.views import PROVIDER_LABELS
from valija.apps.web.screens import ROOT_LABEL
from valija.apps.web.visit import Visit, redirect
from valija.domain.account import SETTING_LABELS, GrantKind
from valija.domain.errors import ConfirmationNeeded, FieldProblem, InvalidFields
from valija.domain.registration import Registration
from valija.domain.text import N_, message
from valija.services.providers import KINDS, provider_label

BASE: Final = "/settings/providers"
TITLE: Final = N_("Providers")
SECRETS: Final = ("client_secret", "certificate", "private_key", "service_account")
# what a kind's form asks for first, and what few people need
FIELDS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "microsoft": (("tenant", "client_id"), ("cloud", "client_secret", "certificate", "private_key", "grant", "scopes")),
    "google": (("client_id", "client_secret"), ("service_account", "grant", "scopes")),
    "yahoo": (("client_id", "client_secret"), ("scopes",)),
    "aol": (("client_id", "client_secret"), ("scopes",)),
    "custom": (("issuer", "client_id", "client_secret", "scopes"), ("certificate", "private_key", "grant")),
}
GRANT_LABELS: Final = {
    "": N_("As fits the provider"),
    GrantKind.DEVICE.value: N_("With a code on a phone"),
    GrantKind.CODE.value: N_("In this browser"),
    GrantKind.CLIENT_CREDENTIALS.value: N_("Without a person (client credentials)"),
    GrantKind.SERVICE_ACCOUNT.value: N_("Without a person (service account)"),
}


async def show_list(visit: Visit) -> Response:
    """Show all registrations, and the kinds that can be added."""
    if "deleted" in visit.request.query_params:
        visit.notice("good", N_("Deleted."))
    if "saved" in visit.request.query_params:
        visit.notice("good", N_("Saved."))
    items = [await _item(visit, r) for r in await visit.machine.providers.all()]
    return await visit.render("providers.html", items=items, kinds=kinds(visit), base=BASE, crumbs=_crumbs(visit))


async def _item(visit: Visit, registration: Registration) -> dict[str, Any]:
    _r, profile = await visit.machine.providers.load(registration.name)
    builtin = registration.name in visit.machine.providers.builtin
    parts = [registration.tenant, registration.issuer or profile.issuer if registration.kind == "custom" else ""]
    note = " · ".join(part for part in (*parts, registration.client_id) if part)
    href = "" if builtin else f"{BASE}/{registration.name}"
    return {
        "label": provider_label(registration.name, profile.display_name),
        "note": note,
        "href": href,
        "icon": "network",
    }


async def provider_names(visit: Visit) -> list[tuple[str, str]]:
    """Return the registrations that can be chosen, as (name, what it is called)."""
    found = [await visit.machine.providers.load(r.name) for r in await visit.machine.providers.all()]
    return [(r.name, provider_label(r.name, profile.display_name)) for r, profile in found]


def kinds(visit: Visit) -> list[tuple[str, str]]:
    """Return the kinds of providers and their names."""
    names = {p.kind: p.display_name for p in visit.machine.providers.offered()}
    names["custom"] = visit.text(N_("Another provider"))
    return [(kind, names[kind]) for kind in KINDS if kind in names]


async def show_new(visit: Visit) -> Response:
    """Show an empty form for a kind of provider."""
    kind = visit.request.query_params.get("kind", "")
    if kind not in KINDS:
        return redirect(BASE)
    return await _page(visit, await free_name(visit, kind), kind, {}, new=True)


async def add(visit: Visit) -> Response:
    """Store a new registration."""
    form = await visit.form()
    kind = form.get("kind", "")
    if kind not in KINDS:
        return redirect(BASE)
    name = form.get("name", "").strip()
    problem = await taken(visit, name)
    if problem is None:
        try:
            await save(visit, name, form)
        except InvalidFields as error:
            problem = error
        else:
            return redirect(f"{BASE}?saved")
    return await _page(visit, name, kind, form, 422, error=problem, new=True)


async def show_one(visit: Visit) -> Response:
    """Show a registration's form."""
    registration, _profile = await visit.machine.providers.load(_name(visit))
    return await _page(visit, registration.name, registration.kind, {})


async def change(visit: Visit) -> Response:
    """Store what was typed; ask first if it would delete tokens."""
    form = await visit.form_or_pending()
    registration, _profile = await visit.machine.providers.load(_name(visit))
    name, here = registration.name, f"{BASE}/{registration.name}"
    try:
        await save(visit, name, form)
    except InvalidFields as error:
        return await _page(visit, name, registration.kind, form, 422, error=error)
    except ConfirmationNeeded as error:
        values = {"title": visit.text(TITLE), "crumbs": _crumbs(visit, name), "base": here}
        return await visit.ask_first(error, form, **values)
    return redirect(f"{BASE}?saved")


async def ask_delete(visit: Visit) -> Response:
    """Ask whether a registration should be deleted, with the tokens that were got with it."""
    registration, _profile = await visit.machine.providers.load(_name(visit))
    name = registration.name
    users = [visit.text(SETTING_LABELS[s]) for s in await visit.machine.providers.users(name)]
    return await visit.render(
        "delete_provider.html", name=name, users=users, base=f"{BASE}/{name}", crumbs=_crumbs(visit, name)
    )


async def delete(visit: Visit) -> Response:
    """Delete a registration."""
    await visit.form()
    await visit.machine.providers.delete(_name(visit), confirm=True, actor=visit.actor)
    return redirect(f"{BASE}?deleted")


# --- the form, also for the guided path -----------------------------------------------------------------------------------


async def save(visit: Visit, name: str, form: dict[str, str]) -> None:
    """Store a registration. Raises :class:`InvalidFields`, :class:`ConfirmationNeeded`."""
    changes: dict[str, Any] = {
        field: form[field].strip() for field in ("kind", "cloud", "issuer", "tenant", "client_id") if field in form
    }
    if "grant" in form:
        changes["grant"] = form["grant"] or None
    if "scopes" in form:
        changes["scopes"] = form["scopes"].split()
    for field in SECRETS:
        typed = form.get(field, "").replace("\r\n", "\n").strip()
        if typed:
            changes[field] = typed
        elif form.get(f"forget_{field}") == "on":
            changes[field] = None
    await visit.machine.providers.set(name, changes, confirm=form.get("confirm") == "yes", actor=visit.actor)


async def taken(visit: Visit, name: str) -> InvalidFields | None:
    """Return what is wrong with the name of a new registration: that it is another one's."""
    if await visit.machine.providers.find(name) is None:
        return None
    return InvalidFields((FieldProblem("name", message(N_("is the name of a provider that is there already"))),))


async def form_values(
    visit: Visit, name: str, kind: str, typed: dict[str, str], error: InvalidFields | None = None, *, new: bool
) -> dict[str, Any]:
    """Return what the template's form needs: ``first`` and ``more`` fields, values, problems."""
    found = None if new else await visit.machine.providers.find(name)
    registration = found[0] if found else Registration(name, kind)
    names = {p.kind: p for p in visit.machine.providers.offered()}
    profile = found[1] if found else names.get(kind)
    first, more = FIELDS[kind]
    problems = visit.views.problem(error).problems if error else []
    stored = {f: getattr(registration, f) for f in (*first, *more)}
    values = {f: "" if f in SECRETS else typed.get(f, _text(v)) for f, v in stored.items()}
    return {
        "name": name,
        "kind": kind,
        "kind_label": dict(kinds(visit))[kind],
        "new": new,
        "first": first,
        "more": more,
        "more_open": any(p.field in more for p in problems) or any(stored[f] for f in more if f != "scopes"),
        "filled": values,
        "there": {f for f in SECRETS if stored.get(f)},
        "labels": {f: visit.text(text) for f, text in PROVIDER_LABELS.items()},
        "problems": problems,
        "problem_of": {p.field: p.problem for p in problems},
        "clouds": [(c, c) for c in visit.machine.providers.clouds(kind)],
        "grants": [(g, visit.text(text)) for g, text in GRANT_LABELS.items()],
        "notes": [visit.text(note) for note in profile.notes] if profile else [],
        "usual_scopes": " ".join((*profile.scopes_smtp, *profile.scopes_pop)) if profile and kind != "custom" else "",
    }


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(getattr(value, "value", value) or "")


async def _page(
    visit: Visit,
    name: str,
    kind: str,
    typed: dict[str, str],
    status: int = 200,
    error: InvalidFields | None = None,
    *,
    new: bool = False,
) -> Response:
    form = await form_values(visit, name, kind, typed, error, new=new)
    action = BASE if new else f"{BASE}/{name}"
    crumbs = _crumbs(visit, form["kind_label"] if new else name)
    return await visit.render("provider.html", status, form=form, action=action, back=BASE, crumbs=crumbs)


async def free_name(visit: Visit, kind: str) -> str:
    """Return a name for a new registration of a kind."""
    taken_names = {r.name for r in await visit.machine.providers.all()}
    numbered = (f"{kind}-{n}" for n in range(2, len(taken_names) + 3))
    return next(name for name in (kind, *numbered) if name not in taken_names)


def _name(visit: Visit) -> str:
    return str(visit.request.path_params["name"])


def _crumbs(visit: Visit, *last: str) -> list[tuple[str, str]]:
    return [(visit.text(ROOT_LABEL), "/settings"), (visit.text(TITLE), BASE), *((text, "") for text in last)]
