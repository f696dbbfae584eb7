"""API tokens: the same promises of every engine."""

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

from valija.domain.api_token import ApiToken
from valija.domain.errors import StoreError
from valija.domain.record import AuditAction, AuditRecord
from valija.store.port import Store
from valija.store.sqlite import open_store
from valija.store.sqlite_file import FILE_NAME

store = store_fixture

MADE: Final = audit_record("backup", AuditAction.API_TOKEN_MADE)
DELETED: Final = audit_record("backup", AuditAction.API_TOKEN_DELETED)
MINUTE: Final = timedelta(minutes=1)


def api_token(name: str = "backup", digest: str = "a" * 64, **changes: object) -> ApiToken:
    """Return a token."""
    usual = ApiToken(name, digest, ("read", "mail"), NOW, NOW + timedelta(days=90), "uid 0")
    return replace(usual, **changes)  # type: ignore[arg-type]


async def trail(store: Store) -> list[AuditRecord]:
    """Return the audit trail, earliest first."""
    return [stored.record for stored in reversed(await store.list_audit(100))]


async def test_there_is_none_at_first(store: Store) -> None:
    assert await store.list_api_tokens() == []
    assert await store.load_api_token("a" * 64) is None


async def test_a_token_comes_back_as_it_was_stored_and_is_recorded(store: Store) -> None:
    assert await store.add_api_token(api_token(), MADE)
    assert await store.load_api_token("a" * 64) == api_token()
    assert await trail(store) == [MADE]


async def test_an_unknown_digest_finds_nothing(store: Store) -> None:
    await store.add_api_token(api_token(), MADE)
    for digest in ("", "a" * 63, "A" * 64, "b" * 64, "backup", "%"):
        assert await store.load_api_token(digest) is None


async def test_tokens_are_listed_by_name_ended_or_not(store: Store) -> None:
    tokens = [api_token("web", "c" * 64, expires_at=NOW), api_token(), api_token("monitor", "b" * 64)]
    for token in tokens:
        assert await store.add_api_token(token, MADE)
    assert await store.list_api_tokens() == sorted(tokens, key=lambda token: token.name)


async def test_a_name_is_given_once_and_the_second_leaves_no_trace(store: Store) -> None:
    await store.add_api_token(api_token(), MADE)
    assert not await store.add_api_token(api_token(digest="b" * 64, scopes=("settings",)), MADE)
    assert await store.load_api_token("a" * 64) == api_token()
    assert await store.load_api_token("b" * 64) is None
    assert await trail(store) == [MADE]


async def test_of_many_with_one_name_at_once_one_is_kept(store: Store) -> None:
    tokens = [api_token(digest=f"{n:064}") for n in range(20)]
    added = await asyncio.gather(*(store.add_api_token(token, MADE) for token in tokens))
    assert added.count(True) == 1
    assert await store.list_api_tokens() == [tokens[added.index(True)]]
    assert len(await trail(store)) == 1


async def test_a_deleted_token_is_gone_and_its_name_is_free(store: Store) -> None:
    await store.add_api_token(api_token(), MADE)
    assert await store.delete_api_token("backup", DELETED)
    assert await store.load_api_token("a" * 64) is None
    assert await store.add_api_token(api_token(digest="b" * 64), MADE)
    assert await trail(store) == [MADE, DELETED, MADE]


async def test_what_is_not_there_is_not_deleted_nor_recorded(store: Store) -> None:
    await store.add_api_token(api_token(), MADE)
    assert not await store.delete_api_token("a" * 64, DELETED)
    assert await trail(store) == [MADE]


async def test_a_use_is_noted_and_nothing_else_changes(store: Store) -> None:
    await store.add_api_token(api_token(), MADE)
    await store.add_api_token(api_token("other", "b" * 64), MADE)
    await store.note_api_token_use("a" * 64, NOW + MINUTE)
    assert await store.load_api_token("a" * 64) == api_token(last_used_at=NOW + MINUTE)
    assert await store.load_api_token("b" * 64) == api_token("other", "b" * 64)


async def test_a_use_never_goes_back(store: Store) -> None:
    await store.add_api_token(api_token(), MADE)
    await store.note_api_token_use("a" * 64, NOW + MINUTE)
    await store.note_api_token_use("a" * 64, NOW)
    assert await store.load_api_token("a" * 64) == api_token(last_used_at=NOW + MINUTE)


async def test_the_use_of_what_is_gone_brings_nothing_back(store: Store) -> None:
    await store.note_api_token_use("a" * 64, NOW)
    assert await store.list_api_tokens() == []


# --- SQLite's own ------------------------------------------------------------------------------------------------------


async def test_tokens_outlive_the_process(tmp_path: Path) -> None:
    opened = open_store(tmp_path, None, {})
    await opened.add_api_token(api_token(), MADE)
    await opened.close()
    again = open_store(tmp_path, None, {})
    assert await again.load_api_token("a" * 64) == api_token()
    await again.close()


@pytest.mark.parametrize("column", ["digest", "name"])
async def test_a_row_that_was_changed_by_hand_opens_nothing(tmp_path: Path, column: str) -> None:
    """Whoever can write to the file, but has no key, makes no token that counts."""
    opened = open_store(tmp_path, None, {})
    await opened.add_api_token(api_token(), MADE)
    await opened.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        connection.execute(f"UPDATE api_tokens SET {column} = ?", ("f" * 64,))
    again = open_store(tmp_path, None, {})
    if column == "digest":
        assert await again.load_api_token("f" * 64) is None
        assert await again.load_api_token("a" * 64) is None
    else:
        with pytest.raises(StoreError):
            await again.load_api_token("a" * 64)
    await again.close()
