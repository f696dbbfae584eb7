"""What is stored is encrypted, bound to its place, and cannot be found in the files."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_values import (
    NOW,
    PLANTED,
    audit_record,
    authorization,
    planted_tokens,
    registration,
    smtp_settings,
)

from valija.domain.account import Setting
from valija.domain.token import AwaitingAuthorization, Invalid, InvalidCause, Retrieved
from valija.domain.trouble import Trouble, WhoActs
from valija.store.sqlite import SqliteStore, open_store
from valija.store.vault import BoxNotOpened, Vault, key_id

KEY, OTHER = b"k" * 32, b"o" * 32
PLACE = "tokens|smtp|payload"


@given(clear=st.binary(max_size=2000), place=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_what_was_sealed_opens_at_its_place(clear: bytes, place: str) -> None:
    vault = Vault(KEY)
    assert vault.open(vault.seal(clear, place), place) == clear


@pytest.mark.parametrize("place", ["tokens|internet-fax|payload", "settings|smtp|payload", "tokens|smtp|", ""])
def test_a_box_moved_to_another_place_does_not_open(place: str) -> None:
    vault = Vault(KEY)
    with pytest.raises(BoxNotOpened, match="moved"):
        vault.open(vault.seal(b"secret", PLACE), place)


def test_a_box_with_any_changed_octet_does_not_open() -> None:
    vault = Vault(KEY)
    box = vault.seal(b"secret", PLACE)
    for n in range(len(box)):
        changed = box[:n] + bytes([box[n] ^ 0x80]) + box[n + 1 :]
        with pytest.raises(BoxNotOpened):
            vault.open(changed, PLACE)


def test_a_box_cut_short_or_lengthened_does_not_open() -> None:
    vault = Vault(KEY)
    box = vault.seal(b"secret", PLACE)
    for changed in [box[:n] for n in range(len(box))] + [box + b"\0"]:
        with pytest.raises(BoxNotOpened):
            vault.open(changed, PLACE)


def test_a_box_of_another_key_says_so() -> None:
    with pytest.raises(BoxNotOpened, match="another key"):
        Vault(KEY).open(Vault(OTHER).seal(b"secret", PLACE), PLACE)


def test_after_rotation_the_old_key_still_opens_and_the_new_one_seals() -> None:
    old = Vault(OTHER).seal(b"secret", PLACE)
    rotated = Vault(KEY, [OTHER])
    assert rotated.open(old, PLACE) == b"secret"
    assert Vault(KEY).open(rotated.seal(b"new", PLACE), PLACE) == b"new"


def test_the_same_value_never_gives_the_same_box_twice() -> None:
    vault = Vault(KEY)
    nonces = {vault.seal(b"secret", PLACE)[9:21] for _ in range(500)}
    assert len(nonces) == 500


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 octets"):
        Vault(b"k" * size)


def test_a_key_id_tells_keys_apart_and_is_no_part_of_them() -> None:
    assert key_id(KEY) != key_id(OTHER)
    assert len(key_id(KEY)) == 8
    assert key_id(KEY) not in KEY


async def plant(store: SqliteStore) -> None:
    """Store every kind of secret, in every kind of state, several times over."""
    tokens = planted_tokens()
    trouble = Trouble("provider_down", WhoActs.NOBODY, "words", NOW)
    invalid = Invalid(tokens, trouble, NOW, InvalidCause.GRANT_ENDED)
    for version in range(5):
        for account, state in (
            ("smtp", Retrieved(tokens)),
            ("internet-fax", invalid),
            ("email-print", AwaitingAuthorization(authorization(), Retrieved(tokens))),
        ):
            await store.replace_token(account, version, state, due_at=NOW, audit=audit_record(account))
        await store.save_settings(Setting.SMTP, version, smtp_settings(), audit_record())
        await store.save_registration(version, registration(), audit_record())


def secret_forms(state_dir: Path) -> dict[str, bytes]:
    forms = {}
    for name, text in PLANTED.items():
        forms[name] = text.encode()
        forms[f"{name} in UTF-16"] = text.encode("utf-16-le")
        forms[f"{name} in base64"] = base64.b64encode(text.encode()).rstrip(b"=")[:-2]
    key = base64.b64decode((state_dir / "master.key").read_bytes())
    return {**forms, "the master key": key, "the master key in base64": base64.b64encode(key)}


def database_files(state_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in state_dir.iterdir() if path.name != "master.key"}


async def test_no_secret_is_found_in_any_file_of_the_database(tmp_path: Path) -> None:
    store = open_store(tmp_path, None, {})
    await plant(store)
    forms = secret_forms(tmp_path)
    while_open = database_files(tmp_path)
    await store.close()
    closed = {f"closed {name}": data for name, data in database_files(tmp_path).items()}
    assert len(while_open["valija.sqlite3-wal"]) > 10_000
    files = {**while_open, **closed}
    assert [(name, form) for name, data in files.items() for form, octets in forms.items() if octets in data] == []


async def test_account_names_in_settings_are_not_found_in_the_files_either(tmp_path: Path) -> None:
    store = open_store(tmp_path, None, {})
    await store.save_settings(Setting.SMTP, 0, smtp_settings("somebody@example.com"), audit_record())
    data = b"".join(database_files(tmp_path).values())
    await store.close()
    assert b"somebody@example.com" not in data
