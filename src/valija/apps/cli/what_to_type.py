"""What a person types into a device, so that it hands its mail to this machine."""

from __future__ import annotations

from gettext import gettext as _
from typing import Any

import click

from valija.apps.cli import output
from valija.apps.what_to_type import Row, what_to_type


def print_what_to_type(there: dict[str, Any], made: dict[str, Any]) -> None:
    """Print it, for a device that was just made (with its ``password``) or shown."""
    click.echo(_("Type this into {name}, where it asks for its e-mail (SMTP) server:").format(name=made["name"]))
    click.echo()
    output.print_fields([(row.label, _with_note(row)) for row in what_to_type(there, made, _)])
    click.echo()
    if there["authority"] and made["tls"] != "offered":
        text = _("Where the device checks certificates, import this machine's authority into it: {file}")
        click.echo(text.format(file=there["authority"]))
    if made.get("password"):
        text = _("The password is not shown again. For another one: valija device password {login}")
        click.echo(text.format(login=made["login"]))
    click.echo(_("Then see what it does: valija device list"))


def _with_note(row: Row) -> str:
    first, *more = row.value.splitlines() or [""]
    return "\n".join([f"{first}  ({row.note})" if row.note else first, *more])
