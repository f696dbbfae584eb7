"""What the documents tell people to type exists, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from valija.apps.cli.commands import cli

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^ *```(?:sh|toml)?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def _commands() -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        blocks = [block.replace("\\\n", " ") for block in FENCE.findall(text)]
        lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
        lines += re.findall(r"`(valija [a-z][^`…]*)`", text)
        found += [(document.name, " ".join(line.split())) for line in lines if line.startswith("valija ")]
    return found


@pytest.mark.parametrize(("document", "line"), _commands())
def test_every_command_in_the_documents_is_understood(
    document: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed by the command tree itself, to the last option."""
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(line)[1:]
    for file in ("scan.pdf", "secret.txt", "FILE", "key.json", "valija.crt", "valija.key"):
        Path(file).write_text("x")
    command: click.Command = cli
    context = click.Context(cli, info_name="valija")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, inner, arguments = command.resolve_command(context, arguments)
        assert inner is not None
        command = inner
        context = click.Context(inner, info_name=name or "", parent=context)
    if isinstance(command, click.Group):
        assert not arguments or arguments[0] in ("--help", "--lang", "--version")
        return
    if arguments:  # a command that is only mentioned has none
        command.make_context(context.info_name, list(arguments), parent=context.parent)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    """Files exist; places within a page are headings of it."""
    text = document.read_text("utf-8")
    headings = {
        re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        path, _hash, place = target.partition("#")
        if path:
            assert (document.parent / path).exists(), target
        else:
            assert place in headings, (target, headings)


def test_both_languages_tell_the_same_commands() -> None:
    """The Spanish pages have the same steps as the English ones."""

    def shape(name: str) -> list[list[str]]:
        text = (ROOT / "docs" / name).read_text("utf-8")
        blocks = [b.replace("\\\n", " ") for b in FENCE.findall(text)]
        return [
            [w for w in line.split() if w.startswith("--")]
            for b in blocks
            for line in b.splitlines()
            if "valija " in line
        ]

    assert shape("providers.md") == shape("proveedores.md")


def test_the_readme_shows_every_key_of_the_configuration() -> None:
    """With its default; what is shown is accepted."""
    from valija.apps.config import Configuration

    text = (ROOT / "README.md").read_text("utf-8")
    for section, field in Configuration.model_fields.items():
        assert f"[{section}]" in text
        for key in type(field.default).model_fields:
            assert re.search(rf"^(# )?{key} = ", text, re.MULTILINE), key
