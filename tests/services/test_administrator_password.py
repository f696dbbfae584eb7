"""Setting and changing the administrator's password, and the sessions that this and time end."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Final

import pytest
from administrator_bench import OTHER, RIGHT, WRONG, Office
from argon2.exceptions import VerificationError
from fakes import ANA, DESK, START

from valija.domain.account import Actor, Presence
from valija.domain.errors import InvalidFields, NotAtTheMachine, TryLater
from valija.domain.record import AuditAction
from valija.secret import Secret
from valija.services.administrator import (
    LoggedIn,
    PasswordAlreadySet,
    PasswordChanged,
    WrongPassword,
)
from valija.services.events import SettingsChanged
from valija.services.passwords import AT_ONCE, Passwords

MINUTE: Final = 60
HOUR: Final = 3600
SET: Final = AuditAction.PASSWORD_CHANGED


@pytest.fixture(name="office")
async def office_fixture() -> Office:
    """A machine whose administrator's password is set."""
    return await Office().ready()


# --- the first password ------------------------------------------------------------------------------------------------


async def test_the_first_password_is_set_recorded_and_announced() -> None:
    office = Office()
    assert not await office.desk.is_set()
    async with office.events.subscribe() as queue:
        await office.desk.set_first_password(RIGHT, ANA)
        assert queue.get_nowait() == SettingsChanged("administrator", START)
    assert await office.desk.is_set()
    (record,) = await office.records()
    assert (record.action, record.actor, dict(record.details)) == (SET, ANA, {})


async def test_the_first_password_is_not_set_from_elsewhere() -> None:
    office = Office()
    with pytest.raises(NotAtTheMachine):
        await office.desk.set_first_password(RIGHT, DESK)
    assert not await office.desk.is_set()
    assert await office.records() == []


async def test_a_password_that_is_set_is_not_set_anew(office: Office) -> None:
    with pytest.raises(PasswordAlreadySet):
        await office.desk.set_first_password(OTHER, ANA)
    await office.open(password=RIGHT)


async def test_of_two_first_passwords_at_once_one_wins() -> None:
    office = Office()
    offered = (RIGHT, OTHER)
    outcomes = await asyncio.gather(
        *(office.desk.set_first_password(one, ANA) for one in offered), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [PasswordAlreadySet]
    await office.open(password=offered[outcomes.index(None)])


@pytest.mark.parametrize("bad", ["", "        ", "short", "password", "12345678", "x1" * 65])
async def test_a_bad_password_is_refused_beside_its_field_and_nothing_is_stored(office: Office, bad: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        await Office().desk.set_first_password(Secret(bad), ANA)
    assert [problem.field for problem in refused.value.problems] == ["password"]
    with pytest.raises(InvalidFields):
        await office.desk.change_password(RIGHT, Secret(bad), ANA)
    await office.open(password=RIGHT)


async def test_whoever_guessed_before_a_password_was_set_keeps_nobody_out() -> None:
    office = Office()
    await office.lock()
    await office.desk.set_first_password(RIGHT, ANA)
    assert isinstance(await office.desk.log_in(RIGHT, "panel", ANA), LoggedIn)


# --- change ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actor", [ANA, DESK], ids=["at the machine", "elsewhere"])
async def test_a_change_holds_at_once_is_recorded_and_announced(office: Office, actor: Actor) -> None:
    async with office.events.subscribe() as queue:
        assert await office.desk.change_password(RIGHT, OTHER, actor) == PasswordChanged()
        assert queue.get_nowait() == SettingsChanged("administrator", START)
    assert isinstance(await office.desk.log_in(RIGHT, "web", DESK), WrongPassword)
    assert isinstance(await office.desk.log_in(OTHER, "web", DESK), LoggedIn)
    record = (await office.records())[1]
    assert (record.action, record.actor) == (SET, actor)


async def test_without_the_old_password_nothing_changes(office: Office) -> None:
    token = await office.open()
    assert await office.desk.change_password(WRONG, OTHER, ANA) == WrongPassword(2)
    assert await office.desk.find(token) is not None
    await office.open(password=RIGHT)


async def test_where_none_is_set_none_is_changed() -> None:
    office = Office()
    assert await office.desk.change_password(RIGHT, OTHER, ANA) == WrongPassword(2)
    assert not await office.desk.is_set()


async def test_a_change_ends_all_sessions_but_the_present_one(office: Office) -> None:
    mine, others = await office.open("panel", ANA), [await office.open() for _ in range(3)]
    await office.desk.change_password(RIGHT, OTHER, ANA, mine)
    assert await office.desk.find(mine) is not None
    assert [await office.desk.find(token) for token in others] == [None] * 3


async def test_a_change_outside_any_session_ends_them_all(office: Office) -> None:
    tokens = [await office.open() for _ in range(3)]
    await office.desk.change_password(RIGHT, OTHER, ANA)
    assert [await office.desk.find(token) for token in tokens] == [None] * 3


async def test_who_logs_in_during_a_change_has_no_session_of_the_old_password(office: Office) -> None:
    change = asyncio.create_task(office.desk.change_password(RIGHT, OTHER, ANA))
    attempts = [asyncio.create_task(office.desk.log_in(RIGHT, "web", DESK)) for _ in range(2)]
    await change
    for answer in await asyncio.gather(*attempts):
        if isinstance(answer, LoggedIn):
            assert await office.desk.find(answer.session_token.reveal()) is None


# --- sessions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("face", "minutes"), [("panel", 10), ("web", 15)])
async def test_a_session_ends_when_it_is_not_used(office: Office, face: str, minutes: int) -> None:
    token = await office.open(face)
    office.clock.jump(minutes * MINUTE - 1)
    assert await office.desk.find(token) is not None
    office.clock.jump(minutes * MINUTE)
    assert await office.desk.find(token) is None
    assert office.store._sessions == {}, "and it is not kept"


async def test_a_session_in_use_goes_on_but_not_beyond_twelve_hours(office: Office) -> None:
    token, found = await office.open(), 0
    while await office.desk.find(token) is not None:
        office.clock.jump(5 * MINUTE)
        found += 1
    assert found == 12 * 12


async def test_a_use_is_noted_at_most_once_a_minute(office: Office) -> None:
    token, noted = await office.open(), set()
    for _ in range(180):
        office.clock.jump(1)
        await office.desk.find(token)
        (session,) = office.store._sessions.values()
        noted.add((session.last_seen_at - START).total_seconds())
    assert noted == {0, 60, 120, 180}


async def test_a_session_counts_only_where_it_was_opened(office: Office) -> None:
    panel, web = await office.open("panel", ANA), await office.open("web", DESK)
    assert await office.desk.find(panel, presence=Presence.REMOTE) is None
    assert await office.desk.find(web, presence=Presence.AT_MACHINE) is None
    assert await office.desk.find(panel, presence=Presence.AT_MACHINE) is not None
    assert await office.desk.find(web, presence=Presence.REMOTE) is not None


@pytest.mark.parametrize("token", ["", "x", "0" * 64, "é" * 5000])
async def test_an_invented_token_finds_nothing(office: Office, token: str) -> None:
    await office.open()
    assert await office.desk.find(token) is None
    await office.desk.log_out(token)
    assert len(office.store._sessions) == 1


async def test_what_the_store_keeps_of_a_session_does_not_open_it(office: Office) -> None:
    await office.open()
    (key,) = office.store._sessions
    assert await office.desk.find(key) is None


async def test_logging_out_ends_one_session(office: Office) -> None:
    mine, other = await office.open(), await office.open()
    await office.desk.log_out(mine)
    assert await office.desk.find(mine) is None
    assert await office.desk.find(other) is not None


async def test_a_session_survives_a_restart(office: Office) -> None:
    token = await office.open()
    assert await Office(after_restart=office).desk.find(token) is not None


async def test_sessions_that_nobody_ended_do_not_pile_up(office: Office) -> None:
    for _ in range(5):
        await office.open()
        office.clock.jump(HOUR)
    await office.open()
    assert len(office.store._sessions) == 1


# --- hashing -----------------------------------------------------------------------------------------------------------


async def test_a_password_gets_the_low_memory_profile_of_rfc_9106_and_a_salt_of_its_own() -> None:
    passwords = Passwords()
    first, second = await asyncio.gather(passwords.hash(RIGHT), passwords.hash(RIGHT))
    assert first.reveal().startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert first != second
    assert await passwords.matches(first, RIGHT)
    assert not await passwords.matches(second, WRONG)
    assert not await passwords.matches(None, RIGHT)
    assert not passwords.is_outdated(first)


class Counted:
    """Notes how many are here at once."""

    def __init__(self) -> None:
        self.guard, self.now, self.most = threading.Lock(), 0, 0

    def __call__(self, checked: str) -> None:
        with self.guard:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.005)  # work, on a thread of its own
        with self.guard:
            self.now -= 1


async def test_no_more_than_two_hashes_are_computed_at_once_and_the_loop_goes_on(office: Office) -> None:
    passwords, counted = office.passwords, Counted()
    passwords.watch(counted)
    work = asyncio.gather(*(passwords.hash(RIGHT) for _ in range(8)))
    turns = 0
    while not work.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert counted.most == AT_ONCE
    assert turns > 8


async def test_too_little_memory_is_no_wrong_password(office: Office) -> None:
    def fails(checked: str) -> None:
        raise VerificationError("Memory allocation error")

    office.passwords.watch(fails)
    for _ in range(5):
        with pytest.raises(TryLater, match="too little memory"):
            await office.desk.log_in(RIGHT, "web", DESK)
    office.passwords.watch(lambda checked: None)
    await office.open()
