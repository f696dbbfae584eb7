"""What a sender writes in brackets into a subject: ``Minutes [copies=2 duplex=long pages=1-3 pin=4711]``. Pure.

Rules
-----
1. Brackets with at least one ``name=value`` in them hold options; any others (``[EXT]``, ``[list]``) are part of the title.
   Items stand apart by spaces or semicolons; names and values are English or Spanish, in large or small letters.
2. What is unknown or wrong is left out and told (``problems``), and the mail is printed as if it were not there: with the usual
   copies, one side. A wrong ``pages`` is the exception: who wanted three pages must not get three hundred, so ``refused``.
3. The password is cut out before anybody sees the subject (:func:`without_password`), whatever else stands there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from valija.domain.print_job import Duplex, PrintColour, PrintOptions, PrintPaper, is_tray
from valija.secret import Secret

SUBJECT_LIMIT: Final = 2_000
RANGES_LIMIT: Final = 20
PAGE_LIMIT: Final = 9_999
PROBLEMS_LIMIT: Final = 10
_BRACKETS: Final = re.compile(r"\[([^\[\]]{1,300})\]")
_ITEM: Final = re.compile(r"([^\s=;\[\]]{1,40})[ \t]*=[ \t]*([^\s;\[\]]{0,100})")
_RANGE: Final = re.compile(r"([0-9]{1,5})(?:(-)([0-9]{1,5})?)?")
_PASSWORD: Final = frozenset({"pin", "password", "clave", "contrasena"})
_YES: Final = frozenset({"yes", "si", "on", "1", "true"})
_NO: Final = frozenset({"no", "off", "0", "false", "none"})


@dataclass(frozen=True, slots=True)
class SubjectOptions:
    """What a subject says: its ``title``, how to print, what could not be understood, and the password, if there is one."""

    title: str
    options: PrintOptions
    problems: tuple[str, ...] = ()
    refused: str = ""
    password: Secret | None = None


class _Wrong(ValueError):
    """A value that cannot be."""


def parse_subject(subject: str, usual: PrintOptions, copies_limit: int) -> SubjectOptions:
    """Read a subject (decoded, one line). Never fails."""
    title, inside = _divided(subject[:SUBJECT_LIMIT])
    options, problems, refused, password = usual, [], "", None
    for name, value in _ITEM.findall(" ; ".join(inside)):
        plain = _plain(name)
        if plain in _PASSWORD:
            password = Secret(value.strip(","))
            continue
        parser = _PARSERS.get(plain)
        try:
            if parser is None:
                raise _Wrong
            options = replace(options, **parser(_plain(value.rstrip(",")), copies_limit))
        except _Wrong:
            problems.append(f"{name}={value}"[:80])
            refused = refused or (problems[-1] if plain in ("pages", "paginas") else "")
    return SubjectOptions(title, options, tuple(problems[:PROBLEMS_LIMIT]), refused, password)


def title_of(subject: str) -> str:
    """Return a subject without its options, and so without a password."""
    return without_password(_divided(subject[:SUBJECT_LIMIT])[0])


def without_password(subject: str) -> str:
    """Return a subject in which nothing can be read that looks like a password, even in brackets that do not end."""
    return _SECRET.sub(lambda found: f"{found[1]}=…", subject)


_SECRET: Final = re.compile(r"(?i)\b(pin|password|clave|contrase(?:ñ|n\u0303|n)a)[ \t]*=[ \t]*[^\s;\]]+")


def _divided(subject: str) -> tuple[str, list[str]]:
    inside = [found for found in _BRACKETS.findall(subject) if "=" in found]
    title = _BRACKETS.sub(lambda found: " " if "=" in found[1] else found[0], subject)
    return " ".join(title.split()), inside


def _plain(text: str) -> str:
    """Return a word in small letters, without accents."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().strip().lower()


def _copies(value: str, limit: int) -> dict[str, Any]:
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= limit:
        raise _Wrong
    return {"copies": int(value)}


def _one_of(field: str, words: Mapping[str, Any]) -> Callable[[str, int], dict[str, Any]]:
    def parse(value: str, _limit: int) -> dict[str, Any]:
        if value not in words:
            raise _Wrong
        return {field: words[value]}

    return parse


def _tray(value: str, _limit: int) -> dict[str, Any]:
    if not value or not is_tray(value):
        raise _Wrong
    return {"tray": f"tray-{value}" if value.isdigit() else value}


def _pages(value: str, _limit: int) -> dict[str, Any]:
    found: list[tuple[int, int | None]] = []
    for item in value.split(","):
        match = _RANGE.fullmatch(item)
        if match is None or len(found) == RANGES_LIMIT:
            raise _Wrong
        first = int(match[1])
        last = (int(match[3]) if match[3] else None) if match[2] else first
        if not 1 <= first <= PAGE_LIMIT or (last is not None and not first <= last <= PAGE_LIMIT):
            raise _Wrong
        found.append((first, last))
    return {"pages": tuple(found)}


_DUPLEX: Final = {
    **dict.fromkeys(_NO | {"1-sided", "one-sided"}, Duplex.OFF),
    **dict.fromkeys({"yes", "si", "on", "true", "long", "largo", "2", "two-sided"}, Duplex.LONG),
    **dict.fromkeys(("short", "corto"), Duplex.SHORT),
}
_COLOUR: Final = {
    **dict.fromkeys(_YES | {"color", "colour"}, PrintColour.COLOUR),
    **dict.fromkeys(_NO | {"mono", "bw", "bn", "grey", "gray", "gris"}, PrintColour.MONO),
    "auto": PrintColour.AUTO,
}
_PAPER: Final = {paper.value: paper for paper in PrintPaper} | {
    "carta": PrintPaper.LETTER,
    "oficio": PrintPaper.LEGAL,
}
_PARSERS: Final[dict[str, Callable[[str, int], dict[str, Any]]]] = {
    **dict.fromkeys(("copies", "copias"), _copies),
    **dict.fromkeys(("duplex", "doble"), _one_of("duplex", _DUPLEX)),
    **dict.fromkeys(("color", "colour"), _one_of("colour", _COLOUR)),
    **dict.fromkeys(("paper", "papel"), _one_of("paper", _PAPER)),
    **dict.fromkeys(("tray", "bandeja"), _tray),
    **dict.fromkeys(("pages", "paginas"), _pages),
}
