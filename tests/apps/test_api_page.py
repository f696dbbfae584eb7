"""The pages about the API tell the truth: routes, scopes, codes, and examples that are run as they stand."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, get_args

import httpx2
import pytest
from api_bench import ApiBench, api_bench, client, furnish

from valija.apps.api import application, calls, mail_operations
from valija.apps.api.models import Problem
from valija.apps.api.routes import ROUTES
from valija.domain.account import Setting
from valija.domain.api_token import DAYS, DAYS_RANGE, Scope
from valija.domain.errors import ConsentNeeded, OperatorNeeded, RequestError, TryLater, ValijaError
from valija.services.events import Event, Stopping

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
PAGES: Final = {"api.md": ("en", "at the machine"), "api.es.md": ("es", "en la máquina")}
BASE: Final = "https://scanner.example.com:10443/v1"
SCOPES: Final = [scope.value for scope in Scope]
OTHER_CODES: Final = {  # that no class has
    "unknown_address": 404,
    "wrong_method": 405,
    "internal": 500,
    "login_failed": 502,
}
page = pytest.mark.parametrize("page", PAGES)


def _text(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


def _table(page: str, columns: int) -> list[list[str]]:
    """Return the rows of all tables that have so many columns, without their headings."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in _text(page).splitlines() if line[:1] == "|"
    ]
    heads = [n for n, row in enumerate(rows) if set("".join(row)) == {"-"}]
    return [row for n, row in enumerate(rows) if len(row) == columns and n not in heads and n + 1 not in heads]


def _examples(page: str) -> list[str]:
    """Return the curl commands of a page, each on one line."""
    blocks = re.findall(r"```sh\n(.*?)```", _text(page), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("curl ")]


# --- facts ------------------------------------------------------------------------------------------------------------


@page
def test_the_table_is_that_of_the_api(page: str) -> None:
    """All rows, in their order, with their scopes."""
    told = [tuple(row[:3]) for row in _table(page, 4)]
    at_machine = PAGES[page][1]
    assert told == [(r.method, f"`/v1{r.path}`", f"`{r.scope.value}`" if r.scope else at_machine) for r in ROUTES]


def test_the_table_says_what_the_description_says() -> None:
    """As far as it goes; the description says more here and there."""
    for row, route in zip(_table("api.md", 4), ROUTES, strict=True):
        assert route.summary.startswith(row[3])


@page
def test_scopes_and_numbers_are_those_of_the_program(page: str) -> None:
    """Each scope is explained; limits are as they are."""
    text = _text(page)
    assert [row[0].strip("`") for row in _table(page, 2)][: len(SCOPES)] == SCOPES
    low, high = DAYS_RANGE
    days = {"api.md": f"{low} to {high} days, {DAYS} ", "api.es.md": f"{low} a {high} días, {DAYS} "}
    assert days[page] in text
    assert f"{application.UPLOAD_LIMIT // 1_000_000} MB" in text
    assert f"JSON: {calls.JSON_LIMIT // 1_000_000} MB" in text
    assert re.search(rf"\({calls.WAIT_LIMIT_S} (at the most|como mucho)\)", text)
    assert re.search(rf"\b{mail_operations.QUIET_LIMIT_S:.0f} (seconds|segundos)", text)
    assert re.search(rf"\b{mail_operations.FILES_LIMIT} (files|archivos)", text)
    assert all(f"`{setting.value}`" in text for setting in Setting)


@page
def test_events_are_those_that_are_told(page: str) -> None:
    """All but the end."""
    told = {row[0].strip("`") for row in _table(page, 2)} - set(SCOPES)
    assert told == {event.__name__ for event in get_args(Event)} - {Stopping.__name__}


def _all_of(kind: type[ValijaError]) -> list[type[ValijaError]]:
    return [kind, *(more for below in kind.__subclasses__() for more in _all_of(below))]


@page
def test_codes_have_their_statuses_and_none_is_missing(page: str) -> None:
    """Those that an answer of the API can have."""
    told = {code: int(row[0]) for row in _table(page, 3) for code in re.findall(r"`(\w+)`", row[1])}
    known = {kind.code: kind.http_status for kind in _all_of(ValijaError)} | OTHER_CODES
    assert {code: known.get(code) for code in told} == told
    asked = {kind.code for root in (RequestError, ConsentNeeded, TryLater) for kind in _all_of(root)}
    assert asked - set(told) <= {"password_already_set"}, "which is the web pages' own"
    assert {kind.code for kind in _all_of(OperatorNeeded)} & set(told) == {"store"}, "others stop the start"


# --- examples ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiBench]:
    """A machine with settings, tokens and a message, that reaches nobody."""

    def no_name(*_arguments: Any, **_named: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no names here")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    async with api_bench(tmp_path) as made:
        await furnish(made.machine)
        yield made


def _curl() -> argparse.ArgumentParser:
    """Return a reader of as much of curl as the examples use."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-F", dest="form", action="append", default=[])
    for option in ("-X", "-d", "-o", "--cacert", "--unix-socket"):
        parser.add_argument(option)
    parser.add_argument("-N", action="store_true")
    parser.add_argument("url")
    return parser


async def _run(line: str, bench: ApiBench, token: str) -> httpx2.Response:
    """Do what a command does: with --unix-socket at the machine, else over the network."""
    words = [word.replace("$TOKEN", token).replace("$VALIJA", BASE) for word in shlex.split(line)[1:]]
    asked = _curl().parse_args(words)
    headers = dict(header.split(": ", 1) for header in asked.headers)
    body: dict[str, Any] = {"content": asked.d.encode()} if asked.d else {}
    if asked.form:
        fields = [item.split("=", 1) for item in asked.form]
        body["data"] = {name: value for name, value in fields if not value.startswith("@")}
        body["files"] = {name: (value[1:], b"%PDF") for name, value in fields if value.startswith("@")}
    method = asked.X or ("POST" if body else "GET")
    if asked.unix_socket:
        assert asked.unix_socket.endswith("/control.sock")
        async with bench.here() as here:
            return await here.request(method, asked.url, headers=headers, **body)
    assert asked.cacert == "ca.pem"
    assert asked.url.startswith(BASE + "/")
    async with client(bench.network, {}) as program:
        return await program.request(method, asked.url, headers=headers, **body)


@pytest.mark.parametrize("line", _examples("api.md"))
async def test_every_example_does_what_it_should(bench: ApiBench, line: str) -> None:
    """It is understood and let in; what needs a server gets as far as the server, which is not there."""
    answer = await _run(line, bench, await bench.token(*SCOPES))
    reaches_out = "/messages" in line or "/authorization" in line
    assert answer.status_code == (502 if reaches_out else 200), answer.text
    if "x-ndjson" in line:
        assert [json.loads(part) for part in answer.text.splitlines()][-1]["passed"] is False


def test_both_pages_have_the_same_examples() -> None:
    """And there are some; none is left out by the way they are found."""
    assert _examples("api.md") == _examples("api.es.md")
    assert len(_examples("api.md")) == len(re.findall(r"^curl ", _text("api.md"), re.MULTILINE)) > 10


@page
async def test_the_refusal_that_is_shown_is_one_that_comes(bench: ApiBench, page: str) -> None:
    """Word for word."""
    shown = re.search(r"```json\n(.*?)```", _text(page), re.DOTALL)
    assert shown is not None
    async with bench.afar(await bench.token("read"), Accept_Language=PAGES[page][0]) as program:
        answer = await program.delete("/v1/tokens/smtp")
    assert json.loads(shown[1]) == answer.json()
    assert Problem.model_validate_json(shown[1]).code == "insufficient_scope"
