"""``valija provider``, ``valija smtp``, ``valija pop``: the machine's settings."""

from __future__ import annotations

from collections.abc import Callable
from gettext import gettext as _
from pathlib import Path
from typing import Any, TypeVar

import click

from valija.apps.cli import output
from valija.apps.cli.client import ApiProblem, DaemonClient, in_path

F = TypeVar("F", bound=Callable[..., Any])
POP_NAMES = ["internet-fax", "email-print", "email-status"]
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FORGETTABLE = {
    "client-secret": ("client_secret",),
    "certificate": ("certificate", "private_key"),
    "service-account": ("service_account",),
    "grant": ("grant",),
    "tenant": ("tenant",),
    "cloud": ("cloud",),
}


def with_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that adds options, in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help=_("Answer in JSON, for programs."))
yes_option = click.option("--yes", "-y", is_flag=True, help=_("Answer every question with yes."))

_common = (
    click.option("--server", metavar="HOST", help=_("Name of the mail server.")),
    click.option("--port", type=int, help=_("Port Number, 1-65535.")),
    click.option("--timeout", type=int, help=_("Timeout in seconds, 1-600.")),
    click.option("--tls/--no-tls", default=None, help=_("Enable SSL/TLS.")),
    click.option("--auth", type=click.Choice(["none", "password", "oauth2"]), help=_("Authentication Option.")),
    click.option("--provider", metavar="NAME", help=_("Provider; see `valija provider list`.")),
    click.option("--account", metavar="ADDRESS", help=_("Account Name: the mailbox.")),
    click.option("--password-file", type=FILE, help=_("File with the password, for --auth password.")),
    yes_option,
    json_option,
)


@click.group(help=_("The SMTP setting: how the machine sends."))
def smtp() -> None:
    """Group."""


@smtp.command("set", help=_("Change fields of the SMTP setting; what is not named stays as it is."))
@with_options(
    click.option("--sender-name", metavar="NAME", help=_("Sender Name.")),
    click.option("--sender-address", metavar="ADDRESS", help=_("Sender Address.")),
    *_common,
)
@click.pass_obj
def smtp_set(client: DaemonClient, /, yes: bool, as_json: bool, **fields: Any) -> None:
    """Change the SMTP setting."""
    _change(client, "smtp", fields, yes=yes, as_json=as_json)


@smtp.command("show", help=_("Show the SMTP setting."))
@json_option
@click.pass_obj
def smtp_show(client: DaemonClient, as_json: bool) -> None:
    """Show the SMTP setting."""
    _show(client.call("GET", "/settings/smtp"), as_json=as_json)


@click.group(help=_("The POP settings: how the machine receives; each is independent."))
def pop() -> None:
    """Group."""


@pop.command("set", help=_("Change fields of a POP setting; what is not named stays as it is."))
@click.argument("setting", type=click.Choice(POP_NAMES))
@with_options(
    click.option("--check-interval", type=int, help=_("Check Interval in minutes, 0-480; 0 is never.")),
    *_common,
)
@click.pass_obj
def pop_set(client: DaemonClient, /, setting: str, yes: bool, as_json: bool, **fields: Any) -> None:
    """Change a POP setting."""
    _change(client, setting, fields, yes=yes, as_json=as_json)


@pop.command("show", help=_("Show a POP setting."))
@click.argument("setting", type=click.Choice(POP_NAMES))
@json_option
@click.pass_obj
def pop_show(client: DaemonClient, setting: str, as_json: bool) -> None:
    """Show a POP setting."""
    _show(client.call("GET", f"/settings/{setting}"), as_json=as_json)


def read_file(path: Path) -> str:
    """Return a file's text, or end with what is wrong with it."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(_("{file} cannot be read: {why}").format(file=path, why=error)) from None


def _change(client: DaemonClient, setting: str, fields: dict[str, Any], *, yes: bool, as_json: bool) -> None:
    password_file = fields.pop("password_file")
    changes = {name: value for name, value in fields.items() if value is not None}
    if password_file is not None:
        changes["password"] = read_file(password_file).removesuffix("\n").removesuffix("\r")
    report = confirmed(client, "PATCH", f"/settings/{setting}", {"changes": changes}, yes=yes)
    _show(report, as_json=as_json)


def confirmed(client: DaemonClient, method: str, path: str, body: dict[str, Any], *, yes: bool) -> Any:
    """Ask the daemon; where the change would delete a token, ask the person first."""
    try:
        return client.call(method, path, body | {"confirm": yes})
    except ApiProblem as problem:
        if problem.code != "confirmation_needed":
            raise
        click.echo(problem.problem["detail"], err=True)
        output.confirm(_("Go on?"))
        return client.call(method, path, body | {"confirm": True})


def _show(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(report)
        return
    click.secho(output.setting_label(report["setting"]), bold=True)
    rows = [(row["label"], row["text"]) for row in report["rows"]]
    output.print_fields([*rows, (_("Token"), output.state_label(report["token_state"]))])


@click.group(help=_("Providers: how this machine is registered at Microsoft, Google and others."))
def provider() -> None:
    """Group."""


@provider.command("set", help=_("Add a provider or change it; what is not named stays as it is."))
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["microsoft", "google", "yahoo", "aol", "custom"]),
    help=_("Kind; default: the name, if it is one of these."),
)
@click.option("--cloud", metavar="CLOUD", help=_("Microsoft's cloud: global, gcc-high, dod, 21vianet."))
@click.option("--issuer", metavar="URL", help=_("Address of the authorization server (kind custom)."))
@click.option("--tenant", metavar="TENANT", help=_("Microsoft's tenant: its domain or id."))
@click.option("--client-id", metavar="ID", help=_("Client id of the registered application."))
@click.option("--client-secret-file", type=FILE, help=_("File with the client secret."))
@click.option("--certificate", type=FILE, help=_("File with the certificate (PEM)."))
@click.option("--private-key", type=FILE, help=_("File with the certificate's private key (PEM)."))
@click.option("--service-account-file", type=FILE, help=_("File with Google's service account key (JSON)."))
@click.option(
    "--grant",
    type=click.Choice(["device", "code", "client-credentials", "service-account"]),
    help=_("How a token is got; default: the first that the provider's profile names and the registration allows."),
)
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help=_("Scope to ask for, again for each."))
@click.option(
    "--forget",
    type=click.Choice([*FORGETTABLE]),
    multiple=True,
    help=_("Forget what was set before; again for each."),
)
@yes_option
@json_option
@click.pass_obj
def provider_set(
    client: DaemonClient, /, name: str, forget: tuple[str, ...], yes: bool, as_json: bool, **fields: Any
) -> None:
    """Add or change a provider."""
    files = {
        "client_secret": fields.pop("client_secret_file"),
        "certificate": fields.pop("certificate"),
        "private_key": fields.pop("private_key"),
        "service_account": fields.pop("service_account_file"),
    }
    changes: dict[str, Any] = {key: value for key, value in fields.items() if value not in (None, ())}
    changes |= {key: None if key in files or key == "grant" else "" for word in forget for key in FORGETTABLE[word]}
    for key, path in files.items():
        if path is not None:
            changes[key] = read_file(path).strip() if key == "client_secret" else read_file(path)
    report = confirmed(client, "PUT", f"/providers/{in_path(name)}", {"changes": changes}, yes=yes)
    _show_provider(report, as_json=as_json)


@provider.command("show", help=_("Show a provider."))
@click.argument("name")
@json_option
@click.pass_obj
def provider_show(client: DaemonClient, name: str, as_json: bool) -> None:
    """Show a provider."""
    _show_provider(client.call("GET", f"/providers/{in_path(name)}"), as_json=as_json)


@provider.command("list", help=_("List the providers."))
@json_option
@click.pass_obj
def provider_list(client: DaemonClient, as_json: bool) -> None:
    """List the providers."""
    reports = client.call("GET", "/providers")
    if as_json:
        output.print_json(reports)
        return
    if not reports:
        click.echo(_("No provider yet. Add one: valija provider set microsoft --client-id ID --tenant TENANT"))
        return
    header = [_("Provider"), _("Kind"), _("Client id"), _("Used by")]
    output.print_table(
        header,
        [
            [
                r["name"],
                r["display_name"],
                r["client_id"] or "—",
                ", ".join(map(output.setting_label, r["used_by"])) or "—",
            ]
            for r in reports
        ],
    )


@provider.command("delete", help=_("Delete a provider and the tokens that were got with it."))
@click.argument("name")
@yes_option
@json_option
@click.pass_obj
def provider_delete(client: DaemonClient, name: str, yes: bool, as_json: bool) -> None:
    """Delete a provider."""
    if not yes:
        output.confirm(_("Delete the provider {name}?").format(name=name))
    gone = client.call("DELETE", f"/providers/{in_path(name)}", query={"confirm": "true"})
    output.print_json(gone) if as_json else click.echo(_("Deleted."))


def _show_provider(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(report)
        return
    click.secho(report["name"], bold=True)
    output.print_fields([(row["label"], row["text"]) for row in report["rows"]])
    for note in report["notes"]:
        click.echo(f"  {note}")
