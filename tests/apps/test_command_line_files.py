"""What the command line does by itself: files, names, waiting, JSON; the daemon is played."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import click
import pytest

from valija.apps import language
from valija.apps.cli.client import DaemonClient, in_path
from valija.apps.cli.commands import cli, run
from valija.domain.settings import TIMEOUT_RANGE_S

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


def commands(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Give every command with the words that call it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for word in command.list_commands(context):
            inner = command.get_command(context, word)
            assert inner is not None
            yield from commands(inner, f"{name} {word}".strip())
    else:
        yield name, command


def test_every_command_that_asks_the_daemon_answers_in_json_too() -> None:
    """As the README says."""
    without = [name for name, command in commands(cli) if "as_json" not in {p.name for p in command.params}]
    assert without == ["run"]


def test_a_connection_test_is_waited_for_as_long_as_the_setting_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not so long, and the daemon would seem not to answer: a setting may wait 600 seconds at each stage."""
    waited: list[float] = []

    def call(_self: DaemonClient, *_what: str, timeout: float = 0) -> Any:
        waited.append(timeout)
        return {"passed": True}

    monkeypatch.setattr(DaemonClient, "call", call)
    with pytest.raises(SystemExit):
        run(["test", "smtp", "--json"], "en")
    assert waited[0] >= 3 * TIMEOUT_RANGE_S[1]


def test_a_connection_test_that_breaks_off_has_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DaemonClient, "lines", lambda *_what, **_named: iter(()))
    with pytest.raises(SystemExit) as end:
        run(["test", "smtp"], "en")
    assert end.value.code == 5


@pytest.mark.parametrize(
    ("line", "code", "status", "word"),
    [
        (["queue", "show", "x", "--json"], "wrong_use", 2, "no es un"),
        (["queue", "nothing", "--json"], "wrong_use", 2, "nothing"),
        (["receive", "internet-fax", "--json", "--save", "{file}/out"], "file_unusable", 4, "{file}"),
        (["status", "--json"], "daemon_unreachable", 4, "control.sock"),
    ],
)
def test_who_asks_for_json_is_told_in_json_what_went_wrong(
    line: list[str],
    code: str,
    status: int,
    word: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On standard error, with the exit code; standard output stays for answers."""
    file = tmp_path / "file"
    file.touch()
    if code == "daemon_unreachable":
        monkeypatch.undo()
    arguments = [part.format(file=file) for part in line]
    language.use_for_process("es")
    try:
        with pytest.raises(SystemExit) as end:
            run(["--state-dir", str(tmp_path), *arguments], "es")
    finally:
        language.use_for_process("en")
    said = capsys.readouterr()
    problem = json.loads(said.err)
    assert (problem["code"], problem["exit_status"], end.value.code) == (code, status, status)
    assert word.format(file=file) in problem["detail"]
    assert not said.out
