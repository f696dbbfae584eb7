"""``valija alert``: what the machine tells of itself, whom, and by which channels."""

from __future__ import annotations

from gettext import gettext as _
from pathlib import Path
from typing import Any

import click

from valija.apps.cli import output
from valija.apps.cli.client import DaemonClient
from valija.apps.cli.fax_commands import change_and_show, changes_of
from valija.apps.cli.settings_commands import FILE, json_option, read_file, with_options
from valija.domain.alert_settings import ALERT_LABELS

LEVELS = ("info", "warning", "critical")
CHANNELS = ("mail", "webhook", "syslog")
COLOURS = {"info": "cyan", "warning": "yellow", "critical": "red"}
LISTS = ("alert_to", "daily_to", "weekly_to", "monthly_to", "secret_dates", "request_senders")


@click.group(help=_("Alert and status: what the machine tells of itself."))
def alert() -> None:
    """Group."""


@alert.command("list", help=_("List alerts: those that hold first. The exit status is 4 while one is urgent."))
@click.option("--all", "with_solved", is_flag=True, help=_("Also those that were solved."))
@json_option
@click.pass_obj
def list_alerts(client: DaemonClient, with_solved: bool, as_json: bool) -> int:
    """List alerts."""
    found = [a for a in client.call("GET", "/alerts") if with_solved or a["open"]]
    if as_json:
        output.print_json(found)
    elif found:
        header = [_("Since"), _("Level"), _("State"), _("Alert")]
        output.print_table(header, [_row(a) for a in found])
    else:
        click.echo(_("There are no alerts."))
    return 4 if any(a["open"] and a["level"] == "critical" for a in found) else 0


def _row(a: dict[str, Any]) -> list[str]:
    level = click.style(a["level_label"], fg=COLOURS[a["level"]] if a["open"] else None)
    return [output.moment(a["since"]), level, a["state_label"], a["text"]]


@alert.command("test", help=_("Try a channel."))
@click.argument("channel", type=click.Choice(CHANNELS))
@json_option
@click.pass_obj
def test(client: DaemonClient, channel: str, as_json: bool) -> int:
    """Try a channel."""
    report = client.call("POST", "/alerts/test", {"channel": channel})
    if as_json:
        output.print_json(report)
    elif report["ok"]:
        click.echo(_("The test was handed over."))
    else:
        click.echo(_("The test could not be handed over: {why}").format(why=report["words"]), err=True)
    return 0 if report["ok"] else 5


@alert.command("status", help=_("Show the state of the machine as a status mail has it."))
@json_option
@click.pass_obj
def status(client: DaemonClient, as_json: bool) -> None:
    """Show the state."""
    found = client.call("GET", "/alerts/status")
    output.print_json(found) if as_json else click.echo(found["text"], nl=False)


@alert.command("set", help=_("Change who is told, and how; without options, show it."))
@with_options(
    click.option(
        "--alert-to", multiple=True, metavar="ADDRESS", help=_("Address for alerts; again for each, '' for none.")
    ),
    click.option("--mail-level", type=click.Choice(LEVELS), help=_("What mail tells at least.")),
    click.option("--webhook-url", metavar="URL", help=_("Where JSON is posted to; '' for nowhere.")),
    click.option("--webhook-secret-file", type=FILE, help=_("File with the secret that it is signed with.")),
    click.option("--webhook-level", type=click.Choice(LEVELS), help=_("What the webhook tells at least.")),
    click.option("--syslog", metavar="WHERE", help=_("udp://host:port, tcp://host:port or /dev/log; '' for nowhere.")),
    click.option("--syslog-level", type=click.Choice(LEVELS), help=_("What syslog tells at least.")),
    click.option("--queue-hours", type=int, help=_("Hours that mail may wait before there is an alert; 0 never.")),
    click.option("--queue-count", type=int, help=_("Recipients that may wait; 0 never.")),
    click.option("--disk-mb", type=int, help=_("MB that should be free; 0 never.")),
    click.option("--device-errors", type=int, help=_("Refusals of a device in a row; 0 never.")),
    click.option("--daily-to", multiple=True, metavar="ADDRESS", help=_("Address for the daily status; '' for none.")),
    click.option(
        "--weekly-to", multiple=True, metavar="ADDRESS", help=_("Address for the weekly status; '' for none.")
    ),
    click.option(
        "--monthly-to", multiple=True, metavar="ADDRESS", help=_("Address for the monthly status; '' for none.")
    ),
    click.option("--status-at", metavar="HH:MM", help=_("When status mails leave, in the machine's time zone.")),
    click.option("--status-weekday", type=int, help=_("Day of the weekly status, 0 (Monday) to 6.")),
    click.option(
        "--secret-dates",
        multiple=True,
        metavar="PROVIDER: DAY",
        help=_("When a provider's client secret ends; '' for none."),
    ),
    click.option(
        "--request-senders", multiple=True, metavar="ADDRESS", help=_("Who may ask by mail: address or @domain.")
    ),
    click.option("--request-password-file", type=FILE, help=_("File with the password that the subject must have.")),
    click.option("--no-request-password", is_flag=True, help=_("No password is needed.")),
    json_option,
)
@click.pass_obj
def change(
    client: DaemonClient,
    /,
    as_json: bool,
    webhook_secret_file: Path | None,
    request_password_file: Path | None,
    no_request_password: bool,
    **asked: Any,
) -> None:
    """Change or show the settings."""
    changes = changes_of(asked, LISTS)
    for name, file in (("webhook_secret", webhook_secret_file), ("request_password", request_password_file)):
        if file is not None:
            changes[name] = read_file(file).removesuffix("\n").removesuffix("\r")
    if no_request_password:
        changes["request_password"] = ""
    change_and_show(client, "/alerts/settings", changes, ALERT_LABELS, as_json)
