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


def without_language(arguments: Sequence[str]) -> list[str]:
    """Return the line without ``--lang``, which may stand anywhere and has been obeyed; a wrong one stays, to be refused."""
    kept: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return [*kept, argument, *rest]
        if argument == "--lang" and rest and rest[0] in language.LANGUAGES:
            rest.pop(0)
        elif argument not in {f"--lang={known}" for known in language.LANGUAGES}:
            kept.append(argument)
    return kept


def main() -> None:
    """Run the command line."""
    arguments = sys.argv[1:]
    chosen = chosen_language(arguments)
    language.use_for_process(chosen)
    from valija.apps.cli.commands import run

    run(without_language(arguments), chosen)
