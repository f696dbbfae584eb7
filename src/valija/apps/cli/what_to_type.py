"""What a person types into a device, so that it hands its mail to this machine."""

from __future__ import annotations

from collections.abc import Sequence
from gettext import gettext as _
from typing import Any

import click

from valija.apps.cli import output
from valija.apps.what_to_type import Row, shown_ranges, what_to_type, what_to_type_for_pop3


def print_what_to_type(there: dict[str, Any], made: dict[str, Any]) -> None:
    """Print it, for a device that was just made (with its ``password``) or shown."""
    click.echo(_("Type this into {name}, where it asks for its e-mail (SMTP) server:").format(name=made["name"]))
    _print_rows(what_to_type(there, made, _))
    if made["ranges"] and made["has_password"]:
        text = _("From {ranges}, too, it must log in now: the password comes on top of the address.")
        click.echo(text.format(ranges=", ".join(shown_ranges(made))))
    print_what_to_type_for_pop3(there, made)
    if there["authority"] and made["tls"] != "offered":
        text = _("Where the device checks certificates, import this machine's authority into it: {file}")
        click.echo(text.format(file=there["authority"]))
    if made.get("password"):
        text = _("The password is not shown again. For another one: valija device password {login}")
        click.echo(text.format(login=made["login"]))
    click.echo(_("What it will meet there: valija device test {login}").format(login=made["login"]))


def print_what_to_type_for_pop3(there: dict[str, Any], made: dict[str, Any]) -> None:
    """Print it, for a device that fetches its mail here; nothing for another one."""
    if incoming := what_to_type_for_pop3(there, made, _):
        click.echo(_("And where it asks for its incoming mail (POP3) server:"))
        _print_rows(incoming)
        text = _("It fetches the mailbox of the setting {setting}, which this machine itself no longer checks.")
        click.echo(text.format(setting=output.setting_label(made["mailbox"])))


def _print_rows(rows: Sequence[Row]) -> None:
    click.echo()
    output.print_fields([(row.label, _with_note(row)) for row in rows])
    click.echo()


def _with_note(row: Row) -> str:
    first, *more = row.value.splitlines() or [""]
    return "\n".join([f"{first}  ({row.note})" if row.note else first, *more])
