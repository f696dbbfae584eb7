"""Somebody who sends forms as no browser would, sees what comes back and keeps the store as it was."""

from __future__ import annotations

import copy
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from asgi_faces import Machinery
from form_walk import Form, Reading, read

Value = str | bytes
FORM = "application/x-www-form-urlencoded"
MARK = "zq7"  # in all that must not come back as more than text
SUM = 7191 * 7193  # what a template would make of {{7191*7193}}
KEPT = (
    "_settings",
    "_registrations",
    "_preferences",
    "_tokens",
    "_password_hash",
    "_api_tokens",
    "_received",
    "_devices",
    "_learning",
)
PASSING = ("_lockout", "_sessions")


@dataclass
class Visitor:
    """A browser, the forms that it has found, and what went wrong."""

    here: Machinery
    browser: httpx2.AsyncClient
    is_panel: bool = True
    forms: list[Form] = field(default_factory=list)
    searches: list[Form] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def kept(self, names: Iterable[str] = KEPT) -> dict[str, Any]:
        """Return what the store holds (its values cannot change)."""
        return {name: _copied(getattr(self.here.machine.store, name)) for name in names}

    def put_back(self, kept: dict[str, Any]) -> None:
        """Let the store hold what it held."""
        for name, value in kept.items():
            setattr(self.here.machine.store, name, _copied(value))
        gateway, store = self.here.machine.gateway, self.here.machine.store
        vars(gateway.devices)["_devices"] = _copied(vars(store)["_devices"])
        vars(gateway.learning)["_stored"] = vars(store)["_learning"]

    def different(self) -> list[Form]:
        """Return one form of each kind."""
        return list({form.kind: form for form in reversed(self.forms)}.values())

    async def send(self, form: Form, pairs: list[tuple[str, Value]], **headers: str) -> httpx2.Response | None:
        """Send a form; note an answer that must never be."""
        body, content_type = multipart(pairs) if form.multipart else (urlencoded(pairs), FORM)
        return await self.post(form, body, {"Content-Type": content_type} | headers, pairs)

    async def post(self, form: Form, body: bytes, headers: dict[str, str], about: Any) -> httpx2.Response | None:
        """Send a body to a form's address."""
        cookies = dict(self.browser.cookies)
        try:
            answer = await self.browser.post(form.action, content=body, headers=headers)
        except Exception as error:  # whatever breaks a page is what is looked for
            self.fault(form, about, f"broke: {error!r}")
            return None
        self.browser.cookies.clear()
        self.browser.cookies.update(cookies)
        if answer.status_code >= 500:
            self.fault(form, about, f"answered {answer.status_code}")
        self.look_for_echoes(form, answer, about)
        return answer

    def look_for_echoes(self, form: Form, answer: httpx2.Response, about: Any) -> None:
        """Note what came back as more than text."""
        page = read(answer.text) if MARK in answer.text else Reading()
        if strange := {name for name in page.names if MARK in name}:
            self.fault(form, about, f"is not escaped: {strange}")
        if str(SUM) in answer.text:
            self.fault(form, about, "is calculated")
        if "x-evil" in answer.headers:
            self.fault(form, about, "makes a header")

    def fault(self, form: Form, about: Any, what: str) -> None:
        """Note that something went wrong."""
        self.faults.append(f"{form.label()} {str(about)[:90]} {what}")

    def verdict(self) -> None:
        """Fail with all that went wrong."""
        assert not self.faults, "\n".join(self.faults[:60])


def _copied(value: Any) -> Any:
    return copy.copy(value) if isinstance(value, dict | list) else value


def urlencoded(pairs: list[tuple[str, Value]]) -> bytes:
    """Return a form as browsers send it; octets that are no UTF-8, too."""
    return "&".join(f"{urllib.parse.quote_plus(n)}={urllib.parse.quote_plus(v)}" for n, v in pairs).encode()


def multipart(pairs: list[tuple[str, Value]], charset: str = "") -> tuple[bytes, str]:
    """Return a form with a file as browsers send it."""
    parts = b""
    for name, value in pairs:
        octets = value.encode() if isinstance(value, str) else value
        extra = '; filename="scan.pdf"\r\nContent-Type: application/pdf' if name == "file" else ""
        parts += f'--zq7b\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + octets + b"\r\n"
    return parts + b"--zq7b--\r\n", "multipart/form-data; boundary=zq7b" + charset


def lines(value: Value, is_multipart: bool = False) -> str:
    """Return a value as the machine reads it, without what a form changes at its ends and in its line ends."""
    octets = value.encode() if isinstance(value, str) else value
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        text = octets.decode("latin-1") if is_multipart else octets.decode("utf-8", "replace")
    return text.replace("\r\n", "\n").strip()
