"""Another program's account taken over: what its file says of times is read with mistrust."""

from __future__ import annotations

import json
from typing import cast

import pytest
from desk_bench import OAUTH, Machine, machine_fixture
from fakes import ANA, ISSUER, UNREACHABLE

from valija.domain.account import Setting
from valija.domain.errors import InvalidFields
from valija.domain.imported import parse_foreign
from valija.domain.token import Retrieved
from valija.services.devices import DeviceDesk
from valija.services.importing import Importer, Wanted

machine = machine_fixture


async def test_the_providers_own_server_takes_the_place_of_the_one_before(machine: Machine) -> None:
    """Another account's server knows nothing of this one's tokens."""
    await machine.register("work")
    await machine.use(Setting.SMTP, OAUTH | {"server": "mail.before.example", "port": 2525})
    token = {"access_token": "a", "refresh_token": "r", "expiry": "1", "client_id": "client-2"}
    endpoint = {"token_endpoint": "https://login.microsoftonline.com/common/oauth2/v2.0/token"}
    found = parse_foreign(json.dumps(token | endpoint), name="ana@example.com")
    importer = Importer(machine.book, machine.settings, machine.tokens, cast(DeviceDesk, None), machine.clock)
    wanted = Wanted(Setting.SMTP, with_token=False, confirm=True)
    taken = await importer.take(found, wanted, ANA)
    assert (taken.plan.setting["server"], taken.plan.setting["port"]) == ("smtp.office365.com", 587)
    kept = (await machine.store.load_settings(Setting.SMTP)).value
    assert (kept.server, kept.port, kept.account) == ("smtp.office365.com", 587, "ana@example.com")
    pop = await importer.look(found, Wanted(Setting.INTERNET_FAX))
    assert (pop.setting["server"], pop.setting["port"]) == ("outlook.office365.com", 995)


@pytest.mark.parametrize("expiry", ["0", "1", "1925000000", "999999999999"])
async def test_a_token_is_taken_over_whatever_is_said_of_its_end(machine: Machine, expiry: str) -> None:
    """The provider is away just then: the refresh token is kept, and used as soon as it is back."""
    token = {"access_token": "old", "refresh_token": "refresh-old", "expiry": expiry, "client_id": "client-1"}
    found = parse_foreign(json.dumps(token | {"token_endpoint": f"{ISSUER}/token"}), name="ana@example.com")
    importer = Importer(machine.book, machine.settings, machine.tokens, cast(DeviceDesk, None), machine.clock)
    machine.provider.script("/token", UNREACHABLE)
    taken = await importer.take(found, Wanted(Setting.SMTP, server="mail.example:587"), ANA)
    assert taken.token
    state = await machine.state()
    assert isinstance(state, Retrieved)
    assert state.tokens.refresh_token is not None
    assert state.tokens.refresh_token.reveal() == "refresh-old"
    machine.clock.jump(2 * 86400)
    assert (await machine.tokens.bearer("smtp")).token.reveal().startswith("access-")


async def test_what_the_file_does_not_say_stays_as_it_is_in_a_provider_that_is_there(machine: Machine) -> None:
    """So who sets the provider first can take over a token without the client's data, as the note says."""
    await machine.register("office")
    found = parse_foreign("[ana@example.com]\npermission_url = x\n", name="emailproxy.config")
    importer = Importer(machine.book, machine.settings, machine.tokens, cast(DeviceDesk, None), machine.clock)
    wanted = Wanted(Setting.SMTP, provider="office", server="mail.example:587")
    before = await machine.book.load("office")
    await importer.take(found, wanted, ANA)
    assert await machine.book.load("office") == before
    with pytest.raises(InvalidFields):
        await importer.take(found, Wanted(Setting.SMTP, server="mail.example:587"), ANA)
