"""The background refreshes ahead of time: each account once, spread out, at least weekly, whatever the clock does."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest
from fakes import ENDED, HOUR, START, FakeClock, ScriptedRefresher, failure, give_token
from token_bench import Bench

from valija.domain.errors import StoreError
from valija.domain.text import message
from valija.domain.token import Invalid, Retrieved
from valija.services.refresher import BATCH, BackgroundRefresher

IDLE_90 = timedelta(days=90)


async def run_for(bench: Bench, seconds: float) -> None:
    """Let the background run for a simulated time."""
    task = asyncio.create_task(BackgroundRefresher(bench.manager, bench.store, bench.clock).run())
    await bench.clock.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def be_idle(bench: Bench, how_long: timedelta) -> None:
    """Let days pass in which nobody logs in; the background wakes when something is due."""
    refresher = BackgroundRefresher(bench.manager, bench.store, bench.clock)
    while (due := await bench.store.next_due()) is not None and due < START + how_long:
        bench.clock.jump(max((due - bench.clock.now()).total_seconds(), 1.0))
        await refresher.refresh_due()


async def test_a_thousand_accounts_in_an_hour_are_refreshed_exactly_once_each_and_spread() -> None:
    bench = Bench()
    accounts = [f"account-{n}" for n in range(1000)]
    for account in accounts:
        await give_token(bench.manager, bench.clock, account)
    await run_for(bench, 3600)
    assert Counter(account for _at, account in bench.provider.asked) == Counter(accounts)
    moments = [at - START for at, _account in bench.provider.asked]
    assert min(moments) >= timedelta(minutes=42)
    assert max(moments) <= timedelta(minutes=48, seconds=15)
    per_minute = Counter(int(moment.total_seconds() // 60) for moment in moments)
    assert max(per_minute.values()) < 250


async def test_a_slow_provider_is_asked_for_few_accounts_at_once_and_for_all() -> None:
    clock = FakeClock()
    provider = ScriptedRefresher(clock, takes=2.0)
    bench = Bench(clock=clock, provider=provider)
    for n in range(100):
        await give_token(bench.manager, bench.clock, f"account-{n}", expires_at=START)
    await run_for(bench, 60)
    at_once = Counter(at for at, _account in provider.asked)
    assert max(at_once.values()) == 8
    assert len({account for _at, account in provider.asked}) == 100


async def test_ninety_idle_days_with_long_lived_tokens_have_a_refresh_every_week() -> None:
    clock = FakeClock()
    bench = Bench(clock=clock, provider=ScriptedRefresher(clock, life=timedelta(days=60)))
    await give_token(bench.manager, bench.clock, life=timedelta(days=60))
    await be_idle(bench, IDLE_90)
    moments = [START, *(at for at, _account in bench.provider.asked)]
    assert 12 <= len(bench.provider.asked) <= 14
    assert max(b - a for a, b in pairwise(moments)) <= timedelta(days=7)


async def test_half_an_idle_year_with_hourly_tokens_never_lets_one_expire() -> None:
    bench = Bench()
    await give_token(bench.manager, bench.clock)
    await be_idle(bench, timedelta(days=182))
    moments = [START, *(at for at, _account in bench.provider.asked)]
    assert max(b - a for a, b in pairwise(moments)) < HOUR
    assert bench.clock.now() > START + timedelta(days=181)
    assert not (await bench.stored()).tokens.is_expired(bench.clock.now())


async def test_a_provider_that_was_down_for_a_day_costs_no_token() -> None:
    bench = Bench()
    await give_token(bench.manager, bench.clock)
    bench.provider.always = failure()
    await run_for(bench, 24 * 3600)
    assert isinstance((await bench.store.load_token("smtp")).state, Retrieved)
    assert len(bench.provider.asked) < 24 * 8 + 20
    bench.provider.always = None
    await run_for(bench, 901)
    assert not (await bench.stored()).tokens.is_expired(bench.clock.now())
    assert (await bench.stored()).trouble is None


async def test_after_a_sleep_of_the_machine_what_is_due_is_found_within_seconds() -> None:
    bench = Bench()
    await give_token(bench.manager, bench.clock)
    task = asyncio.create_task(BackgroundRefresher(bench.manager, bench.store, bench.clock).run())
    await bench.clock.sleep(60)
    bench.clock.set_wall(START + timedelta(hours=10))  # the monotonic clock stood still
    await bench.clock.sleep(16)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(bench.provider.asked) == 1


@pytest.mark.parametrize("failed", [False, True])
async def test_a_clock_that_was_a_year_ahead_keeps_no_account_from_being_refreshed(failed: bool) -> None:
    """Refreshed, or tried in vain, while the clock was wrong: the idle limits would come before that year is over."""
    bench = Bench()
    await give_token(bench.manager, bench.clock)
    bench.clock.set_wall(START + timedelta(days=365))
    bench.provider.answers = [failure("provider_tls")] if failed else []
    await BackgroundRefresher(bench.manager, bench.store, bench.clock).refresh_due()
    bench.clock.set_wall(START + timedelta(minutes=1))
    await run_for(bench, 3600)
    assert len(bench.provider.asked) >= 2
    assert (await bench.store.next_due() or START) < bench.clock.now() + timedelta(hours=1)


async def test_an_ended_grant_is_looked_at_again_every_six_hours_only() -> None:
    bench = Bench()
    await give_token(bench.manager, bench.clock)
    bench.provider.always = ENDED
    await run_for(bench, 25 * 3600)
    assert isinstance((await bench.store.load_token("smtp")).state, Invalid)
    assert 4 <= len(bench.provider.asked) <= 6


async def test_one_account_in_trouble_holds_up_no_other() -> None:
    bench = Bench()
    await give_token(bench.manager, bench.clock, "bad")
    await give_token(bench.manager, bench.clock, "good")

    original = bench.provider.refresh

    async def refresh(account, tokens):  # type: ignore[no-untyped-def]
        if account == "bad":
            raise StoreError(message("The store cannot be used."))
        return await original(account, tokens)

    bench.provider.refresh = refresh  # type: ignore[method-assign]
    await run_for(bench, 3600)
    assert {account for _at, account in bench.provider.asked} == {"good"}


async def test_many_accounts_in_a_pause_crowd_out_no_other() -> None:
    bench = Bench()
    for n in range(2 * BATCH):
        await give_token(bench.manager, bench.clock, f"bad-{n}", expires_at=START)
    bench.provider.always = failure("provider_throttling", retry_after=6 * 3600.0)
    await run_for(bench, 60)
    bench.provider.always = None
    await give_token(bench.manager, bench.clock, "good")
    await run_for(bench, 3600)
    assert "good" in {account for _at, account in bench.provider.asked}


async def test_the_background_goes_on_after_the_disk_was_full() -> None:
    bench = Bench()
    await give_token(bench.manager, bench.clock)
    bench.store.failures = 3
    await run_for(bench, 3600)
    assert bench.manager.unsaved == frozenset()
    assert len(bench.provider.asked) == 1
    assert (await bench.stored()).tokens.access_token.reveal() == "access 1"


async def test_tokens_that_could_not_be_written_are_within_a_second_of_there_being_space() -> None:
    """Until then a power cut, or another node with the old refresh token, would end the grant; nothing else is due for long."""
    bench = Bench()
    await give_token(bench.manager, bench.clock)
    bench.store.failures = 10**6
    await bench.manager.refresh("smtp")
    task = asyncio.create_task(BackgroundRefresher(bench.manager, bench.store, bench.clock).run())
    await bench.clock.sleep(200)
    assert bench.manager.unsaved == {"smtp"}
    bench.store.failures = 0
    await bench.clock.sleep(1.5)
    assert bench.manager.unsaved == frozenset()
    assert (await bench.manager.bearer("smtp")).token.reveal() == "access 1"
    assert len(bench.provider.asked) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_nothing_is_asked_where_there_are_no_tokens() -> None:
    bench = Bench()
    await run_for(bench, 3600)
    assert bench.provider.asked == []
