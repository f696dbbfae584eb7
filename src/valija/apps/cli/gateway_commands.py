"""``valija device`` and ``valija queue``: who may hand in mail, and what became of it."""

from __future__ import annotations

from gettext import gettext as _
from typing import Any

import click

from valija.apps.cli import output
from valija.apps.cli.client import DaemonClient
from valija.apps.cli.settings_commands import json_option
from valija.domain.device import Rewriting, TlsPolicy

STATES = ("queued", "in_flight", "deferred", "held", "delivered", "failed")
_FIELDS = (
    click.option(
        "--range", "ranges", multiple=True, help=_("Address or range it connects from, instead of a password.")
    ),
    click.option("--sender", "senders", multiple=True, help=_("Address or @domain that it may send as; none: any.")),
    click.option(
        "--rewriting", type=click.Choice([r.value for r in Rewriting]), help=_("When the mailbox stands as sender.")
    ),
    click.option("--tls", type=click.Choice([t.value for t in TlsPolicy]), help=_("Must it use TLS?")),
    click.option("--language", type=click.Choice(["en", "es"]), help=_("Language of its delivery reports.")),
)


def _fields(command: Any) -> Any:
    for option in reversed(_FIELDS):
        command = option(command)
    return command


def _changes(**given: Any) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in given.items() if v not in (None, ())}


@click.group("device", help=_("Devices of the local network that hand their mail to this machine."))
def device() -> None:
    """Group."""


@device.command("add", help=_("Add a device, and print what to type into it. NAME is what people call it."))
@click.argument("name")
@click.option("--login", help=_("Its user name; without it, one is made from NAME."))
@click.option("--account", default="smtp", show_default=True, help=_("The setting that its mail leaves by."))
@_fields
@json_option
@click.pass_obj
def add(client: DaemonClient, /, name: str, as_json: bool, **given: Any) -> None:
    """Add a device."""
    made = client.call("POST", "/devices", {"changes": _changes(name=name, **given)})
    if as_json:
        output.print_json(made)
        return
    _print_what_to_type(client, made)


@device.command("password", help=_("Give a device a new password; the old one opens nothing any more."))
@click.argument("login")
@json_option
@click.pass_obj
def new_password(client: DaemonClient, login: str, as_json: bool) -> None:
    """Make a new password."""
    made = client.call("POST", f"/devices/{login}/password")
    if as_json:
        output.print_json(made)
        return
    _print_what_to_type(client, made)


def _print_what_to_type(client: DaemonClient, made: dict[str, Any]) -> None:
    there = client.call("GET", "/devices")
    ports = there["ports"]
    rows = [(_("SMTP server"), there["host"])]
    if "smtp" in ports:
        rows.append((_("Port, with STARTTLS or without"), str(ports["smtp"])))
    if "submissions" in ports:
        rows.append((_("Port, with SSL/TLS"), str(ports["submissions"])))
    if made["password"]:
        rows += [(_("Login"), made["login"]), (_("Password"), made["password"])]
    else:
        rows.append(
            (_("Log-in"), _("none: it is known by its address {ranges}").format(ranges=", ".join(made["ranges"])))
        )
    click.echo(_("Type this into {name}:").format(name=made["name"]))
    output.print_fields(rows)
    if made["password"]:
        click.echo(
            _("The password is not shown again. For another one: valija device password {login}").format(
                login=made["login"]
            )
        )


@device.command("list", help=_("List the devices with what was last seen of them, and who else tried."))
@json_option
@click.pass_obj
def list_devices(client: DaemonClient, as_json: bool) -> None:
    """List the devices."""
    found = client.call("GET", "/devices")
    if as_json:
        output.print_json(found)
        return
    if not found["devices"]:
        click.echo(_("No device yet. Add one: valija device add NAME"))
    else:
        header = [_("Login"), _("Name"), _("Last seen"), _("From"), _("Taken"), _("Refused"), _("Last error")]
        output.print_table(header, [_device_row(d) for d in found["devices"]])
    if found["strangers"]:
        click.echo()
        click.echo(_("Unknown, but tried:"))
        header = [_("Address"), _("Last seen"), _("Tries"), _("Login shown"), _("Answer")]
        output.print_table(header, [_stranger_row(s) for s in found["strangers"]])


def _device_row(d: dict[str, Any]) -> list[str]:
    name = d["name"] if d["enabled"] else _("{name} (off)").format(name=d["name"])
    seen = output.moment(d["last_seen_at"])
    return [d["login"], name, seen, d["last_address"], str(d["accepted"]), str(d["refused"]), d["last_error"]]


def _stranger_row(s: dict[str, Any]) -> list[str]:
    return [s["address"], output.moment(s["last_seen_at"]), str(s["tries"]), s["tried"], s["last_error"]]


@device.command("set", help=_("Change a device."))
@click.argument("login")
@click.option("--name", help=_("What people call it."))
@click.option("--on/--off", "enabled", default=None, help=_("Let it in, or not."))
@_fields
@json_option
@click.pass_obj
def change(client: DaemonClient, /, login: str, as_json: bool, **given: Any) -> None:
    """Change a device."""
    changed = client.call("PATCH", f"/devices/{login}", {"changes": _changes(**given)})
    if as_json:
        output.print_json(changed)
        return
    click.echo(_("Saved."))


@device.command("delete", help=_("Delete a device: it can log in no longer; what it handed in stays."))
@click.argument("login")
@json_option
@click.pass_obj
def delete(client: DaemonClient, login: str, as_json: bool) -> None:
    """Delete a device."""
    gone = client.call("DELETE", f"/devices/{login}")
    if as_json:
        output.print_json(gone)
        return
    click.echo(_("Deleted."))


@click.group("queue", help=_("Mail that waits, is under way or has ended."))
def queue() -> None:
    """Group."""


@queue.command("list", help=_("List the accounts and their latest messages."))
@click.option(
    "--state",
    type=click.Choice(STATES),
    help=_("Only with a recipient in this state."),
)
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help=_("How many."))
@json_option
@click.pass_obj
def list_queue(client: DaemonClient, state: str | None, limit: int, as_json: bool) -> None:
    """List the queue."""
    found = client.call("GET", f"/queue?limit={limit}" + (f"&state={state}" if state else ""))
    if as_json:
        output.print_json(found)
        return
    for account in found["accounts"]:
        _print_account(account)
    if found["messages"]:
        header = [_("Number"), _("Accepted"), _("Device"), _("Recipient"), _("State"), _("Subject")]
        output.print_table(header, [row for m in found["messages"] for row in _message_rows(m)])


def _print_account(account: dict[str, Any]) -> None:
    counts = ", ".join(f"{state}: {count}" for state, count in account["counts"].items()) or _("no mail")
    click.secho(f"{account['account']}  {counts}", bold=True)
    if account["held"]:
        click.echo("  " + _("Held by an operator since {when}.").format(when=output.moment(account["closed_at"])))
    if account["trouble"]:
        trouble = account["trouble"]
        click.secho(
            "  "
            + _("Stopped since {when}: {why}").format(when=output.moment(account["closed_at"]), why=trouble["meaning"]),
            fg="red",
        )
        click.echo("  " + trouble["cure"])
    elif account["paused_until"]:
        click.echo(
            "  "
            + _("Waits until {when}: {why}").format(
                when=output.moment(account["paused_until"]), why=account["paused_why"]
            )
        )


def _message_rows(m: dict[str, Any]) -> list[list[str]]:
    return [
        [
            str(m["id"]),
            output.moment(m["accepted_at"]),
            m["device"] or "-",
            r["address"],
            r["state_label"],
            m["subject"][:40],
        ]
        for r in m["recipients"]
    ]


@queue.command("show", help=_("Show one message and its life."))
@click.argument("number", type=int)
@json_option
@click.pass_obj
def show(client: DaemonClient, number: int, as_json: bool) -> None:
    """Show a message."""
    m = client.call("GET", f"/queue/{number}")
    if as_json:
        output.print_json(m)
        return
    rows = [
        (_("Number"), str(m["id"])),
        (_("Device"), m["device"] or "-"),
        (_("Sender"), m["sender"]),
        (_("Subject"), m["subject"]),
        (_("Size"), str(m["size"])),
        ("Message-ID", m["message_id"]),
    ]
    output.print_fields(rows)
    for r in m["recipients"]:
        click.secho(f"{r['address']}: {r['state_label']}", bold=True)
        if r["due_at"] and r["state"] == "deferred":
            click.echo("    " + _("Next try: {when}").format(when=output.moment(r["due_at"])))
    click.echo()
    for event in m["life"]:
        _print_event(m, event)


def _print_event(m: dict[str, Any], event: dict[str, Any]) -> None:
    """Print one thing in a message's life: when, what, and below it the rest."""
    parts = [event["text"]]
    if event["event"] == "accepted":
        parts.append(", ".join(filter(None, (m["device"], m["address"], m["via"], m["tls"]))))
    if event["who"]:
        parts.append(_("by {who}").format(who=event["who"]))
    if event["recipients"] and len(m["recipients"]) > 1:
        parts.append(", ".join(event["recipients"]))
    at = output.parse_time(event["at"])
    when = f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at else ""
    click.secho(f"{when}  {' · '.join(filter(None, parts))}", bold=True)
    if event["trouble"]:
        output.print_trouble(event["trouble"])
    elif event["server_words"]:
        click.secho("    " + event["server_words"], dim=True)
    if event["next_at"]:
        click.echo("    " + _("Next try: {when}").format(when=output.moment(event["next_at"])))


def _action(name: str, text: str) -> None:
    @queue.command(name, help=text)
    @click.argument("numbers", type=int, nargs=-1)
    @click.option("--account", help=_("All mail of this account."))
    @json_option
    @click.pass_obj
    def act(client: DaemonClient, numbers: tuple[int, ...], account: str | None, as_json: bool) -> None:
        if bool(numbers) == bool(account) or (account and name == "cancel"):
            raise click.UsageError(_("Name messages by their numbers, or an account."))
        if account:
            done = client.call("POST", f"/accounts/{account}/queue", {"action": name})
        else:
            done = client.call("POST", "/queue", {"action": name, "ids": list(numbers)})
        output.print_json(done) if as_json else click.echo(_("Done."))


_action("hold", _("Stop messages; they neither leave nor expire."))
_action("release", _("Let messages go on."))
_action("retry", _("Try messages now."))
_action("cancel", _("Do not deliver messages any more."))
