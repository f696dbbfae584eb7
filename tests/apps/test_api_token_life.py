"""An API token from its making to its end: shown once, kept as a digest, noted when used, closed at once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_bench import AT_MACHINE, SCOPES, ApiBench, api_bench, bench_fixture

from valija.apps.api import mail_operations
from valija.apps.logs import EventFormatter
from valija.domain.errors import StoreFull
from valija.domain.text import message
from valija.services.events import Stopping
from valija.store.sqlite import open_store

bench = bench_fixture


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


async def test_a_name_that_is_taken_isrefused(bench: ApiBench) -> None:
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
