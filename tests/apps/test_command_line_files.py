"""What the command line does with files and names of this machine's own side; the daemon is played."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from valija.apps.cli.client import DaemonClient, in_path
from valija.apps.cli.commands import run

LONG = "契約書" * 50 + ".pdf"
MESSAGE = {
    "id": 7,
    "setting": "internet-fax",
    "size": 1,
    "received_at": None,
    "sender": "a@b",
    "subject": "s",
    "file": "f",
}


@pytest.fixture(autouse=True)
def _one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that has fetched one message with an attachment."""
    mail = EmailMessage()
    mail.set_content("See the contract.")
    mail.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename=LONG)

    def call(_self: DaemonClient, _method: str, _path: str, *_body: Any, **_named: Any) -> Any:
        return {"messages": [MESSAGE], "trouble": None, "exit_status": 0}

    def download(_self: DaemonClient, _path: str) -> Iterator[bytes]:
        yield mail.as_bytes()

    monkeypatch.setattr(DaemonClient, "call", call)
    monkeypatch.setattr(DaemonClient, "download", download)


def test_an_attachment_with_a_long_name_is_saved_as_what_it_is(tmp_path: Path) -> None:
    """A file system takes 255 octets; each of these characters has three."""
    with pytest.raises(SystemExit) as end:
        run(["receive", "internet-fax", "--save", str(tmp_path / "out")], "en")
    assert end.value.code == 0
    [attachment] = (tmp_path / "out").glob("*.pdf")
    assert attachment.name.startswith("契約書")
    assert attachment.read_bytes() == b"%PDF-1.7"


def test_a_folder_that_cannot_be_used_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as end:
        run(["receive", "internet-fax", "--save", str(tmp_path / "file" / "out")], "en")
    assert end.value.code == 4
    said = capsys.readouterr().err
    assert said == f"{tmp_path / 'file' / 'out'} cannot be used: Not a directory.\n"


def test_whatever_is_typed_as_a_name_is_one_part_of_an_address() -> None:
    assert in_path("Kitchen printer") == "Kitchen%20printer"
    assert in_path("impresión/1?x#y") == "impresi%C3%B3n%2F1%3Fx%23y"
    assert in_path("\udcff") == "%FF"
