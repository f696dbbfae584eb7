"""The connection test says what is so: which stage failed, and that a token was refreshed when it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from desk_bench import OAUTH, Machine, machine_fixture
from fakes import UNREACHABLE, give_token

from valija.domain.account import Setting
from valija.domain.token import Invalid, InvalidCause, Retrieved
from valija.domain.trouble import Trouble, WhoActs
from valija.net.data_files import read_explainer
from valija.net.tls import client_context
from valija.services.connection_test import ConnectionTest, StageOutcome, StageReport
from valija.services.connection_test import TestStage as Stage
from valija.services.delivery import Delivery
from valija.services.login import Login, Troubles
from valija.services.retrieval import Retrieval

machine = machine_fixture
FAX = Setting.INTERNET_FAX
ENDED = "Token update failed. Please delete the token and obtain it again."


@dataclass
class Mailbox:
    """A POP3 server: ``answers`` in place of the usual ones; None: it goes away."""

    answers: dict[bytes, bytes | None] = field(default_factory=dict)

    async def session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        usual: dict[bytes, bytes | None] = {
            b"CAPA": b"+OK\r\nSASL XOAUTH2\r\nUIDL\r\nSTLS\r\n.\r\n",
            b"AUTH": b"+ \r\n",
            b"STAT": b"+OK 3 999\r\n",
        }
        writer.write(b"+OK hi\r\n")
        while line := await reader.readline():
            found = (usual | self.answers).get(line.split()[0], b"+OK\r\n")
            if found is None:
                break
            writer.write(found)
        writer.close()


@pytest.fixture
async def mailbox(machine: Machine) -> AsyncIterator[Mailbox]:
    """Serve a mailbox, which the Internet fax setting reads with a token."""
    served = Mailbox()
    server = await asyncio.start_server(served.session, "127.0.0.1", 0)
    await machine.register()
    place = {"server": "127.0.0.1", "port": server.sockets[0].getsockname()[1], "tls": False, "timeout": 2}
    await machine.use(FAX, OAUTH | place)
    yield served
    server.close()


async def stages(machine: Machine, tmp_path: Path) -> dict[Stage, StageReport]:
    """Run the test; no token is kept from this sandbox."""
    tls, clock, troubles = client_context(), machine.clock, Troubles(read_explainer(), machine.clock)
    login = Login(machine.tokens, troubles)
    ports = frozenset([(await machine.store.load_settings(FAX)).value.port])
    delivery = Delivery(machine.store, machine.book, login, tls, clock, local_name="x", sandbox_ports=ports)
    retrieval = Retrieval(machine.store, machine.book, login, tls, clock, machine.events, tmp_path, sandbox_ports=ports)
    test = ConnectionTest(delivery, retrieval, machine.tokens, machine.client, machine.provider, troubles, tls, clock)
    reports = [report async for report in test.run(FAX)]
    assert len({report.stage for report in reports}) == len(reports)
    return {report.stage: report for report in reports}


async def refuse(machine: Machine, times: int) -> None:
    """Let the account refuse fresh tokens, a minute apart."""
    grant = "grant of internet-fax"
    for _ in range(times):
        refused = Trouble("login_refused", WhoActs.ADMINISTRATOR, "535 no", machine.clock.now())
        await machine.tokens.report_login(FAX.value, grant, refused)
        machine.clock.jump(60)


async def test_an_account_that_takes_the_token_again_is_seen_and_is_retrieved_again(
    machine: Machine, mailbox: Mailbox, tmp_path: Path
) -> None:
    """The refresh works: nobody is told to delete the token; the log-in decides."""
    await give_token(machine.tokens, machine.clock, FAX.value)
    await refuse(machine, 3)
    state = await machine.state(FAX)
    assert isinstance(state, Invalid)
    assert state.cause is InvalidCause.ACCOUNT_REFUSED
    found = await stages(machine, tmp_path)
    assert found[Stage.TOKEN].outcome is StageOutcome.PASSED
    assert found[Stage.MAILDROP].outcome is StageOutcome.PASSED
    assert isinstance(await machine.state(FAX), Retrieved)


async def test_a_refusal_on_record_is_not_taken_for_a_refresh_that_failed(
    machine: Machine, mailbox: Mailbox, tmp_path: Path
) -> None:
    await give_token(machine.tokens, machine.clock, FAX.value)
    await refuse(machine, 1)
    found = (await stages(machine, tmp_path))[Stage.TOKEN]
    assert (found.outcome, found.trouble) == (StageOutcome.PASSED, None)


async def test_a_refresh_that_fails_is_a_warning_while_the_token_lives_and_a_failure_after(
    machine: Machine, mailbox: Mailbox, tmp_path: Path
) -> None:
    await give_token(machine.tokens, machine.clock, FAX.value)
    machine.provider.script("/token", UNREACHABLE, UNREACHABLE)  # the first is asked for its clock
    assert (await stages(machine, tmp_path))[Stage.TOKEN].outcome is StageOutcome.WARNING
    machine.clock.jump(3600)
    machine.provider.script("/token", UNREACHABLE, UNREACHABLE)
    found = (await stages(machine, tmp_path))[Stage.TOKEN]
    assert (found.outcome, str(found.found)) == (StageOutcome.FAILED, ENDED)


async def test_a_token_that_nothing_renews_is_not_said_to_be_refreshed(
    machine: Machine, mailbox: Mailbox, tmp_path: Path
) -> None:
    await give_token(machine.tokens, machine.clock, FAX.value, refresh_token=None)
    found = (await stages(machine, tmp_path))[Stage.TOKEN]
    assert (found.outcome, str(found.found)) == (
        StageOutcome.PASSED,
        "good for 60 min, then it ends: nothing renews it",
    )
    machine.clock.jump(3600)
    found = (await stages(machine, tmp_path))[Stage.TOKEN]
    assert (found.outcome, str(found.found)) == (StageOutcome.FAILED, ENDED)


async def test_a_server_that_does_not_say_goodbye_has_greeted_and_logged_in(
    machine: Machine, mailbox: Mailbox, tmp_path: Path
) -> None:
    mailbox.answers[b"QUIT"] = None
    await give_token(machine.tokens, machine.clock, FAX.value)
    found = await stages(machine, tmp_path)
    assert {report.outcome for report in found.values()} <= {StageOutcome.PASSED, StageOutcome.SKIPPED}
    assert Stage.MAILDROP in found


async def test_a_server_that_refuses_tls_fails_in_that_stage(
    machine: Machine, mailbox: Mailbox, tmp_path: Path
) -> None:
    mailbox.answers |= {b"STLS": b"-ERR not now\r\n"}
    await machine.use(FAX, {"tls": True})
    await give_token(machine.tokens, machine.clock, FAX.value)
    found = await stages(machine, tmp_path)
    assert found[Stage.TLS].outcome is StageOutcome.FAILED
    assert Stage.TOKEN not in found
