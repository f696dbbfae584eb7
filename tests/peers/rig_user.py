"""The person in front of a browser, automated: opens the provider's pages, types the code, signs in, consents or refuses."""

from __future__ import annotations

import html.parser
import http.client
import http.cookiejar
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

REDIRECTS = (301, 302, 303, 307)
PATIENCE = 20
TIMEOUT_S = 20.0


class Stuck(Exception):
    """The pages did not lead where a person wanted to go; says what the last one showed."""


@dataclass(frozen=True, slots=True)
class Page:
    """Where the browser is, and what it shows."""

    url: str
    body: str


@dataclass(slots=True)
class Form:
    """A form, as it would be sent if nothing is typed."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    typed: set[str] = field(default_factory=set)


class _Reader(html.parser.HTMLParser):
    """Reads forms and words of a page."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._words: list[str] = []
        self._unseen = False
        self.feed(page.body)
        self.close()

    @property
    def text(self) -> str:
        return " ".join(self._words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag in ("style", "script"):
            self._unseen = True
        elif tag == "form":
            self.forms.append(Form(attributes.get("action", "")))
        elif tag == "input" and self.forms and "name" in attributes:
            self.forms[-1].fields[attributes["name"]] = attributes.get("value", "")
            if attributes.get("type", "text") in ("text", "password"):
                self.forms[-1].typed.add(attributes["name"])

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script"):
            self._unseen = False

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._unseen:
            self._words.append(data.strip())


class _StayHere(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: object, **_named: object) -> None:
        return None


class Browser:
    """Cookies, redirects, forms. ``stop_at`` is the address it does not load: a client's redirect address."""

    def __init__(self, trust: ssl.SSLContext, login: str, *, deny: bool = False, stop_at: str = "") -> None:
        self._login, self._deny, self._stop_at = login, deny, stop_at
        self._opener = urllib.request.build_opener(
            _StayHere,
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
            urllib.request.HTTPSHandler(context=trust),
        )

    def walk(self, url: str, user_code: str = "") -> Page:
        """Fill in page after page; return the one with nothing left to fill in, or the one to stop at."""
        page = self._open(url)
        for _ in range(PATIENCE):
            read = _Reader(page)
            if not read.forms or self._is_end(page.url):
                return Page(page.url, read.text)
            form = read.forms[0]
            if "user_code" in form.typed:
                if not user_code:
                    raise Stuck(read.text)
                form.fields["user_code"], user_code = user_code, ""
            page = self._answer(page, form)
        raise Stuck(f"too many pages, the last is {page.url}")

    def _answer(self, page: Page, form: Form) -> Page:
        """Send a form as the person wants it."""
        fields = form.fields
        if fields.get("prompt") == "login":
            fields |= {"login": self._login, "password": "any"}
        elif fields.get("prompt") == "consent" and self._deny:
            return self._open(page.url.rstrip("/") + "/abort")
        elif "confirm" in fields and self._deny:
            del fields["confirm"]
            fields["abort"] = "yes"
        return self._open(urllib.parse.urljoin(page.url, form.action), fields)

    def _is_end(self, url: str) -> bool:
        return bool(self._stop_at) and url.startswith(self._stop_at)

    def _open(self, url: str, fields: Mapping[str, str] | None = None) -> Page:
        """Load an address, following redirects."""
        for _ in range(PATIENCE):
            if self._is_end(url):
                return Page(url, "")
            sent = None if fields is None else urllib.parse.urlencode(fields).encode()
            status, headers, body = self._ask(urllib.request.Request(url, sent))
            if status not in REDIRECTS:
                return Page(url, body)
            url = urllib.parse.urljoin(url, headers["Location"])
            fields = fields if status == 307 else None
        raise Stuck(f"redirected again and again, at last to {url}")

    def _ask(self, request: urllib.request.Request) -> tuple[int, http.client.HTTPMessage, str]:
        try:
            answer = self._opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as refusal:
            answer = refusal
        with answer:
            return answer.status, answer.headers, answer.read().decode("utf-8", "replace")
