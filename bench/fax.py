"""Fax: PDF to TIFF-F beside ghostscript and tiffcp; a thousand faxes fetched from Dovecot beside fetchmail and mpop."""

from __future__ import annotations

import asyncio
import base64
import math
import os
import smtplib
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Final

from fax_machine import fax_machine
from rig import Rig
from rig_process import program

from bench.figures import Row, Section, against, cpu_seconds, goal, memory_kb
from driver import Daemon
from fax_pages import fax_file
from long_pdf import pdf
from valija.paper.process import PaperWorker
from valija.services.retrieval import MESSAGES_A_CHECK

PAGES: Final = 200
ROUNDS: Final = 3
PAGES_GOAL: Final = 25  # 200 pages, the longest fax that anybody is thought to send, in 8 seconds
LINES: Final = tuple(f"{n:02} " + "The quick brown fox jumps over the lazy dog. " * 2 for n in range(40))
FAXES: Final = 1_000
SHOWN: Final = 100
SHOWN_LIMIT_S: Final = 120.0
ADDRESS: Final = "faxbench@rig.test"
PEERS: Final = ("fetchmail", "mpop")


@dataclass(frozen=True, slots=True)
class Used:
    """What a run took: seconds by the clock, seconds of CPU, the peak of its largest process."""

    seconds: float
    cpu: float
    peak_mb: float

    def shown(self, pages: int) -> str:
        """Return CPU and memory for a table."""
        return f"{self.cpu / pages * 1e3:.1f} ms, {self.peak_mb:.0f} MB"


# --- pages ----------------------------------------------------------------------------------------------------------------


def fax_pages() -> Section:
    """Pages a second, CPU and memory."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        source = folder / "source.pdf"
        source.write_bytes(pdf(PAGES, lines=LINES))
        ours, ghost, piped = [], [], []
        for _round in range(ROUNDS):
            ours.append(asyncio.run(_make_fax(source, folder / "ours.tif")))
            ghost.append(_ghostscript(source, folder / "ghost.tif"))
            piped.append(_pipeline(source, folder / "piped.tif"))
        _check(folder)
    best, ghost_best, piped_best = (min(runs, key=lambda run: run.seconds) for runs in (ours, ghost, piped))
    rate, ghost_rate, piped_rate = (PAGES / run.seconds for run in (best, ghost_best, piped_best))
    return Section(
        "PDF to fax",
        f"{PAGES} pages of text, A4, 204x196 dpi, MH in one TIFF, best of {ROUNDS} alternating runs, process start included; "
        "ImageMagick has PDF read by ghostscript, which is measured alone;",
        (
            against(
                "ghostscript tiffg3",
                "PDF to TIFF-F, pages",
                rate,
                ghost_rate,
                f"{rate / ghost_rate:.2f} of it, in C from end to end",
            ),
            against(
                "pdftoppm, then tiffcp",
                "PDF to TIFF-F, the pages",
                rate,
                piped_rate,
                f"{rate / piped_rate:.2f} of them; {goal(f'{PAGES_GOAL} pages a second', rate >= PAGES_GOAL)}",
            ),
            Row(
                "CPU of a page, and memory at most",
                best.shown(PAGES),
                f"{ghost_best.shown(PAGES)} (ghostscript); {piped_best.shown(PAGES)} (pdftoppm, tiffcp)",
            ),
        ),
    )


async def _make_fax(source: Path, out: Path) -> Used:
    began = time.monotonic()
    async with PaperWorker() as worker:
        await worker.call(
            "make_fax",
            files=[str(source)],
            out=str(out),
            profile="s",
            resolution="fine",
            paper="a4",
            halftone="text",
            description="bench",
            software="bench",
            at="2026-11-25T12:00:00+00:00",
        )
        seconds = time.monotonic() - began
        pid = worker.pid or 0
        return Used(seconds, cpu_seconds(pid), memory_kb(pid, "VmHWM") / 1024)


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> Used:
    """Run a program to its end."""
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as process:
        said = process.stderr.read() if process.stderr else b""
        _pid, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]}: {said[-2000:]!r}")
    return Used(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _ghostscript(source: Path, out: Path) -> Used:
    options = ("-q", "-dNOPAUSE", "-dBATCH", "-dSAFER", "-sDEVICE=tiffg3", "-r204x196", "-dMaxStripSize=0")
    return _run([program("gs"), *options, f"-sOutputFile={out}", str(source)])


def _pipeline(source: Path, out: Path) -> Used:
    with tempfile.TemporaryDirectory() as directory:
        options = ("-mono", "-rx", "204", "-ry", "196", "-tiff", "-tiffcompression", "none")
        drawn = _run([program("pdftoppm"), *options, str(source), f"{directory}/page"])
        pages = sorted(str(path) for path in Path(directory).iterdir())
        joined = _run([program("tiffcp"), "-c", "g3:1d", *pages, str(out)])
    return Used(drawn.seconds + joined.seconds, drawn.cpu + joined.cpu, max(drawn.peak_mb, joined.peak_mb))


def _check(folder: Path) -> None:
    """All made the same number of pages."""
    for name in ("ours.tif", "ghost.tif", "piped.tif"):
        said = subprocess.run([program("tiffinfo"), str(folder / name)], capture_output=True, text=True, check=False)
        assert said.stdout.count("Compression Scheme: CCITT Group 3") == PAGES, (name, said.stdout[:2000])


# --- messages -------------------------------------------------------------------------------------------------------------


def fax_messages() -> Section:
    """Messages a second from the mailbox to the disk, deleted there; and jobs a second."""
    with tempfile.TemporaryDirectory() as directory, Rig("xoauth2 oauthbearer plain") as rig:
        folder = Path(directory)
        peers = {name: [_peer(name, rig, folder / f"{name}{n}") for n in range(2)] for name in PEERS}
        found = _ours(rig, folder)
    theirs = {name: min(runs, key=lambda run: run.seconds) for name, runs in peers.items()}
    rate = FAXES / found.seconds
    rows = [
        against(
            name,
            f"POP3 to disk, deleted there ({name})",
            rate,
            FAXES / run.seconds,
            goal(f"as fast as {name}", rate >= FAXES / run.seconds),
        )
        for name, run in theirs.items()
    ]
    cpu = "; ".join(f"{run.cpu / FAXES * 1e3:.2f} ms, {run.peak_mb:.0f} MB ({name})" for name, run in theirs.items())
    return Section(
        "Faxes received",
        f"{FAXES:,} messages with one page each ({len(_mail()) / 1e3:.0f} kB), Dovecot over TLS, better of 2 for the peers; "
        "a token as the password for fetchmail (into one file), XOAUTH2 for mpop and Valija, which makes each durable, notes "
        "it, before it is deleted there, while its pages are made in another process;",
        (
            *rows,
            Row(
                "CPU of a message, and memory at most", f"{found.cpu / FAXES * 1e3:.2f} ms, {found.peak_mb:.0f} MB", cpu
            ),
            Row("made pages of, answered in the history, with a picture: jobs", f"{found.jobs:.1f}/s"),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Received(Used):
    jobs: float


def _mail() -> bytes:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "bench@example.com", ADDRESS, "Fax"
    made["MIME-Version"] = "1.0"
    made["Content-Type"] = "image/tiff; application=faxbw"
    made["Content-Transfer-Encoding"] = "base64"
    made.set_payload(base64.encodebytes(fax_file(1)).decode("ascii"))
    return made.as_bytes()


def _deliver(rig: Rig) -> None:
    with smtplib.LMTP(str(rig.directory / "mail" / "dovecot" / "lmtp")) as lmtp:
        for _number in range(FAXES):
            lmtp.sendmail("bench@example.com", [ADDRESS], _mail())


def _peer(name: str, rig: Rig, folder: Path) -> Used:
    """Fetch and delete all with another program."""
    _deliver(rig)
    token = rig.sign_in(ADDRESS)["access_token"]
    for place in ("cur", "new", "tmp"):
        (folder / "mail" / place).mkdir(parents=True)
    configuration = folder / "configuration"
    configuration.write_text(_CONFIGURATIONS[name](rig, folder, token))
    configuration.chmod(0o600)
    used = _run(_COMMANDS[name](configuration), os.environ | {"HOME": str(folder), "FETCHMAILHOME": str(folder)})
    together = folder / "all"  # fetchmail writes one file, mpop a file for each message
    stored = (
        together.read_bytes().count(b"MAIL FROM:")
        if together.exists()
        else len(list((folder / "mail" / "new").iterdir()))
    )
    assert stored == FAXES, f"{name}: {stored} of {FAXES}"
    return used


_CONFIGURATIONS: Final = {
    "fetchmail": lambda rig, folder, token: (
        f"poll localhost service {rig.ports.pop3s} protocol pop3 auth password\n"
        f'  user "{ADDRESS}" password "{token}" ssl sslcertck sslcertfile "{rig.ca_file}" fetchall no keep no rewrite\n'
        f'  bsmtp "{folder}/all"\n'
    ),
    "mpop": lambda rig, folder, token: (
        f"account a\nhost localhost\nport {rig.ports.pop3s}\ntls on\ntls_starttls off\ntls_trust_file {rig.ca_file}\n"
        f"auth xoauth2\nuser {ADDRESS}\npassword {token}\ndelivery maildir {folder}/mail\nkeep off\n"
        f"uidls_file {folder}/uidls\n"
    ),
}
_COMMANDS: Final = {
    "fetchmail": lambda path: [
        program("fetchmail"),
        "--fetchmailrc",
        str(path),
        "--nodetach",
        "--nosyslog",
        "--silent",
    ],
    "mpop": lambda path: [program("mpop"), f"--file={path}", "--quiet", "a"],
}


def _ours(rig: Rig, folder: Path) -> _Received:
    machine = fax_machine(folder / "machine", rig, ADDRESS)
    try:
        machine.ok("fax", "receive")
        _deliver(rig)
        assert machine.process is not None
        before = cpu_seconds(machine.process.pid)
        began = time.monotonic()
        for _check in range(math.ceil(FAXES / MESSAGES_A_CHECK)):
            said = machine.ok("fax", "receive")[-500:]
        seconds = time.monotonic() - began
        cpu = cpu_seconds(machine.process.pid) - before
        peak = memory_kb(machine.process.pid, "VmHWM") / 1024
        stored = sum(1 for _path in (machine.state_dir / "received").rglob("*.eml"))
        assert stored == FAXES, f"{stored} of {FAXES}: {said}"
        return _Received(seconds, cpu, peak, _jobs_a_second(machine))
    finally:
        assert machine.stop() == 0


def _jobs_a_second(machine: Daemon) -> float:
    """Return how fast faxes become pages, by the last of a time with nothing else to do."""
    begin, first = time.monotonic(), _ended(machine)
    while (done := _ended(machine)) < first + SHOWN and done < FAXES:
        assert time.monotonic() < begin + SHOWN_LIMIT_S, f"{done} of {FAXES}"
        time.sleep(0.5)
    return (done - first) / (time.monotonic() - begin)


def _ended(machine: Daemon) -> int:
    newest = machine.json("job", "list", "--kind", "fax_receive", "--limit", "1")
    return int(newest[0]["id"]) if newest else 0
