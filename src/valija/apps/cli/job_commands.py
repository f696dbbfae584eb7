"""``valija job``: what the machine does and did, scans, faxes, prints."""

from __future__ import annotations

from gettext import gettext as _
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from valija.apps.cli import output
from valija.apps.cli.client import DaemonClient
from valija.apps.cli.settings_commands import json_option

KINDS = ("scan", "fax_send", "fax_receive", "print", "status_request")
STATES = ("preparing", "sending", "awaiting", "done", "failed", "cancelled")
COLOURS = {"done": "green", "failed": "red", "cancelled": "white"}


@click.group("job", help=_("The machine's jobs: scans, faxes, prints."))
def job() -> None:
    """Group."""


@job.command("list", help=_("List jobs, latest first."))
@click.option("--kind", type=click.Choice(KINDS), help=_("Only of this kind."))
@click.option("--state", type=click.Choice(STATES), help=_("Only in this state."))
@click.option("--before", type=click.IntRange(1), help=_("Only jobs with smaller numbers."))
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help=_("How many."))
@json_option
@click.pass_obj
def list_jobs(client: DaemonClient, /, as_json: bool, **filters: Any) -> None:
    """List jobs."""
    found = client.call("GET", "/jobs?" + urlencode({k: v for k, v in filters.items() if v is not None}))
    print_jobs(found, as_json)


def print_jobs(found: list[dict[str, Any]], as_json: bool) -> None:
    """Print a list of jobs."""
    if as_json:
        output.print_json(found)
    elif found:
        header = [_("Number"), _("Begun"), _("Kind"), _("State"), _("Pages"), _("Title")]
        output.print_table(header, [_row(j) for j in found])
    else:
        click.echo(_("There are no jobs."))


def _row(j: dict[str, Any]) -> list[str]:
    state = click.style(j["state_label"], fg=COLOURS.get(j["state"], "yellow"))
    return [str(j["id"]), output.moment(j["created_at"]), j["kind_label"], state, pages(j), j["title"][:40]]


def pages(j: dict[str, Any]) -> str:
    """Return how far a job is."""
    return f"{j['done']}/{j['of']}" if j["of"] else str(j["done"] or "-")


@job.command("show", help=_("Show one job and its history."))
@click.argument("number", type=int)
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=_("Also write the picture of its first page (PNG) into this file."),
)
@json_option
@click.pass_obj
def show(client: DaemonClient, number: int, picture: Path | None, as_json: bool) -> None:
    """Show a job."""
    found = client.call("GET", f"/jobs/{number}")
    output.print_json(found) if as_json else print_job(found)
    if picture is not None:
        octets = b"".join(client.download(f"/jobs/{number}/picture"))
        picture.write_bytes(octets)
        click.echo(_("Saved: {file}").format(file=picture), err=as_json)


@job.command("cancel", help=_("Cancel jobs, whatever they are at."))
@click.argument("numbers", type=int, nargs=-1, required=True)
@json_option
@click.pass_obj
def cancel(client: DaemonClient, numbers: tuple[int, ...], as_json: bool) -> None:
    """Cancel jobs."""
    done = [client.call("POST", f"/jobs/{number}/cancel") for number in numbers]
    output.print_json(done) if as_json else click.echo(_("Done."))


def print_job(j: dict[str, Any]) -> None:
    """Print a job and its history."""
    output.print_fields(
        [
            (_("Number"), str(j["id"])),
            (_("Kind"), j["kind_label"]),
            (_("Title"), j["title"]),
            (_("State"), " · ".join(filter(None, (j["state_label"], j["words"])))),
            (_("Pages"), pages(j)),
            (_("Recipients"), ", ".join(j["recipients"]) or "-"),
            (_("Begun by"), " · ".join(filter(None, (j["who"], j["where"])))),
            (_("In the mail queue"), ", ".join(map(str, j["messages"])) or "-"),
        ]
    )
    click.echo()
    for line in j["history"]:
        at = output.parse_time(line["at"])
        parts = [line["text"], _("by {who}").format(who=line["who"]) if line["who"] else ""]
        click.secho(f"{at.astimezone():%Y-%m-%d %H:%M:%S}  {' · '.join(filter(None, parts))}" if at else "", bold=True)
        if line["trouble"]:
            output.print_trouble(line["trouble"])
