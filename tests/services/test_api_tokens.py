"""API tokens: when they end, what is kept of them, who may make them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import pytest
from fakes import ANA, DESK, START, FakeClock
from hypothesis import given
from hypothesis import strategies as st

from valija.domain.api_token import Scope, check_api_token, has_ended, new_api_token, use_due
from valija.domain.errors import InvalidFields, NotAtTheMachine, UnknownName
from valija.domain.record import AuditAction
from valija.services.api_access import BEARER_LIMIT, PREFIX, ApiAccess
from valija.services.events import EventBus, SettingsChanged
from valija.store.memory import MemoryStore

DAY: Final = timedelta(days=1)
MICROSECOND: Final = timedelta(microseconds=1)


class Desk:
    """An :class:`ApiAccess` with all that it uses."""

    def __init__(self) -> None:
        self.store, self.clock, self.events = MemoryStore(), FakeClock(), EventBus()
        self.access = ApiAccess(self.store, self.clock, self.events)

    async def make(self, name: str = "backup", scopes: Sequence[str] = ("read",), days: int = 1) -> str:
        """Make a token; return what a program sends."""
        return (await self.access.make(name, scopes, days, ANA)).secret.reveal()


@pytest.fixture
def desk() -> Desk:
    """A desk without tokens."""
    return Desk()


# --- rules ------------------------------------------------------------------------------------------------------------------


def test_a_token_ends_at_its_moment_and_not_before() -> None:
    """At the very moment it is over."""
    token = new_api_token("backup", ["read"], 1, digest="d", now=START, created_by="uid 0")
    assert token.expires_at == START + DAY
    assert not has_ended(token, START)
    assert not has_ended(token, START + DAY - MICROSECOND)
    assert has_ended(token, START + DAY)
    assert has_ended(token, START + DAY + MICROSECOND)


def test_a_use_is_due_again_after_a_minute() -> None:
    """Not written for each request; nor when the clock was put back."""
    token = new_api_token("backup", ["read"], 1, digest="d", now=START, created_by="uid 0")
    assert use_due(token, START)
    used = type(token)(token.name, "d", token.scopes, START, token.expires_at, "uid 0", last_used_at=START)
    assert not use_due(used, START + timedelta(minutes=1) - MICROSECOND)
    assert use_due(used, START + timedelta(minutes=1))
    assert not use_due(used, START - DAY)


@pytest.mark.parametrize("days", [1, 90, 366])
def test_days_within_their_limits_are_taken(days: int) -> None:
    """Both limits are inside."""
    assert check_api_token("backup", ["mail", "read", "mail"], days) == (Scope.READ, Scope.MAIL)


JSON: Final = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(max_size=8), max_size=3)


@given(name=JSON, scopes=st.lists(st.text() | st.sampled_from([*Scope])), days=JSON)
def test_whatever_is_asked_for_is_a_token_or_a_refusal(name: Any, scopes: list[str], days: Any) -> None:
    """Each wrong field is named once."""
    try:
        token = new_api_token(name, scopes, days, digest="d", now=START, created_by="uid 0")
    except InvalidFields as refused:
        fields = [problem.field for problem in refused.problems]
        assert fields == sorted(set(fields), key=("name", "scopes", "days").index)
    else:
        assert token.scopes
        assert START + DAY <= token.expires_at <= START + 366 * DAY


# --- the desk ---------------------------------------------------------------------------------------------------------------


async def test_a_token_is_found_until_its_moment(desk: Desk) -> None:
    """The wall clock counts."""
    token = await desk.make()
    desk.clock.set_wall(START + DAY - MICROSECOND)
    found = await desk.access.find(token)
    assert found is not None
    assert found.name == "backup"
    desk.clock.set_wall(START + DAY)
    assert await desk.access.find(token) is None
    assert [has_ended(t, desk.clock.now()) for t in await desk.access.all()] == [True], "it is listed until deleted"


async def test_what_is_kept_is_a_digest(desk: Desk) -> None:
    """43 characters of chance; the domain's value, its repr and the record know nothing of them."""
    made = await desk.access.make("backup", ["read"], 1, ANA)
    token = made.secret.reveal()
    assert token.startswith(PREFIX)
    assert len(token) == len(PREFIX) + 43
    assert made.token.digest == hashlib.sha256(token.encode()).hexdigest()
    assert token not in repr(made) + str(made) + repr(await desk.store.list_audit(9))
    assert len({await desk.make(f"t{n}") for n in range(50)}) == 50


@pytest.mark.parametrize("bearer", ["", PREFIX, "backup", "\ud800", PREFIX + "\ud800", PREFIX + "ñ", "x" * 10_000])
async def test_nonsense_finds_nothing(desk: Desk, bearer: str) -> None:
    """No value breaks the search."""
    await desk.make()
    assert await desk.access.find(bearer) is None


async def test_what_is_too_long_is_not_looked_at(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what does not begin as ours do: the store is not asked."""
    asked: list[str] = []

    async def load(digest: str) -> None:
        asked.append(digest)

    monkeypatch.setattr(desk.store, "load_api_token", load)
    for bearer in (PREFIX + "A" * BEARER_LIMIT, "ghp_" + "A" * 36, PREFIX.upper() + "A" * 43):
        assert await desk.access.find(bearer) is None
    assert asked == []


async def test_only_at_the_machine(desk: Desk) -> None:
    """Whoever is at a desk makes none and deletes none, whatever else is wrong with the request."""
    await desk.make()
    with pytest.raises(NotAtTheMachine):
        await desk.access.make("!", [], 0, DESK)
    for name in ("backup", "none"):
        with pytest.raises(NotAtTheMachine):
            await desk.access.delete(name, DESK)
    assert [token.name for token in await desk.access.all()] == ["backup"]


async def test_making_and_deleting_are_recorded_and_told(desk: Desk) -> None:
    """Who, what for, until when."""
    async with desk.events.subscribe() as queue:
        await desk.make(scopes=["mail", "read"])
        await desk.access.delete("backup", ANA)
        with pytest.raises(UnknownName):
            await desk.access.delete("backup", ANA)
        with pytest.raises(InvalidFields):
            await desk.make("Backup")
        told = [queue.get_nowait() for _ in range(queue.qsize())]
    assert told == [SettingsChanged("api-token backup", START)] * 2
    deleted, made = [stored.record for stored in await desk.store.list_audit(9)]
    assert (made.action, made.actor, made.subject) == (AuditAction.API_TOKEN_MADE, ANA, "backup")
    assert made.details == {"scopes": "read mail", "expires_at": (START + DAY).isoformat()}
    assert (deleted.action, deleted.actor, deleted.subject) == (AuditAction.API_TOKEN_DELETED, ANA, "backup")
