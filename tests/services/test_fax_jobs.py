"""Faxes that were sent: what the queue and the answers make of them. Faxes that came: who is answered, who gets them."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from fakes import ANA, START, FakeClock, settle

from fax_pages import fax_file
from valija.apps.config import Configuration
from valija.apps.machine import Machine, build
from valija.domain.account import Setting
from valija.domain.errors import InvalidFields, StoreFull
from valija.domain.fax import AnswerKind, FaxAnswer
from valija.domain.job import Awaited, Awaiting, Done, Failed, HandedOn, JobKind, JobWord, Noted, Preparing, Sending
from valija.domain.queue import Accepted, Leased, Refused
from valija.domain.record import ReceivedMessage
from valija.domain.text import message
from valija.domain.trouble import Trouble, WhoActs
from valija.message.mime_reading import MessageHead
from valija.services.delivery import File
from valija.services.fax_names import FaxName, name_of, parse_line, parse_name
from valija.services.fax_sending import QUEUE_TRIES, FaxOrder
from valija.services.job_run import JobRun
from valija.services.mail_taking import sender_of
from valija.store.jobs_port import StoredJob
from valija.store.memory import MemoryStore

OWN = "fax@office.example"


@pytest.fixture(name="machine")
async def machine_fixture(tmp_path: Path) -> AsyncIterator[Machine]:
    """Give a machine with a sender and a mailbox for answers; nothing runs in the background, mail stays where it is."""
    machine = build(Configuration(), MemoryStore(), FakeClock(by_itself=False), tmp_path)
    await machine.settings.change(Setting.SMTP, {"sender_address": OWN}, confirm=True, actor=ANA)
    await machine.settings.change(Setting.INTERNET_FAX, {"server": "pop.example"}, confirm=True, actor=ANA)
    await machine.fax.receiver.mail.start()
    yield machine
    await machine.jobs.stop()
    await machine.http.close()


async def sent(machine: Machine, *to: str, **changes: Any) -> StoredJob:
    """Send a fax of one page; return its job when it is in the queue."""
    source = machine.state_dir / "page.tif"
    await asyncio.to_thread(source.write_bytes, fax_file(1))
    order = FaxOrder((File(source, "página.tif", "image/tiff"),), to, "Contrato", "hola", changes)
    job = await machine.fax.sender.send(order, ANA)
    await asyncio.to_thread(source.unlink)  # what was handed in is the machine's now
    await machine.jobs.wait(job.id)
    return await machine.jobs.job(job.id)


async def left(machine: Machine, job: StoredJob, *refused: str) -> StoredJob:
    """Let the queue be done with a fax: delivered, but to these."""
    assert isinstance(job.state, Sending), job.state
    for number in job.state.messages:
        stored = await machine.store.queue.load(number)
        assert stored is not None
        for entry in stored.entries:
            trouble = Trouble("recipient_unknown", WhoActs.USER, "550 5.1.1 who?", machine.clock.now())
            bad = entry.recipient.address in refused
            ending: Any = Refused(1, trouble) if bad else Accepted(machine.clock.now(), "250 ok")
            await machine.store.queue.apply([(entry.id, Leased(1)), (entry.id, ending)])
    await machine.jobs._look()
    return await machine.jobs.job(job.id)


async def later(machine: Machine, job: StoredJob, minutes: float) -> StoredJob:
    machine.clock.jump(minutes * 60)  # type: ignore[attr-defined]
    await machine.jobs._look()
    return await machine.jobs.job(job.id)


async def answered(machine: Machine, job: StoredJob, kind: AnswerKind, who: str, attempt: int = 0) -> StoredJob:
    await machine.fax.sender.answered(await machine.jobs.job(job.id), attempt, (FaxAnswer(who, kind, "no paper"),))
    return await machine.jobs.job(job.id)


async def mail_of(machine: Machine, job: StoredJob) -> tuple[Any, Any]:
    assert isinstance(job.state, Sending)
    stored = await machine.store.queue.load(job.state.messages[0])
    assert stored is not None
    pieces = [piece async for piece in machine.gateway.dispatcher.body(stored.id)]
    return stored, message_from_bytes(b"".join(pieces))


async def test_a_fax_leaves_as_t37_mail_that_asks_for_confirmations(machine: Machine) -> None:
    """Short text first, image/tiff with application=faxbw, no alternatives; NOTIFY, ENVID and the request for an MDN."""
    job = await sent(machine, "FAX=+34911234567/T33S=12@gw.example", "luis@example.com")
    assert job.card.recipients == ("FAX=+34911234567/T33S=12@gw.example", "luis@example.com")
    stored, mail = await mail_of(machine, job)
    assert {r.notify for r in stored.message.recipients} == {"SUCCESS,FAILURE"}
    name = parse_name(stored.message.envelope_id)
    assert name == FaxName(job.id, 0, job.card.detail("token"))
    assert parse_name(mail["Message-ID"]) == name
    assert mail["Disposition-Notification-To"] == OWN
    text, fax = mail.get_payload()
    assert mail.get_content_type() == "multipart/mixed"
    assert (text.get_content_type(), fax.get_content_type()) == ("text/plain", "image/tiff")
    assert (fax.get_param("application"), fax["Content-Transfer-Encoding"]) == ("faxbw", "base64")
    assert fax.get_payload(decode=True) == (machine.jobs.folder(job.id) / "kept/fax.tif").read_bytes()
    assert (job.progress.done, job.progress.of) == (1, 1)
    assert (machine.jobs.folder(job.id) / "first.png").is_file()


async def test_nothing_is_asked_for_where_no_answer_could_be_fetched(machine: Machine) -> None:
    """Or where nobody wants one: what the server took is done."""
    await machine.settings.change(Setting.INTERNET_FAX, {"server": ""}, confirm=True, actor=ANA)
    job = await sent(machine, "luis@example.com")
    stored, mail = await mail_of(machine, job)
    assert ({r.notify for r in stored.message.recipients}, mail["Disposition-Notification-To"]) == ({""}, None)
    assert (await left(machine, job)).state == Done(START)


@pytest.mark.parametrize(
    ("confirmation", "answers", "words"),
    [
        ("delivery", [AnswerKind.DELIVERED], "delivered"),
        ("delivery", [AnswerKind.HANDED_ON], "handed_on"),
        ("processing", [AnswerKind.DELIVERED, AnswerKind.PROCESSED], "processed"),
        ("processing", [AnswerKind.PROCESSED, AnswerKind.DELIVERED], "processed"),
    ],
)
async def test_a_fax_is_done_when_what_was_asked_for_has_come(
    machine: Machine, confirmation: str, answers: list[AnswerKind], words: str
) -> None:
    """In whatever order."""
    job = await left(machine, await sent(machine, "luis@example.com", confirmation=confirmation))
    assert isinstance(job.state, Awaiting)
    assert job.state.what is Awaited.CONFIRMATION
    for kind in answers:
        job = await answered(machine, job, kind, "LUIS@example.com")
    assert isinstance(job.state, Done)
    assert job.state.words == words


async def test_an_answer_may_come_before_the_queue_is_done(machine: Machine) -> None:
    """It is kept, and counts then."""
    job = await sent(machine, "luis@example.com")
    assert isinstance((await answered(machine, job, AnswerKind.PROCESSED, "luis@example.com")).state, Sending)
    assert isinstance((await left(machine, job)).state, Done)


async def test_a_refusal_by_the_other_machine_ends_a_fax(machine: Machine) -> None:
    """With its words; it arrived, so it is not sent again."""
    job = await left(machine, await sent(machine, "luis@example.com", "eva@example.com"))
    job = await answered(machine, job, AnswerKind.PROCESSED, "eva@example.com")
    assert isinstance(job.state, Awaiting), "one answer is missing"
    job = await answered(machine, job, AnswerKind.REFUSED, "luis@example.com")
    assert isinstance(job.state, Failed)
    assert (job.state.trouble.reason, job.state.trouble.server_words) == ("fax_refused", "luis@example.com: no paper")


@pytest.mark.parametrize(("delivered", "ends"), [(False, Failed), (True, Done)])
async def test_what_does_not_come_in_time_is_said(machine: Machine, delivered: bool, ends: type) -> None:
    """Nothing at all is a failure; delivered, but not processed, is done as delivered."""
    job = await left(machine, await sent(machine, "luis@example.com", wait=2))
    if delivered:
        job = await answered(machine, job, AnswerKind.DELIVERED, "luis@example.com")
    assert isinstance((await later(machine, job, 119)).state, Awaiting)
    state = (await later(machine, job, 2)).state
    assert isinstance(state, ends)
    assert getattr(state, "words", "") == ("delivered" if delivered else "")
    assert delivered or (isinstance(state, Failed) and state.trouble.reason == "fax_no_answer")


@pytest.mark.parametrize("how", ["queue", "report"])
async def test_what_was_not_delivered_is_sent_again_to_those_alone_so_often(machine: Machine, how: str) -> None:
    """Refused by the server, or by a report later; after so many minutes; then it has failed."""
    job = await sent(machine, "luis@example.com", "eva@example.com", resend=2, resend_every=15)
    for attempt in (0, 1, 2):
        if how == "queue":
            job = await left(machine, job, "eva@example.com")
        else:
            job = await answered(
                machine, await left(machine, job), AnswerKind.NOT_DELIVERED, "eva@example.com", attempt
            )
        if attempt == 2:
            break
        assert isinstance(job.state, Awaiting), (attempt, job.state)
        assert job.state.what is Awaited.RETRY
        assert isinstance((await later(machine, job, 14)).state, Awaiting)
        job = await later(machine, job, 2)
        stored, _mail = await mail_of(machine, job)
        assert [entry.recipient.address for entry in stored.entries] == ["eva@example.com"]
        assert parse_name(stored.message.envelope_id) == FaxName(job.id, attempt + 1, job.card.detail("token"))
    assert isinstance(job.state, Failed)
    words = [line.word for line in await machine.store.jobs.history(job.id)]
    assert words.count(JobWord.SENT_AGAIN) == 2


@pytest.mark.parametrize("crash", range(1, 3))
async def test_a_crash_while_a_faxs_files_are_taken_over_sends_all_of_it_or_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, crash: int
) -> None:
    files = [machine.state_dir / f"{number}.tif" for number in (1, 2)]
    for file in files:
        await asyncio.to_thread(file.write_bytes, fax_file(1))
    rename, renamed = Path.rename, 0

    def crashes(path: Path, target: Path) -> Path:
        nonlocal renamed
        if path.name.startswith("new-"):
            renamed += 1
            if renamed == crash:
                raise SystemError("power")
        return rename(path, target)

    async def no_time(*_told: Any) -> None:
        return

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crashes)
        patch.setattr(machine.jobs, "_end", no_time)
        order = FaxOrder(tuple(File(file, file.name, "image/tiff") for file in files), ("a@b.example",), "x", "", {})
        job = await machine.fax.sender.send(order, ANA)
        await machine.jobs.wait(job.id)
    assert isinstance((await machine.jobs.job(job.id)).state, Preparing)
    again = build(Configuration(), machine.store, FakeClock(by_itself=False), machine.state_dir)
    await again.jobs.start()
    await again.jobs.wait(job.id)
    job = await again.jobs.job(job.id)
    await again.jobs.stop()
    await again.http.close()
    assert isinstance(job.state, Failed), job.state
    assert job.state.trouble.reason == "job_interrupted"


@pytest.mark.parametrize("refused_first", [False, True])
async def test_a_fax_to_many_is_done_when_all_have_answered(machine: Machine, refused_first: bool) -> None:
    """What the last ones say does not push out what the first ones said, and who gets it again is asked again."""
    to = [f"office-{number}@example.com" for number in range(120)]
    job = await left(machine, await sent(machine, *to, resend=1, resend_every=1))
    if refused_first:
        for who in to:
            job = await answered(machine, job, AnswerKind.NOT_DELIVERED, who)
        job = await left(machine, await later(machine, job, 2))
    for who in to:
        assert isinstance(job.state, Awaiting)
        assert job.state.what is Awaited.CONFIRMATION
        job = await answered(machine, job, AnswerKind.PROCESSED, who, int(refused_first))
    assert isinstance(job.state, Done), job.state
    assert len(await machine.store.queue.list_messages(account=None, state=None, limit=10)) == 1 + refused_first


async def test_a_late_report_about_an_earlier_try_changes_nothing(machine: Machine) -> None:
    """It is in the history; the try that is under way decides."""
    job = await left(machine, await sent(machine, "eva@example.com", resend=1, resend_every=1), "eva@example.com")
    job = await left(machine, await later(machine, job, 2))
    before = job.state
    assert (await answered(machine, job, AnswerKind.NOT_DELIVERED, "eva@example.com", attempt=0)).state == before
    assert isinstance((await answered(machine, job, AnswerKind.PROCESSED, "eva@example.com", attempt=1)).state, Done)


async def test_an_answer_that_comes_while_the_queue_says_it_is_done_is_judged(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for a job as it was a moment ago, or written down just before the job begins to wait for it."""
    answer = FaxAnswer("luis@example.com", AnswerKind.PROCESSED)
    job = await sent(machine, "luis@example.com", confirmation="processing")
    await left(machine, job)
    await machine.fax.sender.answered(job, 0, (answer,))
    assert isinstance((await machine.jobs.job(job.id)).state, Done)

    real, job = machine.jobs.apply, await sent(machine, "luis@example.com", confirmation="processing")

    async def at_the_same_time(number: int, event: Any) -> Any:
        monkeypatch.undo()
        await machine.fax.sender.answered(job, 0, (answer,))
        return await real(number, event)

    monkeypatch.setattr(machine.jobs, "apply", at_the_same_time)
    assert isinstance((await left(machine, job)).state, Done)


async def test_a_fax_that_was_processed_at_one_and_delivered_to_the_other_has_arrived(machine: Machine) -> None:
    job = await sent(machine, "luis@example.com", "eva@example.com", confirmation="processing", wait=2)
    await left(machine, job)
    await answered(machine, job, AnswerKind.PROCESSED, "luis@example.com")
    job = await answered(machine, job, AnswerKind.DELIVERED, "eva@example.com")
    assert isinstance(job.state, Awaiting)
    state = (await later(machine, job, 121)).state
    assert isinstance(state, Done)
    assert state.words == "delivered"


async def lines(machine: Machine, job: StoredJob, word: JobWord) -> int:
    return [line.word for line in await machine.store.jobs.history(job.id)].count(word)


async def test_what_cannot_be_queued_again_is_tried_later_and_later_and_uses_up_no_try(machine: Machine) -> None:
    job = await left(machine, await sent(machine, "eva@example.com", resend=1, resend_every=1), "eva@example.com")
    await machine.settings.change(Setting.SMTP, {"sender_address": ""}, confirm=True, actor=ANA)
    job = await later(machine, job, 1)
    for _look in range(5):
        await machine.jobs._look()
    assert isinstance(job.state, Awaiting)
    assert await lines(machine, job, JobWord.WAITS) == 2, "one more, however often it is looked at"
    assert await lines(machine, job, JobWord.SENT_AGAIN) == 0
    await machine.settings.change(Setting.SMTP, {"sender_address": OWN}, confirm=True, actor=ANA)
    job = await later(machine, job, 1)
    assert isinstance(job.state, Sending)
    assert await lines(machine, job, JobWord.SENT_AGAIN) == 1
    assert isinstance((await left(machine, job, "eva@example.com")).state, Failed)


async def test_what_cannot_be_queued_again_at_all_fails_with_its_reason(machine: Machine) -> None:
    job = await left(machine, await sent(machine, "eva@example.com", resend=1, resend_every=1), "eva@example.com")
    await machine.settings.change(Setting.SMTP, {"sender_address": ""}, confirm=True, actor=ANA)
    for pause in range(QUEUE_TRIES):
        assert isinstance(job.state, Awaiting), pause
        job = await later(machine, job, 2**pause)
    assert isinstance(job.state, Failed)
    assert job.state.trouble.reason == "job_refused"
    assert "sender" in job.state.trouble.server_words.lower()
    assert await lines(machine, job, JobWord.WAITS) == QUEUE_TRIES


@pytest.mark.parametrize("lost", [Noted, HandedOn])
async def test_a_crash_while_it_is_sent_again_sends_it_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, lost: type
) -> None:
    """Queued, and not written down; or written down, and not handed on."""
    job = await left(machine, await sent(machine, "eva@example.com", resend=3, resend_every=1), "eva@example.com")
    real = machine.store.jobs.apply

    async def without(number: int, event: Any) -> Any:
        if isinstance(event, lost):
            raise StoreFull(message("full"))
        return await real(number, event)

    monkeypatch.setattr(machine.store.jobs, "apply", without)
    assert isinstance((await later(machine, job, 2)).state, Awaiting)
    await machine.jobs._look()
    monkeypatch.undo()
    job = await later(machine, job, 1)
    assert isinstance(job.state, Sending)
    assert len(await queued(machine)) == 2
    assert await lines(machine, job, JobWord.SENT_AGAIN) == 1
    assert await machine.fax.sender.attempts(job) == 1


async def test_a_crash_after_a_fax_was_queued_the_first_time_sends_it_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def died(*_told: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(JobRun, "hand_on", died)
    job = await sent(machine, "luis@example.com")
    assert isinstance(job.state, Preparing)
    monkeypatch.undo()
    await machine.jobs.start()
    await machine.jobs.wait(job.id)
    (mail,) = await queued(machine)
    state = (await machine.jobs.job(job.id)).state
    assert isinstance(state, Sending)
    assert state.messages == (mail.id,)


@pytest.mark.parametrize(
    ("to", "name", "field"),
    [(("nobody",), "a.pdf", "to"), ((), "a.pdf", "to"), (("a@x.y",), "a.exe", "file"), (("+34911",), "a.pdf", "to")],
)
async def test_what_cannot_be_sent_is_said_at_once(machine: Machine, to: Any, name: str, field: str) -> None:
    """No job is begun."""
    with pytest.raises(InvalidFields) as caught:
        await machine.fax.sender.send(FaxOrder((File(Path("/dev/null"), name, ""),), to), ANA)
    assert caught.value.problems[0].field == field
    assert await machine.store.jobs.numbers() == set()


def test_names_of_faxes_are_read_again_and_nothing_else() -> None:
    name = FaxName(7, 2, "0123456789abcdef")
    assert parse_name(name_of(name)) == parse_name(f"<{name_of(name)}@x.y>") == name
    for other in ("", "valija-fax.7.2.0123", "x" + name_of(name), name_of(name) + "0"):
        assert parse_name(other) is None
    assert parse_line("nonsense") is None
    assert parse_line("a@x: processed: a: b") == FaxAnswer("a@x", AnswerKind.PROCESSED, "a: b")


# --- receiving ------------------------------------------------------------------------------------------------------------


def a_fax(sender: str = "eva@example.com", **fields: str) -> EmailMessage:
    mail = EmailMessage()
    for name, value in {"From": sender, "To": OWN, "Subject": "Fax ñ", "Message-ID": "<1@x>", **fields}.items():
        mail[name.replace("_", "-")] = value
    mail.set_content("hola")
    mail.add_attachment(fax_file(2), maintype="image", subtype="tiff", filename="../../etc/fax.tif")
    return mail


async def came(machine: Machine, *mails: bytes) -> list[StoredJob]:
    """Let mail be fetched; return the jobs that it made, in order."""
    for number, octets in enumerate(mails):
        path = machine.state_dir / f"received-{number}.eml"
        await asyncio.to_thread(path.write_bytes, octets)
        record = ReceivedMessage("internet-fax", "m", secrets.token_hex(8), START, path.name, len(octets), "", "")
        assert await machine.store.record_received(record)
    await machine.fax.receiver.mail.take()
    found = await machine.store.jobs.list_jobs(kind=JobKind.FAX_RECEIVE, state=None, limit=100)
    return found[::-1]


async def queued(machine: Machine) -> list[Any]:
    found = await machine.store.queue.list_messages(account=None, state=None, limit=100)
    return [await machine.store.queue.load(message.id) for message in found]


async def test_a_fax_that_came_is_pages_once(machine: Machine) -> None:
    """What is kept has names of ours; asked again, nothing is done twice."""
    (job,) = await came(machine, a_fax().as_bytes())
    assert isinstance(job.state, Done), job.state
    assert (job.card.title, job.card.detail("sender"), job.progress.done) == ("Fax ñ", "eva@example.com", 2)
    assert sorted(path.name for path in (machine.jobs.folder(job.id) / "kept").iterdir()) == [
        "part-002.pdf",
        "part-002.tif",
    ]
    assert await machine.fax.receiver.mail.take() == 0
    (machine.state_dir / "fax-cursor").write_text("0")  # as a crash before the cursor moved
    assert await came(machine) == [job]


async def test_the_anti_junk_list_rejects_and_keeps(machine: Machine) -> None:
    """It is said, nobody is answered, nothing is handed on."""
    await machine.fax.settings.change({"junk": "reject", "senders": ["@example.com"], "forward": [":a@x.y"]}, actor=ANA)
    asks = {"Return_Path": "<eva@example.com>", "Disposition_Notification_To": "eva@example.com"}
    job, other = await came(machine, a_fax(**asks).as_bytes(), a_fax("ana@other.example").as_bytes())
    assert isinstance(job.state, Failed)
    assert job.state.trouble.reason == "fax_unwanted"
    assert isinstance(other.state, Done)


async def test_who_asks_is_answered_once_and_only_where_that_is_right(machine: Machine) -> None:
    """From the empty reverse path; what cannot be read is answered as an error; a notification never."""
    asks = {"Return_Path": "<eva@example.com>", "Disposition_Notification_To": "eva@example.com"}
    unreadable = a_fax(**asks)
    unreadable.set_payload([])
    await came(
        machine,
        a_fax(**asks).as_bytes(),
        unreadable.as_bytes(),
        a_fax(**asks | {"Auto_Submitted": "auto-generated"}).as_bytes(),
        a_fax(Disposition_Notification_To="eva@example.com").as_bytes(),
    )
    answers = await queued(machine)
    assert [a.message.reverse_path for a in answers] == ["", ""]
    assert all(a.message.is_report for a in answers)
    bodies = [b"".join([p async for p in machine.gateway.dispatcher.body(a.id)]) for a in answers]
    assert sorted(b"processed/error" in body for body in bodies) == [False, True]
    await came(machine, *(b"Return-Path: <fax@other.example>\r\n" + body for body in bodies))
    assert len(await queued(machine)) == 2, "an answer to an answer"


@pytest.mark.parametrize("stopped_at", [1, 2])
async def test_a_fax_is_handed_on_and_answered_once_whenever_the_machine_is_stopped(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    """A message that is in the queue when its work ends is known to the next start."""
    await machine.fax.settings.change({"forward": [": ana@x.y"]}, actor=ANA)
    asks = {"Return_Path": "<eva@example.com>", "Disposition_Notification_To": "eva@example.com"}
    accept, calls = machine.store.queue.accept, 0

    async def stops(*told: Any) -> int:
        nonlocal calls
        calls += 1
        number = await accept(*told)
        if calls == stopped_at:
            taking.cancel()
            await asyncio.sleep(0)
        return number

    with monkeypatch.context() as patch:
        patch.setattr(machine.store.queue, "accept", stops)
        patch.setattr(machine.gateway.intake, "offer", lambda _account: None)
        taking = asyncio.create_task(came(machine, a_fax(**asks).as_bytes()))
        await asyncio.gather(taking, return_exceptions=True)
    (job,) = await machine.store.jobs.list_jobs(kind=JobKind.FAX_RECEIVE, state=None, limit=2)
    assert isinstance(job.state, Preparing), job.state
    again = build(Configuration(), machine.store, FakeClock(by_itself=False), machine.state_dir)
    await again.fax.receiver.mail.start()
    await again.jobs.start()
    await again.fax.receiver.mail.take()
    await again.jobs.stop()
    await again.http.close()
    job = await machine.jobs.job(job.id)
    assert isinstance(job.state, Done), job.state
    assert sorted(q.entries[0].recipient.address for q in await queued(machine)) == ["ana@x.y", "eva@example.com"]


async def test_a_fax_goes_on_by_rule_and_never_twice_through_one_machine(machine: Machine) -> None:
    """As it came; one that was here before, or that has gone far, stays."""
    await machine.fax.settings.change({"forward": ["@example.com: ana@x.y", ": all@x.y"]}, actor=ANA)
    here = a_fax(X_Valija_Through=f"other@x.y, {OWN.upper()}")
    far = a_fax(X_Valija_Through=", ".join(f"{n}@x.y" for n in range(5)))
    jobs = await came(machine, a_fax().as_bytes(), here.as_bytes(), far.as_bytes())
    assert all(isinstance(job.state, Done) for job in jobs)
    (message,) = await queued(machine)
    assert [entry.recipient.address for entry in message.entries] == ["ana@x.y", "all@x.y"]
    mail: Any = message_from_bytes(b"".join([p async for p in machine.gateway.dispatcher.body(message.id)]))
    assert mail["X-Valija-Through"] == OWN
    fax = mail.get_payload()[1]
    assert (fax.get_payload(decode=True), fax.get_filename()) == (fax_file(2), "fax.tif")


async def test_a_fax_is_filed_in_folders_by_rule_as_pdf_and_stays_there_once(machine: Machine, tmp_path: Path) -> None:
    """Under a name of ours; who takes it out of the folder does not get it again."""
    for name, mode in (("all", 0o770), ("some", 0o700), ("others", 0o755)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    rules = [f": {tmp_path}/all", f"@example.com: {tmp_path}/some", f"eva@other.example: {tmp_path}/others"]
    await machine.fax.settings.change({"forward": [*rules, "@example.com: ana@x.y"]}, actor=ANA)
    (job,) = await came(machine, a_fax(Subject="../../Contrato ñ").as_bytes())
    assert isinstance(job.state, Done)
    assert job.state.words == "ana@x.y"
    for folder in ("all", "some"):
        (document,) = (tmp_path / folder).iterdir()
        assert re.fullmatch(rf"20310301-{job.id:06}-[^/]*Contrato ñ\.pdf", document.name)
        assert document.read_bytes() == (machine.jobs.folder(job.id) / "kept/part-002.pdf").read_bytes()
        assert document.stat().st_mode & 0o777 == (0o660 if folder == "all" else 0o600), "who may look in may read"
        document.unlink()
    assert list((tmp_path / "others").iterdir()) == []
    (machine.state_dir / "fax-cursor").write_text("0")  # as a crash before the cursor moved
    await came(machine)
    assert list((tmp_path / "all").iterdir()) == []
    assert len(await queued(machine)) == 1


async def test_a_folder_that_is_away_is_tried_again_and_the_other_one_is_not_filled_twice(
    machine: Machine, tmp_path: Path
) -> None:
    """Said once, later and later; a rule that is mended meanwhile holds; then it is done."""
    (tmp_path / "here").mkdir()
    await machine.fax.settings.change({"forward": [f": {tmp_path}/away", f": {tmp_path}/here"]}, actor=ANA)
    (job,) = await came(machine, a_fax().as_bytes())
    assert isinstance(job.state, Awaiting)
    (document,) = (tmp_path / "here").iterdir()
    document.unlink()
    for minutes in (1, 2, 4, 8):
        assert isinstance((await later(machine, job, minutes - 0.5)).state, Awaiting)
        assert isinstance((await later(machine, job, 0.6)).state, Awaiting)
    assert await lines(machine, job, JobWord.WAITS) == 5
    assert await lines(machine, job, JobWord.NOT_FILED) == 1
    (tmp_path / "mended").mkdir()
    await machine.fax.settings.change({"forward": [f": {tmp_path}/mended", f": {tmp_path}/here"]}, actor=ANA)
    assert isinstance((await later(machine, job, 20)).state, Done)
    assert len(list((tmp_path / "mended").iterdir())) == 1
    assert list((tmp_path / "here").iterdir()) == []


async def test_a_folder_that_is_away_for_days_is_a_failure_and_the_pages_are_kept(
    machine: Machine, tmp_path: Path
) -> None:
    await machine.fax.settings.change({"forward": [f": {tmp_path}/away"]}, actor=ANA)
    (job,) = await came(machine, a_fax().as_bytes())
    for _hour in range(5 * 24 + 20):
        job = await later(machine, job, 61)
    assert isinstance(job.state, Failed)
    assert (job.state.trouble.reason, "No such file" in job.state.trouble.server_words) == ("fax_folder", True)
    assert (machine.jobs.folder(job.id) / "kept/part-002.pdf").is_file()


async def test_only_the_token_makes_a_report_an_answer(machine: Machine) -> None:
    """Another's report, or a forged one, is mail like any other."""
    job = await left(machine, await sent(machine, "luis@example.com"))
    token = job.card.detail("token")
    for envelope, is_answer in ((f"valija-fax.{job.id}.0.{'0' * 16}", False), (f"valija-fax.{job.id}.0.{token}", True)):
        report = (
            "From: MAILER-DAEMON@x\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
            f"--b\r\n\r\nhello\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n"
            f"Original-Envelope-Id: {envelope}\r\n\r\nFinal-Recipient: rfc822; luis@example.com\r\n"
            "Action: delivered\r\nStatus: 2.0.0\r\n\r\n--b--\r\n"
        )
        before = len(await machine.store.jobs.numbers())
        await came(machine, report.encode())
        assert (len(await machine.store.jobs.numbers()) == before) is is_answer
        words = [line.word for line in await machine.store.jobs.history(job.id)]
        assert (JobWord.ANSWERED in words) is is_answer
    await settle()


@pytest.mark.parametrize(
    ("said", "sender"),
    [
        ("Ana <ana@example.com>", "ana@example.com"),
        ("=?utf-8?q?boss=40office=2Eexample=2C?= <evil@example.net>", "evil@example.net"),
        ("=?utf-8?b?PGFuYUBleGFtcGxlLmNvbT4=?=", "ana@example.com"),
        ("nobody", ""),
        ("ana@example.com <evil@example.net>", "evil@example.net"),
        ("Ana <ana@example.com>, evil@example.net", ""),
        ("ana@example.com, evil@example.net", ""),
        ("Ana <ana@example.com> <evil@example.net>", ""),
    ],
)
def test_an_encoded_name_is_not_taken_for_the_senders_address(said: str, sender: str) -> None:
    assert sender_of(MessageHead((("from", said),), "text/plain", {})) == sender
