"""The schema's steps, one set for all SQL engines, and the words in which the engines differ.

A step is ``migrations/NNNN_what.sql``. ``{{word}}`` in it, or in a named statement, is the engine's own word, and so is
``TEXT`` in a step; a statement that begins with ``{{only ENGINE}}`` is for that engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from valija.domain.errors import StoreVersion
from valija.domain.text import N_, message

_ONLY = re.compile(r"\s*\{\{only (\w+)\}\}")
_WORD = re.compile(r"\{\{(\w+)\}\}")
_COMMENT = re.compile(r"--.*")
_TEXT = re.compile(r"\bTEXT\b")


@dataclass(frozen=True, slots=True)
class Dialect:
    """An engine's name and its ``words``."""

    name: str
    words: Mapping[str, str]

    def fill(self, text: str) -> str:
        """Put the engine's words in. Raises KeyError for one that it does not know."""
        return _WORD.sub(lambda found: self.words[found.group(1)], text)


@cache
def _steps() -> tuple[str, ...]:
    folder = files("valija.store") / "migrations"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return tuple((folder / name).read_text("utf-8") for name in names)


def latest_version() -> int:
    """Return the number of the last step."""
    return len(_steps())


def refuse_later(version: int, place: str) -> None:
    """Raise :class:`StoreVersion` for the schema of a later program, in the file or database at ``place``."""
    latest = latest_version()
    if version > latest:
        raise StoreVersion(
            message(
                N_("The store {file} was made by a later version (schema {version}; this one knows {latest})."),
                file=place,
                version=version,
                latest=latest,
            ),
            message(N_("Install that version again. Nothing was changed.")),
        )


def migration(version: int, dialect: Dialect) -> list[str]:
    """Return the statements that bring a schema of ``version`` (0: none) to the latest."""
    return [
        dialect.fill(_TEXT.sub("{{text}}", _ONLY.sub("", statement)))
        for step in _steps()[version:]
        for statement in _COMMENT.sub("", step).split(";")
        if statement.strip() and ((only := _ONLY.match(statement)) is None or only.group(1) == dialect.name)
    ]
