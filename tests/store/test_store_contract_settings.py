"""What every engine promises about settings and registrations."""

from __future__ import annotations

import asyncio

import pytest
from store_engines import store_fixture
from store_values import NOW, audit_record, pop_settings, registration, smtp_settings, token_set

from valija.domain.account import POP_SETTINGS, Setting
from valija.domain.settings import PopSettings, SmtpSettings
from valija.domain.token import NotRetrieved, Retrieved
from valija.store.port import Store, VersionedRegistration, VersionedSettings, VersionedToken

store = store_fixture


async def with_token(store: Store, account: str) -> None:
    assert await store.replace_token(account, 0, Retrieved(token_set(account)), due_at=NOW)


async def subjects(store: Store) -> list[str]:
    return [stored.record.subject for stored in await store.list_audit(100)]


async def test_a_setting_never_stored_has_version_0_and_the_defaults(store: Store) -> None:
    assert await store.load_settings(Setting.SMTP) == VersionedSettings(0, SmtpSettings())
    for setting in POP_SETTINGS:
        assert await store.load_settings(setting) == VersionedSettings(0, PopSettings())


async def test_settings_come_back_as_they_went_in(store: Store) -> None:
    smtp = await store.save_settings(Setting.SMTP, 0, smtp_settings(), audit_record())
    pop = await store.save_settings(Setting.EMAIL_PRINT, 0, pop_settings(), audit_record())
    assert smtp == VersionedSettings(1, smtp_settings()) == await store.load_settings(Setting.SMTP)
    assert pop == VersionedSettings(1, pop_settings()) == await store.load_settings(Setting.EMAIL_PRINT)
    assert await store.load_settings(Setting.EMAIL_STATUS) == VersionedSettings(0, PopSettings())


@pytest.mark.parametrize("expected", [0, 2, 7])
@pytest.mark.parametrize("forget", [False, True])
async def test_settings_on_another_version_change_nothing(store: Store, expected: int, forget: bool) -> None:
    await store.save_settings(Setting.SMTP, 0, smtp_settings(), audit_record("first"))
    await with_token(store, "smtp")
    save = store.save_settings_and_forget_token if forget else store.save_settings
    assert await save(Setting.SMTP, expected, smtp_settings("b@example.com"), audit_record("late")) is None
    assert await store.load_settings(Setting.SMTP) == VersionedSettings(1, smtp_settings())
    assert (await store.load_token("smtp")).version == 1
    assert await subjects(store) == ["first"]


async def test_of_many_writers_of_a_setting_exactly_one_wins(store: Store) -> None:
    values = [smtp_settings(f"{n}@example.com") for n in range(20)]
    written = await asyncio.gather(*(store.save_settings(Setting.SMTP, 0, v, audit_record()) for v in values))
    winners = [w for w in written if w is not None]
    assert winners == [await store.load_settings(Setting.SMTP)]
    assert len(await subjects(store)) == 1


async def test_saving_a_setting_leaves_its_token_alone(store: Store) -> None:
    await with_token(store, "smtp")
    await store.save_settings(Setting.SMTP, 0, smtp_settings(), audit_record())
    assert await store.load_token("smtp") == VersionedToken(1, Retrieved(token_set("smtp")))


async def test_a_setting_and_its_forgotten_token_are_written_together(store: Store) -> None:
    await with_token(store, "smtp")
    await with_token(store, "internet-fax")
    written = await store.save_settings_and_forget_token(Setting.SMTP, 0, smtp_settings(), audit_record("smtp"))
    assert written == VersionedSettings(1, smtp_settings())
    assert await store.load_token("smtp") == VersionedToken(2, NotRetrieved())
    assert await store.load_token("internet-fax") == VersionedToken(1, Retrieved(token_set("internet-fax")))
    assert await store.tokens_due(NOW, 10) == ["internet-fax"]
    assert await subjects(store) == ["smtp"]


async def test_a_refresh_that_was_under_way_conflicts_with_the_forgotten_token(store: Store) -> None:
    await with_token(store, "smtp")
    await store.save_settings_and_forget_token(Setting.SMTP, 0, smtp_settings(), audit_record())
    assert await store.replace_token("smtp", 1, Retrieved(token_set("late")), due_at=NOW) is None


async def test_forgetting_a_token_that_never_was_stores_none(store: Store) -> None:
    await store.save_settings_and_forget_token(Setting.SMTP, 0, smtp_settings(), audit_record())
    assert await store.load_token("smtp") == VersionedToken(0, NotRetrieved())


async def test_an_unknown_registration_is_none(store: Store) -> None:
    assert await store.load_registration("work") is None
    assert await store.list_registrations() == []


async def test_registrations_come_back_and_are_listed_by_name(store: Store) -> None:
    for name in ("work", "a-first", "m"):
        await store.save_registration(0, registration(name), audit_record())
    assert await store.load_registration("work") == VersionedRegistration(1, registration("work"))
    assert [stored.value.name for stored in await store.list_registrations()] == ["a-first", "m", "work"]


async def test_a_changed_registration_has_the_next_version(store: Store) -> None:
    await store.save_registration(0, registration(), audit_record())
    changed = registration(client_id="client-2")
    assert await store.save_registration(1, changed, audit_record()) == VersionedRegistration(2, changed)
    assert await store.load_registration("work") == VersionedRegistration(2, changed)


@pytest.mark.parametrize("expected", [0, 2])
async def test_a_registration_on_another_version_changes_nothing(store: Store, expected: int) -> None:
    await store.save_registration(0, registration(), audit_record("first"))
    await with_token(store, "smtp")
    changed = registration(client_id="client-2")
    late = await store.save_registration(expected, changed, audit_record("late"), forget_tokens=["smtp"])
    assert late is None
    assert await store.load_registration("work") == VersionedRegistration(1, registration())
    assert (await store.load_token("smtp")).version == 1
    assert await subjects(store) == ["first"]


async def test_a_registration_and_forgotten_tokens_are_written_together(store: Store) -> None:
    for account in ("smtp", "internet-fax", "email-print"):
        await with_token(store, account)
    await store.save_registration(0, registration(), audit_record(), forget_tokens=["smtp", "internet-fax"])
    states = {account: stored.state for account, stored in (await store.list_tokens()).items()}
    kept = Retrieved(token_set("email-print"))
    assert states == {"smtp": NotRetrieved(), "internet-fax": NotRetrieved(), "email-print": kept}
    assert await store.tokens_due(NOW, 10) == ["email-print"]


async def test_a_deleted_registration_is_gone_with_its_tokens(store: Store) -> None:
    await store.save_registration(0, registration(), audit_record("made"))
    await with_token(store, "smtp")
    assert await store.delete_registration("work", audit_record("deleted"), forget_tokens=["smtp"])
    assert await store.load_registration("work") is None
    assert await store.load_token("smtp") == VersionedToken(2, NotRetrieved())
    assert await subjects(store) == ["deleted", "made"]


async def test_deleting_what_is_not_there_changes_nothing(store: Store) -> None:
    await with_token(store, "smtp")
    assert not await store.delete_registration("work", audit_record(), forget_tokens=["smtp"])
    assert (await store.load_token("smtp")).version == 1
    assert await subjects(store) == []


async def test_a_name_can_be_used_again_after_deletion_from_version_0_on(store: Store) -> None:
    await store.save_registration(0, registration(), audit_record())
    await store.delete_registration("work", audit_record())
    assert await store.save_registration(1, registration(), audit_record()) is None
    assert await store.save_registration(0, registration(), audit_record()) == VersionedRegistration(1, registration())
