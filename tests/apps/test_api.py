"""The API as programs meet it: presence, problems in the reader's language, a description that is true."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from valija.apps.api.application import make_application
from valija.apps.api.description import describe
from valija.apps.api.routes import ROUTES
from valija.apps.config import Configuration
from valija.apps.machine import Machine, SystemClock, build
from valija.domain.account import Actor, Presence
from valija.store.memory import MemoryStore

AT_MACHINE = Actor("uid 0", "cli", Presence.AT_MACHINE)
REMOTE = Actor("admin", "web", Presence.REMOTE)
OAUTH = {"server": "mail.example.com", "auth": "oauth2", "provider": "microsoft", "account": "ana@example.com"}


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A machine whose provider nobody can reach."""
    built = build(Configuration(), MemoryStore(), SystemClock(), tmp_path)
    yield built
    await built.stop()


def _client(machine: Machine, actor: Actor = AT_MACHINE, language: str = "en") -> httpx2.AsyncClient:
    def who(_request: Request) -> Actor:
        return actor

    transport = httpx2.ASGITransport(app=make_application(machine, who), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://x", headers={"Accept-Language": language})


@pytest.fixture
async def here(machine: Machine) -> AsyncIterator[httpx2.AsyncClient]:
    """A client at the machine."""
    async with _client(machine) as client:
        yield client


async def _set_up(client: httpx2.AsyncClient) -> None:
    changes = {"kind": "microsoft", "client_id": "id-1", "tenant": "example.com"}
    assert (await client.put("/v1/providers/microsoft", json={"changes": changes})).status_code == 200
    assert (await client.patch("/v1/settings/smtp", json={"changes": OAUTH})).status_code == 200


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "The setup cannot be completed on the web page."),
        ("es", "La configuración no se puede completar en la página web."),
    ],
)
async def test_from_afar_no_token_can_be_got_whatever_is_sent(machine: Machine, language: str, sentence: str) -> None:
    """Row 20: presence is the listener's; no header, body or query changes it. Everything else is allowed."""
    async with _client(machine) as client:
        await _set_up(client)
    forged = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Real-IP": "127.0.0.1",
        "Forwarded": "for=127.0.0.1",
        "X-Valija-Presence": "at_machine",
        "Host": "localhost",
    }
    async with _client(machine, REMOTE, language) as client:
        for body in ({}, {"grant": "device"}, {"presence": "at_machine"}, {"grant": "code", "actor": "uid 0"}):
            answer = await client.post("/v1/tokens/smtp/authorization?presence=at_machine", json=body, headers=forged)
            assert answer.status_code in (403, 422)
            if answer.status_code == 403:
                assert answer.json()["detail"] == sentence
                assert answer.json()["code"] == "not_at_the_machine"
        assert (await client.get("/v1/tokens/smtp")).json()["state"] == "not_retrieved"
        assert (await client.delete("/v1/tokens/smtp")).status_code == 200, "deleting is allowed from afar"
        assert (await client.patch("/v1/settings/smtp", json={"changes": {"timeout": 30}})).status_code == 200


async def test_a_pasted_address_from_afar_gets_nothing(machine: Machine) -> None:
    """The last step of getting a token is as much at the machine as the first."""
    async with _client(machine, REMOTE) as client:
        body = {"url": "http://127.0.0.1/callback?code=c&state=s"}
        answer = await client.post("/v1/tokens/smtp/authorization/redirect", json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_at_the_machine")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/settings/nothing", 404),
        ("GET", "/v1/providers/nothing", 404),
        ("GET", "/v1/received/77", 404),
        ("GET", "/v1/received/..%2f..%2fmaster.key", 404),
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/tokens", 405),
        ("POST", "/v1/settings/smtp/receive", 400),
        ("GET", "/v1/audit?limit=0", 422),
        ("GET", "/v1/tokens/smtp?wait=900", 422),
        ("POST", "/v1/tokens/smtp/refresh", 409),
    ],
)
async def test_what_cannot_be_done_is_a_problem_with_a_code(
    here: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    """RFC 9457: problem+json with what happened; never a traceback."""
    answer = await here.request(method, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["detail"]
    assert problem["code"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b'{"changes": 5}', b'{"changes": {}, "more": 1}', b"\xff\xfe"]
)
async def test_a_body_that_does_not_fit_is_refused(here: httpx2.AsyncClient, raw: bytes) -> None:
    """Neither a crash nor a guess."""
    answer = await here.patch("/v1/settings/smtp", content=raw)
    assert answer.status_code in (400, 422)


async def test_a_body_without_end_is_cut_off(here: httpx2.AsyncClient) -> None:
    """One megabyte is more than any setting needs."""

    async def flood() -> AsyncIterator[bytes]:
        for _piece in range(40):
            yield b" " * 100_000

    answer = await here.patch("/v1/settings/smtp", content=flood())
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


FIELDS: dict[str, list[Any]] = {
    "server": ["a b", "http://x", "x:25", "x\r\ny", "x\0", "a" * 256, 5, None, "-"],
    "port": [0, 65536, -1, "no", 1.5, True, None, 10**30],
    "timeout": [0, 601, "20 s", None],
    "sender_name": ["a\r\nBcc: x@y.z", "\0", "a" * 256, 5],
    "sender_address": ["ana", "a@b\r\n", "@", "a" * 250 + "@x.example", 5],
    "tls": ["yes", 1, None],
    "auth": ["basic", "", None, 5],
    "provider": ["Microsoft!", "a b", 5, "not-there"],
    "account": ["a\r\nb", "\0", "a" * 256, 5],
    "password": ["a\r\nb", "\0", "p" * 5000],
    "unknown": ["x"],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in FIELDS.items() for v in values])
async def test_every_field_out_of_range_is_named_and_nothing_is_stored(
    here: httpx2.AsyncClient, field: str, value: Any
) -> None:
    """The message stands beside the field; a good field in the same request is not stored either."""
    before = (await here.get("/v1/settings/smtp")).json()
    good = {"timeout": 33} if field != "timeout" else {"port": 2525}
    answer = await here.patch("/v1/settings/smtp", json={"changes": {field: value, **good}})
    assert answer.status_code == 422, answer.text
    assert [p["field"] for p in answer.json()["problems"]] == [field]
    assert (await here.get("/v1/settings/smtp")).json() == before


async def test_the_description_names_every_route_and_each_reference_leads_somewhere() -> None:
    """OpenAPI 3.1 made from the same table that serves."""
    description = describe()
    told = {(method.upper(), path) for path, item in description["paths"].items() for method in item}
    assert told == {(r.method, "/v1" + r.path) for r in ROUTES}
    schemas = description["components"]["schemas"]
    text = json.dumps(description)
    for part in text.split('"$ref": "')[1:]:
        name = part.split('"')[0].removeprefix("#/components/schemas/")
        assert name in schemas
    operations = [o["operationId"] for item in description["paths"].values() for o in item.values()]
    assert len(operations) == len(set(operations))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [*FIELDS, "issuer", "client_id", "private_key", "certificate", "service_account", "grant", "scopes"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(NAMES, JSON, max_size=4), provider=st.booleans())
async def test_no_value_breaks_the_inside(here: httpx2.AsyncClient, changes: dict[str, Any], provider: bool) -> None:
    """Whatever JSON people send as a setting or a provider: an answer below 500."""
    if provider:
        answer = await here.put("/v1/providers/custom", json={"changes": changes})
    else:
        answer = await here.patch("/v1/settings/internet-fax", json={"changes": changes})
    assert answer.status_code < 500, answer.text


async def test_secrets_are_taken_and_never_given_back(here: httpx2.AsyncClient) -> None:
    """Only whether they are set."""
    await _set_up(here)
    await here.put("/v1/providers/microsoft", json={"changes": {"client_secret": "planted-1"}})
    await here.patch("/v1/settings/email-print", json={"changes": {"auth": "password", "password": "planted-2"}})
    seen = ""
    for path in (
        "providers",
        "providers/microsoft",
        "settings/email-print",
        "settings/smtp",
        "machine",
        "audit",
        "tokens",
    ):
        seen += (await here.get("/v1/" + path)).text
    assert "planted" not in seen
    assert (await here.get("/v1/settings/email-print")).json()["fields"]["password"] is True


async def test_changing_the_account_with_a_token_asks_first(machine: Machine, here: httpx2.AsyncClient) -> None:
    """409 with the code that faces turn into a question."""
    from datetime import timedelta

    from valija.domain.account import GrantKind
    from valija.domain.token import Retrieved, TokenSet
    from valija.secret import Secret

    await _set_up(here)
    now = machine.clock.now()
    tokens = TokenSet("g", GrantKind.DEVICE, Secret("a"), now + timedelta(hours=1), Secret("r"), ("smtp",), now, now)
    await machine.store.replace_token("smtp", 0, Retrieved(tokens), due_at=None)
    changes = {"account": "luis@example.com"}
    answer = await here.patch("/v1/settings/smtp", json={"changes": changes})
    assert (answer.status_code, answer.json()["code"]) == (409, "confirmation_needed")
    assert (await here.get("/v1/tokens/smtp")).json()["state"] == "retrieved"
    answer = await here.patch("/v1/settings/smtp", json={"changes": changes, "confirm": True})
    assert answer.status_code == 200
    assert (await here.get("/v1/tokens/smtp")).json()["state"] == "not_retrieved"
