"""[Get Token] and [Delete]: only at the machine, one at a time, decided once, gone on with after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from desk_bench import OAUTH, Machine, machine_fixture
from fakes import ANA, DESK, START, UNREACHABLE, answer, denied, give_token, settle

from valija.domain.account import GrantKind, Presence, Setting
from valija.domain.errors import NotAtTheMachine, NotReady, UnknownName, ValijaError
from valija.domain.record import AuditAction
from valija.domain.token import AwaitingAuthorization, NotRetrieved, Retrieved
from valija.services import authorization
from valija.services.authorization_refusals import ProviderRefused

machine = machine_fixture

SMTP = Setting.SMTP


# --- the device grant ---------------------------------------------------------------------------------------------------


async def test_get_shows_address_and_code_and_the_token_comes_when_somebody_has_signed_in(machine: Machine) -> None:
    await machine.ready()
    machine.provider.script("/token", *[denied("authorization_pending")] * 3)
    await machine.desk.start(SMTP, None, ANA)
    asked = await machine.asked()
    assert (asked.user_code, asked.verification_uri) == ("CODE-1", "https://login.example/go")
    await machine.clock.advance(16)
    assert await machine.asked() == asked
    await machine.clock.advance(5)
    state = await machine.state()
    assert isinstance(state, Retrieved)
    assert state.tokens.grant is GrantKind.DEVICE
    assert len(machine.provider.sent("/token")) == 4


async def test_who_asked_and_what_came_is_recorded(machine: Machine) -> None:
    await machine.ready()
    await machine.retrieved()
    requested, obtained = (await machine.audit())[-2:]
    assert (requested.action, requested.actor, requested.subject) == (AuditAction.TOKEN_REQUESTED, ANA, "smtp")
    assert (obtained.action, obtained.subject) == (AuditAction.TOKEN_OBTAINED, "smtp")


@pytest.mark.parametrize("grant", [None, *GrantKind])
@pytest.mark.parametrize("is_ready", [True, False])
async def test_nobody_gets_a_token_from_elsewhere_whatever_is_sent(
    machine: Machine, grant: GrantKind | None, is_ready: bool
) -> None:
    if is_ready:
        await machine.ready()
    before = await machine.audit()
    with pytest.raises(NotAtTheMachine, match="cannot be completed on the web page"):
        await machine.desk.start(SMTP, grant, DESK)
    assert await machine.state() == NotRetrieved()
    assert machine.provider.requests == []
    assert await machine.audit() == before


async def test_get_pressed_from_elsewhere_disturbs_nothing_that_waits(machine: Machine) -> None:
    await machine.ready()
    await machine.desk.start(SMTP, None, ANA)
    with pytest.raises(NotAtTheMachine):
        await machine.desk.start(SMTP, None, DESK)
    await machine.clock.advance(6)
    assert isinstance(await machine.state(), Retrieved)


async def test_get_pressed_twice_makes_a_new_code_and_only_that_one_is_asked_for(machine: Machine) -> None:
    await machine.ready()
    machine.provider.script("/token", *[denied("authorization_pending")] * 4)
    await machine.desk.start(SMTP, None, ANA)
    first = await machine.asked()
    await machine.desk.start(SMTP, None, ANA)
    second = await machine.asked()
    assert first.user_code != second.user_code
    await machine.clock.advance(21)
    assert {form["device_code"] for form in machine.provider.sent("/token")} == {"device code 2"}
    assert len(machine.provider.sent("/token")) == 4


async def test_get_pressed_twice_at_one_moment_leaves_one_that_is_followed(machine: Machine) -> None:
    await machine.ready()
    machine.provider.script("/token", *[denied("authorization_pending")] * 8)
    await asyncio.gather(machine.desk.start(SMTP, None, ANA), machine.desk.start(SMTP, None, ANA))
    shown = await machine.asked()
    assert shown.device_code is not None
    await machine.clock.advance(41)
    asked_for = [form["device_code"] for form in machine.provider.sent("/token")]
    assert set(asked_for) == {shown.device_code.reveal()}
    assert len(asked_for) == 8


async def test_while_it_waits_the_token_from_before_stays_in_use(machine: Machine) -> None:
    await machine.ready()
    before = await machine.retrieved()
    await machine.desk.start(SMTP, None, ANA)
    bearer = await machine.tokens.bearer("smtp")
    assert bearer.token == before.tokens.access_token


@pytest.mark.parametrize("error", ["access_denied", "authorization_declined", "expired_token"])
async def test_a_refusal_goes_back_to_what_was_before_with_the_reason(machine: Machine, error: str) -> None:
    await machine.ready()
    before = await machine.retrieved()
    machine.provider.script("/token", denied(error))
    await machine.desk.start(SMTP, None, ANA)
    await machine.clock.advance(6)
    state = await machine.state()
    assert isinstance(state, Retrieved)
    assert state.tokens == before.tokens
    assert state.trouble is not None
    assert (await machine.audit())[-1].action is AuditAction.TOKEN_AUTHORIZATION_FAILED


async def test_a_code_past_its_time_goes_back_to_what_was_before(machine: Machine) -> None:
    await machine.ready()
    machine.provider.script("/token", *[denied("authorization_pending")] * 200)
    await machine.desk.start(SMTP, None, ANA)
    await machine.clock.advance(601)
    state = await machine.state()
    assert isinstance(state, NotRetrieved)
    assert state.trouble is not None
    assert state.trouble.reason == "authorization_expired"


async def test_a_provider_that_is_away_for_a_while_does_not_end_the_waiting(machine: Machine) -> None:
    await machine.ready()
    machine.provider.script("/token", UNREACHABLE, answer(503), answer(429), UNREACHABLE)
    await machine.desk.start(SMTP, None, ANA)
    await machine.clock.advance(200)
    assert isinstance(await machine.state(), Retrieved)


async def test_a_token_that_cannot_be_written_is_kept_until_the_disk_has_space(machine: Machine) -> None:
    await machine.ready()
    await machine.desk.start(SMTP, None, ANA)
    machine.store.failures = 20
    await machine.clock.advance(6)
    assert isinstance(await machine.state(), AwaitingAuthorization)
    await machine.clock.advance(60)
    assert isinstance(await machine.state(), Retrieved)
    assert len(machine.provider.sent("/token")) == 1


async def test_a_refusal_that_cannot_be_written_ends_the_waiting_when_the_disk_has_space(machine: Machine) -> None:
    """Nobody waits for what nobody asks for any more."""
    await machine.ready()
    await machine.desk.start(SMTP, None, ANA)
    machine.provider.script("/token", denied("access_denied"))
    machine.store.failures = 2
    await machine.clock.advance(60)
    state = await machine.state()
    assert isinstance(state, NotRetrieved)
    assert state.trouble is not None
    assert state.trouble.reason == "access_denied"


@pytest.mark.parametrize("end", ["stop", "get again", "cancel", "delete"])
async def test_a_token_that_has_come_is_stored_or_revoked_whatever_is_done_at_that_moment(
    machine: Machine, end: str
) -> None:
    """The code was used up, and there is no second copy of the token."""
    await machine.ready()
    await machine.desk.start(SMTP, None, ANA)
    writes = asyncio.Event()

    async def wait() -> None:
        await writes.wait()

    machine.store.before_write = wait
    await machine.clock.advance(6)
    ends: dict[str, Callable[[], Awaitable[object]]] = {
        "stop": machine.desk.close,
        "get again": lambda: machine.desk.start(SMTP, None, ANA),
        "cancel": lambda: machine.desk.cancel(SMTP, ANA),
        "delete": lambda: machine.desk.delete(SMTP, ANA),
    }
    ending = asyncio.ensure_future(ends[end]())
    await settle()
    writes.set()
    await ending
    await settle()
    revoked = [form["token"] for form in machine.provider.sent("/revoke")]
    assert isinstance(await machine.state(), Retrieved) is (end == "stop")
    assert revoked == ([] if end == "stop" else ["refresh-1"])


async def test_stopping_does_not_wait_for_ever_for_a_full_disk(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorization, "CLOSE_S", 0.01)
    await machine.ready()
    await machine.desk.start(SMTP, None, ANA)
    machine.store.failures = 10**6
    await machine.clock.advance(6)
    async with asyncio.timeout(5):
        await machine.desk.close()
    machine.store.failures = 0


# --- what is not ready, or refused ------------------------------------------------------------------------------------


async def test_a_setting_that_lacks_something_is_not_ready(machine: Machine) -> None:
    with pytest.raises(NotReady, match="not OAuth"):
        await machine.desk.start(SMTP, None, ANA)
    await machine.settings.change(SMTP, {"auth": "oauth2"}, confirm=False, actor=ANA)
    with pytest.raises(NotReady, match="Provider and Account"):
        await machine.desk.start(SMTP, None, ANA)
    await machine.register(client_id="")
    await machine.use()
    with pytest.raises(NotReady, match="client id"):
        await machine.desk.start(SMTP, None, ANA)
    await machine.book.delete("work", confirm=False, actor=ANA)
    with pytest.raises(UnknownName):
        await machine.desk.start(SMTP, None, ANA)
    assert await machine.state() == NotRetrieved()


async def test_a_grant_that_is_not_possible_here_is_refused_with_those_that_are(machine: Machine) -> None:
    await machine.ready()
    with pytest.raises(NotReady, match="device, code"):
        await machine.desk.start(SMTP, GrantKind.CLIENT_CREDENTIALS, ANA)


@pytest.mark.parametrize("found", [UNREACHABLE, answer(500), denied("unauthorized_client"), answer(200, nothing=1)])
async def test_a_provider_that_gives_no_leave_leaves_all_as_it_was(machine: Machine, found: object) -> None:
    await machine.ready()
    before = await machine.retrieved()
    machine.provider.script("/device", found)  # type: ignore[arg-type]
    with pytest.raises(ProviderRefused) as raised:
        await machine.desk.start(SMTP, None, ANA)
    assert raised.value.trouble.reason
    assert await machine.state() == before


async def test_a_second_get_that_fails_lets_the_first_one_go_on(machine: Machine) -> None:
    await machine.ready()
    await machine.desk.start(SMTP, None, ANA)
    machine.provider.script("/device", UNREACHABLE)
    with pytest.raises(ProviderRefused):
        await machine.desk.start(SMTP, None, ANA)
    await machine.clock.advance(6)
    assert isinstance(await machine.state(), Retrieved)


# --- grants without a person ----------------------------------------------------------------------------------------------


async def test_a_grant_without_person_ends_at_once(machine: Machine) -> None:
    await machine.ready(client_secret="s3cret", grant="client-credentials")
    stored = await machine.desk.start(SMTP, None, ANA)
    assert isinstance(stored.state, Retrieved)
    assert stored.state.tokens.grant is GrantKind.CLIENT_CREDENTIALS


async def test_a_grant_without_person_does_not_wait_for_ever_if_whoever_wanted_it_has_gone(machine: Machine) -> None:
    await machine.ready(client_secret="s3cret", grant="client-credentials")
    gate = machine.provider.gates["/token"] = asyncio.Event()
    getting = asyncio.create_task(machine.desk.start(SMTP, None, ANA))
    await settle()
    getting.cancel()
    await settle()
    assert isinstance(await machine.state(), AwaitingAuthorization)
    gate.set()
    await settle()
    assert isinstance(await machine.state(), Retrieved)


async def test_a_grant_without_person_that_is_refused_says_why(machine: Machine) -> None:
    await machine.ready(client_secret="s3cret", grant="client-credentials")
    machine.provider.script("/token", answer(401, error="invalid_client"))
    stored = await machine.desk.start(SMTP, None, ANA)
    assert isinstance(stored.state, NotRetrieved)
    assert stored.state.trouble is not None


async def test_a_refresh_token_that_comes_with_a_grant_without_person_is_not_used(machine: Machine) -> None:
    """It ends with some idle session; the registration is asked anew, for ever."""
    await machine.ready(client_secret="s3cret", grant="client-credentials")
    await machine.desk.start(SMTP, None, ANA)
    machine.clock.jump(7200)
    assert (await machine.tokens.bearer("smtp")).token.reveal() == "access-2"
    assert [form["grant_type"] for form in machine.provider.sent("/token")] == ["client_credentials"] * 2


# --- cancel and delete --------------------------------------------------------------------------------------------------


async def test_cancelling_goes_back_and_asks_the_provider_no_more(machine: Machine) -> None:
    await machine.ready()
    before = await machine.retrieved()
    await machine.desk.start(SMTP, None, ANA)
    asked = len(machine.provider.requests)
    stored = await machine.desk.cancel(SMTP, DESK)
    assert isinstance(stored.state, Retrieved)
    assert stored.state.tokens == before.tokens
    assert stored.state.trouble is not None
    assert stored.state.trouble.reason == "consent_cancelled"
    await machine.clock.advance(60)
    assert len(machine.provider.requests) == asked
    record = (await machine.audit())[-1]
    assert (record.action, record.actor) == (AuditAction.TOKEN_AUTHORIZATION_FAILED, DESK)


async def test_cancelling_where_nothing_waits_changes_nothing(machine: Machine) -> None:
    await machine.ready()
    before = await machine.retrieved()
    audit = await machine.audit()
    assert (await machine.desk.cancel(SMTP, ANA)).state == before
    assert await machine.audit() == audit


async def test_deleting_forgets_here_first_and_revokes_at_the_provider_then(machine: Machine) -> None:
    await machine.ready()
    await machine.retrieved()
    forgotten: list[object] = []

    async def look() -> None:
        forgotten.append(await machine.state())

    gate = machine.provider.gates["/revoke"] = asyncio.Event()
    deleting = asyncio.create_task(machine.desk.delete(SMTP, DESK))
    await settle()
    await look()
    gate.set()
    stored, revocation = await deleting
    assert forgotten == [NotRetrieved()]
    assert (stored.state, revocation) == (NotRetrieved(), "revoked")
    form = machine.provider.sent("/revoke")[0]
    assert (form["token"], form["token_type_hint"]) == ("refresh-1", "refresh_token")
    record = (await machine.audit())[-1]
    assert (record.action, record.actor, record.actor.presence) == (AuditAction.TOKEN_DELETED, DESK, Presence.REMOTE)


async def test_deleting_works_while_the_provider_is_away(machine: Machine) -> None:
    await machine.ready()
    await machine.retrieved()
    machine.provider.script("/revoke", UNREACHABLE)
    stored, revocation = await machine.desk.delete(SMTP, ANA)
    assert (stored.state, revocation) == (NotRetrieved(), "failed")


async def test_deleting_where_nothing_is_says_so(machine: Machine) -> None:
    await machine.ready()
    stored, revocation = await machine.desk.delete(SMTP, ANA)
    assert (stored.state, revocation) == (NotRetrieved(), "nothing")
    assert machine.provider.sent("/revoke") == []


async def test_deleting_while_waiting_ends_the_waiting_too(machine: Machine) -> None:
    await machine.ready()
    await machine.retrieved()
    await machine.desk.start(SMTP, None, ANA)
    asked = len(machine.provider.sent("/token"))
    _stored, revocation = await machine.desk.delete(SMTP, ANA)
    assert revocation == "revoked"
    await machine.clock.advance(60)
    assert await machine.state() == NotRetrieved()
    assert len(machine.provider.sent("/token")) == asked


async def test_deleting_during_a_refresh_revokes_the_late_token_too(machine: Machine) -> None:
    await machine.ready()
    await machine.retrieved()
    machine.clock.jump(7200)
    gate = machine.provider.gates["/token"] = asyncio.Event()
    bearer = asyncio.create_task(machine.tokens.bearer("smtp"))
    await settle()
    await machine.desk.delete(SMTP, ANA)
    gate.set()
    await asyncio.gather(bearer, return_exceptions=True)
    assert await machine.state() == NotRetrieved()
    assert [form["token"] for form in machine.provider.sent("/revoke")] == ["refresh-1", "refresh-2"]


# --- a provider where a revocation ends more than one token ---------------------------------------------------------------

GOOGLE = {"kind": "google", "issuer": "", "client_id": "42-abc.apps.example"}
REVOKE = "https://oauth2.googleapis.com/revoke"


async def with_google(machine: Machine, *settings: Setting, account: str = "ana@example.com") -> None:
    """Let settings have a token of Google's, each its own."""
    await machine.register("work", **GOOGLE)
    await machine.register("again", **(GOOGLE | {"client_id": "42-def.apps.example"}))
    for setting in settings:
        name = "work" if setting is SMTP else "again"
        await machine.use(
            setting, OAUTH | {"provider": name, "account": "ana@example.com" if setting is SMTP else account}
        )
        await give_token(machine.tokens, machine.clock, setting.value)


async def test_a_deletion_ends_no_token_of_another_setting(machine: Machine) -> None:
    """One revocation at Google takes the whole consent of the mailbox away: the last of its tokens does that."""
    await with_google(machine, SMTP, Setting.EMAIL_PRINT, account="Ana@example.com")
    machine.provider.script(REVOKE, answer())
    stored, revocation = await machine.desk.delete(SMTP, ANA)
    assert (stored.state, revocation) == (NotRetrieved(), "in_use")
    assert machine.provider.sent(REVOKE) == []
    _stored, revocation = await machine.desk.delete(Setting.EMAIL_PRINT, ANA)
    assert revocation == "revoked"


async def test_a_token_of_another_mailbox_does_not_hinder_a_revocation(machine: Machine) -> None:
    await with_google(machine, SMTP, Setting.EMAIL_PRINT, account="luis@example.com")
    machine.provider.script(REVOKE, answer())
    assert (await machine.desk.delete(SMTP, ANA))[1] == "revoked"


async def test_a_late_token_does_not_take_the_one_with_it_that_came_meanwhile(machine: Machine) -> None:
    """A refresh is in the air while somebody gets a new token for the same mailbox."""
    await with_google(machine, SMTP)
    machine.clock.jump(7200)
    url = "https://oauth2.googleapis.com/token"
    machine.provider.script(url, answer(access_token="late", refresh_token="late-refresh", expires_in=3600))
    gate = machine.provider.gates[url] = asyncio.Event()
    bearer = asyncio.create_task(machine.tokens.bearer("smtp"))
    await settle()
    await give_token(machine.tokens, machine.clock, "smtp", grant_id="a new grant")
    gate.set()
    assert (await bearer).grant_id == "a new grant"
    assert machine.provider.sent(REVOKE) == []


# --- after a restart ------------------------------------------------------------------------------------------------------


async def restarted(machine: Machine) -> Machine:
    """Stop the services and build them again on the same store."""
    await machine.close()
    again = Machine(after_restart=machine)
    await again.desk.resume()
    return again


async def test_a_restart_goes_on_with_the_same_code(machine: Machine) -> None:
    await machine.ready()
    await machine.desk.start(SMTP, None, ANA)
    before = await machine.asked()
    again = await restarted(machine)
    assert await again.asked() == before
    await again.clock.advance(6)
    assert isinstance(await again.state(), Retrieved)
    assert machine.provider.sent("/token")[0]["device_code"] == "device code 1"
    await again.close()


async def test_a_code_that_expired_while_the_machine_was_off_says_so_at_the_start(machine: Machine) -> None:
    await machine.ready()
    await machine.desk.start(SMTP, None, ANA)
    await machine.close()
    machine.clock.jump(601)
    again = Machine(after_restart=machine)
    await again.desk.resume()
    state = await again.state()
    assert isinstance(state, NotRetrieved)
    assert state.trouble is not None
    assert state.trouble.reason == "authorization_timed_out"
    assert machine.provider.sent("/token") == []


async def test_a_restart_without_network_goes_on_as_soon_as_the_provider_answers(machine: Machine) -> None:
    await machine.ready()
    await machine.desk.start(SMTP, None, ANA)
    machine.provider.script("/.well-known/oauth-authorization-server", *[UNREACHABLE] * 5)
    again = await restarted(machine)
    await again.clock.advance(60)
    assert isinstance(await again.state(), Retrieved)
    await again.close()


async def test_a_restart_with_a_setting_that_lacks_something_now_ends_the_waiting_with_the_reason(
    machine: Machine,
) -> None:
    await machine.ready()
    await machine.desk.start(SMTP, None, ANA)
    await machine.settings.change(SMTP, {"auth": "none"}, confirm=False, actor=ANA)
    again = await restarted(machine)
    await settle()
    state = await again.state()
    assert isinstance(state, NotRetrieved)
    assert state.trouble is not None
    assert state.trouble.reason == "authorization_interrupted"
    await again.close()


async def test_a_restart_during_a_grant_without_person_says_that_it_was_interrupted(machine: Machine) -> None:
    await machine.ready(client_secret="s3cret", grant="client-credentials")
    machine.provider.gates["/token"] = asyncio.Event()
    starting = asyncio.create_task(machine.desk.start(SMTP, None, ANA))
    await settle()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    again = await restarted(machine)
    state = await again.state()
    assert isinstance(state, NotRetrieved)
    assert state.trouble is not None
    assert state.trouble.reason == "authorization_interrupted"


async def test_a_token_from_before_survives_a_restart_while_waiting(machine: Machine) -> None:
    await machine.ready()
    before = await machine.retrieved()
    await machine.desk.start(SMTP, None, ANA)
    again = await restarted(machine)
    assert (await again.tokens.bearer("smtp")).token == before.tokens.access_token
    assert again.clock.now() > START
    with pytest.raises(ValijaError):
        await again.desk.paste(SMTP, "https://x/?code=1")
    await again.close()
