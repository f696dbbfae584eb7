"""The administrator's log-in: a few attempts, sessions that end, a trail of it all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from administrator_bench import DEARER, OTHER, RIGHT, WRONG, Office
from fakes import ANA, DESK, START, settle

from valija.domain.account import Presence
from valija.domain.administrator import LOCK_SPAN, Lockout
from valija.domain.errors import NotAtTheMachine, StoreFull
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.text import message
from valija.secret import Secret
from valija.services.administrator import Locked, LoggedIn, WrongPassword, session_key
from valija.store.memory import MemoryStore

SET, IN, REFUSED = AuditAction.PASSWORD_CHANGED, AuditAction.LOGGED_IN, AuditAction.LOGIN_REFUSED
LOCKED, LIFTED = AuditAction.LOCKED_OUT, AuditAction.LOCKOUT_LIFTED
UNTIL = START + LOCK_SPAN


@pytest.fixture(name="office")
async def office_fixture() -> Office:
    """A machine whose administrator's password is set."""
    return await Office().ready()


# --- log-in ------------------------------------------------------------------------------------------------------------


async def test_the_right_password_opens_a_session_where_the_actor_is(office: Office) -> None:
    answer = await office.desk.log_in(RIGHT, "web", DESK)
    assert isinstance(answer, LoggedIn)
    session = await office.desk.find(answer.session_token.reveal())
    assert session is not None
    assert (session.presence, session.face, session.created_at) == (Presence.REMOTE, "web", START)
    assert session.csrf == answer.csrf
    assert session.csrf != answer.session_token


async def test_a_log_in_is_recorded_with_who_and_where(office: Office) -> None:
    await office.open("panel", ANA)
    record = (await office.records())[-1]
    assert (record.action, record.actor, record.subject, record.at) == (IN, ANA, "administrator", START)


async def test_each_log_in_has_tokens_of_its_own_that_nobody_guesses(office: Office) -> None:
    tokens = [await office.open() for _ in range(20)]
    assert len(set(tokens)) == 20
    assert all(len(token) >= 43 for token in tokens)


async def test_the_store_never_sees_a_session_token_or_a_password(office: Office) -> None:
    token = await office.open()
    assert token not in repr(office.store._sessions)
    assert list(office.store._sessions) == [session_key(token)]
    stored = await office.store.load_password_hash()
    assert stored is not None
    assert stored.reveal().startswith("$argon2id$")
    assert RIGHT.reveal() not in stored.reveal()


async def test_a_wrong_password_opens_nothing_and_says_how_many_are_left(office: Office) -> None:
    assert await office.desk.log_in(WRONG, "web", DESK) == WrongPassword(2)
    assert await office.desk.log_in(WRONG, "web", DESK) == WrongPassword(1)
    assert office.store._sessions == {}


@pytest.mark.parametrize("near", ["el agua clara 7 ", "El agua clara 7", "el agua clara", "", "el agua clara 7" * 99])
async def test_almost_the_password_is_wrong(office: Office, near: str) -> None:
    assert isinstance(await office.desk.log_in(Secret(near), "web", DESK), WrongPassword)


async def test_half_a_pair_of_characters_is_just_a_wrong_password(office: Office) -> None:
    assert isinstance(await office.desk.log_in(Secret("\ud83d"), "web", DESK), WrongPassword)
    assert await office.desk.find("\ud83d") is None


async def test_a_password_with_marks_is_known_from_every_keyboard() -> None:
    office = Office()
    await office.desk.set_first_password(Secret("mañana será otro día"), ANA)
    decomposed = Secret("man\u0303ana sera\u0301 otro di\u0301a")
    assert isinstance(await office.desk.log_in(decomposed, "web", DESK), LoggedIn)


async def test_a_password_of_128_characters_counts_to_its_last_one() -> None:
    office, long = Office(), "0123456789abcdef" * 8
    await office.desk.set_first_password(Secret(long), ANA)
    for other in (long[:-1], long[:-1] + "g", long + "0"):
        assert not isinstance(await office.desk.log_in(Secret(other), "web", DESK), LoggedIn)
        await office.desk.lift_lockout(ANA)
        await office.store.save_lockout(await office.store.load_lockout(), Lockout())
    assert isinstance(await office.desk.log_in(Secret(long), "web", DESK), LoggedIn)


@pytest.mark.parametrize("password", [RIGHT, WRONG], ids=["right", "wrong"])
async def test_right_and_wrong_cost_one_check(office: Office, password: Secret) -> None:
    await office.desk.log_in(password, "web", DESK)
    assert (office.passwords.checked, office.passwords.hashed) == (1, 0)


async def test_where_none_is_set_every_password_is_wrong_after_a_check_of_the_same_cost() -> None:
    office, costs = Office(parameters=DEARER), []
    office.passwords.watch(lambda checked: costs.append(checked.split("$")[1:4]) if checked else None)
    assert await office.desk.log_in(RIGHT, "web", DESK) == WrongPassword(2)
    assert await office.desk.log_in(Secret(""), "web", DESK) == WrongPassword(1)
    await office.desk.set_first_password(RIGHT, ANA)
    await office.desk.log_in(WRONG, "web", DESK)
    assert costs[0] == costs[1] == costs[2]
    assert len(costs) == 3


async def test_a_hash_of_other_parameters_is_renewed_at_the_next_right_password_without_a_record(
    office: Office,
) -> None:
    before = await office.store.load_password_hash()
    later = Office(parameters=DEARER, store=office.store)
    await later.desk.log_in(WRONG, "web", DESK)
    assert await office.store.load_password_hash() == before
    await later.open()
    after = await office.store.load_password_hash()
    assert after is not None
    assert f"t={DEARER.time_cost}" in after.reveal()
    await later.open()
    assert await office.store.load_password_hash() == after
    assert await office.actions() == [SET, REFUSED, IN, IN]


# --- wrong passwords ---------------------------------------------------------------------------------------------------


async def test_the_third_wrong_password_locks_and_the_trail_says_who_and_where(office: Office) -> None:
    await office.lock()
    records = (await office.records())[1:]
    assert [record.action for record in records] == [REFUSED, REFUSED, REFUSED, LOCKED]
    assert {record.actor for record in records} == {DESK}
    assert "planted" not in repr(records)


async def test_while_locked_no_password_is_looked_at_nor_recorded(office: Office) -> None:
    await office.lock()
    checked, trail = office.passwords.checked, await office.actions()
    assert await office.desk.log_in(RIGHT, "web", DESK) == Locked(UNTIL)
    assert await office.desk.log_in(RIGHT, "panel", ANA) == Locked(UNTIL)
    assert await office.desk.change_password(RIGHT, OTHER, ANA) == Locked(UNTIL)
    assert (office.passwords.checked, await office.actions()) == (checked, trail)


async def test_after_five_minutes_three_more_are_looked_at(office: Office) -> None:
    await office.lock()
    office.clock.jump(LOCK_SPAN.total_seconds() - 1)
    assert isinstance(await office.desk.log_in(RIGHT, "web", DESK), Locked)
    office.clock.jump(1)
    assert await office.desk.log_in(WRONG, "web", DESK) == WrongPassword(2)
    assert isinstance(await office.desk.log_in(RIGHT, "web", DESK), LoggedIn)


async def test_the_right_password_makes_the_count_begin_anew(office: Office) -> None:
    for _ in range(3):
        for left in (2, 1):
            assert await office.desk.log_in(WRONG, "web", DESK) == WrongPassword(left)
        await office.open()
    assert LOCKED not in await office.actions()


async def test_the_count_and_the_lock_survive_a_restart(office: Office) -> None:
    await office.desk.log_in(WRONG, "web", DESK)
    office = Office(after_restart=office)
    assert await office.desk.log_in(WRONG, "web", DESK) == WrongPassword(1)
    await office.desk.log_in(WRONG, "web", DESK)
    assert await Office(after_restart=office).desk.log_in(RIGHT, "web", DESK) == Locked(UNTIL)


async def test_many_wrong_passwords_at_once_are_all_counted(office: Office) -> None:
    answers = await asyncio.gather(*(office.desk.log_in(WRONG, "web", DESK) for _ in range(50)))
    assert answers == [WrongPassword(2), WrongPassword(1)] + [Locked(UNTIL)] * 48
    assert office.passwords.checked == 3
    assert (await office.actions())[1:] == [REFUSED, REFUSED, REFUSED, LOCKED]


async def test_log_in_and_change_of_password_have_one_count(office: Office) -> None:
    await office.desk.log_in(WRONG, "web", DESK)
    assert await office.desk.change_password(WRONG, OTHER, DESK) == WrongPassword(1)
    assert await office.desk.log_in(WRONG, "web", DESK) == Locked(UNTIL)


async def test_who_goes_away_during_a_check_is_counted_all_the_same(office: Office) -> None:
    for _ in range(3):
        attempt = asyncio.create_task(office.desk.log_in(WRONG, "web", DESK))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
    assert isinstance(await office.desk.log_in(RIGHT, "web", DESK), Locked)
    assert (await office.actions())[1:] == [REFUSED, REFUSED, REFUSED, LOCKED]


async def test_a_lock_is_not_longer_when_the_clock_is_set_back(office: Office) -> None:
    await office.lock()
    earlier = START - timedelta(days=400)
    office.clock.set_wall(earlier)
    assert await office.desk.log_in(RIGHT, "web", DESK) == Locked(earlier + LOCK_SPAN)
    office.clock.jump(60)
    assert await office.desk.log_in(RIGHT, "web", DESK) == Locked(earlier + LOCK_SPAN)
    office.clock.jump(LOCK_SPAN.total_seconds())
    assert isinstance(await office.desk.log_in(RIGHT, "web", DESK), LoggedIn)


async def test_the_lock_is_lifted_at_the_machine_and_that_is_recorded(office: Office) -> None:
    await office.lock()
    assert await office.desk.lift_lockout(ANA)
    record = (await office.records())[-1]
    assert (record.action, record.actor) == (LIFTED, ANA)
    assert isinstance(await office.desk.log_in(RIGHT, "web", DESK), LoggedIn)


async def test_the_lock_is_not_lifted_from_elsewhere(office: Office) -> None:
    await office.lock()
    with pytest.raises(NotAtTheMachine):
        await office.desk.lift_lockout(DESK)
    assert isinstance(await office.desk.log_in(RIGHT, "web", DESK), Locked)


async def test_lifting_no_lock_changes_nothing_not_even_the_count(office: Office) -> None:
    await office.desk.log_in(WRONG, "web", DESK)
    assert not await office.desk.lift_lockout(ANA)
    assert LIFTED not in await office.actions()
    assert await office.desk.log_in(WRONG, "web", DESK) == WrongPassword(1)


class FullStore(MemoryStore):
    """A store that has no space left once ``full``."""

    full = False

    async def save_lockout(self, expected: Lockout, new: Lockout, records: Sequence[AuditRecord] = ()) -> bool:
        self._fail()
        return await super().save_lockout(expected, new, records)

    async def add_session(self, *values: Any) -> None:
        self._fail()
        await super().add_session(*values)

    async def touch_session(self, *values: Any) -> None:
        self._fail()
        await super().touch_session(*values)

    async def delete_session(self, key: str) -> None:
        self._fail()
        await super().delete_session(key)

    def _fail(self) -> None:
        if self.full:
            raise StoreFull(message("There is no space left."))


async def test_with_a_full_disk_nobody_learns_whether_a_password_was_right() -> None:
    store = FullStore()
    office = await Office(store=store).ready()
    store.full = True
    for password in (RIGHT, WRONG):
        with pytest.raises(StoreFull):
            await office.desk.log_in(password, "web", DESK)


async def test_with_a_full_disk_an_open_session_lasts_and_an_ended_one_stays_ended() -> None:
    store = FullStore()
    office = await Office(store=store).ready()
    token = await office.open()
    store.full = True
    office.clock.jump(14 * 60)
    assert await office.desk.find(token) is not None
    office.clock.jump(60)
    assert await office.desk.find(token) is None


async def test_nothing_secret_is_logged(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = await office.open()
    await office.lock()
    await settle()
    assert not any(text in caplog.text for text in (token, RIGHT.reveal(), WRONG.reveal()))
