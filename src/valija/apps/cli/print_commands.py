"""``valija print``: mail that is printed, whose, and where."""

from __future__ import annotations

from gettext import gettext as _
from pathlib import Path
from typing import Any

import click

from valija.apps.cli import output
from valija.apps.cli.client import DaemonClient
from valija.apps.cli.fax_commands import change_and_show, changes_of, fetch_now
from valija.apps.cli.job_commands import print_jobs
from valija.apps.cli.settings_commands import FILE, json_option, read_file, with_options
from valija.domain.print_job import PRINT_LABELS

DUPLEX = ("off", "long", "short")
COLOURS = ("auto", "color", "mono")
PAPERS = ("a3", "a4", "a5", "letter", "legal")
CONFIRMATIONS = ("off", "errors", "always")


@click.group("print", help=_("E-mail print: settings, the printer, what was printed."))
def print_group() -> None:
    """Group."""


@print_group.command("list", help=_("List what came to be printed, latest first."))
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help=_("How many."))
@json_option
@click.pass_obj
def list_prints(client: DaemonClient, limit: int, as_json: bool) -> None:
    """List jobs."""
    print_jobs(client.call("GET", f"/jobs?kind=print&limit={limit}"), as_json)


@print_group.command("receive", help=_("Fetch mail to print now."))
@json_option
@click.pass_obj
def receive(client: DaemonClient, as_json: bool) -> int:
    """Fetch mail."""
    return fetch_now(client, "email-print", as_json)


@print_group.command("printer", help=_("Ask the printer how it is."))
@json_option
@click.pass_obj
def printer(client: DaemonClient, as_json: bool) -> int:
    """Show the printer; the exit status tells whether it can print."""
    found = client.call("GET", "/printer")
    status = 0 if found["can_print"] or found["state"] == "none" else 4
    if as_json:
        output.print_json(found)
        return status
    fields = [
        (_("Printer"), found["target"] or _("no printer")),
        (_("State"), ": ".join(filter(None, (found["state_label"], found["words"])))),
    ]
    output.print_fields([*fields, (_("Model"), found["model"])] if found["model"] else fields)
    severities = {"error": _("fault"), "warning": _("warning")}
    for reason in found["reasons"]:
        word = severities.get(reason["severity"])
        click.echo(f"{reason['text']} ({word})" if word else reason["text"])
    for supply in found["supplies"]:
        level = "?" if supply["level"] is None else f"{supply['level']} %"
        click.echo(f"{supply['name']}  {level}")
    return status


@print_group.command("set", help=_("Change where mail is printed and whose; without options, show it."))
@with_options(
    click.option(
        "--target", metavar="WHERE", help=_("Queue of CUPS, ipp:// or ipps:// address, or a folder; '' none.")
    ),
    click.option(
        "--senders", multiple=True, metavar="ADDRESS", help=_("Whose mail: address or @domain; '' for nobody's.")
    ),
    click.option("--password-file", type=FILE, help=_("File with the password that the subject must have.")),
    click.option("--no-password", is_flag=True, help=_("No password is needed.")),
    click.option("--page-limit", type=int, help=_("Pages of one mail, 1-1000.")),
    click.option("--size-limit", type=int, help=_("MB of one mail, 1-200.")),
    click.option("--copies", type=int, help=_("Copies, if the subject asks for none.")),
    click.option("--copies-limit", type=int, help=_("Most copies that a subject may ask for, 1-99.")),
    click.option("--duplex", type=click.Choice(DUPLEX), help=_("Both sides, turned along the long or the short edge.")),
    click.option("--colour", type=click.Choice(COLOURS), help=_("Colours, or not.")),
    click.option("--paper", type=click.Choice(PAPERS), help=_("Size of the paper.")),
    click.option("--tray", help=_("Tray, such as tray-1; '' for the printer's choice.")),
    click.option("--bodies/--no-bodies", default=None, help=_("Print the text of mail with attachments, too.")),
    click.option("--confirmation", type=click.Choice(CONFIRMATIONS), help=_("When the sender is told by mail.")),
    click.option("--wait", type=int, help=_("Hours to wait for a printer that is off, 1-120.")),
    click.option(
        "--faxes", multiple=True, metavar="ADDRESS", help=_("Whose Internet faxes are printed; '*' all, '' none.")
    ),
    json_option,
)
@click.pass_obj
def change(client: DaemonClient, /, as_json: bool, password_file: Path | None, no_password: bool, **asked: Any) -> None:
    """Change or show the settings."""
    changes = changes_of(asked, ("senders", "faxes"))
    if no_password:
        changes["password"] = ""
    if password_file is not None:
        changes["password"] = read_file(password_file).removesuffix("\n").removesuffix("\r")
    change_and_show(client, "/print/settings", changes, PRINT_LABELS, as_json)
