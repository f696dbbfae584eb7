"""Every form of the panel and of the web page, filled with what no form expects.

Never an answer of 5xx; nothing that was typed comes back unescaped; what is refused is kept in the form with a message
beside its field, and nothing is stored; a form that another page sent is refused.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest
from asgi_faces import PASSWORD, SMTP, csrf, furnish, log_in, machinery, with_two_providers
from form_visitor import FORM, KEPT, MARK, PASSING, Value, Visitor, lines, multipart, urlencoded
from form_walk import TYPED, Field, Form, read, walk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FACES = ("panel", "web")
NASTY: tuple[Value, ...] = (
    "",
    " ",
    "\r\nX-Evil: zq7\r\n\r\nzq7",
    "a\0b",
    b"\xff\xfe\x80",
    b"\xed\xa0\x80\xed\xb0\x80",  # surrogates, as UTF-8 would write them
    "x" * 1_001,
    "y" * 100_000,
    "%" * 30_000,  # three times as long when it is sent
    '"><zq7 onzq7=1><script>zq7()</script>',
    "'><img src=x onzq7=zq7()>",
    "</textarea></title></select><zq7>&lt;zq7&gt;&#x3c;zq7&#62;",
    "\u202egnp.\u200f\u2066\u2028\ufeff\U000e0041",
    "{{7191*7193}}{% for zq7 in 1 %}",
    "{0.__class__}{zq7}{",
    "%(zq7)s %s %n %",
    "../../../../etc/passwd",
    "http://[",
    "-1",
    "65536",
    "9" * 5_000,
    "2.5",
    "1e3",
    "0x1f",
    "٣٣",
    "²",
    "NaN",
    "[" * 9_000,
    '{"type": "service_account", "private_key": 1, "private_key_id": {}, "client_email": []}',
    '{"type": "service_account", "private_key": "\\ud800", "private_key_id": "\\ud800", "client_email": "a"}',
    "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
)
# what makes each form one that is taken (or refused for a reason that stands in no field)
BASE: dict[str, str] = {
    "issuer": "https://login.example.com",
    "client_id": "id-7",
    "tenant": "example.com",
    "to": "luis@example.com",
    "sender_address": "ana@example.com",
    "account": "ana@example.com",
    "server": "mail.example.com",
    "old": PASSWORD,
    "new": "another horse 8",
    "again": "another horse 8",
    "password": PASSWORD,
}
STEP = int(os.environ.get("VALIJA_FUZZ_STEP", "6"))  # 1: every value in every field
SECRET_AREAS = ("certificate", "private_key", "service_account")
SHOWING = ("/status", "/settings/audit", "/settings/providers", "/devices", "/queue")
BESIDE = {"certificate": "private_key", "new": "again"}  # where the message about a field may stand, too


def base_of(form: Form) -> dict[str, Value]:
    """Return values that the form takes."""
    values: dict[str, Value] = {**form.values()}
    values |= {f.name: BASE[f.name] for f in form.fields if f.name in BASE}
    values |= {f.name: "fuzzed" for f in form.fields if f.name == "name"}
    values |= {f.name: "a scan" for f in form.fields if f.kind == "file"}
    return values


@pytest.fixture(params=FACES)
async def visitor(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Visitor]:
    """Somebody who has logged in and has seen all pages."""
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(machinery(tmp_path, new=True))
        await with_two_providers(here)
        browser = await stack.enter_async_context(here.panel() if request.param == "panel" else here.web())
        assert (await log_in(browser)).status_code == 303
        found = Visitor(here, browser, is_panel=request.param == "panel")
        await furnish(here)
        forms = await walk(browser, SMTP + "/delete-token")
        found.forms = [form for form in forms if form.method == "post"]
        found.searches = [form for form in forms if form.method == "get"]
        assert len(found.forms) > 45
        assert found.searches
        yield found


async def _try_value(visitor: Visitor, form: Form, about: Field, value: Value, *, taken: bool) -> None:
    """Send a form with one nasty value; ``taken``: without it the form would be taken."""
    kept = visitor.kept((*KEPT, *PASSING))
    pairs = [(n, v) for n, v in base_of(form).items() if n != about.name] + [(about.name, value)]
    answer = await visitor.send(form, pairs)
    if answer is not None and answer.status_code == 303:
        for page in {form.page, *(SHOWING if MARK in str(value) else ())}:
            shown = await visitor.browser.get(page)
            if shown.status_code >= 500:
                visitor.fault(form, (about.name, value), f"breaks {page}")
            visitor.look_for_echoes(form, shown, (about.name, value))
    elif answer is not None:
        _check_refusal(visitor, form, about, value, answer, taken=taken)
        if visitor.kept() != {name: kept[name] for name in KEPT}:
            visitor.fault(form, (about.name, value), f"answered {answer.status_code} and was stored")
    visitor.put_back(kept)


def _check_refusal(
    visitor: Visitor, form: Form, about: Field, value: Value, answer: httpx2.Response, *, taken: bool
) -> None:
    page, said = read(answer.text), (about.name, value)
    marked = [f for found in page.forms for f in found.fields if f.invalid]
    if answer.status_code not in (200, 400, 403, 404, 409, 422):
        visitor.fault(form, said, f"answered {answer.status_code}")
    if not answer.text.startswith("<!doctype html>"):
        visitor.fault(form, said, f"answered no page: {answer.text[:80]!r}")
    if any(not page.says(f) for f in marked):
        visitor.fault(form, said, "has a mark without a message")
    if answer.status_code >= 400 and not (marked or page.alerts):
        visitor.fault(form, said, "is refused without a word")
    if answer.status_code != 422:
        return
    places = {about.name, BESIDE.get(about.name, about.name)}
    if taken and about.kind in ("text", "password", "area") and not places & {f.name for f in marked}:
        visitor.fault(form, said, f"is refused without a message beside it: {[f.name for f in marked]}")
    shown = page.field(about.name)
    is_kept = shown is not None and lines(shown.value) == lines(value, form.multipart)
    if about.kind in ("text", "area") and about.name not in SECRET_AREAS and not is_kept:
        visitor.fault(form, said, f"is not kept: {shown}")


async def _is_taken(visitor: Visitor, form: Form) -> bool:
    kept = visitor.kept((*KEPT, *PASSING))
    answer = await visitor.send(form, list(base_of(form).items()))
    visitor.put_back(kept)
    return answer is not None and answer.status_code in (200, 303)


async def test_nasty_values_break_nothing(visitor: Visitor) -> None:
    """One value of three, in turn, in each field that is typed into; fewer where the same fields were tried elsewhere."""
    turn, tried = 0, set[tuple[str, ...]]()
    for form in visitor.different():
        names = tuple(f.name for f in form.fields)
        is_first = visitor.is_panel and names not in tried
        tried.add(names)
        taken = await _is_taken(visitor, form)
        for about in form.fields:
            if about.kind in TYPED and about.name != "csrf" and not form.action.endswith("/test"):
                turn += 1
                step = STEP if is_first else 4 * STEP
                for value in NASTY[turn % step :: step]:
                    await _try_value(visitor, form, about, value, taken=taken)
    visitor.verdict()


async def test_nasty_searches_break_nothing(visitor: Visitor) -> None:
    """What is looked for stands in the page's address: any text is answered by a page, and comes back as text."""
    form = visitor.searches[0]
    for about in form.fields:
        for value in NASTY:
            pairs = [(n, v) for n, v in form.values().items() if n != about.name] + [(about.name, value)]
            if len(urlencoded(pairs)) < 60_000:  # more does not come through the server
                answer = await visitor.browser.get(f"{form.action}?{urlencoded(pairs).decode()}")
                if answer.status_code != 200:
                    visitor.fault(form, (about.name, value), f"answered {answer.status_code}")
                visitor.look_for_echoes(form, answer, (about.name, value))
    visitor.verdict()


CHOICES: tuple[Value, ...] = ("", "zq7", "ON", "none ", "../", "<zq7>", b"\xff", "z" * 2_000)


async def test_odd_shapes_break_nothing(visitor: Visitor) -> None:
    """Choices that there are not; fields that are missing, doubled, unknown."""
    turns, step = itertools.count(), _step(visitor)
    for form in visitor.different():
        for about in form.fields:
            turn = next(turns) % step
            if about.kind in ("select", "radio", "checkbox", "button", "hidden") and about.name != "csrf":
                for value in CHOICES[turn::step]:
                    await _try_value(visitor, form, about, value, taken=False)
            for pairs in _shapes(form, about)[turn::step]:
                kept = visitor.kept((*KEPT, *PASSING))
                answer = await visitor.send(form, pairs)
                refused = answer is not None and answer.status_code in (400, 403, 422)
                if refused and visitor.kept() != {name: kept[name] for name in KEPT}:
                    visitor.fault(form, pairs, "was refused and stored")
                visitor.put_back(kept)
    visitor.verdict()


def _step(visitor: Visitor) -> int:
    """All at the panel; at the web page, which has the same forms, one of three in turn."""
    return 1 if visitor.is_panel or STEP == 1 else 3


def _shapes(form: Form, about: Field) -> list[list[tuple[str, Value]]]:
    base = list(base_of(form).items())
    return [
        [(n, v) for n, v in base if n != about.name],
        [*base, (about.name, "zq7")],
        [(about.name, "zq7"), *base],
        [*base, (f"{about.name}[]", "zq7"), ("zq7{}", "<zq7>"), ("confirm", "yes"), ("is_set_up", "on")],
        [*base, ("pending", "zq7")],
    ]


BODIES = (
    b"",
    b"&&&=&%zz=%&;",
    b"\xff\xfe",
    b'{"csrf": 1}',
    b"csrf",
    b"--zq7b\r\n",
    b"--zq7b--\r\n\r\n",
    b"a=" + b"x" * 200_000,
)
TYPES = (
    FORM,
    FORM + "; charset=utf-16",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=zq7b",
    "multipart/form-data; boundary=zq7b; charset=raw_unicode_escape",
    "text/plain",
    "application/json",
    '"/;=',
    "",
)


async def test_other_kinds_of_bodies_are_refused(visitor: Visitor) -> None:
    """What is no form of the kind that is expected changes nothing."""
    step = _step(visitor)
    for turn, form in enumerate(visitor.different()):
        right = list(base_of(form).items())
        other = urlencoded(right) if form.multipart else multipart(right)[0]
        for content_type in TYPES[turn % step :: step]:
            for body in (
                (*BODIES, other) if form.multipart or "multipart" in content_type else (*BODIES[:3], BODIES[-1])
            ):
                kept = visitor.kept((*KEPT, *PASSING))
                answer = await visitor.post(form, body, {"Content-Type": content_type}, (content_type, body[:40]))
                if answer is not None and answer.status_code not in (400, 413, 415, 422):
                    visitor.fault(form, (content_type, body[:40]), f"answered {answer.status_code}")
                if visitor.kept((*KEPT, *PASSING)) != kept:
                    visitor.fault(form, (content_type, body[:40]), "was stored")
    for charset in (
        "raw_unicode_escape",
        "unicode_escape",
        "utf-16",
        "utf-7",
        "punycode",
        "idna",
        "undefined",
        "zq7",
        "hex",
    ):
        for form in visitor.different():
            if form.multipart:
                pairs: list[tuple[str, Value]] = [*base_of(form).items()]
                for about in form.fields:
                    body, content_type = multipart([*pairs, (about.name, "\\ud800\\x00zq7-")], f"; charset={charset}")
                    await visitor.post(form, body, {"Content-Type": content_type}, charset)
    visitor.verdict()


FOREIGN: tuple[dict[str, str], ...] = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Origin": "http://machine.evil.example"},
    {"Origin": "http://machine:81"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)


async def test_no_form_is_taken_from_another_page(visitor: Visitor) -> None:
    """Without the page's word, with a wrong one, with the one of another session; with the right one from elsewhere."""
    async with visitor.here.panel() as other:
        await log_in(other)
        foreign = csrf((await other.get("/settings")).text)
        assert foreign
        for form in visitor.forms:
            kept = visitor.kept((*KEPT, *PASSING))
            right = base_of(form)
            without = [(n, v) for n, v in right.items() if n != "csrf"]
            tries: list[tuple[list[tuple[str, Value]], dict[str, str]]] = [(without, {})]
            words: tuple[Value, ...] = ("", foreign, str(right["csrf"])[:-1], b"\xff\xfe", "ñ", "zq7" * 1000)
            tries += [([*without, ("csrf", word)], {}) for word in words]
            tries += [(list(right.items()), headers) for headers in FOREIGN]
            for pairs, headers in tries:
                answer = await visitor.send(form, pairs, **headers)
                if answer is not None and answer.status_code not in (400, 422):
                    visitor.fault(form, headers or pairs[-1], f"is taken: {answer.status_code}")
                if answer is not None and "set-cookie" in answer.headers:
                    visitor.fault(form, headers or pairs[-1], "sets a cookie")
                if visitor.kept((*KEPT, *PASSING)) != kept:
                    visitor.fault(form, headers or pairs[-1], "was stored")
                    visitor.put_back(kept)
    visitor.verdict()


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("is_new", [True, False])
async def test_nasty_passwords_break_nothing(tmp_path: Path, face: str, is_new: bool) -> None:
    """Before anybody has logged in: the log-in, and the first password of a new machine."""
    async with machinery(tmp_path, new=True) as here:
        await with_two_providers(here, is_new=is_new)
        async with here.panel() if face == "panel" else here.web() as browser:
            visitor = Visitor(here, browser)
            visitor.forms = await walk(browser, "/login", "/login?next=/settings/first-start")
            assert visitor.forms
            for form in visitor.forms:
                for about in (f for f in form.fields if f.kind in TYPED and f.name != "csrf"):
                    for value in NASTY:
                        await _try_value(visitor, form, about, value, taken=False)
    visitor.verdict()


TEXT = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), st.binary(max_size=80))
STEADY = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@STEADY
@given(data=st.data())
async def test_any_text_breaks_nothing(visitor: Visitor, data: st.DataObject) -> None:
    """Whatever hypothesis thinks of."""
    form = data.draw(st.sampled_from([f for f in visitor.different() if len(f.fields) > 1]))
    about = data.draw(st.sampled_from([f for f in form.fields if f.name != "csrf"]))
    await _try_value(visitor, form, about, data.draw(TEXT), taken=await _is_taken(visitor, form))
    visitor.verdict()
