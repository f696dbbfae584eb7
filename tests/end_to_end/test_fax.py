"""Internet fax with real mail servers: two machines, their confirmations, Postfix's own reports; hostile mail; long faxes."""

from __future__ import annotations

import base64
import io
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest
from fax_machine import fax_machine
from pdf_bombs import circle, many
from PIL import Image
from rig import Rig

from driver import Daemon
from fax_pages import drawn, fax_file
from long_pdf import pdf
from valija.message.tiff_fax import FaxGeometry, FaxPaper, FaxProfile, FaxResolution

WAIT_S: Final = 40.0


def until(what: Callable[[], Any], seconds: float = WAIT_S) -> Any:
    """Return what comes true in time."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.2)
    return found


def job_is(machine: Daemon, number: int, *states: str) -> Any:
    """Wait until a job has one of these states; fetch faxes meanwhile."""

    def look() -> Any:
        machine.ok("fax", "receive")
        job = machine.json("job", "show", str(number))
        return job if job["state"] in states else None

    return until(look)


def words_of(job: Any) -> list[str]:
    return [line["word"] for line in job["history"]]


# --- two machines, Postfix and Dovecot ------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path, rig: Rig) -> Iterator[tuple[Daemon, Daemon]]:
    """Two machines that are each other's fax."""
    one, other = fax_machine(tmp_path / "a", rig, "faxa@rig.test"), fax_machine(tmp_path / "b", rig, "faxb@rig.test")
    yield one, other
    assert [one.stop(), other.stop()] == [0, 0], one.log()[-2000:] + other.log()[-2000:]


@pytest.mark.peers
def test_a_fax_goes_from_machine_to_machine_and_both_know(two: tuple[Daemon, Daemon]) -> None:
    """Postfix's report says delivered, the other machine's notification processed; pixels are the same; nothing in circles."""
    one, other = two
    for machine, to in ((one, "faxb@rig.test"), (other, "faxa@rig.test")):
        machine.ok("fax", "set", "--forward", f": {to}", "--resolution", "standard")
    (one.directory / "página.tif").write_bytes(fax_file(2))
    job = one.json("fax", "send", "página.tif", "--to", "faxb@rig.test", "--subject", "Contrato ñ")

    def come() -> Any:
        other.ok("fax", "receive")
        return other.json("fax", "list")

    until(come)
    got = until(lambda: [j for j in other.json("fax", "list") if j["state"] == "done"])[0]
    assert (got["title"], got["done"]) == ("Contrato ñ", 2)
    done = job_is(one, job["id"], "done", "failed")
    assert (done["state"], done["words"]) == ("done", "processed"), done
    answers = [line["about"] for line in done["history"] if line["word"] == "answered"]
    # Dovecot's LMTP knows no DSN, so Postfix says relayed (RFC 3461 section 5.2.2)
    assert sorted(answers) == ["faxb@rig.test: handed_on", "faxb@rig.test: processed"]
    kept = [path.read_bytes() for path in (one.state_dir / "received").rglob("*.eml")]
    assert any(b"X-Postfix-Queue-ID" in octets and b"Action: relayed" in octets for octets in kept)

    other.ok("fax", "show", str(got["id"]), "--save", "out")
    with Image.open(other.directory / "out" / f"{got['id']}-part-002.tif") as image:
        geometry = FaxGeometry(FaxProfile.S, FaxResolution.STANDARD, FaxPaper.A4)
        for number in (1, 2):
            image.seek(number - 1)
            assert image.convert("1").tobytes() == drawn(geometry, number).tobytes()

    # each hands on to the other: it comes back once, and stays
    time.sleep(1)
    for _round in range(3):
        one.ok("fax", "receive")
        other.ok("fax", "receive")
        time.sleep(1)
    assert len([j for j in other.json("fax", "list") if j["kind"] == "fax_receive"]) <= 2
    assert len([j for j in one.json("fax", "list") if j["kind"] == "fax_receive"]) <= 1
    assert all(j["state"] in ("done", "awaiting") for j in [*one.json("fax", "list"), *other.json("fax", "list")])


@pytest.mark.peers
def test_a_fax_that_postfix_took_and_could_not_deliver_is_known_by_postfixs_own_report(
    tmp_path: Path, rig: Rig
) -> None:
    """It said 250, and later that there is no such mailbox: the job fails, with its words, and nothing is sent again."""
    machine = fax_machine(tmp_path / "a", rig, "faxc@rig.test")
    machine.ok("fax", "set", "--resend", "0", "--resolution", "standard")
    (machine.directory / "one.tif").write_bytes(fax_file(1))
    number = "FAX=+15551234567/T33S=12@rig.test"  # no user name that Dovecot takes
    job = machine.json("fax", "send", "one.tif", "--to", number)
    failed = job_is(machine, job["id"], "done", "failed")
    assert (failed["state"], failed["trouble"]["reason"]) == ("failed", "fax_refused"), failed
    assert number in failed["trouble"]["server_words"]
    answers = [line["about"] for line in failed["history"] if line["word"] == "answered"]
    assert [answer.split(": ")[1] for answer in answers] == ["not_delivered"]
    assert len(failed["recipients"]) == 1 and words_of(failed).count("handed_on") == 1
    (report,) = [path.read_bytes() for path in (machine.state_dir / "received").rglob("*.eml")]
    assert b"X-Postfix-Queue-ID" in report and b"Action: failed" in report
    assert machine.json("fax", "list")[0]["kind"] == "fax_send", "a report is no fax"
    assert machine.stop() == 0, machine.log()[-2000:]


# --- hostile mail ---------------------------------------------------------------------------------------------------------


def mail(*parts: tuple[str, bytes, str], **fields: str) -> bytes:
    made = EmailMessage()
    for name, value in {"From": "eva@x.test", "Subject": "Fax", **fields}.items():
        made[name.replace("_", "-")] = value
    made.set_content("hola")
    for kind, octets, name in parts:
        main, _slash, sub = kind.partition("/")
        made.add_attachment(octets, maintype=main, subtype=sub, filename=name)
    return made.as_bytes()


def _loop() -> bytes:
    data = bytearray(fax_file(1))
    at = int.from_bytes(data[4:8], "little")
    end = at + 2 + 12 * int.from_bytes(data[at : at + 2], "little")
    data[end : end + 4] = data[4:8]
    return bytes(data)


def _bomb() -> bytes:
    out = io.BytesIO()
    Image.new("1", (19_000, 6_000)).save(out, "TIFF", compression="group4")
    return out.getvalue()


def _encrypted() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.pdf", Path(folder) / "b.pdf"
        source.write_bytes(pdf(1))
        subprocess.run(["qpdf", "--encrypt", "u", "o", "256", "--", str(source), str(target)], check=True)
        return target.read_bytes()


LEVEL: Final = b"Content-Type: multipart/mixed; boundary=a%d\r\n\r\n--a%d\r\n"
PARTS: Final = b"From: x@y.test\r\nSubject: parts\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n"
HOSTILE: Final[dict[str, tuple[Callable[[], bytes], str, int]]] = {
    "a good one first": (lambda: mail(("image/tiff", fax_file(1), "a.tif"), Subject="good one first"), "done", 1),
    "10,000 parts": (lambda: PARTS + b"--a\r\n\r\nx\r\n" * 10_000, "failed", 0),
    "endless head": (lambda: b"Subject: endless head\r\n" + b"X: y\r\n" * 100_000, "failed", 0),
    "100 levels": (lambda: b"".join(LEVEL % (n, n) for n in range(100)), "failed", 0),
    "loop of IFDs": (lambda: mail(("image/tiff", _loop(), "loop.tif"), Subject="loop of IFDs"), "failed", 0),
    "large page": (lambda: mail(("image/tiff", _bomb(), "bomb.tif"), Subject="large page"), "done", 1),
    "encrypted PDF": (lambda: mail(("application/pdf", _encrypted(), "x.pdf"), Subject="encrypted PDF"), "failed", 0),
    "PDF bomb": (lambda: mail(("application/pdf", circle(), "x.pdf"), Subject="PDF bomb"), "failed", 0),
    "60,000 pages": (lambda: mail(("application/pdf", many(), "x.pdf"), Subject="60,000 pages"), "failed", 0),
    "coded path in the name": (
        lambda: (
            b"Subject: coded path in the name\r\nContent-Type: image/tiff\r\nContent-Transfer-Encoding: base64\r\n"
            b"Content-Disposition: attachment; filename*0*=utf-8''%2Ftmp%2F; filename*1*=evil.tif%00.txt\r\n\r\n"
            + base64.encodebytes(fax_file(1))
        ),
        "done",
        1,
    ),
    "a program": (lambda: mail(("image/tiff", b"MZ\x90\0" + bytes(500), "a.tif"), Subject="a program"), "failed", 1),
    "path in the name": (
        lambda: mail(("image/tiff", fax_file(1), "../../../../tmp/evil.tif"), Subject="path in the name"),
        "done",
        1,
    ),
    "one of two": (
        lambda: mail(("image/tiff", _loop(), "a.tif"), ("image/tiff", fax_file(2), "b.tif"), Subject="one of two"),
        "done",
        2,
    ),
    "odd encoding": (
        lambda: (
            b"From: =?no-such?b?////?= <\xff\xfe@x>\r\nSubject: =?utf-8?q?odd_encoding?=\r\n"
            b"Content-Type: text/plain; charset=no-such\r\n\r\n\xff\xfe hola\r\n"
        ),
        "done",
        1,
    ),
    "gateway": (
        lambda: (
            b"From: FAX=1@gw\r\nSubject: gateway\r\nContent-Type: text/plain\r\nContent-Type: multipart/fax-message;"
            b" boundary=b\r\n\r\n--b\r\nContent-Type: image/tiff; application=faxbw\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(fax_file(1)) + b"--b--\r\n"
        ),
        "done",
        1,
    ),
    "html": (
        lambda: b"Subject: html\r\nContent-Type: text/html\r\n\r\n<p>Hola<img src=http://127.0.0.1:1/x>",
        "done",
        1,
    ),
    "forged report": (
        lambda: (
            b"Subject: forged report\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
            b"Content-Type: message/disposition-notification\r\n\r\nDisposition: a/b; processed\r\n"
            b"Original-Message-ID: <valija-fax.1.0.0000000000000000@x>\r\n--b--\r\n"
        ),
        "failed",
        0,
    ),
    "nothing": (lambda: b"", "failed", 0),
    "a good one last": (lambda: mail(("image/tiff", fax_file(1), "a.tif"), Subject="good one last"), "done", 1),
}


def test_hostile_mail_is_kept_and_said_and_nothing_falls(tmp_path: Path) -> None:
    """Every message is a job with its end; the octets stay as they came; faxes between them are read."""
    machine = Daemon(tmp_path).start()
    machine.set_smtp()
    machine.set_pop("internet-fax", "luis@sandbox.test")
    machine.get_token("internet-fax", "luis@sandbox.test")
    folder = machine.state_dir / "sandbox" / "mail" / "luis"
    folder.mkdir(parents=True, exist_ok=True)
    for number, (make, _state, _pages) in enumerate(HOSTILE.values()):
        (folder / f"{number:020}-{secrets.token_hex(6)}.eml").write_bytes(make())
    try:
        machine.ok("fax", "receive")

        def all_ended() -> Any:
            jobs = machine.json("job", "list", "--kind", "fax_receive", "--limit", "100")
            ended = [j for j in jobs if j["state"] in ("done", "failed")]
            return sorted(ended, key=lambda j: j["id"]) if len(ended) == len(HOSTILE) else None

        jobs = until(all_ended, 90)
        found = {name: (job["state"], job["done"]) for name, job in zip(HOSTILE, jobs, strict=True)}
        assert found == {name: (state, pages) for name, (_make, state, pages) in HOSTILE.items()}
        assert all(job["trouble"] for job in jobs if job["state"] == "failed")
        kept = list((machine.state_dir / "received").rglob("*.eml"))
        assert len(kept) == len(HOSTILE)
        assert not Path("/tmp/evil.tif").exists()
        assert "Traceback" not in machine.log()
        program = next(job for name, job in zip(HOSTILE, jobs, strict=True) if name == "a program")
        assert "not_shown" in words_of(machine.json("job", "show", str(program["id"])))
    finally:
        assert machine.stop() == 0, machine.log()[-3000:]


def test_a_fax_of_200_pages_tells_its_progress_and_can_be_cancelled_at_any_moment(tmp_path: Path) -> None:
    """While it is drawn: its process is gone at once, no mail leaves; in the queue: it is taken from it."""
    machine = Daemon(tmp_path).start()
    (tmp_path / "long.pdf").write_bytes(pdf(200))
    (tmp_path / "short.pdf").write_bytes(pdf(1))
    try:
        machine.set_smtp()
        machine.ok("fax", "set", "--resolution", "superfine", "--profile", "f", "--confirmation", "none")
        job = machine.json("fax", "send", "long.pdf", "--to", "luis@sandbox.test")
        seen = until(lambda: machine.json("job", "show", str(job["id"])) if _workers(machine) else None)
        far = until(lambda: [j for j in [machine.json("job", "show", str(job["id"]))] if j["done"] > 3])[0]
        assert far["of"] == 200
        assert far["done"] >= seen["done"]
        machine.ok("job", "cancel", str(job["id"]))
        assert not _workers(machine)
        assert machine.json("job", "show", str(job["id"]))["state"] == "cancelled"
        assert machine.json("queue", "list")["messages"] == []

        later = machine.json("fax", "send", "short.pdf", "--to", "luis@sandbox.test")  # waits: there is no token
        until(lambda: machine.json("job", "show", str(later["id"]))["state"] == "sending")
        machine.ok("job", "cancel", str(later["id"]))
        assert machine.json("job", "show", str(later["id"]))["state"] == "cancelled"
        (message,) = machine.json("queue", "list")["messages"]
        assert {r["state"] for r in machine.json("queue", "show", str(message["id"]))["recipients"]} == {"failed"}
    finally:
        assert machine.stop() == 0, machine.log()[-3000:]


def _workers(machine: Daemon) -> list[str]:
    assert machine.process is not None
    children = Path(f"/proc/{machine.process.pid}/task/{machine.process.pid}/children").read_text().split()
    return [child for child in children if b"paper.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]
