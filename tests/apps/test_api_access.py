"""The API over the network: what opens each row, what does not, and what is said then."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations
from typing import Any, Final

import httpx2
import pytest
from api_bench import ABOUT, AT_MACHINE, SCOPES, ApiBench, address, bench_fixture, client, refused

from valija.apps.api.access import REALM
from valija.apps.api.calls import Route
from valija.apps.api.description import operation_id
from valija.apps.api.routes import ROUTES

bench = bench_fixture
OPEN: Final = [route for route in ROUTES if route.scope is not None]
ONLY_HERE: Final = [route for route in ROUTES if route.scope is None]
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


async def _ask(bench: ApiBench, route: Route, token: str | None, **headers: str) -> httpx2.Response:
    async with bench.afar(token, **headers) as program:
        return await program.request(route.method, address(route), **SENT.get(operation_id(route), {}))


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
    refused(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == REALM
    for worthless in ("Basic dmFsaWphOng=", "Bearer", "Bearer ", "Bearer    ", "valija_abc", ""):
        answer = await _ask(bench, route, None, Authorization=worthless)
        refused(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == REALM


@pytest.mark.parametrize("route", OPEN, ids=operation_id)
async def test_a_row_wants_a_token_that_counts(bench: ApiBench, route: Route) -> None:
    """Wrong, ended or deleted: the same answer, so that none of them tells more than another."""
    for name, token in (await _worthless(bench)).items():
        answer = await _ask(bench, route, None, Authorization=f"Bearer {token}".encode("latin-1"))  # type: ignore[arg-type]
        refused(answer, 401, "invalid_token")
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
        refused(answer, 403, "insufficient_scope")
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
            refusals.append(refused(answer, 403, "not_at_the_machine"))
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
        refused(answer, 401, "unauthorized")


async def test_a_token_elsewhere_than_in_its_field_opens_nothing(bench: ApiBench) -> None:
    """Query, form and cookie are seen by too many (RFC 6750 section 5.3), and a browser sends cookies by itself."""
    token = await bench.token(*SCOPES)
    async with bench.afar(Cookie=f"access_token={token}; Authorization=Bearer {token}") as program:
        refused(await program.get(f"/v1/tokens?access_token={token}"), 401, "unauthorized")
        form = {"access_token": token, "about": ABOUT}
        refused(await program.post("/v1/messages", data=form), 401, "unauthorized")
    async with bench.afar(X_Api_Key=token, Proxy_Authorization=f"Bearer {token}") as program:
        refused(await program.get("/v1/tokens"), 401, "unauthorized")


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
