"""``valija panel``: opens the machine's panel in a browser here."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import webbrowser
from gettext import gettext as _

import click

from valija.apps.cli import output
from valija.apps.cli.client import DaemonClient
from valija.apps.cli.settings_commands import json_option

KIOSK_BROWSERS = {
    "chromium": "--kiosk",
    "chromium-browser": "--kiosk",
    "google-chrome": "--kiosk",
    "firefox": "--kiosk",
}


@click.command(
    help=_("Open the machine's panel in a browser at this machine, or print its address: good once, for a minute.")
)
@click.option("--open/--print", "in_browser", default=False, help=_("Open a browser, or only print the address."))
@click.option("--kiosk", is_flag=True, help=_("Open it over the whole screen."))
@json_option
@click.pass_obj
def panel(client: DaemonClient, in_browser: bool, kiosk: bool, as_json: bool) -> None:
    """Open the panel."""
    answer = client.call("POST", "/panel")
    if as_json:
        output.print_json(answer)
    elif kiosk:
        _open_kiosk(_page(answer["url"]))
    elif in_browser:
        if not webbrowser.open(_page(answer["url"])):
            raise click.ClickException(_("No browser can be started here."))
    else:
        click.echo(answer["url"])


def _page(url: str) -> str:
    """Write a page that leads to the address, for this user only: argument lists can be read by others."""
    handle, name = tempfile.mkstemp(prefix="valija-panel-", suffix=".html")
    with os.fdopen(handle, "w", encoding="ascii") as out:
        out.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}">')
    return f"file://{name}"


def _open_kiosk(url: str) -> None:
    for name, option in KIOSK_BROWSERS.items():
        program = shutil.which(name)
        if program is not None:
            subprocess.Popen([program, option, url], start_new_session=True)  # noqa: S603 - a browser, our own address
            return
    raise click.ClickException(_("No browser can be started here."))
