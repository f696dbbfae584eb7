"""Entry point: chooses the language first, because the commands' help is in it, then runs the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from valija.apps import language


def chosen_language(arguments: Sequence[str]) -> str:
    """Return the language asked for by ``--lang`` anywhere on the line, or by the environment."""
    for position, argument in enumerate(arguments):
        if argument == "--":
            break
        value = ""
        if argument == "--lang" and position + 1 < len(arguments):
            value = arguments[position + 1]
        elif argument.startswith("--lang="):
            value = argument.removeprefix("--lang=")
        if value in language.LANGUAGES:
            return value
    return language.from_environment(os.environ)


def main() -> None:
    """Run the command line."""
    language.use_for_process(chosen_language(sys.argv[1:]))
    from valija.apps.cli.commands import run

    run()
