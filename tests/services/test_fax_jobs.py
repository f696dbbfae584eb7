"""Faxes that were sent: what the queue and the answers make of them. Faxes that came: who is answered, who gets them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fakes import ANA, START, FakeClock
from fax_bench import OWN, answered, later, left, lines, machine_fixture, mail_of, queued, sent

from fax_pages import fax_file
from valija.apps.config import Configuration
from valija.apps.machine import Machine, build
from valija.domain.account import Setting
from valija.domain.errors import InvalidFields, StoreFull
from valija.domain.fax import AnswerKind, FaxAnswer
from valija.domain.job import Awaited, Awaiting, Done, Failed, HandedOn, JobWord, Noted, Preparing, Sending
from valija.domain.text import message
from valija.services.delivery import File
from valija.services.fax_names import FaxName, name_of, parse_line, parse_name
from valija.services.fax_sending import QUEUE_TRIES, FaxOrder
from valija.services.job_run import JobRun

machine = machine_fixture


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
