"""``valija test``, ``send``, ``receive``, ``received``, ``audit``."""

from __future__ import annotations

import json
import mimetypes
import re
import secrets
import sys
from collections.abc import Iterator
from gettext import gettext as _
from gettext import ngettext
from pathlib import Path
from typing import Any

import click

from valija.apps.cli import output
from valija.apps.cli.client import DaemonClient
from valija.apps.cli.settings_commands import POP_NAMES, json_option
from valija.apps.cli.token_commands import SETTINGS
from valija.domain.record import AUDIT_WORDS
from valija.domain.scan import safe_file_name

PIECE = 262_144
TEST_TIMEOUT_S = 3600.0  # a setting may wait for ten minutes, at each of its stages
EXIT_BY_WHO = {"nobody": 5, "user": 3, "administrator": 4, "operator": 4}
MARKS = {"passed": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("·", "white"), "warning": ("!", "yellow")}
OUTCOME_COLOURS = {"accepted": "green", "deferred": "yellow", "failed": "red", "in_doubt": "yellow"}


@click.command(help=_("Connection test of a setting, stage by stage."))
@click.argument("setting", type=click.Choice(SETTINGS))
@json_option
@click.pass_obj
def test(client: DaemonClient, setting: str, as_json: bool) -> int:
    """Test a setting's connection."""
    if as_json:
        report = client.call("POST", f"/settings/{setting}/test", timeout=TEST_TIMEOUT_S)
        output.print_json(report)
        return 0 if report["passed"] else EXIT_BY_WHO[report["who_acts"]]
    status = EXIT_BY_WHO["nobody"]  # until it is said how it ended
    for line in client.lines("POST", f"/settings/{setting}/test", timeout=TEST_TIMEOUT_S):
        if "stage" in line:
            _show_stage(line)
        else:
            click.secho(line["summary"], fg="green" if line["passed"] else "red", bold=True)
            status = 0 if line["passed"] else EXIT_BY_WHO[line["who_acts"]]
    return status


def _show_stage(stage: dict[str, Any]) -> None:
    mark, colour = MARKS[stage["outcome"]]
    click.echo(f"{click.style(mark, fg=colour, bold=True)} {click.style(stage['label'], bold=True)}  {stage['found']}")
    if stage["trouble"]:
        output.print_trouble(stage["trouble"])


@click.command(help=_("Send files by e-mail with the SMTP setting."))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--to", "recipients", multiple=True, required=True, metavar="ADDRESS", help=_("Recipient, again for each.")
)
@click.option("--subject", default="", help=_("Subject."))
@click.option("--text", default="", help=_("Text of the message."))
@json_option
@click.pass_obj
def send(
    client: DaemonClient, files: tuple[Path, ...], recipients: tuple[str, ...], subject: str, text: str, as_json: bool
) -> int:
    """Send files."""
    boundary = "valija-" + secrets.token_hex(16)
    about = {"to": list(recipients), "subject": subject, "text": text}
    body = form_of(boundary, about, files)
    report = client.upload("/messages", body, f"multipart/form-data; boundary={boundary}")
    if as_json:
        output.print_json(report)
        return int(report["exit_status"])
    for outcome in report["outcomes"]:
        label = click.style(outcome["label"], fg=OUTCOME_COLOURS[outcome["outcome"]], bold=True)
        click.echo(f"{outcome['recipient']}: {label}  {outcome['server_words']}")
        if outcome["trouble"]:
            output.print_trouble(outcome["trouble"])
    return int(report["exit_status"])


def form_of(boundary: str, about: dict[str, Any], files: tuple[Path, ...]) -> Iterator[bytes]:
    """Yield a multipart/form-data body (RFC 7578); on a terminal, show how far it is."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="about"\r\n\r\n'
    yield head.encode() + json.dumps(about).encode() + b"\r\n"
    total, done = sum(path.stat().st_size for path in files), 0
    for path in files:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        name = path.name.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "")
        yield (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        ).encode()
        with path.open("rb") as source:
            while piece := source.read(PIECE):
                yield piece
                done += len(piece)
                _progress(done, total)
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _progress(done: int, total: int) -> None:
    if total > 4_000_000 and sys.stderr.isatty():
        end = "\n" if done >= total else ""
        click.echo(f"\r{done * 100 // total:3} %  {done / 1e6:.1f} / {total / 1e6:.1f} MB", nl=False, err=True)
        click.echo(end, nl=False, err=True)


@click.command(help=_("Fetch new mail of a POP setting now."))
@click.argument("setting", type=click.Choice(POP_NAMES))
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIRECTORY",
    help=_("Also write the messages and their attachments into this folder."),
)
@json_option
@click.pass_obj
def receive(client: DaemonClient, setting: str, save: Path | None, as_json: bool) -> int:
    """Fetch mail."""
    report = client.call("POST", f"/settings/{setting}/receive", timeout=900.0)
    saved = [str(path) for message in report["messages"] for path in _save(client, message, save)] if save else []
    if as_json:
        output.print_json(report | {"saved": saved})
        return int(report["exit_status"])
    n = len(report["messages"])
    click.echo(ngettext("{n} new message", "{n} new messages", n).format(n=n) if n else _("No new messages"))
    _show_messages(report["messages"])
    for path in saved:
        click.echo(_("Saved: {file}").format(file=path))
    if report["trouble"]:
        output.print_trouble(report["trouble"])
    return int(report["exit_status"])


@click.command(help=_("List the mail that was received and kept."))
@click.argument("setting", type=click.Choice(POP_NAMES), required=False)
@click.option("--limit", type=click.IntRange(1, 500), default=20, help=_("How many at the most."))
@json_option
@click.pass_obj
def received(client: DaemonClient, setting: str | None, limit: int, as_json: bool) -> None:
    """List received mail."""
    messages = client.call("GET", "/received", query={"setting": setting, "limit": limit})
    if as_json:
        output.print_json(messages)
        return
    if not messages:
        click.echo(_("No messages."))
    _show_messages(messages)


def _show_messages(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        size = _("{size} kB").format(size=max(1, message["size"] // 1000))
        click.echo(f"  {message['id']:>5}  {output.moment(message['received_at'])}  {size}")
        click.echo(f"         {message['sender']}")
        click.secho(f"         {message['subject'] or '—'}", bold=True)
        click.secho(f"         {message['file']}", dim=True)


def _save(client: DaemonClient, message: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Write a message and its attachments into ``folder``; nothing that exists is overwritten."""
    import email
    import email.policy

    folder.mkdir(parents=True, exist_ok=True)
    whole = _unused(folder / f"{message['setting']}-{message['id']}.eml")
    with whole.open("xb") as out:
        for piece in client.download(f"/received/{message['id']}"):
            out.write(piece)
    yield whole
    with whole.open("rb") as source:
        parsed = email.message_from_binary_file(source, policy=email.policy.compat32)
    for part in parsed.walk():
        name = part.get_filename()
        content = part.get_payload(decode=True)
        if name and isinstance(content, bytes):
            own = Path(name.replace("\\", "/"))
            suffix = own.suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,10}", own.suffix) else ""
            target = _unused(folder / safe_file_name(own.name.removesuffix(suffix), suffix, "attachment"))
            with target.open("xb") as out:
                out.write(content)
            yield target


def _unused(path: Path) -> Path:
    number = 1
    candidate = path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


@click.command(help=_("Show who did what: tokens got and deleted, settings changed."))
@click.option("--limit", type=click.IntRange(1, 500), default=20, help=_("How many at the most."))
@json_option
@click.pass_obj
def audit(client: DaemonClient, limit: int, as_json: bool) -> None:
    """Show the audit trail."""
    records = client.call("GET", "/audit", query={"limit": limit})
    if as_json:
        output.print_json(records)
        return
    words = {word: _(label) for word, label in AUDIT_WORDS.items()}
    output.print_table(
        [_("When"), _("Who"), _("Where"), _("What"), _("Concerns"), _("Details")],
        [
            [
                output.moment(r["at"]),
                words.get(r["who"], r["who"]),
                words.get(r["where"], r["where"]),
                r["label"],
                r["concerns"],
                r["said"],
            ]
            for r in records
        ],
    )
