"""E-mail print by the whole program: hostile mail, and a machine that is killed again and again; a real CUPS prints."""

from __future__ import annotations

import io
import secrets
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest
from cups import Cups
from PIL import Image

from driver import Daemon
from long_pdf import pdf

LUIS: Final = "luis@sandbox.test"
EVA: Final = "eva@x.test"


def a_mail(title: str, *parts: tuple[str, bytes], sender: str = EVA) -> bytes:
    made = EmailMessage()
    made["From"], made["Subject"] = sender, title
    made.set_content("hola")
    for name, octets in parts:
        made.add_attachment(octets, maintype="application", subtype="octet-stream", filename=name)
    return made.as_bytes()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A machine that fetches Luis's mail for the printer."""
    made = Daemon(tmp_path_factory.mktemp("machine")).start()
    made.set_pop("email-print", LUIS)
    made.get_token("email-print", LUIS)
    yield made
    assert made.stop() == 0, made.log()[-3000:]


def put(machine: Daemon, *mails: bytes) -> None:
    """Lay mail into Luis's mailbox."""
    folder = machine.state_dir / "sandbox" / "mail" / "luis"
    folder.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(mails):
        (folder / f"{number:020}-{secrets.token_hex(6)}.eml").write_bytes(octets)


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    """Return what comes true in time."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.1)
    return found


def latest(machine: Daemon) -> int:
    """Return the number of the latest job."""
    return max((job["id"] for job in machine.json("print", "list", "--limit", "1")), default=0)


def ended(machine: Daemon, after: int, count: int) -> Any:
    """Return the jobs after that one, the oldest first, when so many have ended."""
    jobs = machine.json("print", "list", "--limit", "100")
    over = [j for j in jobs if j["id"] > after and j["state"] in ("done", "failed")]
    return sorted(over, key=lambda j: j["id"]) if len(over) == count else None


# --- hostile mail ---------------------------------------------------------------------------------------------------------


def _wide() -> bytes:
    """A small PNG of 324 million pixels."""
    out = io.BytesIO()
    Image.new("1", (18_000, 18_000)).save(out, "PNG")
    return out.getvalue()


def _deep() -> bytes:
    """A PDF whose page is 140 MB of drawing, in 140 kB."""
    content = zlib.compress(b"0 0 m 9 9 l S\n" * 10_000_000, 9)
    start = pdf(1)
    at, end = start.index(b"<</Length"), start.index(b"endstream")
    return start[:at] + b"<</Filter/FlateDecode/Length %d>>stream\n" % len(content) + content + b"\n" + start[end:]


def _turning() -> bytes:
    """A PDF whose pages are their own parent."""
    return pdf(2).replace(b"/Kids[4 0 R 6 0 R]", b"/Kids[2 0 R 2 0 R]")


HOSTILE: Final[dict[str, tuple[Callable[[], bytes], str, str]]] = {
    "good first": (lambda: a_mail("good first", ("a.pdf", pdf(1))), "done", ""),
    "stranger": (lambda: a_mail("stranger", ("a.pdf", pdf(1)), sender="mallory@x.test"), "failed", "print_unwanted"),
    "two senders": (
        lambda: a_mail("two senders", ("a.pdf", pdf(1)), sender=f"{EVA}, mallory@x.test"),
        "failed",
        "print_sender_unclear",
    ),
    "wide picture": (lambda: a_mail("wide picture", ("a.png", _wide())), "failed", "paper_too_large"),
    "deep page": (lambda: a_mail("deep page", ("a.pdf", _deep())), "failed", "paper_too_hard"),
    "turning pages": (lambda: a_mail("turning pages", ("a.pdf", _turning())), "failed", "paper_unreadable"),
    "wrong type": (lambda: a_mail("wrong type", ("a.pdf", b"MZ\x90\0" + bytes(900))), "failed", "print_nothing"),
    "path": (lambda: a_mail("../../../tmp/evil", ("../../../tmp/evil.pdf", pdf(1))), "done", ""),
    "10,000 parts": (
        lambda: (
            f"From: {EVA}\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n".encode()
            + b"--a\r\nContent-Type: application/pdf\r\n\r\n%PDF-\r\n" * 10_000
        ),
        "failed",
        "print_bad_mail",
    ),
    "endless head": (lambda: f"From: {EVA}\r\n".encode() + b"X: y\r\n" * 100_000, "failed", "print_bad_mail"),
    "good last": (lambda: a_mail("good last [pages=2-]", ("a.pdf", pdf(3))), "done", ""),
}


def test_hostile_mail_is_kept_and_said_and_what_is_good_is_printed(machine: Daemon, tmp_path: Path) -> None:
    folder = tmp_path / "prints"
    folder.mkdir()
    machine.ok("print", "set", "--target", str(folder), "--senders", EVA, "--page-limit", "20")
    before = latest(machine)
    put(machine, *(make() for make, _state, _reason in HOSTILE.values()))
    machine.ok("print", "receive")
    jobs = until(lambda: ended(machine, before, len(HOSTILE)), 120)
    found = {n: (j["state"], (j["trouble"] or {}).get("reason", "")) for n, j in zip(HOSTILE, jobs, strict=True)}
    assert found == {name: (state, reason) for name, (_make, state, reason) in HOSTILE.items()}
    printed = sorted(folder.iterdir())
    assert len(printed) == 3, [path.name for path in printed]
    for path in printed:
        subprocess.run(["qpdf", "--check", str(path)], check=True, capture_output=True)
    words = subprocess.run(["pdftotext", str(printed[-1]), "-"], check=True, capture_output=True, text=True).stdout
    assert "Page 2" in words
    assert "Page 1" not in words
    assert len(list((machine.state_dir / "received").rglob("*.eml"))) >= len(HOSTILE)
    assert not Path("/tmp/evil.pdf").exists()
    assert "Traceback" not in machine.log()


# --- killed ---------------------------------------------------------------------------------------------------------------


@pytest.mark.peers
def test_a_machine_that_is_killed_at_any_moment_prints_everything_once(machine: Daemon, cups: Cups) -> None:
    """While mail is made ready, while it is handed over, while the printer has no paper."""
    machine.ok("print", "set", "--target", cups.uri(), "--senders", EVA)
    titles = [f"Nº {number}" for number in range(6)]
    before = latest(machine)
    put(machine, *(a_mail(title, ("a.pdf", pdf(2))) for title in titles))
    cups.trouble("office", "media-empty-error")
    machine.ok("print", "receive")
    for pause in (0.0, 0.25, 0.5, 0.9):
        time.sleep(pause)
        machine.kill()
        machine.start()
    cups.trouble("office", "")
    jobs = until(lambda: ended(machine, before, len(titles)))
    assert [(job["state"], job["title"]) for job in jobs] == [("done", title) for title in titles]
    assert sorted(printed.title.partition(" (")[0] for printed in cups.output()) == titles
