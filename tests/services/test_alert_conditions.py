"""What the watch finds out: printer, supplies, scanner, certificates, devices, a provider that is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from fakes import ANA, START, FakeClock, give_token

from valija.apps.config import Configuration
from valija.apps.machine import Machine, build
from valija.domain.account import Setting
from valija.domain.alert import AlertKind
from valija.domain.job import JobKind
from valija.domain.printer import PrinterReason, PrinterState, PrinterStateName, Severity, Supply
from valija.domain.sighting import Seen
from valija.domain.token import Retrieved
from valija.services.job_run import JobRun, JobStopped, card_of
from valija.services.lane_leasing import Pause
from valija.store.memory import MemoryStore

HERE = "192.0.2.7"


@pytest.fixture(name="clock")
def clock_fixture() -> FakeClock:
    return FakeClock(by_itself=False)


@pytest.fixture(name="machine")
async def machine_fixture(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Machine]:
    """Give a machine; an operator's certificate ends in six days."""
    path = tmp_path / "web.pem"
    issued = trustme.CA().issue_cert("machine.test", not_after=START + timedelta(days=6))
    path.write_bytes(issued.cert_chain_pems[0].bytes())
    key = tmp_path / "web.key"
    key.write_bytes(issued.private_key_pem.bytes())
    configuration = Configuration.model_validate({"web": {"certificate": path, "key": key}})
    built = build(configuration, MemoryStore(), clock, tmp_path)
    await built.alerts.settings.change({"disk_mb": 0, "device_errors": 3}, actor=ANA)
    yield built
    await built.jobs.stop()
    await built.http.close()


async def found(machine: Machine) -> dict[AlertKind, str]:
    """Look once; return what holds, with its level."""
    conditions = await machine.alerts._conditions.find(await machine.alerts.settings.load())
    assert conditions.kinds == frozenset(AlertKind) - {AlertKind.CHANNEL_FAILED}
    return {c.kind: c.level.value for c in conditions.conditions if c.kind is not AlertKind.CERTIFICATE_ENDING}


async def test_a_certificate_file_is_told_of_a_week_before_its_end(machine: Machine, clock: FakeClock) -> None:
    """A warning; a day before, critical; one that is renewed is not told of any more."""
    conditions, settings = machine.alerts._conditions, await machine.alerts.settings.load()

    async def level() -> list[str]:
        return [c.level.value for c in (await conditions.find(settings)).conditions]

    assert await level() == ["warning"]
    clock.jump(timedelta(days=5, hours=12).total_seconds())
    assert await level() == ["critical"]
    renewed = trustme.CA().issue_cert("machine.test", not_after=START + timedelta(days=300))
    conditions.certificates[0].write_bytes(renewed.cert_chain_pems[0].bytes())
    assert await level() == []


@pytest.mark.parametrize(
    ("zone", "language", "said"),
    [("America/Mexico_City", "es", "31/12/2031"), ("Pacific/Auckland", "en", "2031-12-31"), ("", "en", "2031-12-31")],
)
async def test_the_day_that_was_typed_is_the_day_that_is_said(
    machine: Machine, clock: FakeClock, zone: str, language: str, said: str
) -> None:
    """Wherever the machine stands; and though a certificate's file cannot be read."""
    await machine.preferences.change({"time_zone": zone, "language": language}, actor=ANA)
    await machine.alerts.settings.change({"secret_dates": ["microsoft: 2031-12-31"]}, actor=ANA)
    conditions = machine.alerts._conditions
    conditions.certificates[0].unlink()
    clock.jump((datetime(2031, 12, 29, 12, tzinfo=UTC) - clock.now()).total_seconds())
    findings = await conditions.find(await machine.alerts.settings.load())
    [secret] = [c for c in findings.conditions if c.kind is AlertKind.SECRET_ENDING]
    words = await machine.alerts.channels.words()
    assert said in words.sentence(secret)
    assert frozenset(AlertKind) - findings.kinds == {AlertKind.CHANNEL_FAILED, AlertKind.CERTIFICATE_ENDING}


async def test_one_look_that_breaks_silences_no_other(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A printer that answers what nobody expects: its own kinds are not known, the rest is told."""

    async def broken() -> PrinterState | None:
        raise RuntimeError("inside")

    monkeypatch.setattr(machine.alerts._conditions, "printer", broken)
    findings = await machine.alerts._conditions.find(await machine.alerts.settings.load())
    assert [c.kind for c in findings.conditions] == [AlertKind.CERTIFICATE_ENDING]
    assert not findings.kinds & {AlertKind.PRINTER_FAULT, AlertKind.SUPPLIES_LOW}


async def test_a_token_that_will_not_live_for_long_is_told_of_30_7_and_1_days_before(
    machine: Machine, clock: FakeClock
) -> None:
    """Where nobody could refresh it: by the provider's idle limit, or its own end if that is sooner; refreshed, it is over."""
    microsoft = {"client_id": "x", "tenant": "example.com"}
    await machine.providers.set("microsoft", microsoft, confirm=False, actor=ANA)
    login = {"auth": "oauth2", "provider": "microsoft", "account": "ana@example.com"}
    await machine.settings.change(Setting.SMTP, login, confirm=True, actor=ANA)
    tokens = await give_token(machine.tokens, clock)
    for days, level in ((59, None), (1, "info"), (22, "info"), (1, "warning"), (6, "critical"), (9, "critical")):
        clock.jump(days * 86_400)
        assert (await found(machine)).get(AlertKind.TOKEN_ENDING) == level
    refreshed = replace(tokens, refreshed_at=clock.now(), refresh_token_expires_at=clock.now() + timedelta(days=40))
    version = (await machine.store.load_token("smtp")).version
    assert await machine.store.replace_token("smtp", version, Retrieved(refreshed), due_at=None) is not None
    assert AlertKind.TOKEN_ENDING not in await found(machine)
    clock.jump(34 * 86_400)
    assert (await found(machine))[AlertKind.TOKEN_ENDING] == "warning"


async def test_the_certificate_that_the_machine_logs_in_with_is_told_of_too(machine: Machine, clock: FakeClock) -> None:
    """A provider's: by its name."""
    issued = trustme.CA(key_type=trustme.KeyType.RSA).issue_cert(
        "client.test", not_after=START + timedelta(days=20), key_type=trustme.KeyType.RSA
    )
    pair = {
        "certificate": issued.cert_chain_pems[0].bytes().decode(),
        "private_key": issued.private_key_pem.bytes().decode(),
    }
    where = {"kind": "custom", "issuer": "https://id.example", "client_id": "x", "grant": "client-credentials"}
    await machine.providers.set("robot", where | pair, confirm=False, actor=ANA)
    seen = (await machine.alerts._conditions.find(await machine.alerts.settings.load())).conditions
    assert {(c.subject, c.level.value) for c in seen if c.kind is AlertKind.CERTIFICATE_ENDING} == {
        (str(machine.alerts._conditions.certificates[0]), "warning"),
        ("robot", "info"),
    }


async def test_a_printer_that_stands_still_and_one_that_runs_out(machine: Machine, clock: FakeClock) -> None:
    """Asked every five minutes at most; a printer that nobody can ask is no fault."""
    asked = []
    answers = [
        PrinterState(PrinterStateName.STOPPED, reasons=(PrinterReason("media-empty", Severity.ERROR),)),
        PrinterState(PrinterStateName.IDLE, supplies=(Supply("Black toner", "toner", "black", 4),)),
        PrinterState(PrinterStateName.UNKNOWN, trouble="printer_unknown"),
        None,
    ]

    async def printer() -> PrinterState | None:
        asked.append(clock.now())
        return answers[len(asked) - 1]

    machine.alerts._conditions.printer = printer
    for expected in (
        {AlertKind.PRINTER_FAULT: "warning"},
        {AlertKind.SUPPLIES_LOW: "info"},
        {},
        {},
    ):
        assert await found(machine) == expected
        clock.jump(60)
        assert await found(machine) == expected
        clock.jump(300)
    assert len(asked) == 4


async def test_a_scanner_that_failed_last_is_told_until_it_scans_again(machine: Machine, clock: FakeClock) -> None:
    """What a person did (no paper, cancelled) is none of its faults."""

    async def scan(reason: str) -> None:
        async def work(run: JobRun) -> None:
            if reason:
                raise JobStopped(reason, "the scanner's words")
            await run.finish()

        job = await machine.jobs.begin(card_of(JobKind.SCAN, "scan", ANA, clock.now(), (), {"scanner": "office"}), work)
        await machine.jobs.wait(job.id)

    for reason, expected in (
        ("scanner_jammed", {AlertKind.SCANNER_FAULT: "warning"}),
        ("scanner_no_paper", {}),
        ("scanner_missing", {AlertKind.SCANNER_FAULT: "warning"}),
        ("", {}),
    ):
        await scan(reason)
        assert await found(machine) == expected, reason


async def test_a_device_that_is_refused_again_and_again(machine: Machine, clock: FakeClock) -> None:
    """As often as the setting says, since it last worked; not any more when it works, or has been quiet for an hour."""
    desk = machine.gateway.devices
    await desk.add({"name": "Ricoh"}, ANA)

    def see(error: str, times: int = 1) -> None:
        for _time in range(times):
            desk.saw("ricoh", Seen(clock.now(), HERE, "smtp", "TLSv1.2", error=error))

    see("535 5.7.8", 2)
    assert await found(machine) == {}
    see("535 5.7.8")
    assert await found(machine) == {AlertKind.DEVICE_ERRORS: "warning"}
    see("")
    assert await found(machine) == {}
    see("535 5.7.8", 3)
    assert await found(machine) == {AlertKind.DEVICE_ERRORS: "warning"}
    clock.jump(3700)
    assert await found(machine) == {}


async def test_a_provider_that_is_not_there_for_a_quarter_of_an_hour(
    machine: Machine, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the first minutes: servers start anew."""
    await machine.settings.change(Setting.SMTP, {"server": "mail.office.example"}, confirm=True, actor=ANA)
    paused: list[str] = ["Network is unreachable"]
    dispatcher = machine.gateway.dispatcher
    monkeypatch.setattr(
        dispatcher, "pause_of", lambda _account: Pause(clock.now(), paused[0], "connection_failed") if paused else None
    )
    assert await found(machine) == {}
    clock.jump(14 * 60)
    assert await found(machine) == {}
    clock.jump(60)
    assert await found(machine) == {AlertKind.UPSTREAM_UNREACHABLE: "warning"}
    told = (await machine.alerts._conditions.find(await machine.alerts.settings.load())).conditions
    (lost,) = (c for c in told if c.kind is AlertKind.UPSTREAM_UNREACHABLE)
    assert {value.name for value in lost.values} == {"reason", "words"}
    paused.clear()
    assert await found(machine) == {}
