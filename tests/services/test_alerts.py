"""The watch: what becomes an alert, who is told of it by real channels, what a crash and a second node leave; status mails."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from fakes import ANA, START, FakeClock, tokens_for

from valija.apps.config import Configuration
from valija.apps.machine import Machine, build
from valija.domain.account import Setting
from valija.domain.account_gate import hold, release
from valija.domain.alert import AlertKind, Told
from valija.domain.alert_telling import Channel, HandingName
from valija.domain.job import Failed, Preparing, Sending
from valija.domain.printer import PrinterState, PrinterStateName, Supply
from valija.domain.record import ReceivedMessage
from valija.domain.token import Invalid, InvalidCause
from valija.domain.trouble import Trouble, WhoActs
from valija.services.events import GuessingSeen
from valija.store.jobs_port import StoredJob
from valija.store.memory import MemoryStore

OWN = "machine@office.example"
OPERATOR = "ana@office.example"
SECRET = "a secret of the webhook"
MINUTE = 60.0


@pytest.fixture(name="clock")
def clock_fixture() -> FakeClock:
    return FakeClock(by_itself=False)


@pytest.fixture(name="machine")
async def machine_fixture(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Machine]:
    """Give a machine that can send; nothing runs in the background, mail stays in the queue."""
    machine = await made(MemoryStore(), clock, tmp_path)
    yield machine
    await machine.jobs.stop()
    await machine.http.close()


def stay(account: str) -> None:
    """Let mail stay in the queue."""


async def made(store: MemoryStore, clock: FakeClock, folder: Path) -> Machine:
    machine = build(Configuration(), store, clock, folder)
    await machine.settings.change(Setting.SMTP, {"sender_address": OWN}, confirm=True, actor=ANA)
    await change(machine, disk_mb=0)
    machine.gateway.dispatcher.wake = stay  # type: ignore[method-assign]
    await machine.status_requests.mail.start()
    return machine


async def change(machine: Machine, **changes: Any) -> None:
    await machine.alerts.settings.change(changes, actor=ANA)


async def pass_minutes(machine: Machine, clock: FakeClock, count: int) -> None:
    for _minute in range(count):
        clock.jump(MINUTE)
        await machine.alerts.turn()


async def mails(machine: Machine) -> list[EmailMessage]:
    """Return what is in the queue, oldest first."""
    found = []
    for stored in reversed(await machine.store.queue.list_messages(account=None, state=None, limit=500)):
        body = await machine.store.queue.load_body(stored.id)
        assert body is not None
        found.append(message_from_bytes(body.octets, policy=policy.default))
    return found


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body()
    assert body is not None
    return str(body.get_content())


async def lock_out(machine: Machine, clock: FakeClock, name: str) -> None:
    machine.alerts._conditions.locked_out(GuessingSeen(name, "192.0.2.7", clock.now()))


async def hold_mail(machine: Machine, clock: FakeClock) -> None:
    await machine.gateway.dispatcher.change_gate("smtp", lambda gate: hold(gate, clock.now()))


# --- from a condition to a mail -------------------------------------------------------------------------------------------


async def test_an_alert_is_told_by_one_mail_lasts_and_is_told_to_be_solved_once(
    machine: Machine, clock: FakeClock
) -> None:
    await change(machine, alert_to=[OPERATOR, "luis@office.example"])
    await hold_mail(machine, clock)
    await machine.alerts.turn()
    assert await mails(machine) == []  # it waits for others
    await pass_minutes(machine, clock, 5)
    (mail,) = await mails(machine)
    assert mail["To"] == f"{OPERATOR}, luis@office.example"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "Mail of SMTP does not leave: Somebody holds it." in text_of(mail)
    await machine.gateway.dispatcher.change_gate("smtp", lambda gate: release(gate, clock.now()))
    await pass_minutes(machine, clock, 20)
    told = await mails(machine)
    assert len(told) == 2
    assert "Solved" in told[1]["Subject"]


async def test_a_hundred_alerts_at_once_are_one_mail_of_bearable_length(machine: Machine, clock: FakeClock) -> None:
    await change(machine, alert_to=[OPERATOR])
    for number in range(50):
        await lock_out(machine, clock, f"device{number}")
    await machine.alerts.turn()
    await pass_minutes(machine, clock, 3)
    (mail,) = await mails(machine)
    text = text_of(mail)
    assert mail["Subject"] == "Valija: 50 alerts"
    assert "and 20 more" in text
    assert text.count("Somebody guesses") == 30


async def test_a_condition_that_flaps_is_told_once(machine: Machine, clock: FakeClock) -> None:
    await change(machine, alert_to=[OPERATOR])
    for _again in range(12):
        await hold_mail(machine, clock)
        await pass_minutes(machine, clock, 3)
        await machine.gateway.dispatcher.change_gate("smtp", lambda gate: release(gate, clock.now()))
        await pass_minutes(machine, clock, 2)
    assert len(await mails(machine)) == 1


async def test_no_more_mails_an_hour_than_are_bearable_and_nothing_is_lost(machine: Machine, clock: FakeClock) -> None:
    await change(machine, alert_to=[OPERATOR])
    for number in range(90):
        await lock_out(machine, clock, f"device{number}")
        await pass_minutes(machine, clock, 1)
    assert 6 <= len(await mails(machine)) <= 12
    told = "".join(text_of(mail) for mail in await mails(machine))
    assert [n for n in range(75) if f" device{n}," not in told] == []


async def test_a_token_that_is_not_valid_is_an_alert_whatever_becomes_of_mail(
    machine: Machine, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The lamp and the log tell it: mail is what just broke."""
    await machine.settings.change(Setting.SMTP, {"auth": "oauth2"}, confirm=True, actor=ANA)
    trouble = Trouble("grant_ended", WhoActs.USER, "revoked", clock.now())
    state = Invalid(tokens_for(clock), trouble, clock.now(), InvalidCause.GRANT_ENDED)
    await machine.store.replace_token("smtp", 0, state, due_at=None)
    await machine.alerts.turn()
    (alert,) = await machine.alerts.all()
    assert alert.condition.kind is AlertKind.TOKEN_INVALID
    assert any(record.message == "alert_raised" for record in caplog.records)


async def test_an_old_and_a_long_queue_are_alerts(machine: Machine, clock: FakeClock) -> None:
    await change(machine, queue_hours=2, queue_count=1, daily_to=[OPERATOR])
    for _day in range(2):
        clock.jump(86_400)
        await machine.alerts.turn()
    clock.jump(2 * 3600)
    await machine.alerts.turn()
    kinds = {alert.condition.kind for alert in await machine.alerts.all() if alert.is_open}
    assert kinds == {AlertKind.QUEUE_OLD, AlertKind.QUEUE_LARGE}


async def test_a_full_disk_a_client_secret_and_a_certificate_are_told_of_ahead(
    machine: Machine, clock: FakeClock
) -> None:
    await change(machine, disk_mb=1_000_000, secret_dates=[f"microsoft: {(START + timedelta(days=6)).date()}"])
    await machine.alerts.turn()
    found = {a.condition.kind: a.condition.level.value for a in await machine.alerts.all()}
    assert found[AlertKind.SECRET_ENDING] == "warning"
    assert AlertKind.DISK_LOW in found


async def test_what_cannot_be_looked_at_stays_as_it_was(
    machine: Machine, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hold_mail(machine, clock)
    await machine.alerts.turn()

    async def broken() -> Any:
        raise OSError("no such luck")

    monkeypatch.setattr(machine.store.queue, "gates", broken)
    await pass_minutes(machine, clock, 20)
    (alert,) = await machine.alerts.all()
    assert isinstance(alert.state, Told)


# --- nodes and crashes ----------------------------------------------------------------------------------------------------


async def test_two_nodes_tell_once(machine: Machine, clock: FakeClock, tmp_path: Path) -> None:
    await change(machine, alert_to=[OPERATOR])
    other = build(Configuration(), machine.store, clock, tmp_path)
    await hold_mail(machine, clock)
    for _minute in range(10):
        await asyncio.gather(machine.alerts.turn(), other.alerts.turn())
        clock.jump(MINUTE)
    assert len(await mails(machine)) == 1
    await other.http.close()


async def test_a_crash_between_claim_and_telling_loses_nothing(machine: Machine, clock: FakeClock) -> None:
    await change(machine, alert_to=[OPERATOR])
    await hold_mail(machine, clock)
    await machine.alerts.look()
    clock.jump(MINUTE)
    await machine.alerts.look()
    (due,) = await machine.store.alerting.due(clock.now(), 10)
    await machine.store.alerting.claim(due, clock.now() + timedelta(minutes=5))  # and dies
    await pass_minutes(machine, clock, 3)
    assert await mails(machine) == []
    await pass_minutes(machine, clock, 3)
    assert len(await mails(machine)) == 1


# --- webhook and syslog ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def web_server(answer: bytes, got: list[bytes], *, endless: bool = False) -> AsyncIterator[str]:
    """Listen on loopback; answer every request with these octets."""
    over = asyncio.Event()
    over.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over.clear()
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(row.split(b":")[1]) for row in head.lower().split(b"\r\n") if row.startswith(b"content-length")), 0
        )
        got.append(head + await reader.readexactly(length))
        try:
            writer.write(answer)
            while endless:
                writer.write(b"x" * 65536)
                await writer.drain()
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/hook"
        await asyncio.wait_for(over.wait(), 5)
    finally:
        server.close()


OK = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


async def test_a_webhook_gets_signed_json(machine: Machine, clock: FakeClock) -> None:
    got: list[bytes] = []
    async with web_server(OK, got) as url:
        await change(machine, webhook_url=url, webhook_secret=SECRET)
        await hold_mail(machine, clock)
        await machine.alerts.turn()
        await pass_minutes(machine, clock, 2)
    head, _gap, body = got[0].partition(b"\r\n\r\n")
    signature = next(
        row.split(b": ")[1] for row in head.split(b"\r\n") if row.lower().startswith(b"x-valija-signature")
    )
    stamp, digest = (part.split(b"=")[1] for part in signature.split(b","))
    assert hmac.compare_digest(
        hmac.new(SECRET.encode(), stamp + b"." + body, hashlib.sha256).hexdigest(), digest.decode()
    )
    told = json.loads(body)
    assert told["alerts"][0] | {"since": ""} == {
        "word": "raised",
        "kind": "account_held",
        "subject": "smtp",
        "level": "warning",
        "since": "",
        "text": "Mail of SMTP does not leave: Somebody holds it.",
    }


async def test_a_webhook_that_redirects_is_not_followed_is_tried_again_and_becomes_an_alert(
    machine: Machine, clock: FakeClock
) -> None:
    got: list[bytes] = []
    elsewhere: list[bytes] = []
    async with web_server(OK, elsewhere) as inside:
        redirect = f"HTTP/1.1 307 Moved\r\nLocation: {inside}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        async with web_server(redirect.encode(), got) as url:
            await change(machine, webhook_url=url)
            await hold_mail(machine, clock)
            for _quarter in range(20):
                await pass_minutes(machine, clock, 1)
                clock.jump(14 * MINUTE)
            await pass_minutes(machine, clock, 2)
    assert elsewhere == []
    first = (await machine.store.alerting.tellings(100))[-1].telling.handings[0]
    assert first.state is HandingName.GIVEN_UP
    assert first.words == "HTTP 307"
    assert AlertKind.CHANNEL_FAILED in {a.condition.kind for a in await machine.alerts.all()}


async def test_a_webhook_that_answers_without_an_end_is_not_read(machine: Machine) -> None:
    got: list[bytes] = []
    async with web_server(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", got, endless=True) as url:
        await change(machine, webhook_url=url)
        async with asyncio.timeout(5):
            assert await machine.alerts.test(Channel.WEBHOOK) is None


async def test_a_webhook_that_says_nothing_is_given_up_in_time(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("valija.net.webhook.TIMEOUT_S", 0.2)

    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    await change(machine, webhook_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert await machine.alerts.test(Channel.WEBHOOK) == "no answer within 0.2 s"
    await asyncio.wait_for(gone.wait(), 5)
    server.close()


@pytest.mark.parametrize("where", ["udp://syslog..example.com:514", "tcp://" + "x" * 70 + ".example.com:514"])
async def test_a_channel_that_breaks_holds_up_no_other_and_repeats_none(
    machine: Machine, clock: FakeClock, where: str
) -> None:
    """A name that no resolver takes: the mail goes out once, not every five minutes; the channel is given up, and said."""
    await change(machine, alert_to=[OPERATOR], syslog=where)
    await hold_mail(machine, clock)
    await pass_minutes(machine, clock, 130)
    told = [mail for mail in await mails(machine) if "does not leave" in mail["Subject"]]
    assert len(told) == 1
    assert any(a.condition.kind is AlertKind.CHANNEL_FAILED for a in await machine.alerts.all())


async def test_a_channel_that_raises_what_nobody_expects_is_tried_again(
    machine: Machine, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_what: object) -> str | None:
        raise RuntimeError("inside")

    monkeypatch.setattr("valija.net.syslog.send", broken)
    await change(machine, alert_to=[OPERATOR], syslog="udp://127.0.0.1:9")
    await hold_mail(machine, clock)
    await pass_minutes(machine, clock, 12)
    (stored,) = await machine.store.alerting.tellings(9)
    states = {h.channel: (h.state, h.tries > 0, h.words) for h in stored.telling.handings}
    assert states[Channel.MAIL] == (HandingName.DONE, False, "")
    assert states[Channel.SYSLOG] == (HandingName.WAITING, True, "RuntimeError")


async def test_syslog_gets_one_message_a_line_by_udp_and_tells_who_and_what(machine: Machine, clock: FakeClock) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        await change(machine, syslog=f"udp://127.0.0.1:{receiver.getsockname()[1]}")
        await lock_out(machine, clock, 'x"]\nforged <14>1 - - - - - -')
        await machine.alerts.turn()
        await pass_minutes(machine, clock, 2)
        line = await asyncio.to_thread(receiver.recv, 9000)
    assert line.startswith(b"<28>1 2031-")  # daemon, warning
    assert b" valija - lockout [valija@32473 word=" in line
    assert b'\\"\\]' in line
    assert b"\n" not in line


async def test_syslog_by_tcp_is_counted_and_by_a_local_socket_is_whole(machine: Machine, tmp_path: Path) -> None:
    got = asyncio.Queue[bytes]()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.put_nowait(await reader.read())
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    await change(machine, syslog=f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert await machine.alerts.test(Channel.SYSLOG) is None
    count, _space, rest = (await asyncio.wait_for(got.get(), 5)).partition(b" ")
    assert int(count) == len(rest)
    server.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "log"))
        receiver.settimeout(5)
        await change(machine, syslog=str(tmp_path / "log"))
        assert await machine.alerts.test(Channel.SYSLOG) is None
        assert receiver.recv(9000).startswith(b"<30>1 ")
    (tmp_path / "log").unlink()
    assert await machine.alerts.test(Channel.SYSLOG) is not None


# --- status ---------------------------------------------------------------------------------------------------------------


async def test_a_status_mail_is_sent_once_a_day_also_after_the_machine_was_off(
    machine: Machine, clock: FakeClock
) -> None:
    await change(machine, daily_to=[OPERATOR], status_at="08:00")
    for _turn in range(3):
        await machine.alerts.turn()
    assert await mails(machine) == []
    clock.jump(3.5 * 86_400)
    for _turn in range(3):
        await machine.alerts.turn()
    (mail,) = await mails(machine)
    assert mail["Subject"] == "Valija: Daily status"
    assert "Tokens:" in text_of(mail)
    assert "waiting now: 0" in text_of(mail)


async def test_a_status_mail_speaks_the_machines_language(machine: Machine, clock: FakeClock) -> None:
    await machine.preferences.change({"language": "es", "name": "Recepción"}, actor=ANA)
    await change(machine, weekly_to=[OPERATOR])
    clock.jump(8 * 86_400)
    await machine.alerts.turn()
    (mail,) = await mails(machine)
    assert mail["Subject"] == "Recepción: Estado semanal"


# --- requests -------------------------------------------------------------------------------------------------------------


async def asked(machine: Machine, number: int, *lines: str) -> StoredJob | None:
    """Let a request come by POP3; return its job."""
    path = machine.state_dir / f"request{number}.eml"
    await asyncio.to_thread(path.write_bytes, ("\r\n".join(lines) + "\r\n\r\nhow are you?\r\n").encode())
    record = ReceivedMessage("email-status", "m", str(number), machine.clock.now(), path.name, 1, "", "")
    await machine.store.record_received(record)
    await machine.status_requests.mail.take()
    jobs = await machine.store.jobs.list_jobs(kind=None, state=None, limit=1)
    return jobs[0] if jobs else None


def why(job: StoredJob | None) -> str:
    assert job is not None
    assert isinstance(job.state, Failed)
    return job.state.trouble.reason


async def test_a_request_is_answered_once_also_if_the_machine_is_stopped_just_then(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await change(machine, request_senders=["@office.example"])
    accept = machine.store.queue.accept

    async def stops(*told: Any) -> int:
        number = await accept(*told)
        asking.cancel()
        await asyncio.sleep(0)
        return number

    with monkeypatch.context() as patch:
        patch.setattr(machine.store.queue, "accept", stops)
        patch.setattr(machine.gateway.intake, "offer", lambda _account: None)
        asking = asyncio.create_task(asked(machine, 1, f"From: {OPERATOR}", "Subject: hello"))
        await asyncio.gather(asking, return_exceptions=True)
    assert isinstance((await machine.jobs.job(1)).state, Preparing)
    assert await machine.status_requests.mail.take() == 1
    assert isinstance((await machine.jobs.job(1)).state, Sending)
    assert len(await mails(machine)) == 1


async def test_a_request_of_who_may_ask_is_answered_once(machine: Machine) -> None:
    await change(machine, request_senders=["@office.example"])
    job = await asked(machine, 1, f"From: Ana <{OPERATOR}>", "Message-ID: <q1@office.example>", "Subject: hello")
    assert job is not None
    assert isinstance(job.state, Sending)
    await machine.status_requests.mail.take()
    (mail,) = await mails(machine)
    assert mail["To"] == OPERATOR
    assert mail["In-Reply-To"] == "<q1@office.example>"
    assert mail["Auto-Submitted"] == "auto-replied"


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", ["Tokens:", "accepted: 3", "delivered: 0", "waiting now: ", "Status requests: 1", "Black toner: 7 %"]),
        ("es", ["Tokens:", "aceptados: 3", "entregados: 0", "en espera ahora: ", "Tóner negro"]),
    ],
)
async def test_the_answer_has_state_counts_and_supplies(machine: Machine, language: str, told: list[str]) -> None:
    """Of what the printer tells; what it does not know is left out."""
    name = "Black toner" if language == "en" else "Tóner negro"
    supplies = (Supply(name, "toner", "black", 7), Supply("Waste", "wasteToner", "", None))

    async def printer() -> PrinterState:
        return PrinterState(PrinterStateName.IDLE, supplies=supplies)

    machine.status_requests.report._printer = printer
    await machine.preferences.change({"language": language}, actor=ANA)
    await change(machine, request_senders=["@office.example"])
    machine.gateway.traffic.accepted(3)
    await asked(machine, 1, f"From: {OPERATOR}")
    (mail,) = await mails(machine)
    text = text_of(mail)
    assert [words for words in told if words not in text] == [], text
    assert "Waste" not in text


async def test_nobody_else_and_nothing_automatic_is_answered(machine: Machine) -> None:
    await change(machine, request_senders=["@office.example"])
    ana = f"From: {OPERATOR}"
    assert why(await asked(machine, 1, "From: eve@elsewhere.example")) == "status_not_allowed"
    assert why(await asked(machine, 2, f'From: "{OPERATOR}" <eve@elsewhere.example>')) == "status_not_allowed"
    assert why(await asked(machine, 3, ana, "Auto-Submitted: auto-replied")) == "status_automatic"
    assert why(await asked(machine, 4, ana, "Precedence: bulk")) == "status_automatic"
    assert why(await asked(machine, 5, ana, "Return-Path: <>")) == "status_automatic"
    assert why(await asked(machine, 6, f"From: {OWN}")) == "status_automatic"
    assert why(await asked(machine, 7, "Subject: no sender")) == "status_automatic"
    assert await mails(machine) == []


async def test_two_machines_do_not_answer_each_other(machine: Machine, clock: FakeClock, tmp_path: Path) -> None:
    """What one sends, alert, status or answer, is nothing that the other one answers."""
    await change(machine, request_senders=["@office.example"], alert_to=[OWN], daily_to=[OWN])
    await asked(machine, 1, f"From: {OPERATOR}", "Subject: hello")
    await hold_mail(machine, clock)
    clock.jump(86_400)
    await machine.alerts.turn()
    await pass_minutes(machine, clock, 2)
    sent = await mails(machine)
    assert len(sent) == 3
    (tmp_path / "other").mkdir()
    other = await made(MemoryStore(), clock, tmp_path / "other")
    await other.settings.change(Setting.SMTP, {"sender_address": "b@office.example"}, confirm=True, actor=ANA)
    await change(other, request_senders=["@office.example"])
    for number, mail in enumerate(sent):
        lines = mail.as_string(policy=policy.SMTP).split("\r\n\r\n")[0].split("\r\n")
        assert why(await asked(other, number, *lines)) == "status_automatic"
    assert await mails(other) == []
    await other.jobs.stop()
    await other.http.close()


async def test_the_password_is_asked_for_and_shown_nowhere(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    await change(machine, request_senders=["@office.example"], request_password="s3cret-word")
    assert why(await asked(machine, 1, f"From: {OPERATOR}", "Subject: status")) == "status_wrong_password"
    assert why(await asked(machine, 2, f"From: {OPERATOR}", "Subject: [pin=other]")) == "status_wrong_password"
    job = await asked(machine, 3, f"From: {OPERATOR}", "Subject: status [password=s3cret-word]")
    assert job is not None
    assert isinstance(job.state, Sending)
    lines = await machine.store.jobs.history(job.id)
    (mail,) = await mails(machine)
    assert "s3cret-word" not in repr((job, lines)) + mail.as_string() + caplog.text


async def test_who_asks_too_often_has_to_wait(machine: Machine, clock: FakeClock) -> None:
    await change(machine, request_senders=["@office.example"])
    for number in range(6):
        job = await asked(machine, number, f"From: {OPERATOR}")
        assert job is not None
        assert isinstance(job.state, Sending)
    assert why(await asked(machine, 6, f"From: {OPERATOR}")) == "status_too_often"
    clock.jump(3601)
    job = await asked(machine, 7, f"From: {OPERATOR}")
    assert job is not None
    assert isinstance(job.state, Sending)
