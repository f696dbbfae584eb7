"""Tokens: one request for all who ask; ten thousand accounts in an hour."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.figures import Row, Section
from valija.domain.account import GrantKind
from valija.domain.refresh_policy import due_at
from valija.domain.token import Retrieved, TokenSet
from valija.secret import Secret
from valija.services.events import EventBus
from valija.services.refresher import BackgroundRefresher
from valija.services.token_manager import Refreshed, TokenManager
from valija.store.sqlite import open_store

ACCOUNTS = 10_000
CALLERS = 100
START = datetime(2026, 11, 1, tzinfo=UTC)


class _Clock:
    """A clock that jumps over the time that is slept."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


class _Provider:
    """Counts requests; answers after a moment, as a network would."""

    def __init__(self, clock: _Clock) -> None:
        self.requests: Counter[str] = Counter()
        self.minutes: Counter[int] = Counter()
        self._clock = clock

    async def refresh(self, account: str, tokens: TokenSet) -> Refreshed:
        self.requests[account] += 1
        self.minutes[int(self._clock.seconds // 60)] += 1
        await asyncio.sleep(0)
        now = self._clock.now()
        fresh = replace(
            tokens,
            access_token=Secret(f"fresh-{account}"),
            refresh_token=Secret("r" * 1000),
            refreshed_at=now,
            expires_at=now + timedelta(hours=24),
        )
        return Refreshed(fresh, self._nothing)

    async def _nothing(self) -> None:
        return None


async def _measure(directory: Path) -> tuple[Row, ...]:
    store = await asyncio.to_thread(open_store, directory, None, {})
    clock, rng = _Clock(), random.Random(7)
    provider = _Provider(clock)
    tokens = TokenManager(store, provider, clock, EventBus(), rng)

    one = _token_set(START - timedelta(hours=1), START - timedelta(seconds=1))
    await store.replace_token("shared", 0, Retrieved(one), due_at=None)
    await asyncio.gather(*(tokens.bearer("shared") for _ in range(CALLERS)))
    flight = provider.requests.pop("shared")
    provider.minutes.clear()

    for number in range(ACCOUNTS):
        token_set = _token_set(START, START + timedelta(hours=1))
        state = Retrieved(token_set)
        due = due_at(state, now=START, jitter=rng.random())
        await store.replace_token(f"account-{number}", 0, state, due_at=due)
    cpu, wall = time.process_time(), time.perf_counter()
    background = BackgroundRefresher(tokens, store, clock)
    while clock.seconds < 3600:
        while await background.refresh_due():
            pass
        await clock.sleep(15)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    await tokens.close()
    await store.close()
    busiest = max(provider.minutes.values())
    total, accounts = sum(provider.requests.values()), len(provider.requests)
    return (
        Row(
            f"token requests of {CALLERS} simultaneous callers of one expired token", str(flight), "", "goal exactly 1"
        ),
        Row(
            "token requests in a simulated hour",
            f"{total:,} of {accounts:,}",
            "",
            f"goal exactly {ACCOUNTS:,}",
        ),
        Row("requests in the busiest minute", f"{busiest:,}", "", f"over {len(provider.minutes)} minutes"),
        Row(
            "CPU of a refresh (policy, encryption, durable write)",
            f"{cpu / ACCOUNTS * 1e6:.0f} µs",
            "",
            f"{wall:.1f} s in all",
        ),
    )


def _token_set(got: datetime, until: datetime) -> TokenSet:
    return TokenSet(
        grant_id="g",
        grant=GrantKind.DEVICE,
        access_token=Secret("a" * 2000),
        refresh_token=Secret("r" * 1000),
        scopes=("smtp",),
        obtained_at=got,
        refreshed_at=got,
        expires_at=until,
    )


def tokens() -> Section:
    """Measure."""
    with tempfile.TemporaryDirectory() as directory:
        rows = asyncio.run(_measure(Path(directory)))
    return Section(
        "Tokens", "TokenManager and BackgroundRefresher on the SQLite store, the provider counted, time injected.", rows
    )
