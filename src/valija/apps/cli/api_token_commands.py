"""``valija api-token``: tokens for programs that use the API over the network."""

from __future__ import annotations

from gettext import gettext as _
from pathlib import Path
from typing import Any

import click

from valija.apps.cli import output
from valija.apps.cli.client import DaemonClient, in_path
from valija.apps.cli.settings_commands import json_option, yes_option
from valija.domain.api_token import DAYS, Scope


@click.group("api-token", help=_("API tokens: what programs need to use the API over the network."))
def api_token() -> None:
    """Group."""


@api_token.command("add", help=_("Make an API token. It is shown once: keep it where the program finds it."))
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    required=True,
    help=_("What the token may do, again for each: read, settings, tokens, mail."),
)
@click.option(
    "--days",
    type=int,
    default=DAYS,
    show_default=True,
    help=_("For how many days, 1-366."),
)
@json_option
@click.pass_obj
def add(client: DaemonClient, name: str, scopes: tuple[str, ...], days: int, as_json: bool) -> None:
    """Make a token."""
    made = client.call("POST", "/api-tokens", {"name": name, "scopes": list(scopes), "days": days})
    if as_json:
        output.print_json(made)
        return
    click.secho(made["token"], bold=True)
    click.echo(_("This is the only time that it is shown. It ends {when}.").format(when=_day(made["expires_at"])))
    address = client.call("GET", "/machine")["web_address"]
    if not address:
        click.echo(_("The web page is switched off: programs reach the API only when it is on (web.enabled)."))
        return
    click.echo(_("For example:"))
    click.echo(f"  curl {_authority(client)}-H 'Authorization: Bearer {made['token']}' {address}v1{_path(scopes)}")


def _authority(client: DaemonClient) -> str:
    """Return how curl is told to trust the certificate that the machine made."""
    ca: Path = client.socket_path.parent / "web" / "ca.pem"
    return f"--cacert {ca} " if ca.exists() else ""


def _path(scopes: tuple[str, ...]) -> str:
    """Return something to ask for that one of the scopes opens."""
    paths = {
        "read": "/tokens",
        "mail": "/received",
        "settings": "/settings/smtp/test",
        "tokens": "/tokens/smtp/refresh",
    }
    scope = next(scope for scope in paths if scope in scopes)
    return paths[scope] + (" -X POST" if scope in ("settings", "tokens") else "")


@api_token.command("list", help=_("List the API tokens; the tokens themselves are never shown again."))
@json_option
@click.pass_obj
def list_tokens(client: DaemonClient, as_json: bool) -> None:
    """List the tokens."""
    tokens = client.call("GET", "/api-tokens")
    if as_json:
        output.print_json(tokens)
        return
    if not tokens:
        click.echo(_("No API token yet. Make one: valija api-token add NAME --scope read"))
        return
    header = [_("Name"), _("Scopes"), _("Ends"), _("Last used"), _("Made by")]
    output.print_table(header, [_row(token) for token in tokens])


def _row(token: dict[str, Any]) -> list[str]:
    ended = _("ended")
    end = _day(token["expires_at"]) + (f" ({ended})" if token["ended"] else "")
    return [token["name"], " ".join(token["scopes"]), end, output.moment(token["last_used_at"]), token["created_by"]]


def _day(text: str) -> str:
    at = output.parse_time(text)
    return f"{at.astimezone():%Y-%m-%d %H:%M}" if at else "—"


@api_token.command("delete", help=_("Delete an API token: it opens nothing from now on."))
@click.argument("name")
@yes_option
@json_option
@click.pass_obj
def delete(client: DaemonClient, name: str, yes: bool, as_json: bool) -> None:
    """Delete a token."""
    if not yes:
        output.confirm(_("Delete the API token {name}?").format(name=name))
    answer = client.call("DELETE", f"/api-tokens/{in_path(name)}")
    if as_json:
        output.print_json(answer)
    else:
        click.echo(_("Deleted."))
