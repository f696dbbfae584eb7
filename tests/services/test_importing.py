"""Another program's account taken over: what its file says of times is read with mistrust."""

from __future__ import annotations

import json
from typing import cast

import pytest
from desk_bench import Machine, machine_fixture
from fakes import ANA, ISSUER, UNREACHABLE

from valija.domain.account import Setting
from valija.domain.imported import parse_foreign
from valija.domain.token import Retrieved
from valija.services.devices import DeviceDesk
from valija.services.importing import Importer, Wanted

machine = machine_fixture


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
