"""What the API says no with: in the reader's language, each fault named, and never more read than it must."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from api_bench import ABOUT, SCOPES, ApiBench, address, bench_fixture, client

from valija.apps.api import application
from valija.apps.api.calls import JSON_LIMIT
from valija.apps.api.routes import ROUTES

bench = bench_fixture


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
