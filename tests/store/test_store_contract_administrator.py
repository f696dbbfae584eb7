"""The administrator's password hash, sessions and lock-out: the same promises of every engine."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from store_engines import store_fixture
from store_values import NOW, audit_record

from valija.domain.account import Presence
from valija.domain.administrator import Lockout, Session
from valija.domain.errors import StoreError
from valija.domain.fax import FaxSettings, JunkRule
from valija.domain.print_job import Duplex, PrintSettings
from valija.domain.record import AuditAction, AuditRecord
from valija.secret import Secret
from valija.store.port import Store
from valija.store.sqlite import open_store
from valija.store.sqlite_file import FILE_NAME
from valija.store.work import do

store = store_fixture

FIRST, SECOND = Secret("$argon2id$planted-first"), Secret("$argon2id$planted-second")
CHANGED: Final = audit_record("administrator", AuditAction.PASSWORD_CHANGED)
LOGGED_IN: Final = audit_record("administrator", AuditAction.LOGGED_IN)
REFUSED: Final = audit_record("administrator", AuditAction.LOGIN_REFUSED)
LOCKED: Final = audit_record("administrator", AuditAction.LOCKED_OUT)
MINUTE: Final = timedelta(minutes=1)
FIRST_TABLES: Final = ("meta", "tokens", "settings", "registrations", "received", "audit")


def session(key: str = "a" * 64, **changes: object) -> Session:
    """Return a session."""
    usual = Session(key, Presence.REMOTE, "web", NOW, NOW, Secret("planted-csrf"))
    return replace(usual, **changes)  # type: ignore[arg-type]


async def trail(store: Store) -> list[AuditRecord]:
    """Return the audit trail, earliest first."""
    return [stored.record for stored in reversed(await store.list_audit(100))]


async def kept(store: Store, *keys: str) -> list[str]:
    """Return which of these sessions are there."""
    return [key for key in keys if await store.load_session(key) is not None]


# --- the password's hash -----------------------------------------------------------------------------------------------


async def test_no_password_is_set_at_first(store: Store) -> None:
    assert await store.load_password_hash() is None


async def test_a_first_hash_is_stored_with_its_record(store: Store) -> None:
    assert await store.save_password_hash(None, FIRST, CHANGED)
    assert await store.load_password_hash() == FIRST
    assert await trail(store) == [CHANGED]


async def test_a_hash_takes_the_place_of_the_expected_one(store: Store) -> None:
    await store.save_password_hash(None, FIRST, CHANGED)
    assert await store.save_password_hash(FIRST, SECOND, CHANGED)
    assert await store.load_password_hash() == SECOND
    assert len(await trail(store)) == 2


@pytest.mark.parametrize("expected", [None, SECOND, Secret("")], ids=["none", "another", "empty"])
async def test_a_hash_that_is_not_the_expected_one_stays_and_nothing_is_recorded(
    store: Store, expected: Secret | None
) -> None:
    await store.save_password_hash(None, FIRST, None)
    assert not await store.save_password_hash(expected, SECOND, CHANGED)
    assert await store.load_password_hash() == FIRST
    assert await trail(store) == []


async def test_where_no_hash_is_none_is_replaced(store: Store) -> None:
    assert not await store.save_password_hash(FIRST, SECOND, CHANGED)
    assert await store.load_password_hash() is None
    assert await trail(store) == []


async def test_the_same_password_gets_another_hash_without_a_record(store: Store) -> None:
    await store.save_password_hash(None, FIRST, None)
    assert await store.save_password_hash(FIRST, SECOND, None)
    assert await trail(store) == []


async def test_of_many_first_passwords_at_once_one_wins(store: Store) -> None:
    offered = [Secret(f"hash {n}") for n in range(20)]
    won = await asyncio.gather(*(store.save_password_hash(None, one, CHANGED) for one in offered))
    assert won.count(True) == 1
    assert await store.load_password_hash() == offered[won.index(True)]
    assert len(await trail(store)) == 1


# --- sessions ----------------------------------------------------------------------------------------------------------


async def test_a_session_comes_back_as_it_was_stored_and_is_recorded(store: Store) -> None:
    await store.add_session(session(), LOGGED_IN)
    found = await store.load_session("a" * 64)
    assert found == session()
    assert found is not None
    assert found.csrf.reveal() == "planted-csrf"
    assert await trail(store) == [LOGGED_IN]


async def test_an_unknown_key_has_no_session(store: Store) -> None:
    await store.add_session(session(), LOGGED_IN)
    assert await store.load_session("b" * 64) is None


async def test_a_use_is_noted_and_nothing_else_changes(store: Store) -> None:
    await store.add_session(session(), LOGGED_IN)
    await store.touch_session("a" * 64, NOW + MINUTE)
    assert await store.load_session("a" * 64) == session(last_seen_at=NOW + MINUTE)


async def test_a_use_is_never_noted_earlier_than_before(store: Store) -> None:
    await store.add_session(session(), LOGGED_IN)
    await store.touch_session("a" * 64, NOW - MINUTE)
    assert await store.load_session("a" * 64) == session()


async def test_a_use_does_not_bring_a_deleted_session_back(store: Store) -> None:
    await store.add_session(session(), LOGGED_IN)
    await store.delete_session("a" * 64)
    await store.touch_session("a" * 64, NOW + MINUTE)
    assert await store.load_session("a" * 64) is None


async def test_one_session_is_deleted_and_once_more_does_no_harm(store: Store) -> None:
    for key in "ab":
        await store.add_session(session(key), LOGGED_IN)
    await store.delete_session("a")
    await store.delete_session("a")
    assert await kept(store, "a", "b") == ["b"]


@pytest.mark.parametrize(("except_key", "left"), [("b", ["b"]), ("unknown", []), (None, [])])
async def test_all_sessions_but_one_are_deleted(store: Store, except_key: str | None, left: list[str]) -> None:
    for key in "abc":
        await store.add_session(session(key), LOGGED_IN)
    await store.delete_sessions(except_key)
    assert await kept(store, "a", "b", "c") == left


async def test_sessions_not_used_since_a_moment_are_deleted(store: Store) -> None:
    for n, key in enumerate("abc"):
        await store.add_session(session(key, last_seen_at=NOW + n * MINUTE), LOGGED_IN)
    await store.touch_session("a", NOW + 5 * MINUTE)
    await store.delete_sessions_before(NOW + 2 * MINUTE)
    assert await kept(store, "a", "b", "c") == ["a", "c"]


# --- the lock-out ------------------------------------------------------------------------------------------------------


async def test_nothing_is_counted_at_first(store: Store) -> None:
    assert await store.load_lockout() == Lockout(0, None)


async def test_a_count_is_stored_with_its_records(store: Store) -> None:
    assert await store.save_lockout(Lockout(), Lockout(3, NOW), [REFUSED, LOCKED])
    assert await store.load_lockout() == Lockout(3, NOW)
    assert await trail(store) == [REFUSED, LOCKED]


async def test_a_count_goes_back_to_nothing(store: Store) -> None:
    await store.save_lockout(Lockout(), Lockout(3, NOW))
    assert await store.save_lockout(Lockout(3, NOW), Lockout())
    assert await store.load_lockout() == Lockout()
    assert await store.save_lockout(Lockout(), Lockout(1))


@pytest.mark.parametrize("expected", [Lockout(), Lockout(2, NOW), Lockout(1)], ids=str)
async def test_a_count_that_is_not_the_expected_one_stays_and_nothing_is_recorded(
    store: Store, expected: Lockout
) -> None:
    await store.save_lockout(Lockout(), Lockout(2))
    assert not await store.save_lockout(expected, Lockout(9), [REFUSED])
    assert await store.load_lockout() == Lockout(2)
    assert await trail(store) == []


async def test_of_many_counts_at_once_none_is_lost(store: Store) -> None:
    async def count() -> None:
        while True:
            found = await store.load_lockout()
            if await store.save_lockout(found, Lockout(found.wrong + 1), [REFUSED]):
                return
            await asyncio.sleep(0)

    await asyncio.gather(*(count() for _ in range(12)))
    assert await store.load_lockout() == Lockout(12)
    assert len(await trail(store)) == 12


def all_octets(state_dir: Path) -> bytes:
    """Return what the database's files hold."""
    return b"".join(path.read_bytes() for path in state_dir.iterdir() if path.name.startswith(FILE_NAME))


# --- files -------------------------------------------------------------------------------------------------------------


async def test_all_is_there_after_a_restart_and_no_secret_in_the_files(tmp_path: Path) -> None:
    opened = open_store(tmp_path, None, {})
    await opened.save_password_hash(None, FIRST, CHANGED)
    await opened.add_session(session(), LOGGED_IN)
    await opened.save_lockout(Lockout(), Lockout(2))
    in_use = all_octets(tmp_path)
    await opened.close()
    assert b"planted" not in in_use
    assert b"a" * 64 in in_use, "what is looked up stands beside the sealed value, so this looks at the right files"
    again = open_store(tmp_path, None, {})
    assert await again.load_password_hash() == FIRST
    assert await again.load_session("a" * 64) == session()
    assert await again.load_lockout() == Lockout(2)
    await again.close()


async def test_a_hash_put_in_another_rows_place_is_not_taken(tmp_path: Path) -> None:
    opened = open_store(tmp_path, None, {})
    await opened.save_password_hash(None, FIRST, CHANGED)
    await opened.save_lockout(Lockout(), Lockout(3, NOW))
    swap = "UPDATE administrator SET payload = (SELECT payload FROM administrator WHERE name = 'lockout')"
    await opened._db.write(lambda: do(swap))
    with pytest.raises(StoreError, match="cannot be read"):
        await opened.load_password_hash()
    with pytest.raises(StoreError, match="cannot be read"):
        await opened.save_password_hash(None, SECOND, CHANGED)
    await opened.close()


async def test_a_store_of_the_first_schema_is_brought_up_to_date_and_keeps_what_it_had(tmp_path: Path) -> None:
    opened = open_store(tmp_path, None, {})
    await opened.append_audit(REFUSED)
    await opened.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        later = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT IN "
        for (table,) in connection.execute(later + str(FIRST_TABLES)).fetchall():
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version=1")
    again = open_store(tmp_path, None, {})
    assert await again.save_password_hash(None, FIRST, CHANGED)
    await again.add_session(session(), LOGGED_IN)
    assert await trail(again) == [REFUSED, CHANGED, LOGGED_IN]
    await again.close()


async def test_fax_settings_are_kept_as_they_were_set(store: Store) -> None:
    """Only in place of what was seen; each change is on record."""
    assert await store.load_fax() == FaxSettings()
    first = FaxSettings(junk=JunkRule.REJECT, senders=("@junk.example",), forward=(": ana@example.com",), resend=15)
    record = audit_record("fax", AuditAction.SETTINGS_CHANGED)
    assert await store.save_fax(FaxSettings(), first, record)
    assert not await store.save_fax(FaxSettings(), FaxSettings(resend=1), record)
    assert await store.load_fax() == first
    assert len(await store.list_audit(100)) == 1


async def test_print_settings_are_kept_as_they_were_set_password_and_all(store: Store) -> None:
    assert await store.load_print() == PrintSettings()
    first = PrintSettings("office", (EVERY,), Secret("pin-4711"), duplex=Duplex.LONG, faxes=("*",))
    record = audit_record("print", AuditAction.SETTINGS_CHANGED)
    assert await store.save_print(PrintSettings(), first, record)
    assert not await store.save_print(PrintSettings(), PrintSettings(copies=2), record)
    found = await store.load_print()
    assert found == first
    assert found.password is not None
    assert found.password.reveal() == "pin-4711"


EVERY = "@office.example"
