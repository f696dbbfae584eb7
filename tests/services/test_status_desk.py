"""What is shown of a token: everything a person needs, and no secret."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from desk_bench import Machine, machine_fixture
from fakes import ANA, HOUR, START, denied, give_token, settle, tokens_for

from valija.domain.account import GrantKind, Setting
from valija.domain.token import StateName
from valija.domain.trouble import WhoActs
from valija.services.status import TokenReport

machine = machine_fixture


async def report(machine: Machine, setting: Setting = Setting.SMTP) -> TokenReport:
    return await machine.status.report(setting, unsaved=machine.tokens.unsaved)


async def test_a_setting_never_touched_is_not_retrieved_and_empty(machine: Machine) -> None:
    shown = await report(machine)
    assert (shown.state, shown.version, shown.account, shown.provider) == (StateName.NOT_RETRIEVED, 0, "", "")
    assert (shown.in_use, shown.expired, shown.trouble, shown.authorization) == (False, False, None, None)
    assert shown.expires_at is None


async def test_a_retrieved_token_is_shown_with_its_times_and_owner(machine: Machine) -> None:
    await machine.ready()
    tokens = (await machine.retrieved()).tokens
    shown = await report(machine)
    assert (shown.state, shown.in_use, shown.expired) == (StateName.RETRIEVED, True, False)
    assert (shown.account, shown.provider, shown.provider_name) == ("ana@example.com", "work", "OAuth 2.0 · work")
    assert (shown.obtained_at, shown.refreshed_at, shown.expires_at) == (
        tokens.obtained_at,
        tokens.refreshed_at,
        tokens.expires_at,
    )
    assert (shown.grant, shown.scopes) == (GrantKind.DEVICE, ("smtp",))


async def test_expired_follows_from_the_clock_and_is_still_in_use(machine: Machine) -> None:
    await give_token(machine.tokens, machine.clock)
    machine.clock.jump(3599)
    assert not (await report(machine)).expired
    machine.clock.jump(1)
    shown = await report(machine)
    assert shown.expired
    assert shown.state is StateName.RETRIEVED


async def test_the_idle_limit_counts_from_the_last_refresh(machine: Machine) -> None:
    await machine.book.set("microsoft", {"client_id": "c"}, confirm=False, actor=ANA)
    changes = {"auth": "oauth2", "provider": "microsoft", "account": "a@example.com"}
    await machine.settings.change(Setting.SMTP, changes, confirm=False, actor=ANA)
    await give_token(machine.tokens, machine.clock)
    assert (await report(machine)).idle_limit_at == START + timedelta(days=90)


async def test_the_providers_own_end_of_the_refresh_token_wins_if_it_is_sooner(machine: Machine) -> None:
    await machine.book.set("microsoft", {"client_id": "c"}, confirm=False, actor=ANA)
    changes = {"auth": "oauth2", "provider": "microsoft", "account": "a@example.com"}
    await machine.settings.change(Setting.SMTP, changes, confirm=False, actor=ANA)
    soon = START + timedelta(days=10)
    await give_token(machine.tokens, machine.clock, refresh_token_expires_at=soon)
    assert (await report(machine)).idle_limit_at == soon


async def test_a_grant_without_refresh_token_has_no_idle_limit(machine: Machine) -> None:
    await give_token(machine.tokens, machine.clock, refresh_token=None)
    assert (await report(machine)).idle_limit_at is None


async def test_while_waiting_the_code_is_shown_and_the_old_token_is_in_use(machine: Machine) -> None:
    await machine.ready()
    await machine.retrieved()
    await machine.desk.start(Setting.SMTP, None, ANA)
    shown = await report(machine)
    assert shown.state is StateName.AWAITING_AUTHORIZATION
    assert shown.in_use
    assert shown.authorization is not None
    assert shown.authorization.user_code is not None
    assert shown.authorization.verification_uri == "https://login.example/go"


async def test_a_refusal_is_shown_with_its_meaning_its_cure_and_who_acts(machine: Machine) -> None:
    await machine.ready()
    machine.provider.script("/token", denied("access_denied"))
    await machine.desk.start(Setting.SMTP, None, ANA)
    await machine.clock.advance(6)
    shown = await report(machine)
    assert shown.state is StateName.NOT_RETRIEVED
    assert shown.trouble is not None
    assert shown.trouble.trouble.reason == "access_denied"
    assert shown.trouble.trouble.who_acts is WhoActs.USER
    assert "refused" in shown.trouble.explanation.meaning
    assert "Get Token" in shown.trouble.explanation.cure


async def test_an_invalid_token_is_not_in_use_and_says_why(machine: Machine) -> None:
    await machine.ready()
    await machine.retrieved()
    machine.clock.jump(7200)
    machine.provider.script("/token", denied("invalid_grant"))
    await machine.tokens.refresh("smtp")
    shown = await report(machine)
    assert (shown.state, shown.in_use, shown.expired) == (StateName.INVALID, False, True)
    assert shown.trouble is not None
    assert shown.trouble.explanation.cure


async def test_tokens_that_could_not_be_written_are_reported(machine: Machine) -> None:
    await machine.ready()
    await machine.retrieved()
    machine.clock.jump(7200)
    machine.store.failures = 1
    await machine.tokens.refresh("smtp")
    assert (await report(machine)).unsaved
    assert not (await report(machine, Setting.EMAIL_PRINT)).unsaved


async def test_a_deleted_registration_leaves_its_name(machine: Machine) -> None:
    await machine.ready()
    await machine.book.delete("work", confirm=False, actor=ANA)
    shown = await report(machine)
    assert (shown.provider, shown.provider_name) == ("work", "work")


async def test_a_report_shows_no_secret(machine: Machine) -> None:
    await machine.ready(client_secret="hunter2-planted")
    tokens = replace(tokens_for(machine.clock), expires_at=START + HOUR)
    await give_token(machine.tokens, machine.clock, access_token=tokens.access_token)
    await machine.desk.start(Setting.SMTP, None, ANA)
    await settle()
    shown = repr(await report(machine))
    assert not any(word in shown for word in ("access first", "refresh smtp", "device code", "hunter2"))
