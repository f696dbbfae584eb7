"""The API over the network: what opens each row, what does not, and what is said then."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from api_bench import AT_MACHINE, ApiBench, address, api_bench, client

from valija.apps.api import application, mail_operations
from valija.apps.api.access import REALM
from valija.apps.api.calls import JSON_LIMIT, Route
from valija.apps.api.description import operation_id
from valija.apps.api.models import Problem
from valija.apps.api.routes import ROUTES
from valija.apps.logs import EventFormatter
from valija.domain.api_token import Scope
from valija.domain.errors import StoreFull
from valija.domain.text import message
from valija.services.events import Stopping
from valija.store.sqlite import open_store

SCOPES: Final = [scope.value for scope in Scope]
OPEN: Final = [route for route in ROUTES if route.scope is not None]
ONLY_HERE: Final = [route for route in ROUTES if route.scope is None]
ABOUT: Final = json.dumps({"to": ["luis@example.com"], "subject": "Contrato"})
# what a row answers to a token that opens it, on a machine with a provider and without servers
ANSWERS: Final = {
    "test_setting": 200,
    "receive_mail": 409,
    "refresh_token": 409,
    "send_message": 409,
    "download_received": 404,
    "act_on_messages": 404,
    "show_queued": 404,
    "show_one_device": 404,
    "act_on_account": 404,
    "change_device": 404,
    "make_device_password": 404,
    "delete_device": 404,
    # without what these want in their body, or with the number of nothing
    "accept_stranger": 422,
    "test_device": 404,
    "show_job": 404,
    "show_picture": 404,
    "cancel_job": 404,
    "change_fax_settings": 422,
    "change_print_settings": 422,
    "change_alert_settings": 422,
    "test_channel": 422,
    "send_fax": 400,
    "list_job_files": 404,
    "download_job_file": 404,
    "begin_scan": 422,
    "send_files": 400,
    "list_pages": 404,
    "change_pages": 422,
    "show_page": 404,
    "send_scan": 404,
    "change_settings": 422,
    "save_contact": 422,
    "delete_contact": 422,
    "take_in_contacts": 422,
}
SENT: Final[dict[str, dict[str, Any]]] = {
    "change_setting": {"json": {"changes": {"timeout": 30}}},
    "change_provider": {"json": {"changes": {"tenant": "example.org"}}},
    "act_on_messages": {"json": {"action": "hold", "ids": [1]}},
    "act_on_account": {"json": {"action": "hold"}},
    "add_device": {"json": {"changes": {"name": "Brother"}}},
    "change_device": {"json": {"changes": {"name": "Brother"}}},
    "send_message": {"data": {"about": ABOUT}, "files": {"file": ("scan.pdf", b"%PDF")}},
}
FORGED: Final = {
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "localhost",
    "X-Forwarded-Proto": "https",
    "X-Real-IP": "127.0.0.1",
    "Forwarded": "for=127.0.0.1;host=localhost",
    "X-Valija-Presence": "at_machine",
    "Host": "localhost",
    "Origin": "http://localhost",
    "Cookie": "valija_panel=opened; __Host-valija_session=open; valija_session_panel=open",
}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ApiBench]:
    """A machine that nothing reaches out from."""
    async with api_bench(tmp_path) as made:
        yield made


async def _ask(bench: ApiBench, route: Route, token: str | None, **headers: str) -> httpx2.Response:
    async with bench.afar(token, **headers) as program:
        return await program.request(route.method, address(route), **SENT.get(operation_id(route), {}))


def _refused(answer: httpx2.Response, status: int, code: str) -> Problem:
    """Check a refusal's shape (RFC 9457)."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert answer.headers["cache-control"] == "no-store"
    problem = Problem.model_validate_json(answer.content, strict=True, extra="forbid")
    assert (problem.status, problem.code, problem.exit_status) == (status, code, 2)
    assert problem.title
    assert problem.cure
    return problem


async def _worthless(bench: ApiBench) -> dict[str, str]:
    """Return what opens nothing, by name."""
    deleted = await bench.token(*SCOPES)
    await bench.machine.api_access.delete("program-1", AT_MACHINE)
    ended = await bench.token(*SCOPES, days=1)
    bench.clock.ahead = timedelta(days=1)
    good = await bench.token(*SCOPES)
    return {
        "deleted": deleted,
        "ended": ended,
        "unknown": "valija_" + "A" * 43,
        "cut short": good[:-1],
        "too long": good + "A",
        "other letters": good.swapcase(),
        "without its beginning": good.removeprefix("valija_"),
        "the beginning alone": "valija_",
        "very long": "valija_" + "A" * 5000,
        "not of ASCII": "valija_ñ",
        "two words": good + " " + good,
        "its name": "program-3",
    }


# --- each row ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", OPEN, ids=operation_id)
async def test_a_row_wants_a_token(bench: ApiBench, route: Route) -> None:
    """401, a challenge that says what is wanted, and nothing about errors (RFC 6750 section 3.1)."""
    answer = await _ask(bench, route, None)
    _refused(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == REALM
    for worthless in ("Basic dmFsaWphOng=", "Bearer", "Bearer ", "Bearer    ", "valija_abc", ""):
        answer = await _ask(bench, route, None, Authorization=worthless)
        _refused(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == REALM


@pytest.mark.parametrize("route", OPEN, ids=operation_id)
async def test_a_row_wants_a_token_that_counts(bench: ApiBench, route: Route) -> None:
    """Wrong, ended or deleted: the same answer, so that none of them tells more than another."""
    for name, token in (await _worthless(bench)).items():
        answer = await _ask(bench, route, None, Authorization=f"Bearer {token}".encode("latin-1"))  # type: ignore[arg-type]
        _refused(answer, 401, "invalid_token")
        assert answer.headers["www-authenticate"] == REALM + ', error="invalid_token"', name
        assert token not in answer.text


@pytest.mark.parametrize("route", OPEN, ids=operation_id)
async def test_a_row_wants_its_scope_and_no_other(bench: ApiBench, route: Route) -> None:
    """Each set of scopes: 403 without the row's, and what the row answers with it."""
    assert route.scope is not None
    wanted = route.scope.value
    others = [scope for scope in SCOPES if scope != wanted]
    for few in [(scope,) for scope in others] + [tuple(others)]:
        answer = await _ask(bench, route, await bench.token(*few))
        _refused(answer, 403, "insufficient_scope")
        assert answer.headers["www-authenticate"] == REALM + f', error="insufficient_scope", scope="{wanted}"', few
    answer = await _ask(bench, route, await bench.token(wanted))
    assert answer.status_code == ANSWERS.get(operation_id(route), route.status), answer.text
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("route", ONLY_HERE, ids=operation_id)
async def test_what_needs_presence_is_refused_whatever_is_sent(bench: ApiBench, route: Route) -> None:
    """The same refusal with nothing, with a worthless token, with all scopes, and with everything that can be forged."""
    tokens = [None, *(await _worthless(bench)).values(), await bench.token(*SCOPES)]
    before = await bench.machine.api_access.all()
    refusals = []
    for token in tokens:
        for forged in ({}, FORGED):
            headers = {} if token is None else {"Authorization": f"Bearer {token}".encode("latin-1")}
            async with client(bench.network, {}) as program:
                where = f"{address(route)}?presence=at_machine&token={'x' if token is None else 'y'}"
                body = {"presence": "at_machine", "grant": "device", "name": "mine", "scopes": SCOPES}
                answer = await program.request(route.method, where, headers=headers | forged, json=body)  # type: ignore[arg-type]
            refusals.append(_refused(answer, 403, "not_at_the_machine"))
            assert "www-authenticate" not in answer.headers, "no token would open it"
    assert len({refusal.model_dump_json() for refusal in refusals}) == 1
    assert await bench.machine.api_access.all() == before, "nothing was made, deleted or even looked at"


async def test_the_rows_at_the_machine_are_the_known_ones() -> None:
    """Whoever adds one, or opens one, says so here as well."""
    assert {operation_id(route) for route in ONLY_HERE} == {
        "open_panel",
        "get_token",
        "paste_redirect",
        "list_api_tokens",
        "make_api_token",
        "delete_api_token",
        "import_file",
    }


async def test_all_sets_of_scopes_open_what_they_name(bench: ApiBench) -> None:
    """Two or more scopes open what each of them opens."""
    for size in range(2, 5):
        for few in combinations(SCOPES, size):
            token = await bench.token(*few)
            for scope, path in (("read", "/v1/tokens"), ("mail", "/v1/received")):
                async with bench.afar(token) as program:
                    expected = 200 if scope in few else 403
                    assert (await program.get(path)).status_code == expected


# --- what counts as a token -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_scheme_is_written_in_any_case(bench: ApiBench, scheme: str) -> None:
    """RFC 9110 section 11.1."""
    token = await bench.token("read")
    async with bench.afar(Authorization=f"{scheme} {token}") as program:
        assert (await program.get("/v1/tokens")).status_code == 200


async def test_two_tokens_open_nothing(bench: ApiBench) -> None:
    """Two Authorization fields, good ones or not, in either order: nobody can tell which one was meant."""
    good, other = await bench.token("read"), await bench.token("read")
    for pair in ((good, good), (good, other), (good, "wrong"), ("wrong", good)):
        async with client(bench.network, {}) as program:
            answer = await program.get("/v1/tokens", headers=[("Authorization", f"Bearer {token}") for token in pair])
        _refused(answer, 401, "unauthorized")


async def test_a_token_elsewhere_than_in_its_field_opens_nothing(bench: ApiBench) -> None:
    """Query, form and cookie are seen by too many (RFC 6750 section 5.3), and a browser sends cookies by itself."""
    token = await bench.token(*SCOPES)
    async with bench.afar(Cookie=f"access_token={token}; Authorization=Bearer {token}") as program:
        _refused(await program.get(f"/v1/tokens?access_token={token}"), 401, "unauthorized")
        form = {"access_token": token, "about": ABOUT}
        _refused(await program.post("/v1/messages", data=form), 401, "unauthorized")
    async with bench.afar(X_Api_Key=token, Proxy_Authorization=f"Bearer {token}") as program:
        _refused(await program.get("/v1/tokens"), 401, "unauthorized")


async def test_a_head_request_needs_what_get_needs(bench: ApiBench) -> None:
    """It tells sizes and that something is there."""
    async with bench.afar() as program:
        assert (await program.head("/v1/tokens")).status_code == 401
    async with bench.afar(await bench.token("mail")) as program:
        assert (await program.head("/v1/tokens")).status_code == 403


async def test_no_other_site_is_let_in_by_a_browser(bench: ApiBench) -> None:
    """No answer carries a leave for other origins; their question before a request is refused (405)."""
    async with bench.afar(await bench.token("read"), Origin="https://evil.example") as program:
        asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
        answers = [await program.get("/v1/tokens"), await program.options("/v1/tokens", headers=asked)]
    assert [answer.status_code for answer in answers] == [200, 405]
    assert not [name for answer in answers for name in answer.headers if name.startswith("access-control")]


async def test_the_description_is_open_and_is_that_of_the_network(bench: ApiBench) -> None:
    """A program can read what it may ask for before it has a token."""
    async with bench.afar() as program:
        description = (await program.get("/v1/openapi.json")).json()
        assert (await program.get("/v1/nothing")).status_code == 404
    assert description["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    rows = {(row.method.lower(), "/v1" + row.path): row.scope for row in ROUTES}
    for (method, path), scope in rows.items():
        told = description["paths"][path][method]
        assert told["security"] == ([{"bearer": [scope.value]}] if scope else [])


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "method", "path", "status", "detail"),
    [
        ("", "GET", "/v1/tokens", 401, "Se necesita un token de la API"),
        ("wrong", "GET", "/v1/tokens", 401, "El token de la API"),
        ("read", "DELETE", "/v1/tokens/smtp", 403, "tokens"),
        ("read", "POST", "/v1/panel", 403, "máquina"),
        ("read", "POST", "/v1/api-tokens", 403, "máquina"),
        ("read", "POST", "/v1/tokens/smtp/authorization", 403, "La configuración no se puede completar"),
        ("read", "GET", "/v1/tokens/fax", 404, "No hay ningún ajuste llamado fax."),
        ("read", "GET", "/v1/nothing", 404, "dirección"),
        ("read", "PUT", "/v1/tokens", 405, "método"),
        ("read", "GET", "/v1/audit?limit=x", 422, "cambi"),
    ],
)
async def test_refusals_are_spanish_for_who_asks_for_it(
    bench: ApiBench, scope: str, method: str, path: str, status: int, detail: str
) -> None:
    """Detail and cure, by Accept-Language; codes stay what they are."""
    token = await bench.token(scope) if scope in SCOPES else scope or None
    problems = []
    for language in ("es-ES,es;q=0.9", "en"):
        async with bench.afar(token, Accept_Language=language) as program:
            answer = await program.request(method, path)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problems.append(answer.json())
    spanish, english = problems
    assert detail in spanish["detail"]
    assert spanish["detail"] != english["detail"]
    assert (spanish["cure"] == "") == (english["cure"] == "")
    assert spanish["cure"] != english["cure"] or not english["cure"]
    assert spanish["code"] == english["code"]


BODIES: Final[list[tuple[bytes, dict[str, str]]]] = [
    (b"{", {"body": "no es JSON"}),
    (b"\xff", {"body": "no es JSON"}),
    (b"[]", {"body": "debe ser un objeto JSON"}),
    (b"{}", {"name": "falta", "scopes": "falta"}),
    (b'{"name": 5, "scopes": "read", "days": "x"}', {"name": "texto", "scopes": "lista", "days": "entero"}),
    (b'{"name": "a", "scopes": [5], "days": 1.5}', {"scopes.0": "texto", "days": "entero"}),
    (b'{"name": "a", "scopes": ["read"], "more": 1, "' + b"x" * 90 + b'": 1}', {"more": "no", "x" * 40: "no"}),
]


@pytest.mark.parametrize(("body", "problems"), BODIES)
async def test_all_that_is_wrong_with_a_body_is_named_in_spanish(
    bench: ApiBench, body: bytes, problems: dict[str, str]
) -> None:
    """Field by field; never in the words of the library that reads it."""
    async with bench.here("es") as here:
        answer = await here.post("/v1/api-tokens", content=body)
    assert answer.status_code == 422
    told = {p["field"]: p["problem"] for p in answer.json()["problems"]}
    assert told.keys() == problems.keys()
    for field, words in problems.items():
        assert words in told[field]


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        ("/v1/tokens/smtp/authorization", {"grant": "x"}, "debe ser uno de device, code, client-credentials,"),
        ("/v1/tokens/smtp/authorization/redirect", {"url": "x" * 20_000}, "es demasiado largo"),
    ],
)
async def test_limits_of_a_body_are_said_in_spanish(bench: ApiBench, path: str, body: Any, problem: str) -> None:
    """Words that may be chosen are all named."""
    async with bench.here("es") as here:
        answer = await here.post(path, json=body)
    assert answer.json()["problems"][0]["problem"].startswith(problem)


async def test_no_body_gets_a_sentence_for_each_of_a_thousand_faults(bench: ApiBench) -> None:
    """What is wrong is named up to a number."""
    async with bench.here() as here:
        answer = await here.post("/v1/api-tokens", json={"name": "a", "scopes": [5] * 100_000})
    assert answer.status_code == 422
    assert len(answer.json()["problems"]) == 20


# --- what is kept -----------------------------------------------------------------------------------------------------


async def test_a_token_is_shown_once(bench: ApiBench, caplog: pytest.LogCaptureFixture) -> None:
    """Not in lists, the audit trail, events, answers to good and bad requests, nor the log at its most talkative."""
    caplog.set_level(logging.DEBUG)
    async with bench.here() as here:
        made = (await here.post("/v1/api-tokens", json={"name": "backup", "scopes": ["read"], "days": 7})).json()
        token, seen = made["token"], ""
        async with bench.machine.events.subscribe() as queue, bench.afar(token) as program:
            for path in ("/v1/audit", "/v1/machine", "/v1/tokens/fax", "/v1/received", "/v1/events"):
                seen += (await program.get(path)).text
            await here.post("/v1/api-tokens", json={"name": "backup", "scopes": ["read"]})
            await here.delete("/v1/api-tokens/backup")
            seen += "".join(repr(queue.get_nowait()) for _ in range(queue.qsize()))
            seen += (await program.get("/v1/audit")).text
        seen += (await here.get("/v1/api-tokens")).text + (await here.get("/v1/audit")).text
    formatter = EventFormatter(as_json=True)
    seen += "".join(formatter.format(record) for record in caplog.records)
    assert "api_token_made" in seen, "it was looked at where it could be"
    for secret in (token, token.removeprefix("valija_")):
        assert secret not in seen


async def test_a_token_is_in_no_file(tmp_path: Path) -> None:
    """What is kept is its SHA-256."""
    async with api_bench(tmp_path) as bench:
        store = open_store(tmp_path, None, {})
        bench.machine.api_access._store = store
        token = await bench.token("read")
        async with bench.afar(token) as program:
            assert (await program.get("/v1/tokens")).status_code == 200
        await store.close()
    kept = _octets(tmp_path)
    assert kept["valija.sqlite3"]
    for name, octets in kept.items():
        assert token.removeprefix("valija_").encode() not in octets, name


def _octets(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.rglob("*") if file.is_file()}


async def test_a_broken_inside_shows_no_token(
    bench: ApiBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500 is a problem as well; the log has the cause and the path, not the header or the query."""
    token = await bench.token("read")

    async def break_down(*_arguments: Any, **_named: Any) -> None:
        raise RuntimeError("cause")

    monkeypatch.setattr(bench.machine.store, "list_audit", break_down)
    async with bench.afar(token) as program:
        answer = await program.get(f"/v1/audit?limit=5&more={token}")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["code"] == "internal"
    logged = "".join(EventFormatter(as_json=True).format(record) for record in caplog.records)
    assert "cause" in logged
    assert "/v1/audit" in logged
    assert token not in logged + answer.text


async def test_a_use_is_noted(bench: ApiBench) -> None:
    """When a token was used last is right to a minute; a refusal for want of scope is a use, too."""
    token = await bench.token("read")

    async def used() -> Any:
        async with bench.here() as here:
            return (await here.get("/v1/api-tokens")).json()[0]["last_used_at"]

    async with bench.afar(token) as program:
        assert await used() is None
        await program.get("/v1/tokens")
        first = await used()
        assert first is not None
        bench.clock.ahead += timedelta(seconds=30)
        await program.get("/v1/tokens")
        assert await used() == first
        bench.clock.ahead += timedelta(seconds=31)
        assert (await program.get("/v1/received")).status_code == 403
        assert await used() > first


async def test_a_full_disk_does_not_close_the_door(bench: ApiBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noting a use is no must."""

    async def full(*_arguments: Any) -> None:
        raise StoreFull(message("full"))

    monkeypatch.setattr(bench.machine.store, "note_api_token_use", full)
    async with bench.afar(await bench.token("read")) as program:
        assert (await program.get("/v1/tokens")).status_code == 200


async def test_what_a_program_changes_is_recorded_under_its_name(bench: ApiBench) -> None:
    """From afar, by the API, and by which token."""
    async with bench.afar(await bench.token("settings")) as program:
        assert (await program.patch("/v1/settings/smtp", json={"changes": {"timeout": 30}})).status_code == 200
    record = (await bench.machine.store.list_audit(1))[0].record
    assert (record.actor.who, record.actor.where, record.actor.presence.value) == ("api program-1", "api", "remote")


async def test_a_deleted_token_closes_at_once(bench: ApiBench) -> None:
    """The next request is refused, also one of a client that is connected."""
    async with bench.afar(await bench.token("read")) as program, bench.here() as here:
        assert (await program.get("/v1/tokens")).status_code == 200
        assert (await here.delete("/v1/api-tokens/program-1")).status_code == 200
        assert (await program.get("/v1/tokens")).status_code == 401


async def test_a_name_comes_back_with_another_token(bench: ApiBench) -> None:
    """Deleted and made again: the old one stays worthless."""
    async with bench.here() as here:
        made = []
        for _time in range(2):
            answer = await here.post("/v1/api-tokens", json={"name": "backup", "scopes": ["read"]})
            made.append(answer.json()["token"])
            if not made[1:]:
                await here.delete("/v1/api-tokens/backup")
    assert made[0] != made[1]
    for token, status in zip(made, (401, 200), strict=True):
        async with bench.afar(token) as program:
            assert (await program.get("/v1/tokens")).status_code == status


# --- streams ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _following(bench: ApiBench, token: str) -> AsyncIterator[asyncio.Task[httpx2.Response]]:
    """Follow the events with a token; give the answer, which is there when the stream ends."""
    async with bench.afar(token) as program:
        task = asyncio.create_task(program.get("/v1/events"))
        for _turn in range(1000):
            await asyncio.sleep(0)
        assert not task.done()
        yield task
        assert (await asyncio.wait_for(task, 5)).status_code == 200


async def test_a_stream_tells_what_happens_and_that_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Server-sent events; a comment when nothing has happened for a while; the end when the machine stops."""
    monkeypatch.setattr(mail_operations, "QUIET_LIMIT_S", 0.01)
    async with api_bench(tmp_path, stopping=False) as bench:
        token = await bench.token("read")
        async with _following(bench, token) as stream, bench.here() as here:
            await here.patch("/v1/settings/smtp", json={"changes": {"timeout": 30}})
            await asyncio.sleep(0.1)
            bench.machine.events.publish(Stopping(bench.clock.now()))
    answer = stream.result()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert ": still here" in answer.text
    first, data = next(part for part in answer.text.split("\n\n") if part.startswith("event")).split("\n")
    assert first == "event: SettingsChanged"
    assert json.loads(data.removeprefix("data: "))["subject"] == "smtp"


async def test_a_stream_ends_with_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted: at once, and the deletion itself is not told any more. Ended: at the next sign of life."""
    async with api_bench(tmp_path, stopping=False) as bench:
        token, other = await bench.token("read"), await bench.token("read")
        async with _following(bench, token) as stream:
            await bench.machine.api_access.delete("program-1", AT_MACHINE)
        assert stream.result().text == ": ok\n\n"
        monkeypatch.setattr(mail_operations, "QUIET_LIMIT_S", 0.01)
        async with _following(bench, other) as stream:
            bench.clock.ahead = timedelta(days=90)
        assert ": ok" in stream.result().text


# --- making them, at the machine --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "Backup"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "-a"}, "name"),
        ({"name": "a" * 64}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": "../a"}, "name"),
        ({"name": 5}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["read", "all"]}, "scopes"),
        ({"scopes": ["READ"]}, "scopes"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": [5]}, "scopes.0"),
        ({"days": 0}, "days"),
        ({"days": 367}, "days"),
        ({"days": -1}, "days"),
        ({"days": 1.5}, "days"),
        ({"days": True}, "days"),
        ({"days": "90"}, "days"),
        ({"presence": "at_machine"}, "presence"),
    ],
)
async def test_what_does_not_fit_makes_no_token(bench: ApiBench, changes: dict[str, Any], field: str) -> None:
    """The field is named; nothing is made."""
    async with bench.here() as here:
        body = {"name": "backup", "scopes": ["read"], "days": 90} | changes
        answer = await here.post("/v1/api-tokens", json=body)
        assert (answer.status_code, [p["field"] for p in answer.json()["problems"]]) == (422, [field])
        assert (await here.get("/v1/api-tokens")).json() == []


async def test_a_name_that_is_taken_is_refused(bench: ApiBench) -> None:
    """The token that is there stays what it is."""
    body = {"name": "backup", "scopes": ["read"]}
    async with bench.here() as here:
        first = await here.post("/v1/api-tokens", json=body)
        again = await here.post("/v1/api-tokens", json=body | {"scopes": SCOPES})
        assert (first.status_code, again.status_code) == (201, 422)
        assert (await here.get("/v1/api-tokens")).json()[0]["scopes"] == ["read"]
        assert (await here.delete("/v1/api-tokens/other")).status_code == 404
    async with bench.afar(first.json()["token"]) as program:
        assert (await program.get("/v1/tokens")).status_code == 200


# --- bodies -----------------------------------------------------------------------------------------------------------


async def test_nothing_is_read_from_who_has_no_token(bench: ApiBench) -> None:
    """Not an octet of the body: whoever is not let in costs nothing."""
    taken = []

    async def flood() -> AsyncIterator[bytes]:
        for piece in range(100):
            taken.append(piece)
            yield b" " * 65536

    for route in (r for r in ROUTES if r.method in ("POST", "PUT", "PATCH")):
        async with bench.afar("valija_wrong") as program:
            answer = await program.request(route.method, address(route), content=flood())
        assert answer.status_code == (401 if route.scope else 403)
    assert taken == []


async def test_a_json_body_without_end_is_cut_off(bench: ApiBench) -> None:
    """At one megabyte, long before the limit for files."""
    pieces = []

    async def flood() -> AsyncIterator[bytes]:
        for piece in range(100):
            pieces.append(piece)
            yield b" " * 65536

    async with bench.afar(await bench.token("settings")) as program:
        answer = await program.patch("/v1/settings/smtp", content=flood())
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert len(pieces) <= JSON_LIMIT // 65536 + 2


@pytest.mark.parametrize("named", [True, False], ids=["with its length", "without"])
async def test_an_upload_has_a_limit(bench: ApiBench, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    """The length is counted, not believed; files on disk are gone afterwards."""
    monkeypatch.setattr(application, "UPLOAD_LIMIT", 200_000)
    network = application.make_network_application(bench.machine)
    token = await bench.token("mail")
    mark = "x-boundary"
    about = f'--{mark}\r\nContent-Disposition: form-data; name="about"\r\n\r\n{ABOUT}\r\n'
    file = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n'
    end = f"\r\n--{mark}--\r\n"
    for size, status in ((1000, 409), (400_000, 413)):
        whole = (about + file).encode() + b"x" * size + end.encode()

        async def pieces(whole: bytes = whole) -> AsyncIterator[bytes]:
            for start in range(0, len(whole), 10_000):
                yield whole[start : start + 10_000]

        headers = {"Authorization": f"Bearer {token}", "Content-Type": f"multipart/form-data; boundary={mark}"}
        async with client(network, headers) as program:
            answer = await program.post("/v1/messages", content=whole if named else pieces())
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
