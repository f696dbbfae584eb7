"""``valija status``: the machine at a glance."""

from __future__ import annotations

from gettext import gettext as _

import click

from valija.apps.cli import output
from valija.apps.cli.client import DaemonClient
from valija.apps.cli.gateway_commands import print_account
from valija.apps.cli.settings_commands import json_option


@click.command(help=_("Show the machine at a glance: what runs, and the token of each setting."))
@json_option
@click.pass_obj
def status(client: DaemonClient, as_json: bool) -> None:
    """Show the machine."""
    machine = client.call("GET", "/machine")
    if as_json:
        output.print_json(machine)
        return
    rows = [("Valija", machine["version"]), (_("Runs since"), output.moment(machine["started_at"]))]
    if machine["web_address"]:
        rows.append((_("Web page"), machine["web_address"]))
    inside = machine["sandbox"]
    if inside:
        host = inside["server"]
        rows += [
            (_("Provider (sandbox)"), inside["device_page"]),
            (_("SMTP (sandbox)"), f"{host}:{inside['smtp_port']} STARTTLS, {host}:{inside['smtps_port']} SSL/TLS"),
            (_("POP3 (sandbox)"), f"{host}:{inside['pop3_port']} STLS, {host}:{inside['pop3s_port']} SSL/TLS"),
        ]
    output.print_fields(rows)
    click.echo()
    header = (_("Setting"), _("Token"), _("Account"), _("Provider"))
    lines = [
        (
            output.setting_label(token["setting"]),
            output.state_label(token["state"]),
            token["account"] or "—",
            token["provider_name"] or "—",
        )
        for token in machine["tokens"]
    ]
    output.print_table(header, lines)
    stopped = [account for account in machine["mail"] if not account["open"] or account["paused_until"]]
    if stopped:
        click.echo()
    for account in stopped:
        print_account(account)
    for warning in machine["warnings"]:
        click.echo()
        click.secho(warning, fg="yellow")
