"""What people see: states, dates, tables, troubles, the code with its QR picture. No rule lives here."""

from __future__ import annotations

import io
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from gettext import gettext as _
from gettext import ngettext
from typing import Any

import click

from valija.domain.account import SETTING_LABELS, Setting
from valija.domain.text import N_

STATE_LABELS = {
    "not_retrieved": N_("Not retrieved"),
    "awaiting_authorization": N_("Waiting for authorization"),
    "retrieved": N_("Retrieved"),
    "invalid": N_("Invalid"),
}
STATE_COLOURS = {"not_retrieved": "white", "awaiting_authorization": "yellow", "retrieved": "green", "invalid": "red"}
WHO_LABELS = {
    "nobody": N_("Nobody has to act."),
    "user": N_("Who must act: the owner of the mailbox."),
    "administrator": N_("Who must act: the administrator at the provider."),
    "operator": N_("Who must act: the operator of this machine."),
}


def print_json(value: Any, *, err: bool = False) -> None:
    """Print a value for programs, on standard error if ``err``."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False), err=err)


def state_label(state: str) -> str:
    """Return a state's label, coloured."""
    return click.style(_(STATE_LABELS[state]), fg=STATE_COLOURS[state], bold=True)


def setting_label(setting: str) -> str:
    """Return the label of a mail setting."""
    return _(SETTING_LABELS[Setting(setting)])


def parse_time(text: str | None) -> datetime | None:
    """Read a time of the API."""
    return datetime.fromisoformat(text) if text else None


def moment(text: str | None) -> str:
    """Return a time for people, in the machine's zone, with how far off it is."""
    at = parse_time(text)
    if at is None:
        return "—"
    seconds = (at - datetime.now(UTC)).total_seconds()
    far = _("in {span}").format(span=span(seconds)) if seconds >= 0 else _("{span} ago").format(span=span(-seconds))
    return f"{at.astimezone():%Y-%m-%d %H:%M} ({far})"


def span(seconds: float) -> str:
    """Return a length of time in its largest fitting unit."""
    if seconds >= 86400:
        n = int(seconds // 86400)
        return ngettext("{n} day", "{n} days", n).format(n=n)
    if seconds >= 3600:
        n = int(seconds // 3600)
        return ngettext("{n} hour", "{n} hours", n).format(n=n)
    if seconds >= 60:
        n = int(seconds // 60)
        return ngettext("{n} minute", "{n} minutes", n).format(n=n)
    n = int(seconds)
    return ngettext("{n} second", "{n} seconds", n).format(n=n)


def print_fields(rows: Iterable[tuple[str, str]]) -> None:
    """Print label and value in two columns."""
    rows = list(rows)
    width = max((_width(label) for label, _value in rows), default=0)
    for label, value in rows:
        first, *more = value.splitlines() or [""]
        click.echo(f"  {label}{' ' * (width - _width(label))}  {first}")
        for line in more:
            click.echo(f"  {' ' * width}  {line}")


def value_text(value: Any) -> str:
    """Return a setting's value for people; ``—`` for nothing."""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return (", ".join(value) if isinstance(value, list) else str(value)) or "—"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the last column is as wide as it likes."""
    widths = [max(_width(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for number, row in enumerate([header, *rows]):
        line = "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
        click.secho(line.rstrip(), bold=number == 0)


def trouble_lines(trouble: Mapping[str, Any]) -> list[str]:
    """Return a trouble as lines: what it means, what to do, who, the other side's own words."""
    who = WHO_LABELS[trouble["who_acts"]]
    lines = [trouble["meaning"], trouble["cure"], _(who)]
    if trouble.get("server_words"):
        lines.append(_("Server's words: {words}").format(words=trouble["server_words"]))
    return [line for line in lines if line]


def print_trouble(trouble: Mapping[str, Any], *, err: bool = False) -> None:
    """Print a trouble, indented."""
    for number, line in enumerate(trouble_lines(trouble)):
        click.secho("    " + line, err=err, fg="red" if number == 0 else None, dim=number > 1)


def print_problem(problem: Mapping[str, Any]) -> None:
    """Print why the daemon said no, on standard error."""
    click.secho(problem.get("detail") or problem.get("title") or _("The daemon said no."), err=True, fg="red")
    for field in problem.get("problems", ()):
        click.echo(f"  {field['label']}: {field['problem']}", err=True)
    if problem.get("cure"):
        click.echo(problem["cure"], err=True)
    if problem.get("trouble"):
        print_trouble(problem["trouble"], err=True)


def why_unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Return why a file cannot be read, in the reader's language; the system's own words for what is rare."""
    if isinstance(error, UnicodeDecodeError):
        return _("it is not text")
    return _(error.strerror) if error.strerror else str(error)


_SYSTEMS_WORDS = (
    N_("No such file or directory"),
    N_("Permission denied"),
    N_("Is a directory"),
    N_("Not a directory"),
    N_("No space left on device"),
    N_("Connection refused"),
    N_("timed out"),
)


def confirm(question: str, *, default: bool = False) -> None:
    """Ask, on standard error, until the answer is yes or no in the reader's language. Raises ``click.Abort`` for no."""
    yes, no = _("yes"), _("no")
    keys = f"{yes[0].upper()}/{no[0]}" if default else f"{yes[0]}/{no[0].upper()}"
    while True:
        typed = click.prompt(f"{question} [{keys}]", default="", show_default=False, err=True).strip().lower()
        if (not typed and default) or typed in (yes, yes[0], "sí", "yes", "y"):
            return
        if not typed or typed in (no, no[0]):
            raise click.Abort


def qr_lines(text: str) -> list[str]:
    """Return a QR picture of ``text`` for a terminal, two modules a character."""
    import segno  # only where a picture is shown

    out = io.StringIO()
    segno.make(text, error="m").terminal(out, compact=True, border=2)
    return out.getvalue().splitlines()


def clock(seconds: float) -> str:
    """Return minutes and seconds."""
    whole = max(0, int(seconds))
    return f"{whole // 60}:{whole % 60:02}"


def _width(text: str) -> int:
    plain = click.unstyle(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in plain)
