"""What the documents tell people to type exists, their links lead somewhere, their facts are those of the data files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from valija.apps.cli.commands import COMMANDS, cli
from valija.apps.cli.main import without_language
from valija.apps.config import Configuration
from valija.net.data_files import read_catalogue

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
PROVIDER_PAGES = ("providers.md", "proveedores.md")
FILES = (
    "scan.pdf",
    "pin.txt",
    "secret.txt",
    "key.json",
    "valija.crt",
    "valija.key",
)  # that commands of the documents name
SHELL_ENDS = {"|", "||", "&", "&&", ";", "<", "<<", ">", ">>"}
FENCE = re.compile(r" *(```+|~~~+)(.*)")


def split_fences(text: str) -> tuple[list[tuple[str, str]], str]:
    """Return the fenced blocks (language, content) and the text outside of them."""
    blocks: list[tuple[str, str]] = []
    outside: list[str] = []
    inside: list[str] | None = None
    mark = language = ""
    for line in text.splitlines():
        found = FENCE.fullmatch(line)
        if inside is None and found:
            mark, language, inside = found.group(1), found.group(2).strip(), []
        elif inside is not None and line.strip() == mark:
            blocks.append((language, "\n".join(inside)))
            inside = None
        else:
            (outside if inside is None else inside).append(line)
    assert inside is None, "a fence that is not closed"
    return blocks, "\n".join(outside)


def command_lines(text: str) -> Iterator[str]:
    """Yield each command line of each block, continued lines joined, whatever language the block names."""
    for _language, block in split_fences(text)[0]:
        for line in block.replace("\\\n", " ").splitlines():
            words = line.removeprefix("$ ").strip()
            if words.startswith("valija "):
                yield " ".join(words.split())


def mentions(text: str) -> Iterator[str]:
    """Yield the commands that prose mentions between backticks."""
    yield from re.findall(r"`(valija [a-z-][^`…]*)`", split_fences(text)[1])


def arguments_of(line: str) -> list[str]:
    """Return what the shell hands to the program: no comment, no redirection, nothing of the next command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    end = next((n for n, word in enumerate(words) if word in SHELL_ENDS), len(words))
    return without_language(words[1:end])


def understand(arguments: list[str], *, whole: bool) -> None:
    """Let the command tree parse a line without running it; ``whole`` demands all that the command demands."""
    command: click.Command = cli
    context = click.Context(cli, info_name="valija")
    while isinstance(command, click.Group):
        options, arguments, _order = command.make_parser(context).parse_args(list(arguments))
        if not arguments:
            assert options or not whole, "a group of commands, and none of them"
            return
        name, inner, arguments = command.resolve_command(context, arguments)
        assert inner is not None
        command, context = inner, click.Context(inner, info_name=name or "", parent=context)
    if arguments or whole:
        command.make_context(context.info_name, arguments, parent=context.parent)


def _cases(whole: bool) -> list[tuple[str, str]]:
    pick = command_lines if whole else mentions
    return [(document.name, line) for document in DOCUMENTS for line in pick(document.read_text("utf-8"))]


@pytest.fixture
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in (*FILES, "FILE"):
        Path(file).write_text("x")


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(("document", "line"), _cases(whole=True))
def test_every_command_to_type_is_understood_whole(document: str, line: str) -> None:
    """Parsed by the command tree itself, to the last option, with nothing missing."""
    understand(arguments_of(line), whole=True)


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(("document", "line"), _cases(whole=False))
def test_every_command_that_prose_mentions_exists(document: str, line: str) -> None:
    """Its options exist, too; what it demands may be left out."""
    understand(arguments_of(line), whole=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_no_command_line_escapes_the_test(document: Path) -> None:
    """As many are found as a plain look at the lines finds."""
    text = document.read_text("utf-8")
    plain = [line for line in text.splitlines() if re.match(r" *(\$ )?valija ", line)]
    assert len(list(command_lines(text))) == len(plain)


def test_a_block_in_another_language_hides_none_of_the_commands_after_it() -> None:
    """The end of one block is not taken for the beginning of the next."""
    text = "```powershell\nSet-It\n```\n\n   ```sh\n   valija smtp show\n   ```\n\n```\nvalija status\n```\n"
    assert list(command_lines(text)) == ["valija smtp show", "valija status"]


@pytest.mark.parametrize(
    "line",
    [
        "valija smtp set --sever smtp.example.com",
        "valija token got smtp",
        "valija token get fax",
        "valija provider set",
        "valija provider set a --kind b",
        "valija smtp set --port lots",
        "valija send scan.pdf",
        "valija provider set a --private-key missing.key",
        "valija token",
    ],
)
@pytest.mark.usefixtures("_files")
def test_a_wrong_command_is_noticed(line: str) -> None:
    """So the tests above can fail."""
    with pytest.raises((click.UsageError, AssertionError)):
        understand(arguments_of(line), whole=True)


# --- links ----------------------------------------------------------------------------------------------------------------


def places(document: Path) -> set[str]:
    """Return what a link can name within a page: its headings, as the site that shows it names them."""
    headings = re.findall(r"^#+ (.*)$", split_fences(document.read_text("utf-8"))[1], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    """Files exist; places within a page are headings of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", split_fences(document.read_text("utf-8"))[1]):
        if re.match(r"[a-z]+:", target):
            continue
        path, _hash, place = target.partition("#")
        page = (document.parent / path) if path else document
        assert page.exists(), target
        assert not place or place in places(page), target


def test_every_file_that_the_table_of_standards_names_exists() -> None:
    """Each path in backticks with a folder in it is one below ``src/valija``."""
    text = (ROOT / "docs" / "rfc-support.md").read_text("utf-8")
    named = re.findall(r"`([a-z_]+/[a-z0-9_/]+\.(?:py|toml))`", text)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / "src" / "valija" / path).exists()] == []


# --- facts ----------------------------------------------------------------------------------------------------------------


def test_both_languages_tell_the_same_commands() -> None:
    """Command by command, option by option; only the example's words differ."""

    def shape(name: str) -> list[list[str]]:
        text = (ROOT / "docs" / name).read_text("utf-8")
        return [[w for w in line.split() if w.startswith("--") or w in COMMANDS] for line in command_lines(text)]

    english, spanish = map(shape, PROVIDER_PAGES)
    assert len(english) > 20
    assert english == spanish


@pytest.mark.parametrize("page", PROVIDER_PAGES)
def test_the_pages_about_providers_name_the_servers_of_the_catalogue(page: str) -> None:
    """Each profile that has servers: host and port of both."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    servers = [s for p in read_catalogue().profiles for s in (p.smtp, p.pop) if s is not None]
    assert len(servers) > 10
    assert [s.host for s in servers if f"`{s.host}:{s.port}`" not in text] == []


@pytest.mark.parametrize("page", PROVIDER_PAGES)
def test_the_pages_about_providers_name_all_kinds_and_clouds(page: str) -> None:
    """What `valija provider set` takes."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    for kind in ("microsoft", "google", "yahoo", "aol"):
        assert f"valija provider set {kind}" in text
    for cloud in set(read_catalogue().clouds("microsoft")) - {"global", "consumers"}:
        assert f"--cloud {cloud}" in text


def test_the_readme_shows_every_key_of_the_configuration() -> None:
    """With its default; what is shown is accepted."""
    text = (ROOT / "README.md").read_text("utf-8")
    for section, field in Configuration.model_fields.items():
        assert f"[{section}]" in text
        for key, inner in type(field.default).model_fields.items():
            if isinstance(inner.default, BaseModel):  # a section of its own
                assert f"[{section}.{key}." in text
            else:
                assert re.search(rf"^(# )?{key} = ", text, re.MULTILINE), key
