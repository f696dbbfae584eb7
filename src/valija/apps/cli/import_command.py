"""``valija import``: takes over what email-oauth2-proxy, sasl-xoauth2 or mutt has."""

from __future__ import annotations

from collections.abc import Iterator
from gettext import gettext as _
from pathlib import Path
from typing import Any

import click

from valija.apps.cli import output
from valija.apps.cli.client import ApiProblem, DaemonClient
from valija.apps.cli.settings_commands import confirmed, json_option
from valija.apps.cli.what_to_type import print_what_to_type
from valija.domain.account import Setting
from valija.domain.text import N_

TOKEN_LABELS = {
    "there": N_("is taken over"),
    "locked": N_("is taken over; encrypted with the password that its clients log in with, which is asked for"),
    "none": N_("none: get one afterwards"),
}


@click.command("import", help=_("Take over an account of email-oauth2-proxy, sasl-xoauth2 or mutt, with its token."))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--config",
    "configuration",
    type=click.Path(path_type=Path, dir_okay=False),
    help=_("For a token: JSON with the client's data, such as /etc/sasl-xoauth2.conf."),
)
@click.option("--account", default="", help=_("Which account; needed if there are several, or none is named."))
@click.option(
    "--setting",
    type=click.Choice([s.value for s in Setting]),
    default="smtp",
    show_default=True,
    help=_("The setting that is to use it."),
)
@click.option("--provider", default="", help=_("Name of the registration; without it, one is made."))
@click.option("--server", default="", help=_("Mail server and port, if the file does not say it: HOST:PORT."))
@click.option("--device", default="", help=_("Make a device too, for what logged in there; its name."))
@click.option("--no-token", is_flag=True, help=_("Leave the token: a new one is got afterwards."))
@click.option("--dry-run", is_flag=True, help=_("Only show what would be done."))
@click.option("--yes", is_flag=True, help=_("Do not ask."))
@json_option
@click.pass_obj
def import_file(
    client: DaemonClient,
    /,
    file: Path,
    configuration: Path | None,
    no_token: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **wanted: str,
) -> None:
    """Show what there is and what would be done; then do it."""
    texts = {"text": _text(file), "configuration": _text(configuration) if configuration else ""}
    body: dict[str, Any] = {"name": file.name, **texts, **wanted, "with_token": not no_token}
    found = client.call("POST", "/import", body)
    if not as_json:
        _print_found(found)
    if not found["account"] and not dry_run:
        raise click.UsageError(_which(found))
    if as_json and dry_run:
        output.print_json(found)
    elif not as_json:
        for plan in [found] if found["account"] else _each(client, body, found):
            _print_plan(plan, with_token=not no_token)
        _print_stop_first(found["program"])
    if dry_run:
        return
    if not yes:
        output.confirm(_("Is {program} stopped, and shall this be done?").format(program=found["program"]))
    account = _account(found)
    if (account["token"] == "locked" or account["secret_locked"]) and not no_token:
        body["password"] = click.prompt(_("Password that the clients log in with"), hide_input=True, err=True)
    done = confirmed(client, "POST", "/import", {**body, "really": True}, yes=yes)
    if as_json:
        output.print_json(done)
        return
    _print_done(client, done)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        text = _("{file} cannot be read: {why}.")
        raise click.UsageError(text.format(file=path, why=output.why_unreadable(error))) from None


def _account(plan: dict[str, Any]) -> dict[str, Any]:
    """Return the account that a plan is for; one that the file does not name is the only one."""
    account: dict[str, Any] = next(a for a in plan["accounts"] if a["login"] in (plan["account"], ""))
    return account


def _which(found: dict[str, Any]) -> str:
    names = ", ".join(account["login"] for account in found["accounts"] if account["login"])
    if not names:
        return _("The file does not name the account: say it with --account.")
    return _("There are several accounts: say which one with --account: {names}.").format(names=names)


def _each(client: DaemonClient, body: dict[str, Any], found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what would be done with each account, for who has not chosen one; say why where it cannot be."""
    for login in filter(None, (account["login"] for account in found["accounts"])):
        try:
            yield client.call("POST", "/import", body | {"account": login})
        except ApiProblem as problem:
            click.echo()
            click.echo(_("To be done with {account}:").format(account=login))
            for field in problem.problem.get("problems", ()):
                click.echo(f"  {field['label']}: {field['problem']}")
    click.echo()
    click.echo(_which(found))


def _print_found(found: dict[str, Any]) -> None:
    click.echo(_("Found, of {program}:").format(program=found["program"]))
    for account in found["accounts"]:
        click.echo()
        token = TOKEN_LABELS[account["token"]]
        click.secho(account["login"] or _("(not named)"), bold=True)
        rows = [
            (_("Provider"), account["kind"]),
            (_("Tenant"), account["tenant"]),
            (_("Issuer"), account["issuer"]),
            (_("Client id"), account["client_id"]),
            (_("Client secret"), _("yes") if account["has_client_secret"] else ""),
            (_("Grant"), account["grant"]),
            (_("Token"), _(token)),
        ]
        output.print_fields([(label, value) for label, value in rows if value])
        for note in account["notes"]:
            click.secho(f"  {note}", fg="yellow")


def _print_plan(plan: dict[str, Any], *, with_token: bool) -> None:
    account = _account(plan)
    click.echo()
    click.echo(_("To be done with {account}:").format(account=plan["account"]))
    click.echo("  " + _("register the client as the provider {name}").format(name=plan["provider"]))
    fields = ", ".join(f"{name} = {value}" for name, value in plan["changes"].items())
    click.echo("  " + _("set {setting}: {fields}").format(setting=output.setting_label(plan["setting"]), fields=fields))
    if with_token and account["token"] != "none":
        click.echo("  " + _("take over its token, and refresh it at once to see that it works"))
    if not with_token and account["secret_locked"]:
        click.echo("  " + _("leave its client secret, which is encrypted: set it with `valija provider set`"))
    if plan["device_name"]:
        click.echo("  " + _("add the device {name}, with a password of its own").format(name=plan["device_name"]))


def _print_stop_first(program: str) -> None:
    text = _("Stop {program} first: both would use up each other's tokens.")
    click.secho(text.format(program=program), fg="yellow")


def _print_done(client: DaemonClient, done: dict[str, Any]) -> None:
    click.echo(_("Done."))
    token = done["token"]
    click.echo(_("Token") + ": " + output.state_label(token["state"]))
    if token["trouble"]:
        output.print_trouble(token["trouble"])
    if token["state"] != "retrieved":
        click.echo(_("Get a new one: valija token get {setting}").format(setting=done["setting"]))
    elif not token["trouble"]:
        click.echo(_("Then see whether it sends and receives: valija test {setting}").format(setting=done["setting"]))
    if done["device"]:
        click.echo()
        print_what_to_type(client.call("GET", "/devices"), done["device"])
