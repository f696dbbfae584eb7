"""What every engine promises about tokens."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from store_engines import store_fixture
from store_values import NOW, audit_record, every_state, token_set

from valija.domain.account import GrantKind
from valija.domain.token import NotRetrieved, Retrieved, TokenState
from valija.secret import Secret
from valija.store.port import Store, VersionedToken

store = store_fixture


async def put(store: Store, account: str, state: TokenState | None = None, *, version: int = 0) -> VersionedToken:
    written = await store.replace_token(account, version, state or Retrieved(token_set()), due_at=None)
    assert written is not None
    return written


async def test_an_account_never_stored_has_version_0_and_no_token(store: Store) -> None:
    assert await store.load_token("smtp") == VersionedToken(0, NotRetrieved())


@pytest.mark.parametrize("state", every_state(), ids=lambda state: type(state).__name__)
async def test_every_state_comes_back_as_it_went_in(store: Store, state: TokenState) -> None:
    written = await store.replace_token("smtp", 0, state, due_at=None)
    assert written == VersionedToken(1, state)
    assert await store.load_token("smtp") == written


@pytest.mark.parametrize("text", ["ñandú", "tab\tand\nline", '"quoted"', "\u2028", "x" * 60_000, "🖷"])
async def test_a_token_of_any_characters_and_length_comes_back(store: Store, text: str) -> None:
    state = Retrieved(replace(token_set(), access_token=Secret(text), refresh_token=Secret(text * 2)))
    await put(store, "smtp", state)
    assert (await store.load_token("smtp")).state == state


async def test_each_write_raises_the_version_by_one(store: Store) -> None:
    versions = [(await put(store, "smtp", version=v)).version for v in range(4)]
    assert versions == [1, 2, 3, 4]


@pytest.mark.parametrize("expected", [0, 1, 3, 99])
async def test_a_write_on_another_version_changes_nothing(store: Store, expected: int) -> None:
    await put(store, "smtp")
    before = await put(store, "smtp", Retrieved(token_set("kept")), version=1)
    late = await store.replace_token("smtp", expected, NotRetrieved(), due_at=NOW, audit=audit_record())
    assert late is None
    assert await store.load_token("smtp") == before
    assert await store.next_due() is None
    assert await store.list_audit(10) == []


async def test_a_first_write_must_expect_version_0(store: Store) -> None:
    assert await store.replace_token("smtp", 1, Retrieved(token_set()), due_at=NOW) is None
    assert await store.load_token("smtp") == VersionedToken(0, NotRetrieved())
    assert await store.list_tokens() == {}


async def test_of_many_writers_with_one_version_exactly_one_wins(store: Store) -> None:
    await put(store, "smtp")
    states = [Retrieved(token_set(str(n))) for n in range(40)]
    written = await asyncio.gather(*(store.replace_token("smtp", 1, s, due_at=None) for s in states))
    winners = [w for w in written if w is not None]
    assert len(winners) == 1
    assert await store.load_token("smtp") == winners[0]


async def test_of_many_first_writers_exactly_one_wins(store: Store) -> None:
    states = [Retrieved(token_set(str(n))) for n in range(40)]
    written = await asyncio.gather(*(store.replace_token("smtp", 0, s, due_at=None) for s in states))
    assert [w.version for w in written if w is not None] == [1]


async def test_accounts_do_not_touch_each_other(store: Store) -> None:
    await put(store, "smtp", Retrieved(token_set("s")))
    await put(store, "internet-fax", Retrieved(token_set("f")))
    await put(store, "smtp", NotRetrieved(), version=1)
    assert (await store.load_token("internet-fax")) == VersionedToken(1, Retrieved(token_set("f")))


async def test_all_states_are_listed_by_account_in_order(store: Store) -> None:
    for account in ("smtp", "email-print", "internet-fax"):
        await put(store, account, Retrieved(token_set(account)))
    listed = await store.list_tokens()
    assert list(listed) == ["email-print", "internet-fax", "smtp"]
    assert listed["smtp"] == VersionedToken(1, Retrieved(token_set("smtp")))


async def test_an_audit_record_is_written_with_its_token(store: Store) -> None:
    record = audit_record("smtp")
    await store.replace_token("smtp", 0, NotRetrieved(), due_at=None, audit=record)
    assert [stored.record for stored in await store.list_audit(10)] == [record]


async def test_due_accounts_come_longest_due_first_and_limited(store: Store) -> None:
    for minutes, account in ((30, "a"), (10, "b"), (20, "c"), (40, "later")):
        due = NOW + timedelta(minutes=minutes)
        await store.replace_token(account, 0, Retrieved(token_set()), due_at=due)
    now = NOW + timedelta(minutes=30)
    assert await store.tokens_due(now, 10) == ["b", "c", "a"]
    assert await store.tokens_due(now, 2) == ["b", "c"]
    assert await store.tokens_due(NOW, 10) == []


async def test_an_account_is_due_at_its_very_moment(store: Store) -> None:
    await store.replace_token("smtp", 0, Retrieved(token_set()), due_at=NOW)
    assert await store.tokens_due(NOW - timedelta(milliseconds=1), 10) == []
    assert await store.tokens_due(NOW, 10) == ["smtp"]


async def test_a_moment_that_no_right_clock_has_written_is_due(store: Store) -> None:
    """The clock was a year ahead: nobody waits a year for the account, and it takes no other's place."""
    await store.replace_token("ahead", 0, Retrieved(token_set()), due_at=NOW + timedelta(days=365))
    await store.replace_token("late", 0, Retrieved(token_set()), due_at=NOW + timedelta(days=31))
    await store.replace_token("due", 0, Retrieved(token_set()), due_at=NOW)
    assert await store.tokens_due(NOW, 10) == ["due", "ahead"]
    assert await store.tokens_due(NOW, 1) == ["due"]


async def test_the_next_due_moment_is_the_earliest(store: Store) -> None:
    assert await store.next_due() is None
    await store.replace_token("a", 0, Retrieved(token_set()), due_at=NOW + timedelta(hours=2))
    await store.replace_token("b", 0, Retrieved(token_set()), due_at=NOW + timedelta(hours=1))
    await store.replace_token("c", 0, NotRetrieved(), due_at=None)
    assert await store.next_due() == NOW + timedelta(hours=1)


async def test_a_write_replaces_the_due_moment_too(store: Store) -> None:
    await store.replace_token("smtp", 0, Retrieved(token_set()), due_at=NOW)
    await store.replace_token("smtp", 1, Retrieved(token_set()), due_at=NOW + timedelta(hours=1))
    assert await store.next_due() == NOW + timedelta(hours=1)
    await store.replace_token("smtp", 2, Retrieved(token_set()), due_at=None)
    assert await store.next_due() is None
    assert await store.tokens_due(NOW + timedelta(days=1), 10) == []


async def test_a_grant_without_refresh_token_is_kept_as_such(store: Store) -> None:
    bare = replace(token_set(grant=GrantKind.CLIENT_CREDENTIALS), refresh_token=None, refresh_token_expires_at=None)
    await put(store, "smtp", Retrieved(bare))
    assert (await store.load_token("smtp")).state == Retrieved(bare)
