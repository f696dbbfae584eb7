"""Changing a mail setting: all or none, recorded, and never a token deleted without asking."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from desk_bench import OAUTH, Machine, machine_fixture
from fakes import ANA, DESK, settle

from valija.domain.account import POP_SETTINGS, Setting
from valija.domain.errors import ConfirmationNeeded, InvalidFields
from valija.domain.record import AuditAction
from valija.domain.settings import SmtpSettings
from valija.domain.token import AwaitingAuthorization, NotRetrieved, Retrieved
from valija.services.events import SettingsChanged

machine = machine_fixture

SMTP = Setting.SMTP


async def test_a_setting_never_set_has_its_defaults(machine: Machine) -> None:
    assert await machine.settings.load(SMTP) == SmtpSettings()
    assert (await machine.settings.load(Setting.EMAIL_PRINT)).port == 995


async def test_a_change_is_stored_recorded_and_announced(machine: Machine) -> None:
    async with machine.events.subscribe() as queue:
        value = await machine.settings.change(SMTP, {"server": "mail.example", "port": 465}, confirm=False, actor=DESK)
        assert queue.get_nowait() == SettingsChanged("smtp", machine.clock.now())
    assert await machine.settings.load(SMTP) == value
    (record,) = await machine.audit()
    assert (record.actor, record.action, record.subject) == (DESK, AuditAction.SETTINGS_CHANGED, "smtp")
    assert record.details == {"fields": "server, port"}


async def test_a_change_to_the_same_is_neither_recorded_nor_announced(machine: Machine) -> None:
    async with machine.events.subscribe() as queue:
        await machine.settings.change(SMTP, {"port": 587, "tls": True}, confirm=False, actor=ANA)
        assert queue.empty()
    assert await machine.audit() == []


async def test_a_password_is_in_no_record(machine: Machine) -> None:
    await machine.settings.change(SMTP, {"password": "hunter2-planted"}, confirm=False, actor=ANA)
    assert "hunter2" not in repr(await machine.audit())


@pytest.mark.parametrize(
    "changes",
    [
        {"server": "ok.example", "port": 0},
        {"server": "ok.example", "timeout": 601},
        {"server": "a\r\nb"},
        {"sender_name": "x" * 256},
        {"check_interval": 5},
        {"provider": "nobody-knows"},
        {"auth": "oauth2", "provider": "nobody-knows", "account": "a@b"},
    ],
    ids=str,
)
async def test_one_wrong_field_and_nothing_is_stored(machine: Machine, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidFields):
        await machine.settings.change(SMTP, changes, confirm=True, actor=ANA)
    assert await machine.settings.load(SMTP) == SmtpSettings()
    assert await machine.audit() == []


async def test_the_pop_settings_are_independent_of_each_other(machine: Machine) -> None:
    for n, setting in enumerate(POP_SETTINGS):
        await machine.settings.change(setting, {"account": f"{n}@example.com"}, confirm=False, actor=ANA)
    accounts = [(await machine.settings.load(setting)).account for setting in POP_SETTINGS]
    assert accounts == ["0@example.com", "1@example.com", "2@example.com"]


async def test_the_providers_server_is_filled_in_only_where_none_was_set(machine: Machine) -> None:
    await machine.book.set("google", {"client_id": "c"}, confirm=False, actor=ANA)
    changes = {"auth": "oauth2", "provider": "google", "account": "a@example.com"}
    filled = await machine.settings.change(SMTP, changes, confirm=False, actor=ANA)
    assert (filled.server, filled.port) == ("smtp.gmail.com", 587)
    pop = await machine.settings.change(Setting.EMAIL_PRINT, changes, confirm=False, actor=ANA)
    assert (pop.server, pop.port) == ("pop.gmail.com", 995)
    own = changes | {"server": "relay.example", "port": 2525}
    kept = await machine.settings.change(Setting.EMAIL_STATUS, own, confirm=False, actor=ANA)
    assert (kept.server, kept.port) == ("relay.example", 2525)


@pytest.mark.parametrize("changes", [{"account": "luis@example.com"}, {"provider": "other"}, {"provider": ""}], ids=str)
async def test_another_owner_asks_first_and_changes_nothing_until_confirmed(
    machine: Machine, changes: dict[str, Any]
) -> None:
    await machine.ready()
    await machine.register("other")
    before = await machine.retrieved()
    settings, audit = await machine.settings.load(SMTP), await machine.audit()
    with pytest.raises(ConfirmationNeeded):
        await machine.settings.change(SMTP, changes, confirm=False, actor=ANA)
    await settle()
    assert await machine.settings.load(SMTP) == settings
    assert await machine.state() == before
    assert await machine.audit() == audit
    assert machine.provider.sent("/revoke") == []


async def test_a_confirmed_change_of_owner_deletes_the_token_and_revokes_it_with_the_old_data(machine: Machine) -> None:
    await machine.ready()
    before = await machine.retrieved()
    await machine.settings.change(SMTP, {"account": "luis@example.com"}, confirm=True, actor=ANA)
    await settle()
    assert await machine.state() == NotRetrieved()
    assert before.tokens.refresh_token is not None
    assert [form["token"] for form in machine.provider.sent("/revoke")] == [before.tokens.refresh_token.reveal()]
    assert (await machine.audit())[-1].details == {"fields": "account"}


async def test_an_account_changed_while_waiting_asks_first_then_stops_waiting(machine: Machine) -> None:
    await machine.ready()
    await machine.desk.start(SMTP, None, ANA)
    with pytest.raises(ConfirmationNeeded):
        await machine.settings.change(SMTP, {"account": "luis@example.com"}, confirm=False, actor=ANA)
    assert isinstance(await machine.state(), AwaitingAuthorization)
    await machine.settings.change(SMTP, {"account": "luis@example.com"}, confirm=True, actor=ANA)
    await machine.clock.advance(60)
    assert await machine.state() == NotRetrieved()
    assert machine.provider.sent("/token") == []


async def test_an_account_changed_during_a_refresh_gets_no_token_of_the_old_one(machine: Machine) -> None:
    await machine.ready()
    await machine.retrieved()
    machine.clock.jump(7200)
    machine.provider.gates["/token"] = asyncio.Event()
    bearer = asyncio.create_task(machine.tokens.bearer("smtp"))
    await settle()
    await machine.settings.change(SMTP, {"account": "luis@example.com"}, confirm=True, actor=ANA)
    machine.provider.gates["/token"].set()
    await asyncio.gather(bearer, return_exceptions=True)
    await settle()
    assert await machine.state() == NotRetrieved()
    revoked = {form["token"] for form in machine.provider.sent("/revoke")}
    assert len(revoked) == 2  # the one that was stored, and the one that came too late


@pytest.mark.parametrize(
    "changes", [{"server": "b.example"}, {"port": 465}, {"sender_name": "Scanner"}, {"timeout": 5}], ids=str
)
async def test_what_no_token_belongs_to_is_changed_without_asking(machine: Machine, changes: dict[str, Any]) -> None:
    await machine.ready()
    before = await machine.retrieved()
    await machine.settings.change(SMTP, changes, confirm=False, actor=ANA)
    assert await machine.state() == before


async def test_without_a_token_the_owner_is_changed_without_asking(machine: Machine) -> None:
    await machine.ready()
    await machine.settings.change(SMTP, {"account": "luis@example.com"}, confirm=False, actor=ANA)
    assert (await machine.settings.load(SMTP)).account == "luis@example.com"


async def test_the_token_of_another_setting_with_the_same_account_stays(machine: Machine) -> None:
    await machine.ready()
    await machine.use(Setting.EMAIL_PRINT, OAUTH)
    await machine.retrieved()
    await machine.retrieved(Setting.EMAIL_PRINT)
    await machine.settings.change(SMTP, {"account": "luis@example.com"}, confirm=True, actor=ANA)
    assert isinstance(await machine.state(Setting.EMAIL_PRINT), Retrieved)


async def test_two_changes_at_once_are_both_kept(machine: Machine) -> None:
    change = machine.settings.change
    await asyncio.gather(
        change(SMTP, {"server": "mail.example"}, confirm=False, actor=ANA),
        change(SMTP, {"sender_name": "Scanner"}, confirm=False, actor=DESK),
    )
    value = await machine.settings.load(SMTP)
    assert isinstance(value, SmtpSettings)
    assert (value.server, value.sender_name) == ("mail.example", "Scanner")
