"""Client registrations: checked as a whole, recorded, and never a token lost without asking."""

from __future__ import annotations

from typing import Any

import pytest
from desk_bench import OAUTH, REGISTRATION, Machine, machine_fixture
from fakes import ANA, DESK, ISSUER, settle
from rsa_keys import rsa_key

from valija.domain.account import GrantKind, Setting
from valija.domain.errors import ConfirmationNeeded, InvalidFields, UnknownName
from valija.domain.record import AuditAction
from valija.domain.registration import Registration
from valija.domain.token import AwaitingAuthorization, NotRetrieved
from valija.net.data_files import read_catalogue
from valija.secret import Secret
from valija.services.events import SettingsChanged

machine = machine_fixture


def problems(error: InvalidFields) -> set[str]:
    return {problem.field for problem in error.problems}


async def test_a_registration_is_stored_recorded_and_announced(machine: Machine) -> None:
    async with machine.events.subscribe() as queue:
        made = await machine.book.set("work", REGISTRATION, confirm=False, actor=DESK)
        assert queue.get_nowait() == SettingsChanged("provider work", machine.clock.now())
    assert made == Registration("work", "custom", issuer=ISSUER, client_id="client-1")
    assert (await machine.book.load("work"))[0] == made
    (record,) = await machine.audit()
    assert (record.actor, record.action, record.subject) == (DESK, AuditAction.PROVIDER_CHANGED, "work")
    assert record.details == {"fields": "client_id, issuer, kind"}


async def test_a_secret_is_in_no_record_and_no_representation(machine: Machine) -> None:
    await machine.register(client_secret="hunter2-planted")
    assert "hunter2" not in repr(await machine.audit())
    assert "hunter2" not in repr(await machine.book.all())


async def test_setting_the_same_again_is_neither_recorded_nor_announced(machine: Machine) -> None:
    await machine.register()
    async with machine.events.subscribe() as queue:
        await machine.register()
        assert queue.empty()
    assert len(await machine.audit()) == 1


async def test_the_name_of_a_known_kind_says_the_kind(machine: Machine) -> None:
    for kind in ("microsoft", "google", "yahoo", "aol"):
        made = await machine.book.set(kind, {"client_id": "c"}, confirm=False, actor=ANA)
        assert made.kind == kind
    assert [r.name for r in await machine.book.all()] == ["aol", "google", "microsoft", "yahoo"]


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("Work", {}, "name"),
        ("-work", {}, "name"),
        ("w" * 64, {}, "name"),
        ("a/b", {}, "name"),
        ("work", {"kind": "exchange"}, "kind"),
        ("work", {"kind": ""}, "kind"),
        ("work", {"kind": "microsoft", "cloud": "moon"}, "cloud"),
        ("work", {"issuer": ""}, "issuer"),
        ("work", {"issuer": "http://login.example"}, "issuer"),
        ("work", {"issuer": "https://ana:pw@login.example"}, "issuer"),
        ("work", {"issuer": "https://login.example\r\nX: y"}, "issuer"),
        ("work", {"issuer": "ftp://login.example"}, "issuer"),
        ("work", {"tenant": "a/b"}, "tenant"),
        ("work", {"client_id": "two words"}, "client_id"),
        ("work", {"client_id": 7}, "client_id"),
        ("work", {"client_id": "x" * 256}, "client_id"),
        ("work", {"client_secret": "line\r\nbreak"}, "client_secret"),
        ("work", {"client_secret": "ñ"}, "client_secret"),
        ("work", {"grant": "password"}, "grant"),
        ("work", {"scopes": "mail"}, "scopes"),
        ("work", {"scopes": ["two words"]}, "scopes"),
        ("work", {"scopes": ["s"] * 51}, "scopes"),
        ("work", {"private_key": "not a key"}, "private_key"),
        ("work", {"private_key": "x" * 70_000}, "private_key"),
        ("work", {"certificate": "-----BEGIN CERTIFICATE-----"}, "private_key"),
        ("work", {"service_account": "{}"}, "service_account"),
        ("work", {"colour": "blue"}, "colour"),
    ],
)
async def test_one_wrong_field_and_nothing_is_stored(
    machine: Machine, name: str, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidFields) as raised:
        await machine.book.set(name, REGISTRATION | changes, confirm=True, actor=ANA)
    assert field in problems(raised.value)
    assert await machine.book.all() == []
    assert await machine.audit() == []


async def test_all_wrong_fields_are_named_at_once(machine: Machine) -> None:
    wrong = {"client_id": "two words", "tenant": "/", "scopes": 7}
    with pytest.raises(InvalidFields) as raised:
        await machine.book.set("work", REGISTRATION | wrong, confirm=False, actor=ANA)
    assert problems(raised.value) == set(wrong)


async def test_plain_http_issuers_are_for_loopback_only(machine: Machine) -> None:
    for issuer in ("http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"):
        assert (await machine.book.set("work", REGISTRATION | {"issuer": issuer}, confirm=False, actor=ANA)).issuer


async def test_a_secret_and_a_key_replace_each_other(machine: Machine) -> None:
    await machine.register(client_secret="s3cret")
    keyed = await machine.book.set("work", {"private_key": rsa_key()}, confirm=False, actor=ANA)
    assert keyed.client_secret is None
    assert keyed.private_key == Secret(rsa_key())
    back = await machine.book.set("work", {"client_secret": "other"}, confirm=False, actor=ANA)
    assert (back.private_key, back.certificate, back.client_secret) == (None, "", Secret("other"))


async def test_a_weak_key_is_refused(machine: Machine) -> None:
    with pytest.raises(InvalidFields, match="2048"):
        await machine.register(private_key=rsa_key(1024))


async def test_empty_takes_a_field_away(machine: Machine) -> None:
    await machine.register(client_secret="s3cret", grant="code", scopes=["mail"])
    bare = await machine.book.set("work", {"client_secret": "", "grant": None, "scopes": []}, confirm=False, actor=ANA)
    assert (bare.client_secret, bare.grant, bare.scopes) == (None, None, ())


@pytest.mark.parametrize(
    "changes", [{"client_id": "client-2"}, {"issuer": "https://other.example"}, {"tenant": "t"}], ids=str
)
async def test_data_that_a_token_was_got_with_is_changed_only_when_confirmed(
    machine: Machine, changes: dict[str, Any]
) -> None:
    await machine.ready()
    before = await machine.retrieved()
    registration, audit = await machine.book.load("work"), await machine.audit()
    with pytest.raises(ConfirmationNeeded, match="smtp"):
        await machine.book.set("work", changes, confirm=False, actor=ANA)
    assert await machine.book.load("work") == registration
    assert await machine.state() == before
    assert await machine.audit() == audit
    await machine.book.set("work", changes, confirm=True, actor=ANA)
    await settle()
    assert await machine.state() == NotRetrieved()
    assert machine.provider.sent("/revoke")[0]["client_id"] == "client-1"


@pytest.mark.parametrize(
    "changes", [{"client_secret": "rolled-over"}, {"scopes": ["mail"]}, {"grant": "code"}], ids=str
)
async def test_a_new_secret_or_scope_leaves_the_token(machine: Machine, changes: dict[str, Any]) -> None:
    await machine.ready()
    before = await machine.retrieved()
    await machine.book.set("work", changes, confirm=False, actor=ANA)
    assert await machine.state() == before


async def test_deleting_a_provider_in_use_asks_first_then_deletes_and_revokes(machine: Machine) -> None:
    await machine.ready()
    await machine.use(Setting.EMAIL_PRINT, OAUTH)
    await machine.retrieved()
    await machine.retrieved(Setting.EMAIL_PRINT)
    with pytest.raises(ConfirmationNeeded, match="smtp, email-print"):
        await machine.book.delete("work", confirm=False, actor=ANA)
    assert await machine.book.find("work") is not None
    await machine.book.delete("work", confirm=True, actor=DESK)
    await settle()
    assert await machine.book.find("work") is None
    assert [await machine.state(s) for s in (Setting.SMTP, Setting.EMAIL_PRINT)] == [NotRetrieved(), NotRetrieved()]
    assert len(machine.provider.sent("/revoke")) == 2
    record = (await machine.audit())[-1]
    assert (record.actor, record.action, record.subject) == (DESK, AuditAction.PROVIDER_DELETED, "work")


async def test_a_provider_that_is_waited_for_is_in_use_too(machine: Machine) -> None:
    await machine.ready()
    await machine.desk.start(Setting.SMTP, None, ANA)
    with pytest.raises(ConfirmationNeeded):
        await machine.book.delete("work", confirm=False, actor=ANA)
    assert isinstance(await machine.state(), AwaitingAuthorization)
    await machine.book.delete("work", confirm=True, actor=ANA)
    await machine.clock.advance(60)
    assert await machine.state() == NotRetrieved()
    assert machine.provider.sent("/token") == []


async def test_a_provider_without_tokens_is_deleted_without_asking(machine: Machine) -> None:
    await machine.ready()
    await machine.book.delete("work", confirm=False, actor=ANA)
    assert await machine.book.all() == []


async def test_a_provider_of_no_such_name_is_unknown(machine: Machine) -> None:
    with pytest.raises(UnknownName, match="nowhere"):
        await machine.book.load("nowhere")
    with pytest.raises(UnknownName):
        await machine.book.delete("nowhere", confirm=True, actor=ANA)
    assert await machine.book.profile("nowhere") is None
    assert await machine.audit() == []


async def test_the_sandboxs_registration_is_there_and_cannot_be_changed(machine: Machine) -> None:
    profile = read_catalogue().profile("custom")
    assert profile is not None
    machine.book.builtin["sandbox"] = (Registration("sandbox", "custom", client_id="s"), profile)
    assert [r.name for r in await machine.book.all()] == ["sandbox"]
    with pytest.raises(InvalidFields, match="sandbox"):
        await machine.book.set("sandbox", {"client_id": "x"}, confirm=True, actor=ANA)
    with pytest.raises(UnknownName):
        await machine.book.delete("sandbox", confirm=True, actor=ANA)


async def test_a_chosen_grant_is_kept(machine: Machine) -> None:
    made = await machine.book.set("work", REGISTRATION | {"grant": "code"}, confirm=False, actor=ANA)
    assert made.grant is GrantKind.CODE


async def test_the_users_of_a_provider_are_the_settings_that_name_it(machine: Machine) -> None:
    await machine.ready()
    assert await machine.book.users("work") == [Setting.SMTP]
    assert await machine.book.users("other") == []
