"""One refresh for all who ask, on disk before it is used, and nothing wrongly Invalid."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from fakes import (
    ANA,
    ENDED,
    HOUR,
    START,
    failure,
    give_token,
    settle,
    tokens_for,
)
from token_bench import Bench

from valija.domain.account import GrantKind
from valija.domain.errors import ConsentNeeded, TryLater
from valija.domain.record import AuditAction
from valija.domain.token import (
    Authorization,
    AuthorizationStarted,
    AwaitingAuthorization,
    Invalid,
    NotRetrieved,
    Retrieved,
    TokenObtained,
)
from valija.domain.trouble import WhoActs
from valija.services.events import TokenChanged
from valija.services.token_manager import RefreshFailed


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_hundred_callers_of_an_expired_token_cause_exactly_one_request(bench: Bench) -> None:
    await bench.expired()
    bench.provider.gate = asyncio.Event()
    callers = [asyncio.create_task(bench.manager.bearer("smtp")) for _ in range(100)]
    await settle()
    bench.provider.gate.set()
    bearers = await asyncio.gather(*callers)
    assert len(bench.provider.asked) == 1
    assert {bearer.token.reveal() for bearer in bearers} == {"access 1"}


async def test_callers_person_and_background_share_one_request(bench: Bench) -> None:
    await bench.expired()
    bench.provider.gate = asyncio.Event()
    manager = bench.manager
    tasks: list[asyncio.Task[object]] = [
        asyncio.create_task(manager.bearer("smtp")),
        asyncio.create_task(manager.refresh("smtp")),
        asyncio.create_task(manager.refresh_if_due("smtp")),
        asyncio.create_task(manager.bearer("smtp")),
    ]
    await settle()
    bench.provider.gate.set()
    await asyncio.gather(*tasks)
    assert len(bench.provider.asked) == 1


async def test_a_hundred_callers_share_a_failure_too(bench: Bench) -> None:
    await bench.expired()
    bench.provider.answers = [failure()]
    found = await asyncio.gather(*(bench.manager.bearer("smtp") for _ in range(100)), return_exceptions=True)
    assert {type(one) for one in found} == {TryLater}
    assert len(bench.provider.asked) == 1


async def test_accounts_are_refreshed_beside_each_other(bench: Bench) -> None:
    await bench.expired("smtp")
    await give_token(bench.manager, bench.clock, "internet-fax", expires_at=START)
    bench.provider.gate = asyncio.Event()
    tasks = [asyncio.create_task(bench.manager.bearer(a)) for a in ("smtp", "internet-fax")]
    await settle()
    assert {account for _at, account in bench.provider.asked} == {"smtp", "internet-fax"}
    bench.provider.gate.set()
    await asyncio.gather(*tasks)


async def test_a_usable_token_is_given_without_any_request(bench: Bench) -> None:
    await give_token(bench.manager, bench.clock)
    bearer = await bench.manager.bearer("smtp")
    assert bearer.token.reveal() == "access smtp"
    assert bearer.grant_id == "grant of smtp"
    assert bench.provider.asked == []


async def test_a_rotated_refresh_token_is_stored_before_the_access_token_is_given_out(bench: Bench) -> None:
    await bench.expired()
    bearer: asyncio.Task[object] = asyncio.create_task(bench.manager.bearer("smtp"))
    given_out_before_write: list[bool] = []

    async def look() -> None:
        await settle()
        given_out_before_write.append(bearer.done())

    bench.store.before_write = look
    await bearer
    assert given_out_before_write == [False]
    stored = await bench.stored()
    assert stored.tokens.refresh_token is not None
    assert stored.tokens.refresh_token.reveal() == "refresh 1"


async def test_each_refresh_sends_the_refresh_token_of_the_last(bench: Bench) -> None:
    await bench.expired()
    for _ in range(3):
        await bench.manager.bearer("smtp")
        bench.clock.jump(2 * 3600)
    sent = [tokens.refresh_token.reveal() for tokens in bench.provider.sent if tokens.refresh_token]
    assert sent == ["refresh smtp", "refresh 1", "refresh 2"]


async def test_a_proven_end_of_the_grant_makes_the_token_invalid_and_keeps_the_refresh_token(bench: Bench) -> None:
    await bench.expired()
    bench.provider.answers = [ENDED]
    with pytest.raises(ConsentNeeded, match=r"Token update failed\. Please delete the token and obtain it again\."):
        await bench.manager.bearer("smtp")
    state = (await bench.store.load_token("smtp")).state
    assert isinstance(state, Invalid)
    assert state.tokens.refresh_token is not None
    assert (await bench.audit())[0] is AuditAction.TOKEN_INVALID


async def test_an_invalid_token_is_not_asked_for_again_by_log_ins(bench: Bench) -> None:
    await bench.expired()
    bench.provider.answers = [ENDED]
    for _ in range(5):
        with pytest.raises(ConsentNeeded):
            await bench.manager.bearer("smtp")
    assert len(bench.provider.asked) == 1


async def test_a_person_can_refresh_an_invalid_token_and_it_is_retrieved_again(bench: Bench) -> None:
    await bench.expired()
    bench.provider.answers = [ENDED]
    with pytest.raises(ConsentNeeded):
        await bench.manager.bearer("smtp")
    assert isinstance(await bench.manager.refresh("smtp"), Retrieved)
    assert (await bench.audit())[0] is AuditAction.TOKEN_VALID_AGAIN


@pytest.mark.parametrize(
    "found",
    [
        failure("provider_down"),
        failure("provider_throttling", retry_after=30),
        failure("provider_nonsense"),
        failure("provider_unreachable"),
        failure("invalid_client", WhoActs.OPERATOR),
        failure("conditional_access", WhoActs.ADMINISTRATOR),
    ],
    ids=lambda found: found.trouble.reason,
)
async def test_a_failure_that_proves_nothing_never_makes_a_token_invalid(bench: Bench, found: RefreshFailed) -> None:
    await bench.expired()
    bench.provider.always = found
    for _ in range(100):
        assert isinstance(await bench.manager.refresh("smtp"), Retrieved)
        bench.clock.jump(24 * 3600)
    stored = await bench.stored()
    assert stored.trouble is not None
    assert stored.trouble.reason == found.trouble.reason
    assert stored.tokens.refresh_token is not None
    assert stored.tokens.refresh_token.reveal() == "refresh smtp"
    assert len(bench.provider.asked) == 100


async def test_a_refresh_that_works_takes_the_trouble_away(bench: Bench) -> None:
    await bench.expired()
    bench.provider.answers = [failure()]
    assert (await bench.manager.refresh("smtp")) != NotRetrieved()
    assert (await bench.stored()).trouble is not None
    await bench.manager.refresh("smtp")
    assert (await bench.stored()).trouble is None


async def test_a_failed_refresh_does_not_take_away_a_token_that_is_still_good(bench: Bench) -> None:
    await give_token(bench.manager, bench.clock)
    bench.clock.jump(50 * 60)
    bench.provider.always = failure()
    await bench.manager.refresh_if_due("smtp")
    assert (await bench.manager.bearer("smtp")).token.reveal() == "access smtp"
    assert len(bench.provider.asked) == 1


async def test_a_token_that_a_server_refused_is_refreshed_once_for_all_who_were_refused(bench: Bench) -> None:
    tokens = await give_token(bench.manager, bench.clock)
    refused = tokens.access_token
    found = await asyncio.gather(*(bench.manager.bearer("smtp", refused=refused) for _ in range(10)))
    later = await bench.manager.bearer("smtp", refused=refused)
    assert {bearer.token.reveal() for bearer in [*found, later]} == {"access 1"}
    assert len(bench.provider.asked) == 1


async def test_a_refused_token_is_refreshed_even_if_the_background_was_just_looking(bench: Bench) -> None:
    tokens = await give_token(bench.manager, bench.clock)
    looking = asyncio.create_task(bench.manager.refresh_if_due("smtp"))  # nothing is due: it asks for nothing
    bearer = asyncio.create_task(bench.manager.bearer("smtp", refused=tokens.access_token))
    person = asyncio.create_task(bench.manager.refresh("smtp"))
    await looking
    assert (await bearer).token.reveal() == "access 1"
    await person
    assert len(bench.provider.asked) == 1


async def test_a_persons_wish_is_done_even_if_the_background_was_just_looking(bench: Bench) -> None:
    await give_token(bench.manager, bench.clock)
    looking = asyncio.create_task(bench.manager.refresh_if_due("smtp"))
    person = asyncio.create_task(bench.manager.refresh("smtp"))
    await asyncio.gather(looking, person)
    assert len(bench.provider.asked) == 1


async def test_without_any_token_a_caller_is_told_that_consent_is_needed(bench: Bench) -> None:
    with pytest.raises(ConsentNeeded, match="There is no token"):
        await bench.manager.bearer("smtp")
    with pytest.raises(ConsentNeeded):
        await bench.manager.refresh("smtp")
    await bench.manager.refresh_if_due("smtp")
    assert bench.provider.asked == []


async def test_while_an_authorization_waits_the_old_token_stays_in_use_and_is_refreshed(bench: Bench) -> None:
    await bench.expired()
    now = bench.clock.now()
    await bench.manager.apply("smtp", AuthorizationStarted(Authorization("new", GrantKind.DEVICE, now, now + HOUR)))
    assert (await bench.manager.bearer("smtp")).token.reveal() == "access 1"
    state = (await bench.store.load_token("smtp")).state
    assert isinstance(state, AwaitingAuthorization)
    assert isinstance(state.before, Retrieved)


async def test_a_token_without_refresh_token_becomes_invalid_only_when_it_has_expired(bench: Bench) -> None:
    await give_token(bench.manager, bench.clock, refresh_token=None)
    await bench.manager.refresh_if_due("smtp")
    assert isinstance((await bench.store.load_token("smtp")).state, Retrieved)
    assert await bench.store.next_due() == START + HOUR
    bench.clock.jump(3600)
    await bench.manager.refresh_if_due("smtp")
    assert isinstance((await bench.store.load_token("smtp")).state, Invalid)
    assert bench.provider.asked == []


async def test_a_grant_without_person_is_asked_anew(bench: Bench) -> None:
    tokens = replace(tokens_for(bench.clock), grant=GrantKind.CLIENT_CREDENTIALS, refresh_token=None)
    asked = Authorization("a", tokens.grant, START, START + HOUR)
    await bench.manager.apply("smtp", AuthorizationStarted(asked))
    await bench.manager.apply("smtp", TokenObtained("a", tokens))
    bench.clock.jump(2 * 3600)
    assert (await bench.manager.bearer("smtp")).token.reveal() == "access 1"


async def test_a_laptop_that_slept_ten_hours_asks_once_at_waking(bench: Bench) -> None:
    await give_token(bench.manager, bench.clock)
    bench.clock.jump(10 * 3600)
    await asyncio.gather(*(bench.manager.bearer("smtp") for _ in range(5)))
    assert len(bench.provider.asked) == 1


@pytest.mark.parametrize("days", [-400, -1, 1, 400])
async def test_a_clock_that_jumped_costs_one_request_and_no_token(bench: Bench, days: int) -> None:
    await give_token(bench.manager, bench.clock)
    bench.clock.set_wall(START + timedelta(days=days))
    for _ in range(3):
        assert (await bench.manager.bearer("smtp")).token.reveal() == "access 1"
    bench.clock.set_wall(bench.clock.now() + timedelta(minutes=1))
    await bench.manager.refresh_if_due("smtp")
    assert len(bench.provider.asked) == 1


async def test_a_change_is_announced_with_the_stores_version(bench: Bench) -> None:
    async with bench.events.subscribe() as queue:
        await give_token(bench.manager, bench.clock)
        bench.clock.jump(2 * 3600)
        await bench.manager.bearer("smtp")
        told = [queue.get_nowait() for _ in range(queue.qsize())]
    assert [type(event.after) for event in told if isinstance(event, TokenChanged)] == [
        AwaitingAuthorization,
        Retrieved,
        Retrieved,
    ]
    assert [event.version for event in told if isinstance(event, TokenChanged)] == [1, 2, 3]


async def test_an_event_that_changes_nothing_is_neither_written_nor_announced(bench: Bench) -> None:
    tokens = await give_token(bench.manager, bench.clock)
    async with bench.events.subscribe() as queue:
        await bench.manager.report_login("smtp", tokens.grant_id, None)
        assert queue.empty()
    assert (await bench.store.load_token("smtp")).version == 2


async def test_a_caller_who_gives_up_does_not_end_the_refresh(bench: Bench) -> None:
    await bench.expired()
    bench.provider.gate = asyncio.Event()
    caller = asyncio.create_task(bench.manager.bearer("smtp"))
    await settle()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    bench.provider.gate.set()
    await bench.manager.close()
    assert (await bench.stored()).tokens.access_token.reveal() == "access 1"


async def test_deleting_says_who_did_it(bench: Bench) -> None:
    tokens = await give_token(bench.manager, bench.clock)
    assert await bench.manager.delete("smtp", ANA) == tokens
    record = (await bench.store.list_audit(1))[0].record
    assert (record.action, record.actor, record.subject) == (AuditAction.TOKEN_DELETED, ANA, "smtp")
    assert await bench.manager.delete("smtp", ANA) is None
