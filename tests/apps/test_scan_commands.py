"""Scans, jobs and the address book as a person types them, with the real daemon, SANE's test scanner and the sandbox."""

from __future__ import annotations

import email
import email.policy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paper_files import make_file
from scan_rig import page_count, set_up_sane

from driver import Daemon

ANA, LUIS = "ana@sandbox.test", "luis@sandbox.test"


@pytest.fixture(scope="module", name="office")
def office_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A machine that can send, with a scanner."""
    folder = tmp_path_factory.mktemp("office")
    set_up_sane(folder / "sane")
    machine = Daemon(folder, environment={"SANE_CONFIG_DIR": str(folder / "sane")}).start()
    machine.set_smtp(ANA)
    machine.get_token("smtp", ANA)
    machine.set_pop(account=LUIS)
    machine.get_token("internet-fax", LUIS)
    yield machine
    assert machine.stop() == 0, machine.log()[-3000:]


def received(machine: Daemon, folder: Path) -> tuple[Any, list[Path]]:
    """Return the one message that has come, and its attachments."""
    end = time.monotonic() + 20
    while not (found := machine.json("receive", "internet-fax")["messages"]):
        assert time.monotonic() < end, machine.log()[-2000:]
        time.sleep(0.2)
    [one] = found
    mail = email.message_from_bytes(Path(one["file"]).read_bytes(), policy=email.policy.default)
    paths = []
    for part in mail.walk():
        payload = part.get_payload(decode=True)
        if part.get_filename() and isinstance(payload, bytes):
            paths.append(folder / str(part.get_filename()))
            paths[-1].write_bytes(payload)
    return mail, paths


def until_ended(machine: Daemon, number: int) -> dict[str, Any]:
    """Return a job when it has ended."""
    end = time.monotonic() + 30
    while (job := machine.json("job", "show", str(number)))["state"] not in ("done", "failed", "cancelled"):
        assert time.monotonic() < end, job
        time.sleep(0.2)
    return dict(job)


def test_paper_from_the_scanner_arrives_and_the_job_says_so(office: Daemon, tmp_path: Path) -> None:
    """It is listed, shown with its history, has a picture; in Spanish, too."""
    assert "test:0" in office.ok("scan", "--list")
    options = ("--source", "feeder", "--resolution", "75", "--subject", "Acta {counter}", "--no-wait")
    job = office.json("scan", "--to", LUIS, *options)
    mail, [pdf] = received(office, tmp_path)
    assert mail["Subject"] == f"Acta {job['id']:04}"
    assert page_count(pdf) == 10
    job = until_ended(office, job["id"])
    assert (job["state"], job["done"], job["of"], job["has_picture"]) == ("done", 10, 10, True)
    assert [line["word"] for line in job["history"]] == ["began", "handed_on", "finished"]
    assert [j["id"] for j in office.json("job", "list", "--kind", "scan")][:1] == [job["id"]]
    spanish = office.ok("job", "show", str(job["id"]), "--picture", str(tmp_path / "first.png"), language="es")
    assert (tmp_path / "first.png").read_bytes().startswith(b"\x89PNG\r\n")
    nowhere = office.run(
        "job", "show", str(job["id"]), "--picture", str(tmp_path / "nowhere" / "first.png"), language="es"
    )
    assert nowhere.returncode == 4
    assert "first.png" in nowhere.stderr and "Traceback" not in nowhere.stderr
    assert "Escaneo a correo" in spanish
    assert "Comenzado" in spanish
    assert office.run("job", "cancel", str(job["id"])).returncode == 2
    assert office.run("job", "show", "999").returncode == 2


def test_files_are_sent_to_a_group_of_the_address_book(office: Daemon, tmp_path: Path) -> None:
    office.ok("contact", "set", "Obra Norte", LUIS, "--favourite")
    assert "Obra Norte" in office.ok("contact", "list")
    one, two = make_file(tmp_path / "a.png", [1]), make_file(tmp_path / "b.tif", [2, 0, 3])
    job = office.json("scan", str(one), str(two), "--to", "obra norte", "--drop-blank", "--format", "tiff")
    assert job["recipients"] == [LUIS]
    mail, [tiff] = received(office, tmp_path)
    assert mail["To"] == LUIS
    assert tiff.suffix == ".tif"
    assert until_ended(office, job["id"])["state"] == "done"
    broken = office.run("scan", str(make_file(tmp_path / "c.png", [1])), "--to", "nadie")
    assert broken.returncode == 2
    assert "nadie" in broken.stderr


def test_the_address_book_goes_out_and_in_as_csv_and_vcard(office: Daemon, tmp_path: Path) -> None:
    office.ok("contact", "set", "Núñez; Ana", "ana@example.com", "--favourite")
    for form in ("csv", "vcard"):
        before = office.json("contact", "list")
        file = tmp_path / form
        file.write_text(office.ok("contact", "export", "--form", form), "utf-8")
        office.ok("contact", "delete", "Núñez; Ana")
        assert len(office.json("contact", "list")) == len(before) - 1
        found = office.json("contact", "import", str(file))
        assert (found["taken"], found["left_out"]) == (len(before), 0)
        assert office.json("contact", "list") == before
    assert office.run("contact", "delete", "nadie").returncode == 2


def test_what_is_put_into_the_folder_is_sent_and_put_away(office: Daemon, tmp_path: Path) -> None:
    """What cannot be read goes aside, with a note in the machine's language; a file that is being written is left alone."""
    folder = tmp_path / "escaneos"
    folder.mkdir()
    office.ok("scan-settings", "set", "--folder", str(folder), "--folder-to", LUIS, "--subject", "De la carpeta")
    make_file(folder / "b.pdf", [1, 2])
    (folder / "c.pdf").write_bytes(b"%PDF-1.7 broken")
    (folder / "d.pdf.part").write_bytes(b"%PDF")
    mail, [pdf] = received(office, tmp_path)
    assert mail["Subject"] == "De la carpeta"
    assert page_count(pdf) == 2
    end = time.monotonic() + 20
    while not ((folder / "done/b.pdf").exists() and (folder / "failed/c.pdf.txt").exists()):
        assert time.monotonic() < end, sorted(path.as_posix() for path in folder.rglob("*"))
        time.sleep(0.2)
    assert "cannot be shown as pages" in (folder / "failed/c.pdf.txt").read_text("utf-8")
    assert (folder / "d.pdf.part").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["d.pdf.part", "done", "failed", "sending"]
    office.ok("scan-settings", "set", "--folder", "")
    shown = json.dumps(office.json("scan-settings", "show"))
    assert "De la carpeta" in shown
