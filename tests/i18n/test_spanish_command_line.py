"""The command line is Spanish from end to end: help of every command, and what wrong use gets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from driver import Daemon

HELP_OF_ALL = """
import json
from valija.apps.language import use_for_process
use_for_process("{language}")
import click
from valija.apps.cli.commands import cli, use_language
use_language()

def walk(command, context, name):
    pages[name] = command.get_help(context)
    for short in command.list_commands(context) if isinstance(command, click.Group) else ():
        inner = command.get_command(context, short)
        walk(inner, click.Context(inner, context, short, **inner.context_settings), name + " " + short)

pages = {{}}
walk(cli, click.Context(cli, info_name="valija", **cli.context_settings), "valija")
print(json.dumps(pages))
"""

ENGLISH = re.compile(
    r"\b(?:[Tt]he|of|and|with|this|[Ii]s|[Ff]or|not|Usage|Options|Commands|Show|Missing|Invalid|exit"
    r"|NAME|FILES?|TEXT|INTEGER|RANGE|ADDRESS(?:ES)?|NUMBERS?|HOST|DIRECTORY|PATH|WHERE|integer)\b"
)

WRONG_USE = {
    "nope": "Error: No existe la orden 'nope'.",
    "stat": "Error: No existe la orden 'stat'. ¿Quería decir 'status'?",
    "device ad": "Error: No existe la orden 'ad'. ¿Quería decir 'add'?",
    "--nope": "Error: No existe la opción '--nope'.",
    "--state-dir": "Error: La opción '--state-dir' necesita un valor.",
    "receive": "Error: Falta el argumento '{internet-fax|email-print|email-status}'. Elija entre:",
    "smtp set --auth x": "Error: Valor no válido para '--auth': 'x' no es ninguno de 'none', 'password', 'oauth2'.",
    "smtp set --port x": "Error: Valor no válido para '--port': 'x' no es un valor válido (número entero).",
    "smtp show extra": "Error: Sobra un argumento (extra)",
    "smtp show --json=1": "Error: La opción '--json' no lleva valor.",
    "send missing.pdf --to a@example.com": "Error: Valor no válido para 'ARCHIVOS...': Archivo 'missing.pdf': no existe.",
}


@cache
def _help(language: str) -> dict[str, str]:
    script = HELP_OF_ALL.format(language=language)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    pages: dict[str, str] = json.loads(done.stdout)
    return pages


def test_the_help_of_every_command_has_no_english_left() -> None:
    """Headings, sentences and click's own words."""
    pages = _help("es")
    assert {"valija", "valija token get", "valija provider set"} <= set(pages)
    for command, page in pages.items():
        assert page.startswith(f"Uso: {command} ")
        assert "Opciones:" in page
        assert "Mostrar este mensaje y salir." in page
        words = re.sub(r"--[a-z-]+", "", page)  # an option's name is the same in every language
        assert ENGLISH.findall(words) == [], command


def test_the_same_search_finds_the_english_of_every_english_page() -> None:
    """The search above can fail: it is not blind."""
    for command, page in _help("en").items():
        assert {"Usage", "Options", "Show", "this", "and", "exit"} <= set(ENGLISH.findall(page)), command


@pytest.mark.parametrize(("line", "said"), WRONG_USE.items())
def test_wrong_use_is_answered_in_spanish(tmp_path: Path, line: str, said: str) -> None:
    """What click says when an order cannot be understood; exit status 2."""
    done = Daemon(tmp_path).run(*line.split(), language="es")
    assert done.returncode == 2
    assert said in done.stderr.splitlines()
    assert ENGLISH.findall(done.stderr) == []


@pytest.mark.parametrize("arguments", [("--lang", "es", "--help"), ("--lang=es", "--help"), ("--lang", "es", "-h")])
def test_the_option_lang_wins_over_an_english_shell(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """``--lang`` before the command; the shell says English."""
    machine = Daemon(tmp_path)
    said = machine.ok(*arguments, language="en")
    assert said.startswith("Uso: valija ")
    assert ENGLISH.findall(said) == []
