"""What the live board says: where the machine is, what its token does, what to type next."""

from __future__ import annotations

import io

import pytest
from asgi_faces import Machinery, furnished_fixture
from rich.console import Console

from valija.apps.board import Board

here = furnished_fixture


async def _shown(here: Machinery, language: str) -> list[str]:
    console = Console(file=io.StringIO(), width=140)
    console.print(await Board(here.machine, language)._draw())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("language", "label"), [("en", "For devices"), ("es", "Para equipos")])
async def test_the_ports_for_devices_are_on_the_board(here: Machinery, language: str, label: str) -> None:
    """An administrator types them into printers; where nobody listens, there is no such line."""
    assert not [line for line in await _shown(here, language) if label in line]
    here.machine.gateway_ports = {"smtp": 25, "submissions": 465}
    (line,) = [line for line in await _shown(here, language) if label in line]
    assert line.split(label)[1].strip() == "smtp 25  ·  submissions 465"
