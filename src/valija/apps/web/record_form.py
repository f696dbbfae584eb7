"""The form of settings that are one record: shown, changed all or none, its secrets never shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from valija.apps.machine import Machine
from valija.apps.web.screens import BY_SLUG, ROOT_LABEL
from valija.apps.web.shown import as_shown, only_changed, shown_before
from valija.apps.web.visit import Visit, redirect
from valija.domain.errors import InvalidFields
from valija.domain.text import N_
from valija.services.one_record import OneRecord


@dataclass(frozen=True)
class RecordForm:
    """``names`` are the fields; some of them ``switches``, or ``secrets``: empty stays as it is, ``forget_...`` deletes it.

    ``choices``: values and their labels, by field. ``screen`` is the server's own, which stands beside it.
    """

    template: str
    action: str
    screen: str
    names: frozenset[str]
    choices: Mapping[str, Mapping[Any, str]]
    desk: Callable[[Machine], OneRecord[Any]]
    switches: frozenset[str]
    secrets: frozenset[str] = frozenset()

    async def show(self, visit: Visit) -> Response:
        """Show the settings."""
        if "saved" in visit.request.query_params:
            visit.notice("good", N_("Saved."))
        return await self._page(visit, {})

    async def change(self, visit: Visit) -> Response:
        """Store what was typed, all or none."""
        form = await visit.form()
        changes: dict[str, Any] = {k: v for k, v in form.items() if k in self._shown_names}
        changes = only_changed(form, changes | {name: form.get(name) == "on" for name in self.switches})
        for name in self.secrets:
            if form.get(f"forget_{name}") == "on":
                changes[name] = ""
            elif form.get(name):
                changes[name] = form[name]
        try:
            await self.desk(visit.machine).change(changes, actor=visit.actor)
        except InvalidFields as error:
            return await self._page(visit, form, 422, error)
        return redirect(f"{self.action}?saved")

    @property
    def _shown_names(self) -> frozenset[str]:
        return self.names - self.switches - self.secrets

    async def _page(
        self, visit: Visit, typed: dict[str, str], status: int = 200, error: InvalidFields | None = None
    ) -> Response:
        now = await self.desk(visit.machine).load()
        problems = visit.views.problem(error).problems if error else []
        values = {name: typed.get(name, _shown(getattr(now, name))) for name in self._shown_names}
        switches = {name: typed.get(name) == "on" if typed else getattr(now, name) for name in self.switches}
        server = BY_SLUG[self.screen]
        labels = [visit.text(label) for label in server.path]
        return await visit.render(
            self.template,
            status,
            values=values | switches,
            shown=shown_before(typed) if typed else as_shown(values | switches),
            there={name for name in self.secrets if getattr(now, name)},
            choices={n: [(o.value, visit.text(text)) for o, text in of.items()] for n, of in self.choices.items()},
            problems=problems,
            problem_of={p.field: p.problem for p in problems},
            server=server.base,
            action=self.action,
            crumbs=[(visit.text(ROOT_LABEL), "/settings"), *((label, self.action) for label in labels[:2])],
        )


def _shown(value: object) -> str:
    return "\n".join(value) if isinstance(value, tuple) else str(value)
