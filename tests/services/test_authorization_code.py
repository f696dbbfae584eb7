"""The code grant: the redirected address is taken once, from the browser or pasted, and only if it belongs here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from desk_bench import Machine, machine_fixture
from fakes import ANA, DESK, ISSUER, UNREACHABLE, denied, settle

from valija.domain.account import GrantKind, Setting
from valija.domain.errors import NotAtTheMachine, NotReady, RequestError
from valija.domain.token import Authorization, AwaitingAuthorization, NotRetrieved, Retrieved

machine = machine_fixture

SMTP = Setting.SMTP


@pytest.fixture
async def asking(machine: Machine) -> AsyncIterator[Machine]:
    """Give a machine that waits for the browser."""
    await machine.ready(grant="code")
    await machine.desk.start(SMTP, None, ANA)
    await settle()
    yield machine


def redirected(asked: Authorization, *, state: str | None = None, issuer: str = ISSUER, more: str = "code=c1") -> str:
    """Return the address that the browser is sent to."""
    assert asked.state is not None
    mine = asked.state.reveal() if state is None else state
    return f"{asked.redirect_uri}?{more}&state={mine}&iss={quote(issuer, safe='')}"


def port_of(asked: Authorization) -> int:
    port = urlsplit(asked.redirect_uri or "").port
    assert port is not None
    return port


async def browse(asked: Authorization, address: str) -> str:
    """Fetch an address as a browser does; return the status line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(asked))
    parts = urlsplit(address)
    writer.write(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    status = (await reader.readline()).decode()
    await reader.read()
    writer.close()
    return status


async def is_listening(asked: Authorization) -> bool:
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port_of(asked))
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def until(machine: Machine, kind: type) -> object:
    """Wait for a state: the listener works over a real socket."""
    async with asyncio.timeout(5), machine.events.subscribe() as queue:
        while not isinstance(state := await machine.state(), kind):
            await queue.get()
    return state


async def test_the_address_for_the_browser_has_state_challenge_and_account(asking: Machine) -> None:
    asked = await asking.asked()
    query = parse_qs(urlsplit(asked.authorization_url or "").query)
    assert asked.state is not None
    assert query["state"] == [asked.state.reveal()]
    assert query["code_challenge_method"] == ["S256"]
    assert query["login_hint"] == ["ana@example.com"]
    assert query["redirect_uri"] == [asked.redirect_uri]
    assert asked.code_verifier is not None
    assert asked.code_verifier.reveal() not in (asked.authorization_url or "")


async def test_the_browser_brings_the_code_and_the_listener_is_gone(asking: Machine) -> None:
    asked = await asking.asked()
    assert "200" in await browse(asked, redirected(asked))
    state = await until(asking, Retrieved)
    assert isinstance(state, Retrieved)
    assert state.tokens.grant is GrantKind.CODE
    (form,) = asking.provider.sent("/token")
    assert asked.code_verifier is not None
    assert (form["code"], form["code_verifier"]) == ("c1", asked.code_verifier.reveal())
    assert form["redirect_uri"] == asked.redirect_uri
    assert not await is_listening(asked)


async def test_a_browser_on_another_path_is_told_that_there_is_nothing(asking: Machine) -> None:
    asked = await asking.asked()
    assert "404" in await browse(asked, f"http://127.0.0.1/favicon.ico?{urlsplit(redirected(asked)).query}")
    assert isinstance(await asking.state(), AwaitingAuthorization)


async def test_the_address_can_be_pasted(asking: Machine) -> None:
    stored = await asking.desk.paste(SMTP, f"  {redirected(await asking.asked())}\n")
    assert isinstance(stored.state, Retrieved)


@pytest.mark.parametrize(
    "address",
    ["", "https://example.com/", "code=c1", "?code=c1&state=", "not an address", "http://[", "x" * 100_000, "%", "\0"],
)
async def test_an_address_that_is_none_is_refused_and_the_right_one_may_still_come(
    asking: Machine, address: str
) -> None:
    asked = await asking.asked()
    with pytest.raises(RequestError):
        await asking.desk.paste(SMTP, address)
    assert await asking.asked() == asked
    assert asking.provider.sent("/token") == []
    assert isinstance((await asking.desk.paste(SMTP, redirected(asked))).state, Retrieved)


async def test_an_address_of_another_request_is_refused(asking: Machine) -> None:
    first = await asking.asked()
    await asking.desk.start(SMTP, None, ANA)
    second = await asking.asked()
    for foreign in (redirected(first), redirected(second, state="guess"), redirected(second, issuer="https://evil")):
        with pytest.raises(RequestError):
            await asking.desk.paste(SMTP, foreign)
    assert asking.provider.sent("/token") == []
    assert await asking.asked() == second


async def test_an_address_without_issuer_is_refused_where_the_provider_promised_one(asking: Machine) -> None:
    asked = await asking.asked()
    assert asked.state is not None
    with pytest.raises(RequestError):
        await asking.desk.paste(SMTP, f"{asked.redirect_uri}?code=c1&state={asked.state.reveal()}")
    assert asking.provider.sent("/token") == []


async def test_an_address_with_a_field_twice_is_refused(asking: Machine) -> None:
    with pytest.raises(RequestError):
        await asking.desk.paste(SMTP, redirected(await asking.asked(), more="code=c1&code=c2"))
    assert asking.provider.sent("/token") == []


async def test_an_address_that_was_used_is_refused(asking: Machine) -> None:
    address = redirected(await asking.asked())
    await asking.desk.paste(SMTP, address)
    with pytest.raises(NotReady, match="No address is waited for"):
        await asking.desk.paste(SMTP, address)
    assert len(asking.provider.sent("/token")) == 1
    assert isinstance(await asking.state(), Retrieved)


async def test_an_address_that_comes_twice_at_one_moment_is_used_once(asking: Machine) -> None:
    address = redirected(await asking.asked())
    found = await asyncio.gather(*(asking.desk.paste(SMTP, address) for _ in range(3)), return_exceptions=True)
    assert len(asking.provider.sent("/token")) == 1
    assert sorted(type(one).__name__ for one in found) == ["NotReady", "NotReady", "VersionedToken"]
    assert isinstance(await asking.state(), Retrieved)


async def test_nobody_can_paste_from_elsewhere(asking: Machine) -> None:
    with pytest.raises(NotAtTheMachine):
        await asking.desk.paste(SMTP, redirected(await asking.asked()), DESK)
    assert isinstance(await asking.state(), AwaitingAuthorization)
    assert asking.provider.sent("/token") == []


async def test_pasting_where_nothing_waits_is_not_ready(machine: Machine) -> None:
    await machine.ready()
    with pytest.raises(NotReady):
        await machine.desk.paste(SMTP, "http://127.0.0.1/callback?code=c&state=s")
    await machine.desk.start(SMTP, None, ANA)  # by device: no address is waited for
    with pytest.raises(NotReady):
        await machine.desk.paste(SMTP, "http://127.0.0.1/callback?code=c&state=s")


async def test_an_error_in_the_address_ends_the_waiting_with_its_reason(asking: Machine) -> None:
    address = redirected(await asking.asked(), more="error=access_denied&error_description=No")
    stored = await asking.desk.paste(SMTP, address)
    assert isinstance(stored.state, NotRetrieved)
    assert stored.state.trouble is not None
    assert stored.state.trouble.reason == "access_denied"
    assert asking.provider.sent("/token") == []


@pytest.mark.parametrize("found", [denied("invalid_grant"), UNREACHABLE])
async def test_a_code_that_cannot_be_exchanged_ends_the_waiting_and_is_not_sent_twice(
    asking: Machine, found: object
) -> None:
    asking.provider.script("/token", found)  # type: ignore[arg-type]
    stored = await asking.desk.paste(SMTP, redirected(await asking.asked()))
    assert isinstance(stored.state, NotRetrieved)
    assert stored.state.trouble is not None
    await asking.clock.advance(120)
    assert len(asking.provider.sent("/token")) == 1


async def test_nobody_who_comes_in_a_quarter_of_an_hour_ends_the_waiting_and_the_listening(asking: Machine) -> None:
    asked = await asking.asked()
    assert await is_listening(asked)
    await asking.clock.advance(15 * 60 + 1)
    state = await asking.state()
    assert isinstance(state, NotRetrieved)
    assert state.trouble is not None
    assert state.trouble.reason == "authorization_timed_out"
    assert not await is_listening(asked)


@pytest.mark.parametrize("end", ["cancel", "delete", "again", "close"])
async def test_whatever_ends_the_waiting_ends_the_listening(machine: Machine, end: str) -> None:
    await machine.ready(grant="code")
    await machine.desk.start(SMTP, None, ANA)
    asked = await machine.asked()
    match end:
        case "cancel":
            await machine.desk.cancel(SMTP, ANA)
        case "delete":
            await machine.desk.delete(SMTP, ANA)
        case "again":
            await machine.desk.start(SMTP, None, ANA)
        case "close":
            await machine.desk.close()
    assert not await is_listening(asked)


async def test_a_get_that_cannot_be_stored_leaves_nobody_listening(machine: Machine) -> None:
    await machine.ready(grant="code")
    started: list[int] = []
    listen = asyncio.start_server

    async def note(*args, **kwargs):  # type: ignore[no-untyped-def]
        server = await listen(*args, **kwargs)
        started.append(server.sockets[0].getsockname()[1])
        return server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "start_server", note)
        machine.store.failures = 1
        with pytest.raises(Exception, match="no space"):
            await machine.desk.start(SMTP, None, ANA)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", started[0])
    assert await machine.state() == NotRetrieved()


async def test_a_delete_during_the_exchange_revokes_the_late_token_and_stores_none(asking: Machine) -> None:
    gate = asking.provider.gates["/token"] = asyncio.Event()
    pasting = asyncio.create_task(asking.desk.paste(SMTP, redirected(await asking.asked())))
    await settle()
    assert len(asking.provider.sent("/token")) == 1
    await asking.desk.delete(SMTP, ANA)
    gate.set()
    await pasting
    assert await asking.state() == NotRetrieved()
    assert len(asking.provider.sent("/revoke")) == 1


async def test_a_token_is_stored_though_whoever_pasted_has_gone(asking: Machine) -> None:
    """A server that stops ends its requests; the code was used, and there is no second one."""
    gate = asking.provider.gates["/token"] = asyncio.Event()
    pasting = asyncio.create_task(asking.desk.paste(SMTP, redirected(await asking.asked())))
    await settle()
    pasting.cancel()
    closing = asyncio.create_task(asking.desk.close())
    await settle()
    assert pasting.cancelled()
    gate.set()
    await closing
    assert isinstance(await asking.state(), Retrieved)


async def test_after_a_restart_the_browser_can_still_come_to_the_same_address(asking: Machine) -> None:
    asked = await asking.asked()
    await asking.close()
    assert not await is_listening(asked)
    again = Machine(after_restart=asking)
    await again.desk.resume()
    assert "200" in await browse(asked, redirected(asked))
    await until(again, Retrieved)
    await again.close()


async def test_after_a_restart_with_the_port_taken_the_address_can_still_be_pasted(asking: Machine) -> None:
    asked = await asking.asked()
    await asking.close()
    async with await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", port_of(asked)):
        again = Machine(after_restart=asking)
        await again.desk.resume()
        assert isinstance((await again.desk.paste(SMTP, redirected(asked))).state, Retrieved)
        await again.close()
