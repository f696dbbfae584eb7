"""``valija scan``, ``valija scan-settings``, ``valija contact``: paper and files to e-mail, and to whom."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from gettext import gettext as _
from pathlib import Path
from typing import Any

import click

from valija.apps.cli import output
from valija.apps.cli.client import DaemonClient
from valija.apps.cli.job_commands import pages, print_job
from valija.apps.cli.mail_commands import form_of
from valija.apps.cli.settings_commands import json_option
from valija.domain.scan import SCAN_LABELS

FORMATS = ("pdf", "pdfa", "searchable", "tiff", "jpeg")
COLOURS = ("colour", "grey", "mono")
SOURCES = ("auto", "feeder", "glass")
SIZES = ("shrink", "split", "refuse")
LOOK_S = 0.5
ENDED = ("done", "failed", "cancelled")
_Command = Callable[..., Any]


def choices(command: _Command) -> _Command:
    """Add the options of what a scan and the machine's settings can choose."""
    for option in reversed(
        (
            click.option("--scanner", metavar="NAME", help=_("The scanner, by SANE's name.")),
            click.option("--format", type=click.Choice(FORMATS), help=_("What is sent.")),
            click.option("--colour", type=click.Choice(COLOURS), help=_("Colours.")),
            click.option("--resolution", type=click.IntRange(75, 1200), help=_("Dots per inch.")),
            click.option("--source", type=click.Choice(SOURCES), help=_("Where the paper is.")),
            click.option("--duplex/--simplex", default=None, help=_("Both sides, or one.")),
            click.option("--drop-blank/--keep-blank", default=None, help=_("Leave out blank pages.")),
            click.option("--subject", help=_("Subject; may name {date}, {time}, {counter}, {machine}, {user}.")),
            click.option("--text", help=_("Text of the message.")),
            click.option("--file-name", help=_("Name of the file, with the words of the subject.")),
            click.option(
                "--size-choice", type=click.Choice(SIZES), help=_("What becomes of a scan that is too large.")
            ),
        )
    ):
        command = option(command)
    return command


@click.command(help=_("Scan to e-mail: from the scanner, or files made into one document."))
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--to", "recipients", multiple=True, metavar="ADDRESS", help=_("Address or contact, again for each."))
@choices
@click.option("--list", "list_them", is_flag=True, help=_("List the scanners that are found."))
@click.option("--no-wait", is_flag=True, help=_("Do not wait until the mail has left."))
@json_option
@click.pass_obj
def scan(
    client: DaemonClient,
    /,
    files: tuple[Path, ...],
    recipients: tuple[str, ...],
    list_them: bool,
    no_wait: bool,
    as_json: bool,
    **chosen: Any,
) -> int:
    """Scan."""
    if list_them:
        _list_scanners(client, as_json)
        return 0
    if not recipients:
        raise click.UsageError(_("Say to whom: --to ADDRESS."))
    asked = {"to": list(recipients)} | {k: v for k, v in chosen.items() if v is not None}
    if files:
        boundary = "valija-" + secrets.token_hex(16)
        body = form_of(boundary, asked, files)
        job = client.upload("/scans/files", body, f"multipart/form-data; boundary={boundary}")
    else:
        job = client.call("POST", "/scans", {"asked": asked})
    if not no_wait:
        job = _follow(client, job, quiet=as_json)
    output.print_json(job) if as_json else print_job(job)
    return 4 if job["state"] == "failed" else 0


def _follow(client: DaemonClient, job: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Wait until a job is in the queue and has left, or waits there; show how far it is."""
    said = ""
    while job["state"] == "preparing":
        time.sleep(LOOK_S)
        job = client.call("GET", f"/jobs/{job['id']}")
        now = _("{state}, pages: {pages}").format(state=job["state_label"], pages=pages(job))
        if now != said and not quiet:
            click.echo(now, err=True)
        said = now
    for _look in range(20):
        if job["state"] in ENDED:
            break
        time.sleep(LOOK_S)
        job = client.call("GET", f"/jobs/{job['id']}")
    return job


def _list_scanners(client: DaemonClient, as_json: bool) -> None:
    found = client.call("GET", "/scanners")
    if as_json:
        output.print_json(found)
    elif found:
        output.print_table([_("Name"), _("Scanner")], [[s["name"], s["label"]] for s in found])
    else:
        click.echo(_("No scanner was found. Switch it on, and check its cable or the network."))


@click.group("scan-settings", help=_("The machine's own choices for scans."))
def scan_settings() -> None:
    """Group."""


@scan_settings.command("show", help=_("Show them."))
@json_option
@click.pass_obj
def show_settings(client: DaemonClient, as_json: bool) -> None:
    """Show the settings."""
    _print_settings(client.call("GET", "/scan-settings"), as_json)


@scan_settings.command("set", help=_("Change some of them."))
@choices
@click.option("--review/--no-review", default=None, help=_("Look at the pages before sending, at the panel."))
@click.option("--bcc", multiple=True, metavar="ADDRESS", help=_("Hidden copy, again for each; '' for nobody."))
@click.option("--signature", help=_("Stands below the text."))
@click.option("--size-limit-mb", type=click.IntRange(1, 150), help=_("How large a message may be."))
@click.option("--ocr-language", metavar="CODE", help=_("Language of the text, as tesseract names it: spa, eng."))
@click.option("--folder", metavar="PATH", help=_("A folder whose files are sent; '' for none."))
@click.option("--folder-to", multiple=True, metavar="ADDRESS", help=_("To whom, again for each."))
@json_option
@click.pass_obj
def set_settings(client: DaemonClient, /, as_json: bool, **chosen: Any) -> None:
    """Change the settings."""
    changes = {k: v for k, v in chosen.items() if v is not None and v != ()}
    for name in ("bcc", "folder_to"):
        if name in changes:
            changes[name] = [address for address in changes[name] if address]
    if not changes:
        raise click.UsageError(_("Name at least one field to change."))
    _print_settings(client.call("PATCH", "/scan-settings", {"changes": changes}), as_json)


def _print_settings(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(found)
        return
    output.print_fields([(_(SCAN_LABELS[name]), output.value_text(value)) for name, value in found["fields"].items()])


# --- the address book -----------------------------------------------------------------------------------------------------


@click.group(help=_("The address book: people and groups."))
def contact() -> None:
    """Group."""


@contact.command("list", help=_("List it, the favourites first."))
@json_option
@click.pass_obj
def list_contacts(client: DaemonClient, as_json: bool) -> None:
    """List contacts."""
    found = client.call("GET", "/contacts")
    if as_json:
        output.print_json(found)
    elif found:
        header = [_("Favourite"), _("Name"), _("Addresses")]
        output.print_table(
            header, [["*" if c["favourite"] else "", c["name"], ", ".join(c["addresses"])] for c in found]
        )
    else:
        click.echo(_("The address book is empty."))


@contact.command("set", help=_("Add a contact, or change the one of that name; several addresses make a group."))
@click.argument("name")
@click.argument("addresses", nargs=-1)
@click.option("--favourite/--no-favourite", default=None, help=_("Shown first."))
@click.option("--rename", metavar="NAME", help=_("Its new name."))
@json_option
@click.pass_obj
def set_contact(
    client: DaemonClient,
    name: str,
    addresses: tuple[str, ...],
    favourite: bool | None,
    rename: str | None,
    as_json: bool,
) -> None:
    """Add or change a contact."""
    body: dict[str, Any] = {"name": name, "favourite": favourite, "rename": rename}
    if addresses:
        body["addresses"] = list(addresses)
    found = client.call("POST", "/contacts", body)
    output.print_json(found) if as_json else click.echo(_("Saved."))


@contact.command("delete", help=_("Delete a contact."))
@click.argument("name")
@json_option
@click.pass_obj
def delete_contact(client: DaemonClient, name: str, as_json: bool) -> None:
    """Delete a contact."""
    gone = client.call("POST", "/contacts/delete", {"name": name})
    output.print_json(gone) if as_json else click.echo(_("Deleted."))


@contact.command("import", help=_("Take contacts from a CSV or vCard file."))
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
@click.pass_obj
def import_contacts(client: DaemonClient, file: Path, as_json: bool) -> None:
    """Take contacts in."""
    octets = file.read_bytes()
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError:  # what spreadsheets on Windows write
        text = octets.decode("cp1252", "replace")
    found = client.call("POST", "/contacts/file", {"text": text})
    if as_json:
        output.print_json(found)
    else:
        click.echo(_("Taken: {taken}; left out: {left_out}.").format(**found))


@contact.command("export", help=_("Write the address book, as CSV or vCard, to standard output."))
@click.option("--form", type=click.Choice(["csv", "vcard"]), default="csv", show_default=True, help=_("Which."))
@json_option
@click.pass_obj
def export_contacts(client: DaemonClient, form: str, as_json: bool) -> None:
    """Give contacts out."""
    found = client.call("GET", "/contacts/file", query={"form": form})
    output.print_json(found) if as_json else click.echo(found["text"], nl=False)
