"""Pages walked as a person would, link by link; every form on them with its fields; what a page says about a field."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

import httpx2

TYPED = ("text", "password", "area", "hidden")


@dataclass(frozen=True)
class Field:
    """A control: ``kind`` is its type (area, select, radio, too); ``options`` what can be chosen."""

    name: str
    kind: str
    value: str = ""
    options: tuple[str, ...] = ()
    invalid: bool = False
    described_by: str = ""


@dataclass(frozen=True)
class Form:
    """A form as it stands on a page, one for each address that it can be sent to."""

    page: str
    action: str
    multipart: bool
    fields: tuple[Field, ...]
    method: str = "post"

    @property
    def kind(self) -> tuple[str, ...]:
        """Return what makes forms alike: where they go, without what names a screen, and the names of their fields."""
        return (*self.action.split("/")[3:], *(f.name for f in self.fields if f.name != "csrf"))

    def values(self) -> dict[str, str]:
        """Return what a browser would send."""
        return {f.name: f.value for f in self.fields if f.name and not (f.kind == "checkbox" and not f.value)}

    def label(self) -> str:
        """Return how a failure names it."""
        return f"{self.page} -> {self.action}"


@dataclass
class Reading:
    """What was read of a page."""

    forms: list[Form] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """The text of each element that has an id."""
    names: set[str] = field(default_factory=set)
    """All tags and attributes."""
    alerts: int = 0

    def field(self, name: str) -> Field | None:
        """Return a field of any form."""
        found = [f for form in self.forms for f in form.fields if f.name == name]
        return next((f for f in found if f.invalid), found[0] if found else None)

    def says(self, about: Field) -> str:
        """Return the text beside a field that is marked as wrong."""
        return self.texts.get(about.described_by, "").strip()


VOID = frozenset(("input", "meta", "link", "img", "br", "wbr", "use", "path", "circle", "rect", "line", "polyline"))


class _Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.read = Reading()
        self._page = page
        self._form: dict[str, str] | None = None
        self._fields: list[Field] = []
        self._actions: list[str] = []
        self._elsewhere: dict[str, list[Field]] = {}
        self._open: Field | None = None
        self._ids: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {name: value or "" for name, value in attrs}
        self.read.names |= {tag, *a}
        self.read.alerts += a.get("role") == "alert"
        if tag not in VOID:
            self._ids.append((tag, a.get("id", "")))
        for name in ("href", "hx-get"):
            if a.get(name, "").startswith("/") and tag != "link":
                self.read.links.append(a[name])
        if tag == "form":
            self._form, self._fields, self._actions = a, [], [a.get("action", self._page)]
        elif tag in ("input", "textarea", "select", "option", "button"):
            self._control(tag, a)

    def _control(self, tag: str, a: dict[str, str]) -> None:
        name, value, kind = a.get("name", ""), a.get("value", ""), a.get("type", "text")
        mark = Field(name, kind, value, (), a.get("aria-invalid") == "true", a.get("aria-describedby", ""))
        if tag == "option" and self._open:
            chosen = value if "selected" in a else self._open.value
            self._open = replace(self._open, value=chosen, options=(*self._open.options, value))
        elif tag == "input" and kind == "radio":
            before = next((f for f in self._fields if f.name == name), Field(name, "radio"))
            after = replace(before, value=value if "checked" in a else before.value, options=(*before.options, value))
            self._fields = [f for f in self._fields if f.name != name] + [after]
        elif tag == "input" and kind == "checkbox":
            self._fields.append(replace(mark, value=value if "checked" in a else ""))
        elif tag == "input":
            self._fields.append(mark)
        elif tag == "button" and name and not any(f.name == name for f in self._fields):
            self._fields.append(Field(name, "button", value))
        elif tag in ("textarea", "select"):
            self._open = replace(mark, kind={"textarea": "area"}.get(tag, tag), value="")
        if tag == "button" and a.get("formaction"):
            self._actions.append(a["formaction"])

    def handle_data(self, data: str) -> None:
        if self._open and self._open.kind == "area":
            self._open = replace(self._open, value=self._open.value + data)
        for _tag, name in self._ids:
            if name:
                self.read.texts[name] = self.read.texts.get(name, "") + data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("textarea", "select") and self._open:
            self._fields.append(self._open)
            self._open = None
        if tag == "form" and self._form is not None:
            multipart = self._form.get("enctype") == "multipart/form-data"
            method = self._form.get("method", "get")
            self.read.forms += [Form(self._page, a, multipart, tuple(self._fields), method) for a in self._actions]
            self._form = None
        while self._ids and any(open_tag == tag for open_tag, _name in self._ids):
            if self._ids.pop()[0] == tag:
                break


def read(html: str, page: str = "") -> Reading:
    """Read a page."""
    reader = _Reader(page)
    reader.feed(html)
    reader.close()
    return reader.read


async def walk(browser: httpx2.AsyncClient, *starts: str) -> list[Form]:
    """Follow every link from ``starts``; return every form, once for each address that it is sent to."""
    forms: dict[tuple[str, tuple[str, ...]], Form] = {}
    waiting, seen = ["/", *starts], set()
    while waiting:
        page = waiting.pop(0)
        if page in seen:
            continue
        seen.add(page)
        answer = await browser.get(page)
        assert answer.status_code in (200, 303), (page, answer.status_code)
        if answer.status_code == 303:
            waiting.append(answer.headers["location"])
            continue
        found = read(answer.text, page)
        waiting += [link.partition("#")[0] for link in found.links if not link.startswith("/static/")]
        for form in found.forms:
            forms.setdefault((form.action, form.kind), form)
    return list(forms.values())
