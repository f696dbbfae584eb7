"""Logging in: what was opened is in somebody's hands or closed, and a note that cannot be written holds no mail up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from desk_bench import Machine, machine_fixture
from fakes import give_token, settle

from valija.domain.account import Setting
from valija.domain.errors import StoreError
from valija.domain.explanations import Effect
from valija.domain.text import message
from valija.domain.token import Retrieved
from valija.domain.trouble import Trouble, WhoActs
from valija.net.data_files import read_explainer
from valija.net.smtp import SmtpConnection
from valija.protocol.sasl import Credentials
from valija.protocol.smtp_client import AuthAccepted, AuthOutcome, AuthRefused
from valija.protocol.smtp_reply import SmtpReply
from valija.services.login import Login, LoginFailed, Troubles

machine = machine_fixture
SMTP = Setting.SMTP
TAKEN = AuthAccepted("XOAUTH2")
REFUSED = AuthRefused("XOAUTH2", SmtpReply(535, "5.7.3", ("5.7.3 Authentication unsuccessful",)), None)


@dataclass
class Server:
    """What connections a log-in opened, and how each log-in ends."""

    answers: list[AuthOutcome]
    opened: list[Connection] = field(default_factory=list)

    async def connect(self) -> SmtpConnection:
        self.opened.append(Connection(self.answers))
        return cast(SmtpConnection, self.opened[-1])


@dataclass
class Connection:
    """One connection."""

    answers: list[AuthOutcome]
    closed: bool = False

    async def authenticate(self, _credentials: Credentials, _preference: tuple[str, ...] = ()) -> AuthOutcome:
        return self.answers.pop(0)

    async def close(self) -> None:
        self.closed = True


async def log_in(machine: Machine, server: Server) -> object:
    login = Login(machine.tokens, Troubles(read_explainer(), machine.clock))
    return await login.open(SMTP, (await machine.store.load_settings(SMTP)).value, server.connect, ())


async def with_refusal(machine: Machine) -> None:
    """Let the account have refused a token once."""
    await machine.register()
    await machine.use()
    await give_token(machine.tokens, machine.clock)
    refused = Trouble("login_refused", WhoActs.ADMINISTRATOR, "535 no", machine.clock.now())
    await machine.tokens.report_login("smtp", "grant of smtp", refused)


async def test_an_acceptance_is_noted(machine: Machine) -> None:
    await with_refusal(machine)
    server = Server([TAKEN])
    assert await log_in(machine, server) is server.opened[0]
    state = await machine.state()
    assert isinstance(state, Retrieved)
    assert state.refusals == 0


async def test_a_log_in_that_works_is_used_though_the_disk_is_full(machine: Machine) -> None:
    """That it works again is noted by a later one."""
    await with_refusal(machine)
    machine.store.failures = 1
    server = Server([TAKEN, TAKEN])
    assert await log_in(machine, server) is server.opened[0]
    assert not server.opened[0].closed
    await log_in(machine, server)
    state = await machine.state()
    assert isinstance(state, Retrieved)
    assert state.refusals == 0


async def test_a_refusal_is_told_though_the_store_is_away(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    await with_refusal(machine)

    async def away(*_arguments: Any) -> None:
        raise StoreError(message("It is away."))

    monkeypatch.setattr(machine.tokens, "report_login", away)
    server = Server([REFUSED, REFUSED])
    with pytest.raises(LoginFailed) as failed:
        await log_in(machine, server)
    assert "535" in failed.value.trouble.server_words
    assert [connection.closed for connection in server.opened] == [True, True]


async def test_who_gives_up_leaves_no_connection_behind(machine: Machine) -> None:
    """A mailbox that stays open is open for nobody else."""
    await with_refusal(machine)
    goes_on = asyncio.Event()

    async def wait() -> None:
        await goes_on.wait()

    machine.store.before_write = wait
    server = Server([TAKEN])
    caller = asyncio.create_task(log_in(machine, server))
    await settle()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert server.opened[0].closed


@pytest.mark.parametrize("code", [220, 235, 250, 334, 354])
@pytest.mark.parametrize("stage", ["greeting", "ehlo", "starttls", "auth", "mail"])
def test_an_answer_out_of_place_is_nonsense_and_passes(machine: Machine, code: int, stage: str) -> None:
    """It is neither a success there nor a refusal: the server is not blamed for what it did not say."""
    troubles = Troubles(read_explainer(), machine.clock)
    trouble, effect = troubles.of_smtp(stage, SmtpReply(code, "", ("go on",)))
    assert (trouble.reason, trouble.server_words, effect) == ("peer_nonsense", f"{code} go on", Effect.RETRY)
