"""Rendering: templates in a language, static files with a version, headers that let nothing foreign in."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, pass_context
from jinja2.runtime import Context
from starlette.requests import Request
from starlette.responses import Response

from valija.apps.language import translations

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
_PAGE_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Pages:
    """All templates and static files, read once."""

    def __init__(self) -> None:
        self._environments: dict[str, Environment] = {}
        self._static = {path.name: path.read_bytes() for path in sorted(STATIC.iterdir()) if path.is_file()}
        digest = hashlib.sha256(b"".join(self._static.values())).hexdigest()[:12]
        self.assets = f"/static/{digest}"

    def render(self, language: str, template: str, values: dict[str, Any], status: int = 200) -> Response:
        """Return a page."""
        html = self._environment(language).get_template(template).render(lang=language, assets=self.assets, **values)
        return Response(html, status, dict(_PAGE_HEADERS), "text/html; charset=utf-8")

    def fragment(self, language: str, template: str, values: dict[str, Any]) -> str:
        """Return a part of a page."""
        return self._environment(language).get_template(template).render(lang=language, assets=self.assets, **values)

    async def static(self, request: Request) -> Response:
        """Serve a static file; its address changes when any of them does."""
        content = self._static.get(request.path_params["name"])
        if content is None:
            return Response("", 404)
        kind = mimetypes.guess_type(request.path_params["name"])[0] or "text/plain"
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(content, 200, headers, kind)

    def _environment(self, language: str) -> Environment:
        if language not in self._environments:
            made = Environment(
                loader=FileSystemLoader(HERE / "templates"),
                autoescape=True,
                extensions=["jinja2.ext.i18n"],
                trim_blocks=False,
            )
            made.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]
            made.filters |= {
                "when": _when,
                "iso": _iso,
                "days": _days,
                "number": _number,
                "exactly": _exactly,
                "brief": _brief,
            }
            self._environments[language] = made
        return self._environments[language]


async def load_pages() -> Pages:
    """Read templates and static files off the event loop."""
    return await asyncio.to_thread(Pages)


def _moment(value: Any) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


@pass_context
def _when(context: Context, value: Any) -> str:
    return f"{_moment(value).astimezone(context.get('zone')):%Y-%m-%d %H:%M}"


@pass_context
def _exactly(context: Context, value: Any) -> str:
    return f"{_moment(value).astimezone(context.get('zone')):%Y-%m-%d %H:%M:%S}"


@pass_context
def _brief(context: Context, value: Any) -> str:
    """Return the hour of today, else the day."""
    at, now = _moment(value).astimezone(context.get("zone")), datetime.now(UTC).astimezone(context.get("zone"))
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d}"


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")  # as both languages may write it (ISO 80000-1)


def _iso(value: Any) -> str:
    return _moment(value).astimezone(UTC).isoformat(timespec="seconds")


def _days(value: Any) -> int:
    return max((_moment(value) - datetime.now(UTC)).days, 0)
