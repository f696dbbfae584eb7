"""``valija fax``: Internet fax sent and received, and how."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from gettext import gettext as _
from gettext import ngettext
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from valija.apps.cli import output
from valija.apps.cli.client import DaemonClient
from valija.apps.cli.job_commands import print_job, print_jobs
from valija.apps.cli.mail_commands import EXIT_BY_WHO, form_of
from valija.apps.cli.settings_commands import FILE, json_option, with_options
from valija.domain.fax import FAX_LABELS

PROFILES = ("s", "f")
RESOLUTIONS = ("standard", "fine", "superfine")
PAPERS = ("a4", "b4", "letter")
HALFTONES = ("text", "photo")
CONFIRMATIONS = ("none", "delivery", "processing")
page_options = (
    click.option("--profile", type=click.Choice(PROFILES), help=_("S: what every Internet fax reads; F: more.")),
    click.option("--resolution", type=click.Choice(RESOLUTIONS), help=_("204x98, 204x196 or 204x391 dpi.")),
    click.option("--paper", type=click.Choice(PAPERS), help=_("Size of the pages.")),
    click.option("--halftone", type=click.Choice(HALFTONES), help=_("Sharp for text, dithered for photos.")),
    click.option("--cover/--no-cover", default=None, help=_("A cover page before.")),
    click.option("--confirmation", type=click.Choice(CONFIRMATIONS), help=_("What is asked of the other side.")),
)


@click.group(help=_("Internet fax: send, receive, settings."))
def fax() -> None:
    """Group."""


@fax.command("send", help=_("Send files (PDF, TIFF, JPEG, PNG, text) as a fax."))
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option(
    "--to",
    "recipients",
    multiple=True,
    required=True,
    metavar="ADDRESS",
    help=_("E-mail address, FAX=+15551234567@gateway, or a number; again for each."),
)
@click.option("--subject", default="", help=_("Subject."))
@click.option("--text", default="", help=_("Text of the message, and of the cover page."))
@with_options(*page_options, json_option)
@click.pass_obj
def send(
    client: DaemonClient, /, files: tuple[Path, ...], recipients: tuple[str, ...], as_json: bool, **about: Any
) -> None:
    """Send a fax."""
    told = {"to": list(recipients), "subject": about.pop("subject"), "text": about.pop("text")}
    told["changes"] = {name: value for name, value in about.items() if value is not None}
    boundary = "valija-" + secrets.token_hex(16)
    form = form_of(boundary, told, files)
    job = client.upload("/faxes", form, f"multipart/form-data; boundary={boundary}")
    if as_json:
        output.print_json(job)
        return
    sentence = _("Job {number}: the fax is being sent; `valija job show {number}` tells how it goes.")
    click.echo(sentence.format(number=job["id"]))


@fax.command("list", help=_("List faxes that were sent and received, latest first."))
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help=_("How many."))
@json_option
@click.pass_obj
def list_faxes(client: DaemonClient, limit: int, as_json: bool) -> None:
    """List faxes."""
    found = [
        job for kind in ("fax_send", "fax_receive") for job in client.call("GET", f"/jobs?kind={kind}&limit={limit}")
    ]
    print_jobs(sorted(found, key=lambda job: -job["id"])[:limit], as_json)


@fax.command("receive", help=_("Fetch faxes now."))
@json_option
@click.pass_obj
def receive(client: DaemonClient, as_json: bool) -> int:
    """Fetch faxes."""
    return fetch_now(client, "internet-fax", as_json)


def fetch_now(client: DaemonClient, setting: str, as_json: bool) -> int:
    """Fetch what a POP setting has; print how many messages came, return the exit status."""
    report = client.call("POST", f"/settings/{setting}/receive", timeout=900.0)
    if as_json:
        output.print_json(report)
        return int(report["exit_status"])
    n = len(report["messages"])
    click.echo(ngettext("{n} new message", "{n} new messages", n).format(n=n) if n else _("No new messages"))
    if report["trouble"]:
        output.print_trouble(report["trouble"])
        return EXIT_BY_WHO[report["trouble"]["who_acts"]]
    return 0


@fax.command("show", help=_("Show a fax, and the files that are kept of it."))
@click.argument("number", type=int)
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIRECTORY",
    help=_("Also write the files into this folder."),
)
@json_option
@click.pass_obj
def show(client: DaemonClient, number: int, save: Path | None, as_json: bool) -> None:
    """Show a fax."""
    job = client.call("GET", f"/jobs/{number}")
    files = client.call("GET", f"/jobs/{number}/files")
    for file in files if save else ():
        _save(client, number, file["name"], save)
    if as_json:
        output.print_json(job | {"files": files})
        return
    print_job(job)
    for file in files:
        click.echo(f"{file['name']}  {file['size']:,}")


def _save(client: DaemonClient, number: int, name: str, folder: Path | None) -> None:
    if folder is None or Path(name).name != name:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{number}-{name}").open("wb") as out:
        for piece in client.download(f"/jobs/{number}/files/{quote(name)}"):
            out.write(piece)
    click.echo(_("Saved: {file}").format(file=folder / f"{number}-{name}"))


@fax.command("set", help=_("Change how faxes are sent and received; without options, show it."))
@with_options(
    *page_options,
    click.option("--gateway", metavar="HOST", help=_("Where telephone numbers are sent to.")),
    click.option("--own-number", help=_("The number on the cover page.")),
    click.option("--wait", type=int, help=_("Hours to wait for a confirmation, 1-240.")),
    click.option("--resend", type=int, help=_("How often to send again after an error, 0-15.")),
    click.option("--resend-every", type=int, help=_("Minutes between, 1-15.")),
    click.option("--junk", type=click.Choice(["off", "reject", "allow"]), help=_("What the list of senders does.")),
    click.option(
        "--senders", multiple=True, metavar="ADDRESS", help=_("Address or @domain; again for each, '' for none.")
    ),
    click.option(
        "--forward",
        multiple=True,
        metavar="RULE",
        help=_("'@domain: to', an address or a folder; again for each, '' for none."),
    ),
    click.option("--answer/--no-answer", default=None, help=_("Answer those who ask for a confirmation.")),
    json_option,
)
@click.pass_obj
def change(client: DaemonClient, /, as_json: bool, **asked: Any) -> None:
    """Change or show the settings."""
    change_and_show(client, "/fax/settings", changes_of(asked, ("senders", "forward")), FAX_LABELS, as_json)


def changes_of(asked: dict[str, Any], lists: tuple[str, ...]) -> dict[str, Any]:
    """Return what was asked for; of lists, an empty one was not named, one that holds an empty text is emptied."""
    changes = {name: value for name, value in asked.items() if value is not None and name not in lists}
    return changes | {name: [entry for entry in asked[name] if entry] for name in lists if asked[name]}


def change_and_show(
    client: DaemonClient, path: str, changes: dict[str, Any], labels: Mapping[str, str], as_json: bool
) -> None:
    """Change settings, if something is to be changed, and show them."""
    found = client.call("PATCH", path, {"changes": changes}) if changes else client.call("GET", path)
    if as_json:
        output.print_json(found)
    else:
        fields = [(labels.get(name.removeprefix("has_")), value) for name, value in found.items()]
        output.print_fields([(_(label), output.value_text(value)) for label, value in fields if label])
