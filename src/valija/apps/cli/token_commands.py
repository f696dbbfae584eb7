"""``valija token``: get, status, refresh, delete."""

from __future__ import annotations

import select
import sys
import time
from datetime import UTC, datetime
from gettext import gettext as _
from typing import Any

import click

from valija.apps.cli import output
from valija.apps.cli.client import ApiProblem, DaemonClient
from valija.apps.cli.settings_commands import POP_NAMES, json_option, yes_option

SETTINGS = ["smtp", *POP_NAMES]
POLL_S = 20
CONSENT_NEEDED = 3


@click.group(help=_("The tokens of the mail settings."))
def token() -> None:
    """Group."""


@token.command("get", help=_("Get a token for a setting (default: smtp), as [Get Token] on the panel does."))
@click.argument("setting", type=click.Choice(SETTINGS), default="smtp")
@click.option("--no-wait", is_flag=True, help=_("Do not wait for the authorization; the daemon goes on by itself."))
@click.option(
    "--grant",
    type=click.Choice(["device", "code", "client-credentials", "service-account"]),
    help=_("Another way to get it than the provider's first."),
)
@yes_option
@json_option
@click.pass_obj
def get(client: DaemonClient, setting: str, no_wait: bool, grant: str | None, yes: bool, as_json: bool) -> int:
    """Get a token."""
    current = client.call("GET", f"/tokens/{setting}")
    if not yes:
        _confirm_get(current)
    report = client.call("POST", f"/tokens/{setting}/authorization", {"grant": grant})
    if no_wait or report["authorization"] is None:
        return _finish(report, as_json=as_json, waiting=no_wait)
    if as_json:
        report = _wait_quietly(client, report)
        return _finish(report, as_json=True, waiting=False)
    _show_authorization(report)
    try:
        report = _wait(client, report)
    except KeyboardInterrupt:
        client.call("DELETE", f"/tokens/{setting}/authorization")
        raise click.Abort from None
    return _finish(report, as_json=False, waiting=False)


def _confirm_get(current: dict[str, Any]) -> None:
    sentence = _("Get a token for {setting} from {provider} for {account}?").format(
        setting=output.setting_label(current["setting"]),
        provider=current["provider_name"] or "—",
        account=current["account"] or "—",
    )
    if current["in_use"]:
        sentence = _("The present token stays in use until the new one has come.") + "\n" + sentence
    output.confirm(sentence, default=True)


def _show_authorization(report: dict[str, Any]) -> None:
    asked = report["authorization"]
    if asked["authorization_url"]:
        click.echo(_("Open this address in a browser and sign in as {account}:").format(account=report["account"]))
        click.echo()
        click.secho("  " + asked["authorization_url"], fg="cyan", bold=True)
        click.echo()
        if sys.stdin.isatty():
            click.echo(_("If the browser is on another computer: at the end it shows an address that it cannot open."))
            click.echo(_("Paste that whole address here and press Enter."))
        return
    click.echo(
        _("On a phone or computer, open the address, type the code, and sign in as {account}:").format(
            account=report["account"]
        )
    )
    click.echo()
    for line in output.qr_lines(asked["verification_uri_complete"] or asked["verification_uri"]):
        click.echo("  " + line)
    click.echo()
    output.print_fields(
        [
            (_("Address"), click.style(asked["verification_uri"], fg="cyan", bold=True)),
            (_("Code"), click.style(asked["user_code"], bold=True)),
        ]
    )
    click.echo()


def _wait(client: DaemonClient, report: dict[str, Any]) -> dict[str, Any]:
    """Show the live state until the authorization is over; take a pasted address meanwhile."""
    setting, asked = report["setting"], report["authorization"]
    on_terminal = sys.stdout.isatty()
    if not on_terminal:
        click.echo(_("Waiting for authorization"))
    while _same_authorization(report, asked):
        if on_terminal:
            left = (datetime.fromisoformat(asked["expires_at"]) - datetime.now(UTC)).total_seconds()
            click.echo(f"\r  {output.state_label('awaiting_authorization')}  {output.clock(left)}   ", nl=False)
        line = _typed_line(1.0) if asked["authorization_url"] else None
        if line:
            report = _paste(client, setting, line) or report
        elif not asked["authorization_url"]:
            time.sleep(1.0)
        report = client.call("GET", f"/tokens/{setting}")
    if on_terminal:
        click.echo("\r" + " " * 60 + "\r", nl=False)
    return report


def _typed_line(seconds: float) -> str | None:
    """Return a line typed within ``seconds``, or None; a closed standard input is only waited out."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return None
    ready, _w, _x = select.select([sys.stdin], [], [], seconds)
    return sys.stdin.readline().strip() if ready else None


def _paste(client: DaemonClient, setting: str, line: str) -> dict[str, Any] | None:
    try:
        report: dict[str, Any] = client.call("POST", f"/tokens/{setting}/authorization/redirect", {"url": line})
    except ApiProblem as problem:
        click.echo()
        output.print_problem(problem.problem)
        return None
    return report


def _wait_quietly(client: DaemonClient, report: dict[str, Any]) -> dict[str, Any]:
    asked = report["authorization"]
    while asked is not None and _same_authorization(report, asked):
        query = {"after_version": report["version"], "wait": POLL_S}
        report = client.call("GET", f"/tokens/{report['setting']}", query=query)
    return report


def _same_authorization(report: dict[str, Any], asked: dict[str, Any]) -> bool:
    now = report["authorization"]
    return now is not None and now["id"] == asked["id"]


def _finish(report: dict[str, Any], *, as_json: bool, waiting: bool) -> int:
    """Print how it ended; return the exit code."""
    if as_json:
        asked = report["authorization"] or {}
        flat = {key: asked.get(key) for key in _FLAT if asked.get(key) is not None}
        output.print_json(
            {"setting": report["setting"], "state": report["state"], **flat, "trouble": report["trouble"]}
        )
    elif waiting and report["authorization"]:
        _show_authorization(report)
        click.echo(output.state_label(report["state"]))
    else:
        click.echo(f"{output.setting_label(report['setting'])}: {output.state_label(report['state'])}")
        if report["trouble"]:
            output.print_trouble(report["trouble"])
    ended_well = report["state"] == "retrieved" and report["trouble"] is None
    return 0 if ended_well or (waiting and report["authorization"]) else CONSENT_NEEDED


_FLAT = (
    "grant",
    "verification_uri",
    "verification_uri_complete",
    "user_code",
    "authorization_url",
    "expires_at",
    "interval",
)


@token.command("paste", help=_("Hand in, on standard input, the address that the browser was sent to at the end."))
@click.argument("setting", type=click.Choice(SETTINGS), default="smtp")
@json_option
@click.pass_obj
def paste(client: DaemonClient, setting: str, as_json: bool) -> int:
    """Take the redirected address; not as an argument, because it holds the authorization code."""
    if sys.stdin.isatty():
        click.echo(_("Paste the whole address here and press Enter:"), err=True)
    line = sys.stdin.readline(8192).strip()
    client.call("POST", f"/tokens/{setting}/authorization/redirect", {"url": line})
    report = client.call("GET", f"/tokens/{setting}")
    return _finish(_wait_quietly(client, report), as_json=as_json, waiting=False)


@token.command("cancel", help=_("Stop waiting for authorization."))
@click.argument("setting", type=click.Choice(SETTINGS), default="smtp")
@json_option
@click.pass_obj
def cancel(client: DaemonClient, setting: str, as_json: bool) -> None:
    """Stop waiting."""
    report = client.call("DELETE", f"/tokens/{setting}/authorization")
    _finish(report, as_json=as_json, waiting=False)


@token.command("status", help=_("Show the state of the tokens: of one setting, or of all."))
@click.argument("setting", type=click.Choice(SETTINGS), required=False)
@json_option
@click.pass_obj
def status(client: DaemonClient, setting: str | None, as_json: bool) -> int:
    """Show the tokens."""
    reports = [client.call("GET", f"/tokens/{setting}")] if setting else client.call("GET", "/tokens")
    if as_json:
        output.print_json(reports[0] if setting else reports)
        return 0
    for report in reports:
        _show_status(report)
    return 0


def _show_status(report: dict[str, Any]) -> None:
    click.echo(
        f"{click.style(output.setting_label(report['setting']), bold=True)}  {output.state_label(report['state'])}"
    )
    rows = [(_("Account Name"), report["account"] or "—"), (_("Provider"), report["provider_name"] or "—")]
    if report["in_use"]:
        rows += [
            (_("Expires"), output.moment(report["expires_at"])),
            (_("Last refresh"), output.moment(report["refreshed_at"])),
        ]
    if report["idle_limit_at"]:
        rows.append((_("Idle limit"), output.moment(report["idle_limit_at"])))
    if report["authorization"] and report["authorization"]["user_code"]:
        rows += [
            (_("Address"), report["authorization"]["verification_uri"]),
            (_("Code"), report["authorization"]["user_code"]),
        ]
    if report["trouble"]:
        rows.append((_("Last error"), "\n".join(output.trouble_lines(report["trouble"]))))
    output.print_fields(rows)


@token.command("refresh", help=_("Refresh a token now (default: smtp), without waiting until it is due."))
@click.argument("setting", type=click.Choice(SETTINGS), default="smtp")
@json_option
@click.pass_obj
def refresh(client: DaemonClient, setting: str, as_json: bool) -> int:
    """Refresh a token."""
    report = client.call("POST", f"/tokens/{setting}/refresh")
    return _finish(report, as_json=as_json, waiting=False)


@token.command(
    "delete", help=_("Delete a token (default: smtp): forgotten here, revoked at the provider where it can be.")
)
@click.argument("setting", type=click.Choice(SETTINGS), default="smtp")
@yes_option
@json_option
@click.pass_obj
def delete(client: DaemonClient, setting: str, yes: bool, as_json: bool) -> None:
    """Delete a token."""
    if not yes:
        sentence = _("Delete the token of {setting}? Mail is not sent or received with it any more.")
        output.confirm(sentence.format(setting=output.setting_label(setting)))
    answer = client.call("DELETE", f"/tokens/{setting}")
    if as_json:
        output.print_json(answer)
        return
    click.echo(f"{output.setting_label(setting)}: {output.state_label(answer['token']['state'])}")
    click.echo(answer["revocation_text"])
