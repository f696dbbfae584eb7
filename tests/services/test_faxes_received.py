"""Faxes that came by mail: pages once, the anti-junk list, answers, rules and folders."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from fakes import ANA, START, FakeClock, settle
from fax_bench import OWN, later, left, lines, machine_fixture, queued, sent

from fax_pages import fax_file
from valija.apps.config import Configuration
from valija.apps.machine import Machine, build
from valija.domain.job import Awaiting, Done, Failed, JobKind, JobWord, Preparing
from valija.domain.record import ReceivedMessage
from valija.message.mime_reading import MessageHead
from valija.services.mail_taking import sender_of
from valija.store.jobs_port import StoredJob

machine = machine_fixture


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


@pytest.mark.parametrize("said", ["a@b.c, d@e.f, <" + "@" * 60_000, "(" * 60_000 + "a@b.c", "g:" * 30_000])
def test_a_sender_that_is_none_is_nobody_in_no_time(said: str) -> None:
    """Whatever stands there, mail is gone through one after the other."""
    begun = time.perf_counter()
    assert sender_of(MessageHead((("from", said),), "text/plain", {})) == ""
    assert time.perf_counter() - begun < 1
