"""``valija device``: who may hand in mail, and what to type into it."""

from __future__ import annotations

import re
from gettext import gettext as _
from typing import Any

import click

from valija.apps.cli import output
from valija.apps.cli.client import DaemonClient, in_path
from valija.apps.cli.gateway_commands import print_messages
from valija.apps.cli.settings_commands import json_option
from valija.apps.cli.what_to_type import print_what_to_type, print_what_to_type_for_pop3
from valija.domain.account import POP_SETTINGS
from valija.domain.device import DEVICE_LABELS, VALUE_LABELS, Rewriting, TlsPolicy
from valija.domain.device_hints import refusal

OPERATOR_NEEDED = 4
MAIL_SHOWN = 5
_FIELDS = (
    click.option(
        "--range", "ranges", multiple=True, help=_("Address or range it connects from, instead of a password.")
    ),
    click.option("--sender", "senders", multiple=True, help=_("Address or @domain that it may send as; none: any.")),
    click.option(
        "--rewriting", type=click.Choice([r.value for r in Rewriting]), help=_("When the mailbox stands as sender.")
    ),
    click.option("--tls", type=click.Choice([t.value for t in TlsPolicy]), help=_("Must it use TLS?")),
    click.option(
        "--lf-ends-message/--crlf-ends-message",
        "lf_ends_message",
        default=None,
        help=_("Bare line feeds end its messages (old fax systems)."),
    ),
    click.option(
        "--mailbox",
        type=click.Choice(["", *(s.value for s in POP_SETTINGS)]),
        help=_("The POP setting whose mailbox it may fetch, by POP3; '' for none."),
    ),
    click.option(
        "--language",
        type=click.Choice(["", "en", "es"]),
        help=_("Language of its delivery reports; '' for the machine's."),
    ),
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
@click.option("--with-password", is_flag=True, default=None, help=_("A password too, besides its address or range."))
@_fields
@json_option
@click.pass_obj
def add(client: DaemonClient, /, name: str, with_password: bool | None, as_json: bool, **given: Any) -> None:
    """Add a device."""
    made = client.call("POST", "/devices", {"changes": _changes(name=name, **given), "with_password": with_password})
    if as_json:
        output.print_json(made)
        return
    print_what_to_type(client.call("GET", "/devices"), made)


@device.command("password", help=_("Give a device a new password; the old one opens nothing any more."))
@click.argument("login")
@json_option
@click.pass_obj
def new_password(client: DaemonClient, login: str, as_json: bool) -> None:
    """Make a new password."""
    made = client.call("POST", f"/devices/{in_path(login)}/password")
    if as_json:
        output.print_json(made)
        return
    print_what_to_type(client.call("GET", "/devices"), made)


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
        _print_devices(found["devices"])
    for warning in found["warnings"]:
        click.echo()
        click.secho(warning, fg="yellow")
    if found["learning"]["on"]:
        click.echo()
        click.secho(_("Learning mode is on; it ends {when}.").format(when=output.moment(found["learning"]["ends_at"])))
    if found["strangers"]:
        click.echo()
        click.echo(_("Unknown, but tried:"))
        _print_strangers(found["strangers"])


def _print_devices(devices: list[dict[str, Any]]) -> None:
    header = [_("Login"), _("Name"), _("Last seen"), _("From"), "TLS", _("Taken"), _("Refused"), _("Last error")]
    output.print_table(header, [_device_row(d) for d in devices])
    for d in devices:
        if d["last_error_cure"]:
            click.echo(f"{d['login']}: {d['last_error_cure']}")


def _print_strangers(strangers: list[dict[str, Any]]) -> None:
    header = [_("Address"), _("Last seen"), _("Tries"), "TLS", _("Login shown"), _("Answer")]
    output.print_table(header, [_stranger_row(s) for s in strangers])
    for s in strangers:
        if s["last_error_cure"] and not s["attempt"]:
            click.echo(f"{s['address']}: {s['last_error_cure']}")
    learnt = [s for s in strangers if s["attempt"]]
    for s in learnt:
        click.echo()
        click.secho(s["address"], bold=True)
        output.print_fields(_attempt_rows(s))
        if s["last_error_cure"]:
            click.echo(f"  {s['last_error_cure']}")
        click.echo("  " + _("Let it in: valija device accept {address}").format(address=s["address"]))
    if not learnt:
        click.echo(_("To see what they want to send: valija device learn"))


def _attempt_rows(s: dict[str, Any]) -> list[tuple[str, str]]:
    a = s["attempt"]
    rows = [
        (_("Listener"), a["listener"]),
        (_("Calls itself"), a["helo"]),
        ("TLS", s["tls"] or _("none")),
        (_("Log-in"), a["mechanism"] or _("none")),
        (_("Login shown"), s["tried"]),
        (_("Sender"), a["sender"]),
        (_("Recipients"), str(a["recipients"] or "")),
    ]
    return [(label, value) for label, value in rows if value]


def _device_row(d: dict[str, Any]) -> list[str]:
    name = d["name"] if d["enabled"] else _("{name} (off)").format(name=d["name"])
    seen = output.moment(d["last_seen_at"])
    counts = [str(d["accepted"]), str(d["refused"])]
    return [d["login"], name, seen, d["last_address"], d["last_tls"] or "-", *counts, _refusal(d)]


def _refusal(seen: dict[str, Any]) -> str:
    said = refusal(seen["last_error"])
    return said.fill(_(said.msgid), lambda inner: _(inner.msgid)) if said.msgid else ""


@device.command("show", help=_("Show a device: how it gets in, what was seen of it, its latest mail."))
@click.argument("login")
@json_option
@click.pass_obj
def show(client: DaemonClient, login: str, as_json: bool) -> None:
    """Show a device."""
    d = client.call("GET", f"/devices/{in_path(login)}")
    if as_json:
        output.print_json(d)
        return
    output.print_fields(
        [
            *((_(DEVICE_LABELS[name]), _field_text(name, d[name])) for name in DEVICE_LABELS if name in d),
            (_("Password"), output.value_text(d["has_password"])),
            (_("Last seen"), " · ".join(filter(None, (output.moment(d["last_seen_at"]), d["last_address"])))),
            ("TLS", d["last_tls"] or "—"),
            (_("Taken"), f"{d['accepted']} · {output.moment(d['last_accepted_at'])}"),
            (_("Refused"), f"{d['refused']} · {output.moment(d['last_refused_at'])}"),
            (_("Last error"), "\n".join(filter(None, (_refusal(d), d["last_error_cure"]))) or "—"),
        ]
    )
    click.echo()
    print_messages(client.call("GET", f"/queue?device={in_path(login)}&limit={MAIL_SHOWN}")["messages"])


def _field_text(name: str, value: Any) -> str:
    label = VALUE_LABELS.get(name, {}).get(value) if isinstance(value, str) else None
    return _(label) if label else output.value_text(value)


def _stranger_row(s: dict[str, Any]) -> list[str]:
    seen = output.moment(s["last_seen_at"])
    return [s["address"], seen, str(s["tries"]), s["tls"] or "-", s["tried"] or "-", _refusal(s)]


@device.command("set", help=_("Change a device."))
@click.argument("login")
@click.option("--name", help=_("What people call it."))
@click.option("--on/--off", "enabled", default=None, help=_("Let it in, or not."))
@_fields
@json_option
@click.pass_obj
def change(client: DaemonClient, /, login: str, as_json: bool, **given: Any) -> None:
    """Change a device."""
    changed = client.call("PATCH", f"/devices/{in_path(login)}", {"changes": _changes(**given)})
    if as_json:
        output.print_json(changed)
        return
    click.echo(_("Saved."))
    if given["mailbox"]:
        print_what_to_type_for_pop3(client.call("GET", "/devices"), changed)


@device.command("delete", help=_("Delete a device: it can log in no longer; what it handed in stays."))
@click.argument("login")
@json_option
@click.pass_obj
def delete(client: DaemonClient, login: str, as_json: bool) -> None:
    """Delete a device."""
    gone = client.call("DELETE", f"/devices/{in_path(login)}")
    if as_json:
        output.print_json(gone)
        return
    click.echo(_("Deleted."))


def _minutes(context: click.Context, parameter: click.Parameter, value: str) -> int:
    """Read a length of time such as 30m, 2h or 1h30m, in minutes."""
    found = re.fullmatch(r"(?:([0-9]{1,4})h)?(?:([0-9]{1,4})m?)?", value)
    if found is None or not any(found.groups()):
        text = _("{value} is no length of time such as 30m or 2h.")
        raise click.BadParameter(text.format(value=repr(value)), context, parameter)
    return int(found[1] or 0) * 60 + int(found[2] or 0)


@device.command("learn", help=_("Look closer at who is not known, for a while; nothing is relayed for them."))
@click.option("--for", "minutes", callback=_minutes, default="30m", show_default=True, help=_("How long; at most 24h."))
@click.option("--stop", is_flag=True, help=_("End it now."))
@json_option
@click.pass_obj
def learn(client: DaemonClient, minutes: int, stop: bool, as_json: bool) -> None:
    """Begin or end learning mode."""
    state = client.call("DELETE", "/learning") if stop else client.call("POST", "/learning", {"minutes": minutes})
    if as_json:
        output.print_json(state)
    elif not state["on"]:
        click.echo(_("Learning mode is off."))
    else:
        click.echo(_("Learning mode is on; it ends {when}.").format(when=output.moment(state["ends_at"])))
        click.echo(_("Let the device send something now, then: valija device list"))


@device.command("accept", help=_("Make a device of an unknown ADDRESS, by what it tried; prints what to type into it."))
@click.argument("address")
@click.option("--name", help=_("What people call it."))
@click.option("--login", help=_("Its user name, instead of the one it showed."))
@_fields
@json_option
@click.pass_obj
def accept(client: DaemonClient, /, address: str, as_json: bool, **given: Any) -> None:
    """Accept a stranger."""
    made = client.call("POST", "/strangers", {"address": address, "changes": _changes(**given)})
    if as_json:
        output.print_json(made)
        return
    click.echo(_("Accepted as {login}.").format(login=made["login"]))
    if not made["has_password"]:
        click.echo(_("Nothing need be typed into it: what it tried works now."))
        return
    print_what_to_type(client.call("GET", "/devices"), made)


@device.command("test", help=_("Play a device towards the gateway: what it would do, stage by stage."))
@click.argument("login")
@click.option("--tls", type=click.Choice(["none", "starttls", "implicit"]), help=_("How it encrypts."))
@click.option("--auth", type=click.Choice(["login", "plain", "none"]), help=_("How it logs in."))
@click.option("--helo", is_flag=True, help=_("It greets with HELO, as very old ones do."))
@click.option("--sender", default="", help=_("The sender that it names."))
@click.option("--to", default="", help=_("Really send a test page to this address; without it, nothing is sent."))
@click.option("--password", "with_password", is_flag=True, help=_("Ask for its password and try that one."))
@json_option
@click.pass_obj
def test(client: DaemonClient, /, login: str, with_password: bool, as_json: bool, **given: Any) -> int:
    """Play a device."""
    body = _changes(**given)
    if with_password:
        body["password"] = click.prompt(_("Password of the device"), hide_input=True, err=True)
    played = client.call("POST", f"/devices/{in_path(login)}/test", body)
    if as_json:
        output.print_json(played)
    else:
        for stage in played["stages"]:
            _print_stage(stage)
        if played["file"]:
            click.echo()
            click.echo(_("All that was said: {file}").format(file=played["file"]))
    return 0 if played["passed"] else OPERATOR_NEEDED


def _print_stage(stage: dict[str, Any]) -> None:
    mark = click.style("✓", fg="green") if stage["passed"] else click.style("✗", fg="red")
    click.echo(f"{mark} {stage['label']}: {stage['meaning']}")
    if not stage["passed"]:
        click.secho("    " + _("Server's words: {words}").format(words=stage["said"]), dim=True)
        if stage["cure"]:
            click.echo(f"    {stage['cure']}")
