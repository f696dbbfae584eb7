"""The command tree, and how its errors end: exit codes by meaning (0 ok, 2 usage, 3 consent, 4 operator, 5 later)."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from gettext import gettext as _
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from valija import __version__
from valija.apps.cli import failures
from valija.apps.cli.client import DaemonClient
from valija.apps.state_directory import state_directory

COMMANDS: Final[Mapping[str, str]] = {
    "alert": "alert_commands:alert",
    "api-token": "api_token_commands:api_token",
    "audit": "mail_commands:audit",
    "contact": "scan_commands:contact",
    "device": "device_commands:device",
    "fax": "fax_commands:fax",
    "import": "import_command:import_file",
    "job": "job_commands:job",
    "panel": "panel_command:panel",
    "pop": "settings_commands:pop",
    "print": "print_commands:print_group",
    "provider": "settings_commands:provider",
    "queue": "gateway_commands:queue",
    "receive": "mail_commands:receive",
    "received": "mail_commands:received",
    "run": "run_command:run_daemon",
    "scan": "scan_commands:scan",
    "scan-settings": "scan_commands:scan_settings",
    "send": "mail_commands:send",
    "smtp": "settings_commands:smtp",
    "status": "status_command:status",
    "test": "mail_commands:test",
    "token": "token_commands:token",
}


class Commands(click.Group):
    """All commands by name; the module of one is loaded when it is called, so that each starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if there is none of that name: click then looks among all for what was meant."""
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                module, attribute = COMMANDS[name].split(":")
                command: click.Command = getattr(import_module(f"valija.apps.cli.{module}"), attribute)
                _name_places(command, _places())
                self.add_command(command, name)
        return self.commands.get(cmd_name)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help=_("The mail subsystem of an office machine: gets OAuth 2.0 tokens, sends and receives mail with them."),
    epilog=_("Exit codes: 0 done, 2 wrong use, 3 consent is needed, 4 somebody must mend something, 5 try later."),
)
@click.version_option(__version__, prog_name="valija")
@click.option("--lang", type=click.Choice(["en", "es"]), expose_value=False, help=_("Language: en or es."))
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help=_("Where the machine keeps its state (VALIJA_STATE_DIR)."),
)
@click.pass_context
def cli(context: click.Context, state_dir: Path | None) -> None:
    """Find the daemon; every command but ``run`` is a client of it."""
    directory = state_directory(state_dir, os.environ)
    context.obj = DaemonClient(directory, context.obj or "en")


def _places() -> dict[str, str]:
    return {
        "ADDRESS": _("ADDRESS"),
        "ADDRESSES": _("ADDRESSES"),
        "CLOUD": _("CLOUD"),
        "CODE": _("CODE"),
        "DAY": _("DAY"),
        "DIRECTORY": _("DIRECTORY"),
        "FILE": _("FILE"),
        "FILES": _("FILES"),
        "HOST": _("HOST"),
        "INTEGER": _("INTEGER"),
        "INTEGER RANGE": _("INTEGER"),
        "LOGIN": _("LOGIN"),
        "NAME": _("NAME"),
        "NUMBER": _("NUMBER"),
        "NUMBERS": _("NUMBERS"),
        "PATH": _("PATH"),
        "PROVIDER": _("PROVIDER"),
        "RULE": _("RULE"),
        "SCOPE": _("SCOPE"),
        "TENANT": _("TENANT"),
        "TEXT": _("TEXT"),
        "WHERE": _("WHERE"),
    }


_PLACE: Final = re.compile(r"\b[A-Z]+(?: RANGE)?\b")


def _name_places(command: click.Command, places: dict[str, str]) -> None:
    """Put the words for options, commands and values into the language; click has them in English only."""
    command.options_metavar = _("[OPTIONS]")
    context = click.Context(command)
    for parameter in command.params:
        if not (isinstance(parameter, click.Option) and parameter.is_flag):
            shown = parameter.make_metavar(context)
            parameter.metavar = _PLACE.sub(lambda word: places.get(word[0], word[0]), shown)
    if isinstance(command, click.Group):
        command.subcommand_metavar = _("COMMAND [ARGS]...")
        for inner in command.commands.values():
            _name_places(inner, places)


def use_language() -> None:
    """Put click's own words for what is to be given into the language that was chosen."""
    _name_places(cli, _places())
    click.IntRange.name = click.INT.name = _("integer")  # in what it says of a wrong value


def run(arguments: Sequence[str], language: str) -> None:
    """Run the command line and end the process with its exit code."""
    use_language()
    try:
        status = cli.main(list(arguments), prog_name="valija", standalone_mode=False, obj=language)
    except BrokenPipeError:
        os._exit(141)  # the reader of our output has gone; nothing more can be said
    except failures.EXPECTED as error:
        sys.exit(failures.tell(error, as_json=failures.asks_for_json(arguments)))
    sys.exit(status if isinstance(status, int) else 0)
