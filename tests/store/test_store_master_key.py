"""Where the master key comes from; a wrong or missing key is a clear error and destroys nothing."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest
from store_values import token_set

from valija.domain.errors import MasterKeyError
from valija.domain.token import Retrieved
from valija.store.sqlite import open_store

KEY = bytes(range(32))
KEY_TEXT = base64.b64encode(KEY).decode()


def contents(state_dir: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in state_dir.iterdir() if not p.name.endswith(("-wal", "-shm", ".lock"))}


async def fill(state_dir: Path, key_file: Path | None = None, environment: dict[str, str] | None = None) -> None:
    store = open_store(state_dir, key_file, environment or {})
    await store.replace_token("smtp", 0, Retrieved(token_set()), due_at=None)
    await store.close()


async def assert_opens(
    state_dir: Path, key_file: Path | None = None, environment: dict[str, str] | None = None
) -> None:
    store = open_store(state_dir, key_file, environment or {})
    try:
        assert (await store.load_token("smtp")).state == Retrieved(token_set())
    finally:
        await store.close()


def refuse(state_dir: Path, key_file: Path | None = None, environment: dict[str, str] | None = None) -> MasterKeyError:
    before = contents(state_dir)
    with pytest.raises(MasterKeyError) as raised:
        open_store(state_dir, key_file, environment or {})
    assert raised.value.cure is not None
    assert contents(state_dir) == before
    return raised.value


def key_file_at(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


async def test_a_key_is_made_at_the_first_start_for_its_owner_only(tmp_path: Path) -> None:
    await fill(tmp_path)
    made = tmp_path / "master.key"
    assert len(base64.b64decode(made.read_bytes())) == 32
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    await assert_opens(tmp_path)


async def test_two_machines_make_different_keys(tmp_path: Path) -> None:
    await fill(tmp_path / "a")
    await fill(tmp_path / "b")
    assert (tmp_path / "a" / "master.key").read_bytes() != (tmp_path / "b" / "master.key").read_bytes()


async def test_a_lost_key_is_never_replaced_by_a_new_one(tmp_path: Path) -> None:
    await fill(tmp_path)
    key = (tmp_path / "master.key").read_bytes()
    (tmp_path / "master.key").unlink()
    assert "missing" in str(refuse(tmp_path))
    key_file_at(tmp_path / "master.key", key)
    await assert_opens(tmp_path)


async def test_a_lost_key_and_a_lost_store_are_not_taken_for_a_new_machine(tmp_path: Path) -> None:
    await fill(tmp_path)
    (tmp_path / "master.key").unlink()
    (tmp_path / "valija.sqlite3").unlink()
    refuse(tmp_path)


async def test_a_wrong_key_is_refused_and_the_right_one_opens_again(tmp_path: Path) -> None:
    await fill(tmp_path)
    key = (tmp_path / "master.key").read_bytes()
    key_file_at(tmp_path / "master.key", os.urandom(32))
    assert "not the one" in str(refuse(tmp_path))
    key_file_at(tmp_path / "master.key", key)
    await assert_opens(tmp_path)


@pytest.mark.parametrize("source", ["environment", "credential", "file"])
async def test_a_wrong_key_from_elsewhere_is_refused_too(tmp_path: Path, source: str) -> None:
    state = tmp_path / "state"
    await fill(state)
    wrong = key_file_at(tmp_path / "valija-master-key", KEY)
    environment = {
        "environment": {"VALIJA_MASTER_KEY": KEY_TEXT},
        "credential": {"CREDENTIALS_DIRECTORY": str(tmp_path)},
        "file": {},
    }[source]
    refuse(state, wrong if source == "file" else None, environment)
    await assert_opens(state)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610, 0o601])
async def test_a_key_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    state = tmp_path / "state"
    await fill(state)
    (state / "master.key").chmod(mode)
    assert "chmod 600" in str(refuse(state))
    key = key_file_at(tmp_path / "key", KEY, mode)
    assert "chmod 600" in str(refuse(state, key))


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"short", KEY[:31], KEY + b"\0", KEY_TEXT[:-4].encode(), b"*" * 44, b"A" * 5000]
)
async def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, data: bytes) -> None:
    await fill(tmp_path)
    key_file_at(tmp_path / "master.key", data)
    assert "is not a key" in str(refuse(tmp_path))


async def test_a_key_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await fill(state)
    assert "cannot be read" in str(refuse(state, tmp_path / "nowhere"))
    assert "cannot be read" in str(refuse(state, tmp_path))


@pytest.mark.parametrize("data", [KEY, KEY_TEXT.encode(), f"  {KEY_TEXT}\n".encode()], ids=["raw", "base64", "spaces"])
async def test_a_named_file_holds_the_key_raw_or_in_base64(tmp_path: Path, data: bytes) -> None:
    state = tmp_path / "state"
    await fill(state, key_file_at(tmp_path / "first", KEY))
    await assert_opens(state, key_file_at(tmp_path / "second", data))
    assert not (state / "master.key").exists()


async def test_a_systemd_credential_is_the_key(tmp_path: Path) -> None:
    credentials, state = tmp_path / "credentials", tmp_path / "state"
    credentials.mkdir()
    key_file_at(credentials / "valija-master-key", KEY, 0o440)  # systemd's own mode; it guards the directory
    await fill(state, None, {"CREDENTIALS_DIRECTORY": str(credentials)})
    assert not (state / "master.key").exists()
    await assert_opens(state, None, {"VALIJA_MASTER_KEY": KEY_TEXT})


async def test_a_credentials_directory_without_the_key_is_passed_over(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await fill(state, None, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    await assert_opens(state)


async def test_the_key_from_the_environment_is_taken_out_of_it(tmp_path: Path) -> None:
    environment = {"VALIJA_MASTER_KEY": KEY_TEXT, "OTHER": "1"}
    await fill(tmp_path, None, environment)
    assert environment == {"OTHER": "1"}
    assert not (tmp_path / "master.key").exists()


async def test_the_environment_wins_over_the_credential_and_that_over_files(tmp_path: Path) -> None:
    credentials, state = tmp_path / "credentials", tmp_path / "state"
    credentials.mkdir()
    other = key_file_at(tmp_path / "other", os.urandom(32))
    key_file_at(credentials / "valija-master-key", KEY)
    await fill(state, other, {"CREDENTIALS_DIRECTORY": str(credentials)})
    key_file_at(credentials / "valija-master-key", os.urandom(32))
    await assert_opens(state, other, {"CREDENTIALS_DIRECTORY": str(credentials), "VALIJA_MASTER_KEY": KEY_TEXT})


@pytest.mark.parametrize("text", ["x", "a passphrase of 32 characters...", KEY_TEXT[:-1], "ñ" * 44, KEY.hex()])
async def test_a_word_in_the_environment_that_is_no_key_in_base64_is_refused(tmp_path: Path, text: str) -> None:
    await fill(tmp_path)
    refuse(tmp_path, None, {"VALIJA_MASTER_KEY": text})


async def test_a_wrong_key_after_a_crash_loses_nothing_of_the_log(tmp_path: Path) -> None:
    store = open_store(tmp_path, None, {})
    await store.replace_token("smtp", 0, Retrieved(token_set()), due_at=None)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("valija.sqlite3", "valija.sqlite3-wal", "master.key", "valija.store"):
        key_file_at(copy / name, (tmp_path / name).read_bytes())
    await store.close()
    with pytest.raises(MasterKeyError):
        open_store(copy, None, {"VALIJA_MASTER_KEY": KEY_TEXT})
    await assert_opens(copy)
