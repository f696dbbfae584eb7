"""``valija queue``: what became of mail."""

from __future__ import annotations

from collections.abc import Sequence
from gettext import gettext as _
from typing import Any
from urllib.parse import urlencode

import click

from valija.apps.cli import output
from valija.apps.cli.client import DaemonClient, in_path
from valija.apps.cli.settings_commands import json_option
from valija.domain.account import SETTING_LABELS
from valija.domain.queue import RecipientStateName
from valija.domain.queued_message import STATE_LABELS, STILL_SENT

BAR = 30  # characters of the longest
STATES = tuple(name.value for name in RecipientStateName)


@click.group("queue", help=_("Mail that waits, is under way or has ended."))
def queue() -> None:
    """Group."""


@queue.command("list", help=_("List the accounts and their latest messages."))
@click.option(
    "--state",
    type=click.Choice(STATES),
    help=_("Only with a recipient in this state."),
)
@click.option("--device", help=_("Only of the device with this login."))
@click.option("--text", help=_("Only what mentions this in its subject or an address, of the latest 5000."))
@click.option("--before", type=click.IntRange(1), help=_("Only messages with smaller numbers."))
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help=_("How many."))
@json_option
@click.pass_obj
def list_queue(client: DaemonClient, /, as_json: bool, **filters: Any) -> None:
    """List the queue."""
    found = client.call("GET", "/queue?" + urlencode({k: v for k, v in filters.items() if v is not None}))
    if as_json:
        output.print_json(found)
        return
    for account in found["accounts"]:
        print_account(account)
    print_messages(found["messages"])
    if not found["messages"] and any(filters[name] is not None for name in ("state", "device", "text", "before")):
        click.echo(_("No messages."))


def print_messages(messages: Sequence[dict[str, Any]]) -> None:
    """Print messages, a line for each recipient; nothing for none."""
    if messages:
        header = [_("Number"), _("Accepted"), _("Device"), _("Recipient"), _("State"), _("Subject")]
        output.print_table(header, [row for m in messages for row in _message_rows(m)])


def print_account(account: dict[str, Any]) -> None:
    """Print how much mail an account has, and why it does not leave."""
    labels = {name.value: _(label) for name, label in STATE_LABELS.items()}
    counts = ", ".join(f"{labels[state]}: {count}" for state, count in account["counts"].items()) or _("no mail")
    name = account["account"]
    label = _(SETTING_LABELS[name]) if name in SETTING_LABELS else name
    click.secho(f"{label}  {counts}", bold=True)
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
        if trouble["server_words"]:
            click.secho("  " + _("Server's words: {words}").format(words=trouble["server_words"]), dim=True)
        if account["probe_at"] and not account["held"]:
            click.echo("  " + _("Next try: {when}").format(when=output.moment(account["probe_at"])))
    elif account["paused_until"]:
        why = account["paused_meaning"] or account["paused_why"]
        text = _("Waits until {when}: {why}") if why else _("Waits until {when}.")
        click.echo("  " + text.format(when=output.moment(account["paused_until"]), why=why))
        if account["paused_meaning"] and account["paused_why"]:
            click.secho("  " + _("Server's words: {words}").format(words=account["paused_why"]), dim=True)


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
        (_("Sender"), _sender(m)),
        (_("Subject"), m["subject"]),
        (_("Size"), _("{size} kB").format(size=-(-m["size"] // 1024))),
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


def _sender(m: dict[str, Any]) -> str:
    """Return whom the device named; below it, as whom it goes out."""
    named, sender = m["named_sender"], m["sender"]
    if not named or not sender or named == sender:  # the machine has no mailbox yet, or it is the same
        return str(sender or named)
    return f"{named}\n" + _("goes out as {address}").format(address=sender)


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


@queue.command("traffic", help=_("Show how much mail passed in the last hours, recipient by recipient."))
@click.option("--hours", type=click.IntRange(1, 48), default=24, show_default=True, help=_("How many hours back."))
@json_option
@click.pass_obj
def traffic(client: DaemonClient, hours: int, as_json: bool) -> None:
    """Show the traffic, hour by hour."""
    found = client.call("GET", f"/traffic?hours={hours}")
    if as_json:
        output.print_json(found)
        return
    header = ["", _("Accepted"), _("Delivered"), _("Failed"), _("Waiting"), ""]
    output.print_table(header, _traffic_rows(found["slots"]))


def _traffic_rows(slots: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return a row for each hour: what passed in it, how much waited at its end, and a bar of what was accepted."""
    hours: dict[str, list[int]] = {}
    for slot in slots:
        at = output.parse_time(slot["at"])
        row = hours.setdefault(f"{at.astimezone():%Y-%m-%d %H:00}" if at else "", [0, 0, 0, 0])
        passed = [row[n] + slot[name] for n, name in enumerate(("accepted", "delivered", "failed"))]
        row[:] = [*passed, slot["waiting"]]
    most = max(row[0] for row in hours.values())
    return [[hour, *map(str, row), "█" * -(-row[0] * BAR // most) if most else ""] for hour, row in hours.items()]


def _action(name: str, text: str) -> None:
    @queue.command(name, help=text)
    @click.argument("numbers", type=int, nargs=-1)
    @click.option("--account", help=_("All mail of this account."))
    @json_option
    @click.pass_obj
    def act(client: DaemonClient, numbers: tuple[int, ...], account: str | None, as_json: bool) -> None:
        if bool(numbers) == bool(account):
            raise click.UsageError(_("Name messages by their numbers, or an account."))
        if account:
            done = client.call("POST", f"/accounts/{in_path(account)}/queue", {"action": name})
            output.print_json(done) if as_json else click.echo(_("Done."))
        else:
            _act_on_messages(client, name, numbers, as_json=as_json)


_action("hold", _("Stop messages; they neither leave nor expire."))
_action("release", _("Let messages go on."))
_action("retry", _("Try messages now."))


@queue.command("cancel", help=_("Do not deliver messages any more."))
@click.argument("numbers", type=int, nargs=-1, required=True)
@json_option
@click.pass_obj
def cancel(client: DaemonClient, numbers: tuple[int, ...], as_json: bool) -> None:
    """Cancel messages, by their numbers only: nothing brings them back."""
    _act_on_messages(client, "cancel", numbers, as_json=as_json)


def _act_on_messages(client: DaemonClient, name: str, numbers: Sequence[int], *, as_json: bool) -> None:
    """Do it, and say of which messages nothing can be done any more, or not yet."""
    done = client.call("POST", "/queue", {"action": name, "ids": list(numbers)})
    if as_json:
        output.print_json(done)
        return
    ended = [m for m in done if all(_was_over(r, name) for r in m["recipients"])]
    for m in ended:
        text = _("Nothing to do: message {number} has ended already ({state}).")
        click.echo(text.format(number=m["id"], state=m["recipients"][0]["state_label"]))
    sent = [m for m in done if name in STILL_SENT and any(_is_sent(r) for r in m["recipients"])]
    for m in sent:
        click.echo(_(STILL_SENT[name]).format(number=m["id"]))
    if len(ended) + len(sent) < len(done):
        click.echo(_("Done."))


def _is_sent(recipient: dict[str, Any]) -> bool:
    return bool(recipient["state"] == RecipientStateName.IN_FLIGHT.value)


def _was_over(recipient: dict[str, Any], action: str) -> bool:
    is_over = recipient["state"] in ("delivered", "failed")
    return is_over and not (action == "cancel" and recipient["cause"] == "cancelled")
