"""What a person types into a device, so that it hands its mail to this machine."""

from __future__ import annotations

from gettext import gettext as _
from typing import Any

import click

from valija.apps.cli import output

Row = tuple[str, str]


def print_what_to_type(there: dict[str, Any], made: dict[str, Any]) -> None:
    """Print it, for a device that was just made (with its ``password``) or shown."""
    click.echo(_("Type this into {name}, where it asks for its e-mail (SMTP) server:").format(name=made["name"]))
    click.echo()
    output.print_fields([_server(there), *_ports(there["ports"], made["tls"]), *_log_in(made), _sender(there, made)])
    click.echo()
    if made["mailbox"] and made["has_password"]:
        _print_pop3(there, made)
    if there["authority"] and made["tls"] != "offered":
        text = _("Where the device checks certificates, import this machine's authority into it: {file}")
        click.echo(text.format(file=there["authority"]))
    if made.get("password"):
        text = _("The password is not shown again. For another one: valija device password {login}")
        click.echo(text.format(login=made["login"]))
    click.echo(_("What it will meet there: valija device test {login}").format(login=made["login"]))


def _print_pop3(there: dict[str, Any], made: dict[str, Any]) -> None:
    click.echo(_("And where it asks for its incoming mail (POP3) server:"))
    click.echo()
    label = _("Log-in")
    log_in = (label, _("the same user name and password"))
    output.print_fields([_server(there), *_pop3_ports(there["ports"], made["tls"]), log_in])
    click.echo()
    text = _("It fetches the mailbox of the setting {setting}, which this machine itself no longer checks.")
    click.echo(text.format(setting=made["mailbox"]))


def _pop3_ports(ports: dict[str, int], tls: str) -> list[Row]:
    label, security = _("Port"), _("Encryption")
    plain, implicit = ports.get("pop3"), ports.get("pop3s")
    if plain and (tls == "offered" or not implicit):
        return [(label, str(plain)), (security, _("STLS if it has it; else none") if tls == "offered" else "STLS")]
    other = _("SSL/TLS from the beginning (if it only knows STLS: port {port})").format(port=plain)
    return [(label, str(implicit or "-")), (security, other if plain else _("SSL/TLS from the beginning"))]


def _server(there: dict[str, Any]) -> Row:
    addresses = there["addresses"]
    if not addresses:
        return _("Server"), there["host"]
    text = _("{address}  (or by its name, if the device can look it up: {name})")
    return _("Server"), "\n".join([text.format(address=addresses[0], name=there["host"]), *addresses[1:3]])


def _ports(ports: dict[str, int], tls: str) -> list[Row]:
    label, security = _("Port"), _("Encryption")
    plain = ports.get("smtp") or ports.get("submission")
    secured = ports.get("submission") or ports.get("smtp")
    implicit = ports.get("submissions")
    if tls == "offered" and plain:
        return [(label, str(plain)), (security, _("STARTTLS if it has it; else none"))]
    if secured:
        other = _("STARTTLS (if it only knows SSL/TLS from the beginning: port {port})").format(port=implicit)
        return [(label, str(secured)), (security, other if implicit else "STARTTLS")]
    return [(label, str(implicit or "-")), (security, _("SSL/TLS from the beginning"))]


def _log_in(made: dict[str, Any]) -> list[Row]:
    label = _("Log-in (SMTP authentication)")
    if not made["has_password"]:
        ranges = ", ".join(r.removesuffix("/32").removesuffix("/128") for r in made["ranges"])
        return [(label, _("off: it is known by its address, {ranges}").format(ranges=ranges))]
    password = made.get("password") or _("the one that it was given")
    return [(label, _("on; LOGIN or PLAIN")), (_("User name"), made["login"]), (_("Password"), password)]


def _sender(there: dict[str, Any], made: dict[str, Any]) -> Row:
    label = _("Sender (From)")
    if made["senders"]:
        return label, _("only {senders}").format(senders=", ".join(made["senders"]))
    if not there["sender"]:
        return label, _("any; the machine itself has no mailbox yet: valija smtp set")
    if made["rewriting"] == "never":
        return label, there["sender"]
    return label, _("{address}  (another one is replaced by it)").format(address=there["sender"])
