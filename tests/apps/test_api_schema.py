"""The API does what its description says, whatever is sent: on both listeners, and without reaching out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from api_bench import AT_MACHINE, ApiBench, client, furnish, make_bench
from hypothesis import settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.python import asgi
from schemathesis.specs.openapi import checks
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from valija.apps.api.application import make_application
from valija.apps.api.description import describe
from valija.domain import api_token
from valija.domain.account import Actor

CHECKS: Final = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.allow_header_conformance,
    checks.unsupported_method,
    checks.negative_data_rejection,
]
CONFIGURATION: Final = {
    "generation": {"deterministic": True, "with-security-parameters": False, "database": "none"},
    # nothing can be reached here, and the API says so with 502
    "checks": {
        "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", 502]},
        # a body that is too large is rejected as such, whatever else is wrong with it
        "negative_data_rejection": {
            "expected-statuses": [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
        },
    },
}
Decorator = Callable[[Callable[[Any], None]], Callable[[Any], None]]
FEW: Final = settings(max_examples=15, derandomize=True, deadline=None, database=None)


class Served:
    """The application of the machine that is there at the moment."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.token = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        assert self.app is not None
        await self.app(scope, receive, send)


def _schema(served: Served, *, over_network: bool) -> Any:
    schema = schemathesis.openapi.from_dict(
        describe(over_network=over_network), config=SchemathesisConfig.from_dict(CONFIGURATION)
    )
    schema.app = served  # what it serves is this description: a test below
    return schema


HERE: Final = Served()
AFAR: Final = Served()
each_here: Decorator = _schema(HERE, over_network=False).parametrize()
each_afar: Decorator = _schema(AFAR, over_network=True).parametrize()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is found and no connection is made, whatever server a generated setting names."""

    def no_name(*_arguments: Any, **_named: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no names here")

    def no_way(*_arguments: Any) -> Any:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, no_way)


async def _make(state_dir: Path) -> tuple[ApiBench, str]:
    bench = await make_bench(state_dir)
    await furnish(bench.machine)
    made = await bench.machine.api_access.make("backup", [*api_token.Scope], 90, AT_MACHINE)
    return bench, made.secret.reveal()


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, _alone: None) -> Iterator[None]:
    """A new machine for each operation."""
    bench, AFAR.token = asyncio.run(_make(tmp_path))
    AFAR.app = bench.network

    def who(_request: Request) -> Actor:
        return AT_MACHINE

    HERE.app = make_application(bench.machine, who)
    yield
    HERE.app = AFAR.app = None
    asgi._get_portal().call(bench.machine.stop)  # in the loop that served it


@each_here
@FEW
def test_at_the_machine_all_is_as_described(case: Any) -> None:
    """Statuses, media types, headers and bodies of all answers to what fits, and to what does not."""
    case.call_and_validate(checks=CHECKS)


@each_afar
@FEW
def test_over_the_network_all_is_as_described(case: Any) -> None:
    """With a token that has all scopes."""
    case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {AFAR.token}"})


@each_afar
@settings(FEW, max_examples=3)
def test_without_a_token_refusals_are_as_described(case: Any) -> None:
    """401 and 403, whatever else is sent."""
    answer = case.call_and_validate(checks=CHECKS)
    assert answer.status_code in (401, 403, 405)


@pytest.mark.parametrize(("served", "over_network"), [(HERE, False), (AFAR, True)])
async def test_what_is_tested_is_what_is_told(served: Served, over_network: bool) -> None:
    """Each listener serves the description that its test was made from."""
    async with client(served, {}) as program:
        assert (await program.get("/v1/openapi.json")).json() == describe(over_network=over_network)


async def test_nothing_is_reached_here() -> None:
    """The connection test of a machine with a server gets no further than its name."""
    async with client(HERE, {}) as program:
        report = (await program.post("/v1/settings/smtp/test")).json()
    last = report["stages"][-1]
    assert (last["stage"], last["outcome"]) == ("name", "failed"), report
