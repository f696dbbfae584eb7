"""What happens to a token when the disk is full, the provider is down, or somebody changes it meanwhile."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from fakes import ANA, ENDED, HOUR, FailingStore, FakeClock, ScriptedRefresher, failure, give_token, settle
from token_bench import Bench

from valija.domain.errors import ConsentNeeded, StoreFull, TryLater
from valija.domain.token import (
    Authorization,
    AuthorizationStarted,
    AwaitingAuthorization,
    Invalid,
    InvalidCause,
    NotRetrieved,
    Retrieved,
    TokenDeleted,
    TokenObtained,
    TokenSet,
)
from valija.domain.trouble import Trouble, WhoActs
from valija.services.token_manager import Refreshed, RefreshFailed, TokenManager


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def with_unsaved(bench: Bench) -> None:
    """Refresh while the disk is full."""
    await bench.expired()
    bench.store.failures = 1
    with pytest.raises(TryLater):
        await bench.manager.bearer("smtp")


# --- the disk is full between answer and disk ---------------------------------------------------------------------------


async def test_tokens_that_cannot_be_written_are_kept_but_not_given_out(bench: Bench) -> None:
    await with_unsaved(bench)
    assert bench.manager.unsaved == {"smtp"}
    assert (await bench.stored()).tokens.access_token.reveal() == "access smtp"


async def test_unsaved_tokens_are_written_before_anything_else_is_asked(bench: Bench) -> None:
    await with_unsaved(bench)
    bench.clock.jump(60)
    assert (await bench.manager.bearer("smtp")).token.reveal() == "access 1"
    assert bench.manager.unsaved == frozenset()
    assert len(bench.provider.asked) == 1


async def test_the_background_writes_unsaved_tokens_too(bench: Bench) -> None:
    await with_unsaved(bench)
    bench.clock.jump(60)
    await bench.manager.refresh_if_due("smtp")
    assert (await bench.stored()).tokens.access_token.reveal() == "access 1"
    assert len(bench.provider.asked) == 1


async def test_while_the_disk_stays_full_the_old_refresh_token_is_never_sent_again(bench: Bench) -> None:
    await with_unsaved(bench)
    for _ in range(5):
        bench.store.failures = 1
        bench.clock.jump(3600)
        with pytest.raises((TryLater, StoreFull)):
            await bench.manager.bearer("smtp")
    assert len(bench.provider.asked) == 1
    bench.clock.jump(3600)
    await bench.manager.bearer("smtp")
    sent = [tokens.refresh_token.reveal() for tokens in bench.provider.sent if tokens.refresh_token]
    assert sent == ["refresh smtp", "refresh 1"]


async def test_stopping_tries_once_more_to_write_unsaved_tokens(bench: Bench) -> None:
    await with_unsaved(bench)
    await bench.manager.close()
    assert (await bench.stored()).tokens.access_token.reveal() == "access 1"
    assert bench.manager.unsaved == frozenset()


async def test_deleting_forgets_unsaved_tokens_and_gives_them_back_for_revocation(bench: Bench) -> None:
    await with_unsaved(bench)
    kept = await bench.manager.delete("smtp", ANA)
    assert kept is not None
    assert kept.refresh_token is not None
    assert kept.refresh_token.reveal() == "refresh 1"
    assert bench.manager.unsaved == frozenset()
    await bench.manager.close()
    assert (await bench.store.load_token("smtp")).state == NotRetrieved()


async def test_unsaved_tokens_of_another_grant_are_revoked_not_stored(bench: Bench) -> None:
    await with_unsaved(bench)
    await give_token(bench.manager, bench.clock, grant_id="another grant")
    await bench.manager.close()
    assert (await bench.stored()).tokens.grant_id == "another grant"
    assert [tokens.access_token.reveal() for tokens in bench.provider.discarded] == ["access 1"]


# --- somebody changes the token meanwhile -------------------------------------------------------------------------------


async def in_the_air(bench: Bench) -> asyncio.Task[object]:
    """Begin a refresh that has not been answered yet."""
    await bench.expired()
    bench.provider.gate = asyncio.Event()
    caller: asyncio.Task[object] = asyncio.create_task(bench.manager.bearer("smtp"))
    await settle()
    assert len(bench.provider.asked) == 1
    return caller


async def land(bench: Bench, caller: asyncio.Task[object]) -> object:
    assert bench.provider.gate is not None
    bench.provider.gate.set()
    return (await asyncio.gather(caller, return_exceptions=True))[0]


async def test_a_token_that_comes_after_deletion_is_revoked_and_not_stored(bench: Bench) -> None:
    caller = await in_the_air(bench)
    await bench.manager.delete("smtp", ANA)
    assert isinstance(await land(bench, caller), ConsentNeeded)
    assert (await bench.store.load_token("smtp")).state == NotRetrieved()
    assert [tokens.access_token.reveal() for tokens in bench.provider.discarded] == ["access 1"]


async def test_a_token_that_comes_after_another_grant_was_got_is_revoked_and_not_stored(bench: Bench) -> None:
    caller = await in_the_air(bench)
    await give_token(bench.manager, bench.clock, grant_id="another grant")
    await land(bench, caller)
    assert (await bench.stored()).tokens.grant_id == "another grant"
    assert len(bench.provider.discarded) == 1


async def test_a_deletion_between_reading_and_writing_wins(bench: Bench) -> None:
    await bench.expired()

    async def delete() -> None:
        await bench.manager.delete("smtp", ANA)

    bench.store.before_write = delete
    with pytest.raises(ConsentNeeded):
        await bench.manager.bearer("smtp")
    assert (await bench.store.load_token("smtp")).state == NotRetrieved()
    assert len(bench.provider.discarded) == 1


async def test_a_proven_end_that_comes_after_another_grant_was_got_changes_nothing(bench: Bench) -> None:
    bench.provider.answers = [ENDED]
    caller = await in_the_air(bench)
    await give_token(bench.manager, bench.clock, grant_id="another grant")
    await land(bench, caller)
    assert (await bench.stored()).tokens.grant_id == "another grant"


async def test_an_authorization_that_starts_during_a_refresh_keeps_the_new_token(bench: Bench) -> None:
    caller = await in_the_air(bench)
    now = bench.clock.now()
    asked = Authorization("new", (await bench.stored()).tokens.grant, now, now + HOUR)
    await bench.manager.apply("smtp", AuthorizationStarted(asked))
    await land(bench, caller)
    state = (await bench.store.load_token("smtp")).state
    assert isinstance(state, AwaitingAuthorization)
    assert isinstance(state.before, Retrieved)
    assert state.before.tokens.access_token.reveal() == "access 1"
    assert bench.provider.discarded == []


async def test_an_answer_to_an_authorization_that_is_over_changes_nothing(bench: Bench) -> None:
    tokens = await give_token(bench.manager, bench.clock)
    before = await bench.store.load_token("smtp")
    await bench.manager.apply("smtp", TokenObtained("somebody else's", tokens))
    assert await bench.store.load_token("smtp") == before


async def test_many_events_at_once_are_all_brought_to_the_state(bench: Bench) -> None:
    tokens = await give_token(bench.manager, bench.clock)
    troubles = [Trouble("account_refused", WhoActs.USER, str(n), bench.clock.now()) for n in range(8)]
    await asyncio.gather(*(bench.manager.report_login("smtp", tokens.grant_id, t) for t in troubles))
    assert (await bench.stored()).refusals == 8


# --- back-off ---------------------------------------------------------------------------------------------------------------


async def test_the_background_slows_down_from_seconds_to_a_quarter_of_an_hour(bench: Bench) -> None:
    await bench.expired()
    bench.provider.always = failure()
    for _ in range(3 * 3600):
        await bench.manager.refresh_if_due("smtp")
        bench.clock.jump(1)
    moments = [at for at, _account in bench.provider.asked]
    gaps = [(b - a).total_seconds() for a, b in pairwise(moments)]
    for gap, base in zip(gaps, [5, 10, 20, 40, 80, 160, 320, 640, *[900] * 100], strict=False):
        assert base / 2 <= gap <= base + 1
    assert 15 <= len(moments) <= 35


async def test_the_store_knows_when_the_pause_ends(bench: Bench) -> None:
    await bench.expired()
    bench.provider.answers = [failure("provider_throttling", retry_after=600.0)]
    await bench.manager.refresh("smtp")
    due = await bench.store.next_due()
    assert due is not None
    assert due >= bench.clock.now() + timedelta(seconds=600)


async def test_nobody_is_slowed_down_after_the_provider_is_back(bench: Bench) -> None:
    await bench.expired()
    bench.provider.answers = [failure()] * 6
    for _ in range(1000):
        await bench.manager.refresh_if_due("smtp")
        bench.clock.jump(1)
    assert (await bench.stored()).trouble is None
    bench.clock.jump(2 * 3600)
    asked = len(bench.provider.asked)
    await bench.manager.refresh_if_due("smtp")
    assert len(bench.provider.asked) == asked + 1


async def test_log_ins_wait_half_a_minute_at_most_after_a_failure(bench: Bench) -> None:
    await bench.expired()
    bench.provider.always = failure()
    for _ in range(12):
        with pytest.raises(TryLater):
            await bench.manager.bearer("smtp")
        bench.clock.jump(30)
    assert len(bench.provider.asked) == 12
    for _ in range(100):
        with pytest.raises(TryLater):
            await bench.manager.bearer("smtp")
    assert len(bench.provider.asked) == 13


@pytest.mark.parametrize("seconds", [120.0, 3600.0])
async def test_the_providers_retry_after_is_kept_by_log_ins_and_background(bench: Bench, seconds: float) -> None:
    await bench.expired()
    bench.provider.always = failure("provider_throttling", retry_after=seconds)
    for _ in range(int(seconds / 10)):
        with pytest.raises(TryLater):
            await bench.manager.bearer("smtp")
        await bench.manager.refresh_if_due("smtp")
        bench.clock.jump(10)
    assert len(bench.provider.asked) == 1
    bench.clock.jump(seconds * 0.1 + 1)
    with pytest.raises(TryLater):
        await bench.manager.bearer("smtp")
    assert len(bench.provider.asked) == 2


async def test_an_absurd_retry_after_holds_for_six_hours_and_a_little(bench: Bench) -> None:
    await bench.expired()
    bench.provider.answers = [failure("provider_throttling", retry_after=10.0**9)]
    await bench.manager.refresh("smtp")
    bench.clock.jump(6.7 * 3600)
    assert (await bench.manager.bearer("smtp")).token.reveal() == "access 2"


async def test_a_person_is_never_held_up_by_a_pause(bench: Bench) -> None:
    await bench.expired()
    bench.provider.answers = [failure("provider_throttling", retry_after=3600.0)]
    await bench.manager.refresh("smtp")
    await bench.manager.refresh("smtp")
    assert (await bench.stored()).tokens.access_token.reveal() == "access 2"


async def test_where_a_person_must_act_the_background_asks_every_quarter_hour_at_most(bench: Bench) -> None:
    await bench.expired()
    bench.provider.always = failure("invalid_client", WhoActs.OPERATOR)
    for _ in range(900 - 1):
        await bench.manager.refresh_if_due("smtp")
        bench.clock.jump(1)
    assert len(bench.provider.asked) == 1


async def test_a_pause_ends_when_something_about_the_account_was_changed(bench: Bench) -> None:
    await bench.expired()
    bench.provider.answers = [failure("provider_throttling", retry_after=3600.0)]
    await bench.manager.refresh("smtp")
    bench.manager.forget_pauses("smtp")
    assert (await bench.manager.bearer("smtp")).token.reveal() == "access 2"


async def test_a_clock_that_was_set_back_ends_a_pause(bench: Bench) -> None:
    await bench.expired()
    bench.provider.answers = [failure("provider_throttling", retry_after=3600.0)]
    await bench.manager.refresh("smtp")
    bench.clock.set_wall(bench.clock.now() - timedelta(days=2))
    assert (await bench.manager.bearer("smtp")).token.reveal() == "access 2"


# --- an account that refuses --------------------------------------------------------------------------------------------


async def refuse(manager: TokenManager, clock: FakeClock, grant_id: str) -> None:
    trouble = Trouble("account_refused", WhoActs.ADMINISTRATOR, "535 5.7.139", clock.now())
    await manager.report_login("smtp", grant_id, trouble)


async def test_an_account_that_refuses_again_and_again_makes_the_token_invalid_and_heals_by_itself(
    bench: Bench,
) -> None:
    tokens = await give_token(bench.manager, bench.clock)
    for _ in range(2):
        await refuse(bench.manager, bench.clock, tokens.grant_id)
        bench.clock.jump(40)
    assert isinstance((await bench.store.load_token("smtp")).state, Retrieved)
    await refuse(bench.manager, bench.clock, tokens.grant_id)
    state = (await bench.store.load_token("smtp")).state
    assert isinstance(state, Invalid)
    assert state.cause is InvalidCause.ACCOUNT_REFUSED
    assert (await bench.manager.bearer("smtp")).grant_id == tokens.grant_id  # it is tried again
    await bench.manager.report_login("smtp", tokens.grant_id, None)
    assert isinstance((await bench.store.load_token("smtp")).state, Retrieved)


async def test_a_refused_account_whose_provider_is_down_is_not_looked_at_all_the_time(bench: Bench) -> None:
    tokens = await give_token(bench.manager, bench.clock)
    for _ in range(4):
        await refuse(bench.manager, bench.clock, tokens.grant_id)
        bench.clock.jump(40)
    bench.clock.jump(7200)
    bench.provider.answers = [failure("provider_down", retry_after=300.0)]
    await bench.manager.refresh_if_due("smtp")
    due = await bench.store.next_due()
    assert due is not None
    assert due >= bench.clock.now() + timedelta(seconds=300)
    assert isinstance((await bench.store.load_token("smtp")).state, Invalid)


async def test_three_refusals_within_a_minute_are_not_enough(bench: Bench) -> None:
    tokens = await give_token(bench.manager, bench.clock)
    for _ in range(10):
        await refuse(bench.manager, bench.clock, tokens.grant_id)
        bench.clock.jump(5)
    assert isinstance((await bench.store.load_token("smtp")).state, Retrieved)


async def test_a_store_that_reads_but_cannot_write_gives_usable_tokens_still() -> None:
    clock, store = FakeClock(), FailingStore()
    bench = Bench(store=store, clock=clock, provider=ScriptedRefresher(clock))
    await give_token(bench.manager, clock)
    store.failures = 1000
    assert (await bench.manager.bearer("smtp")).token.reveal() == "access smtp"


# --- what two do at one moment ------------------------------------------------------------------------------------------


async def test_deleting_while_unsaved_tokens_are_written_breaks_nothing(bench: Bench) -> None:
    await with_unsaved(bench)
    bench.clock.jump(60)

    async def delete() -> None:
        await bench.manager.delete("smtp", ANA)

    bench.store.before_write = delete
    await bench.manager.refresh_if_due("smtp")
    assert (await bench.store.load_token("smtp")).state == NotRetrieved()
    assert bench.manager.unsaved == frozenset()


async def test_deleting_gives_back_the_refresh_token_that_came_a_moment_before(bench: Bench) -> None:
    """The one from before it is of no use to whoever revokes."""
    await bench.expired()

    async def refresh() -> None:
        await bench.manager.refresh("smtp")

    bench.store.before_write = refresh
    kept = await bench.manager.delete("smtp", ANA)
    assert kept is not None
    assert kept.refresh_token is not None
    assert kept.refresh_token.reveal() == "refresh 1"


async def test_tokens_that_could_not_be_written_are_let_go_with_their_account(bench: Bench) -> None:
    await with_unsaved(bench)
    await bench.manager.apply("smtp", TokenDeleted())  # as a change of the setting does it
    await bench.manager.let_go("smtp")
    assert bench.manager.unsaved == frozenset()
    assert [tokens.access_token.reveal() for tokens in bench.provider.discarded] == ["access 1"]


# --- Retry-After, refusals ----------------------------------------------------------------------------------------------


async def test_a_short_retry_after_makes_log_ins_wait_no_longer_than_none(bench: Bench) -> None:
    """The eighth failure slows the background down to many minutes, never a log-in."""
    await bench.expired()
    bench.provider.always = failure("provider_throttling", retry_after=1.0)
    for _ in range(8):
        await bench.manager.refresh("smtp")
    bench.provider.always = None
    bench.clock.jump(31)
    assert (await bench.manager.bearer("smtp")).token.reveal() == "access 9"


async def test_a_provider_that_gives_the_same_access_token_again_is_asked_once(bench: Bench) -> None:
    """Then the log-in is tried with it, so that its refusal is told as what it is."""
    tokens = await give_token(bench.manager, bench.clock)
    bench.provider.same_access_token = True
    bench.clock.jump(60)
    bearer = await bench.manager.bearer("smtp", refused=tokens.access_token)
    assert bearer.token == tokens.access_token
    assert len(bench.provider.asked) == 1
    bench.clock.jump(60)
    await bench.manager.refresh("smtp")
    assert len(bench.provider.asked) == 2


async def test_a_refused_token_that_nothing_renews_is_given_out_while_it_lives(bench: Bench) -> None:
    """The refusal is the account's news; that a good token has expired would be untrue."""
    tokens = await give_token(bench.manager, bench.clock, refresh_token=None)
    bearer = await bench.manager.bearer("smtp", refused=tokens.access_token)
    assert bearer.token == tokens.access_token
    bench.clock.jump(3600)
    with pytest.raises(ConsentNeeded):
        await bench.manager.bearer("smtp", refused=tokens.access_token)


# --- several nodes ------------------------------------------------------------------------------------------------------


async def test_a_node_keeps_its_pause_when_another_one_was_refused_too(bench: Bench) -> None:
    """Else two nodes would ask a provider that wants rest in turn, at each log-in."""
    other = Bench(clock=bench.clock, store=bench.store, provider=bench.provider)
    await bench.expired()
    bench.provider.always = failure("provider_throttling", retry_after=3600.0)
    for _ in range(10):
        for node, neighbour in ((bench, other), (other, bench)):
            with pytest.raises(TryLater):
                await node.manager.bearer("smtp")
            await neighbour.manager.hear_of("smtp")
        bench.clock.jump(60)
    assert len(bench.provider.asked) == 2


async def test_a_node_uses_at_once_what_another_one_has_got(bench: Bench) -> None:
    other = Bench(clock=bench.clock, store=bench.store, provider=bench.provider)
    await bench.expired()
    bench.provider.answers = [failure(retry_after=3600.0)]
    with pytest.raises(TryLater):
        await bench.manager.bearer("smtp")
    await other.manager.refresh("smtp")
    await bench.manager.hear_of("smtp")
    bench.clock.jump(2 * 3600)
    assert (await bench.manager.bearer("smtp")).token.reveal() == "access 3"


async def test_a_refusal_of_tokens_that_another_node_has_replaced_ends_nothing(bench: Bench) -> None:
    """The connection that kept it out was lost while the provider was asked; its own refresh token was used up by then."""
    other = Bench(clock=bench.clock, store=bench.store)
    await bench.expired()
    asked = bench.provider.refresh

    async def late(account: str, tokens: TokenSet) -> Refreshed | RefreshFailed:
        await other.manager.bearer(account)
        return await asked(account, tokens)

    bench.provider.answers.append(ENDED)
    bench.provider.refresh = late  # type: ignore[method-assign]
    assert (await bench.manager.bearer("smtp")).token.reveal() == "access 1"
    assert (await bench.stored()).tokens.access_token.reveal() == "access 1"
    await bench.manager.bearer("smtp")
    assert len(bench.provider.asked) == 1
