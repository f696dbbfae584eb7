"""``valija run``: the daemon, in the foreground."""

from __future__ import annotations

from gettext import gettext as _
from pathlib import Path

import click

from valija.apps.cli.client import DaemonClient


@click.command("run", help=_("Run the daemon in the foreground; one line says that it is ready."))
@click.option("--sandbox", is_flag=True, help=_("Also run a provider and a mail server inside, to try everything."))
@click.option(
    "--state-dir", type=click.Path(path_type=Path, file_okay=False), help=_("Where the machine keeps its state.")
)
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path, dir_okay=False), help=_("Configuration file (TOML).")
)
@click.option("--no-board", is_flag=True, help=_("No live board, even on a terminal."))
@click.pass_obj
def run_daemon(
    client: DaemonClient, sandbox: bool, state_dir: Path | None, config_file: Path | None, no_board: bool
) -> int:
    """Run the daemon."""
    from valija.apps.daemon import run  # heavy: only here

    return run(
        state_dir=state_dir.absolute() if state_dir else client.socket_path.parent,
        config_file=config_file,
        sandbox=sandbox,
        board=not no_board,
        language=client.language,
    )
