"""A store that cannot be used is refused with a clear word, and not a byte of it is touched."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_values import audit_record, token_set

from valija.domain.address_book import Contact
from valija.domain.errors import StoreDamaged, StoreError, StoreLocked, StoreVersion, ValijaError
from valija.domain.record import AuditAction
from valija.domain.token import NotRetrieved, Retrieved
from valija.store.lock import StateLock
from valija.store.sqlite import open_store

DATABASE = "valija.sqlite3"


@pytest.fixture
async def state_dir(tmp_path: Path) -> Path:
    """Give a directory with a store of some size, closed in good order."""
    store = open_store(tmp_path, None, {})
    for n in range(30):
        await store.replace_token(f"account-{n}", 0, Retrieved(token_set("x" * 500)), due_at=None)
    await store.close()
    return tmp_path


def contents(state_dir: Path) -> dict[str, bytes]:
    """Return what is in the files that hold state."""
    return {p.name: p.read_bytes() for p in state_dir.iterdir() if not p.name.endswith(("-wal", "-shm", ".lock"))}


def refuse(state_dir: Path, error: type[ValijaError]) -> ValijaError:
    """Check that opening fails with this error, that it says what to do, and that nothing has changed."""
    before = contents(state_dir)
    with pytest.raises(error) as raised:
        open_store(state_dir, None, {})
    assert type(raised.value) is error
    assert raised.value.cure is not None
    assert contents(state_dir) == before
    return raised.value


async def test_a_store_of_a_later_version_is_refused_and_left_alone(state_dir: Path) -> None:
    with sqlite3.connect(state_dir / DATABASE) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    assert "99" in str(refuse(state_dir, StoreVersion))


async def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "master.key").write_bytes(os.urandom(32))
    (tmp_path / "master.key").chmod(0o600)
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.execute("CREATE TABLE tokens (account TEXT)")
    connection.close()
    refuse(tmp_path, StoreDamaged)


@pytest.mark.parametrize("keep", [1, 10, 99, 100, 1000, 4095, 4096, 5000, 8192, 20_000, -4096])
async def test_a_truncated_store_is_refused_and_left_alone(state_dir: Path, keep: int) -> None:
    path = state_dir / DATABASE
    whole = path.read_bytes()
    assert len(whole) > 20_480
    path.write_bytes(whole[:keep])
    refuse(state_dir, StoreDamaged)


async def test_a_store_that_lost_its_last_bytes_gives_out_no_wrong_value(state_dir: Path) -> None:
    path = state_dir / DATABASE
    path.write_bytes(path.read_bytes()[:-1000])
    try:
        store = open_store(state_dir, None, {})
    except StoreDamaged:
        return
    for n in range(30):
        with contextlib.suppress(StoreError):
            assert (await store.load_token(f"account-{n}")).state == Retrieved(token_set("x" * 500))
    await store.close()


async def test_an_emptied_store_is_not_taken_for_a_new_one(state_dir: Path) -> None:
    (state_dir / DATABASE).write_bytes(b"")
    refuse(state_dir, StoreDamaged)


async def test_a_lost_store_is_not_silently_made_anew(state_dir: Path) -> None:
    (state_dir / DATABASE).unlink()
    refuse(state_dir, StoreDamaged)


@pytest.mark.parametrize(
    "garbage", [b"\0" * 9000, b"not a database " * 700, bytes(range(256)) * 40, b"SQLite format 3\0"]
)
async def test_a_garbage_file_is_refused_and_left_alone(state_dir: Path, garbage: bytes) -> None:
    (state_dir / DATABASE).write_bytes(garbage)
    refuse(state_dir, StoreDamaged)


async def test_a_store_with_zeroes_in_the_middle_is_refused_and_left_alone(state_dir: Path) -> None:
    path = state_dir / DATABASE
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\0" * 4096 + whole[12288:])
    refuse(state_dir, StoreDamaged)


async def test_a_refused_store_opens_again_once_it_is_put_back(state_dir: Path, tmp_path: Path) -> None:
    path = state_dir / DATABASE
    shutil.copy(path, tmp_path / "backup")
    path.write_bytes(b"garbage" * 1000)
    refuse(state_dir, StoreDamaged)
    shutil.copy(tmp_path / "backup", path)
    store = open_store(state_dir, None, {})
    assert len(await store.list_tokens()) == 30
    await store.close()


async def test_an_entry_that_was_moved_to_another_row_is_not_given_out(state_dir: Path) -> None:
    with sqlite3.connect(state_dir / DATABASE) as connection:
        box = connection.execute("SELECT payload FROM tokens WHERE account='account-1'").fetchone()
        connection.execute("UPDATE tokens SET payload=? WHERE account='account-2'", box)
    connection.close()
    store = open_store(state_dir, None, {})
    with pytest.raises(StoreError, match="account-2"):
        await store.load_token("account-2")
    assert (await store.load_token("account-1")).state == Retrieved(token_set("x" * 500))
    await store.close()


async def test_an_entry_with_one_flipped_bit_is_not_given_out(state_dir: Path) -> None:
    with sqlite3.connect(state_dir / DATABASE) as connection:
        (box,) = connection.execute("SELECT payload FROM tokens WHERE account='account-1'").fetchone()
        flipped = box[:60] + bytes([box[60] ^ 1]) + box[61:]
        connection.execute("UPDATE tokens SET payload=? WHERE account='account-1'", (flipped,))
    connection.close()
    store = open_store(state_dir, None, {})
    with pytest.raises(StoreError, match="account-1"):
        await store.load_token("account-1")
    await store.close()


async def test_a_second_daemon_is_refused_and_told_who_has_the_store(state_dir: Path) -> None:
    store = open_store(state_dir, None, {})
    error = refuse(state_dir, StoreLocked)
    assert str(os.getpid()) in str(error)
    await store.replace_token("smtp", 0, NotRetrieved(), due_at=None)  # the first one is not disturbed
    await store.close()
    await open_store(state_dir, None, {}).close()


HOLDER = (
    "import sys; from pathlib import Path; from valija.store.lock import StateLock\n"
    "lock = StateLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
)


def test_a_daemon_in_another_process_is_seen_too(state_dir: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(state_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert str(holder.pid) in str(refuse(state_dir, StoreLocked))
        holder.stdin.close()
    StateLock(state_dir).release()


async def test_a_store_that_was_refused_keeps_no_lock(state_dir: Path) -> None:
    (state_dir / DATABASE).write_bytes(b"garbage" * 1000)
    refuse(state_dir, StoreDamaged)
    StateLock(state_dir).release()


async def test_a_state_directory_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        open_store(tmp_path / "state", None, {})


async def test_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    state_dir = tmp_path / "new" / "state"
    store = open_store(state_dir, None, {})
    await store.replace_token("smtp", 0, Retrieved(token_set()), due_at=None)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in state_dir.iterdir()}
    await store.close()
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    secret = {name: mode for name, mode in modes.items() if name.startswith((DATABASE, "master.key"))}
    assert secret == {DATABASE: 0o600, f"{DATABASE}-wal": 0o600, f"{DATABASE}-shm": 0o600, "master.key": 0o600}


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path, None, {})
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.load_token("smtp")
    with pytest.raises(StoreError, match="closed"):
        await store.replace_token("smtp", 0, NotRetrieved(), due_at=None)


async def test_what_was_stored_is_there_after_closing_and_opening(state_dir: Path) -> None:
    store = open_store(state_dir, None, {})
    listed = await store.list_tokens()
    await store.close()
    assert len(listed) == 30
    assert {stored.state for stored in listed.values()} == {Retrieved(token_set("x" * 500))}


async def test_a_file_that_another_program_holds_is_waited_for_once_by_all_who_write(tmp_path: Path) -> None:
    """Not by each of them after the other: with many it would take minutes until a device is told."""
    store = open_store(tmp_path, None, {})
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        first = asyncio.create_task(store.replace_token("first", 0, NotRetrieved(), due_at=None))
        await asyncio.sleep(0.1)  # the writer waits with it alone
        writes = [store.replace_token(f"a{n}", 0, NotRetrieved(), due_at=None) for n in range(20)]
        ended = await asyncio.gather(first, *writes, return_exceptions=True)
        took = time.monotonic() - begun
        other.execute("ROLLBACK")
    assert {type(end) for end in ended} == {StoreError}
    assert took < 15, "two waits of 5 s"
    assert await store.replace_token("first", 0, NotRetrieved(), due_at=None)
    await store.close()


async def test_a_contact_that_cannot_be_read_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    store = open_store(tmp_path, None, {})
    ana, luis = Contact("Ana", ("ana@example.com",)), Contact("Luis", ("luis@example.com",))
    record = audit_record("contacts", AuditAction.CONTACTS_CHANGED)
    await store.save_contacts([ana, luis], record)
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as other, other:
        assert other.execute("UPDATE contacts SET payload = ? WHERE name = ?", (b"{", ana.key)).rowcount == 1
    assert await store.list_contacts() == [luis]
    await store.save_contacts([ana], record)
    assert await store.list_contacts() == [ana, luis]
    await store.close()
