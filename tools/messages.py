"""Sentences for people: finds them all and keeps the catalogues complete.

``python tools/messages.py`` puts new sentences into every ``valija.po``, drops those that are gone, and lists what is not
translated. Sentences are marked by ``_``, ``N_`` and ``ngettext`` in Python, by ``_`` and ``trans`` in templates, and by
their key in data files. Click says its own through the same gettext domain, so they are here too.
"""

from __future__ import annotations

import io
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "valija"
LOCALE = SOURCE / "locale"
KEYWORDS: dict[str, Any] = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2)}
TEXT_KEYS = ("meaning", "cure", "notes")

Sentence = str | tuple[str, str]


def sentences() -> dict[Sentence, list[str]]:
    """Return every sentence with the files that say it, relative to the source."""
    found: dict[Sentence, list[str]] = {}
    for root in (SOURCE, _click()):
        for path in sorted(root.rglob("*")):
            for sentence in _in_file(path):
                places = found.setdefault(sentence, [])
                place = path.relative_to(root.parent).as_posix()
                if place not in places:
                    places.append(place)
    return found


def _click() -> Path:
    spec = find_spec("click")
    if spec is None or spec.origin is None:
        raise LookupError("click is not installed")
    return Path(spec.origin).parent


def _in_file(path: Path) -> Iterator[Sentence]:
    if path.suffix == ".py":
        yield from _extracted("python", path, {})
    elif path.suffix == ".html":
        yield from _extracted("jinja2.ext:babel_extract", path, {"newstyle_gettext": "true"})
    elif path.suffix == ".toml":
        yield from _texts(tomllib.loads(path.read_text("utf-8")))


def _extracted(method: str, path: Path, options: dict[str, str]) -> Iterator[Sentence]:
    for _line, text, _comments, _context in extract(
        method, io.BytesIO(path.read_bytes()), keywords=KEYWORDS, options=options
    ):
        if isinstance(text, tuple):
            yield (text[0], text[1])
        elif text:
            yield text


def _texts(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str) and key in TEXT_KEYS and value:
        yield value


def load(language: str) -> Catalog:
    """Return a language's catalogue as it is in the file."""
    path = LOCALE / language / "LC_MESSAGES" / "valija.po"
    with path.open("rb") as source:
        return read_po(source, locale=language, domain="valija")


def update(language: str) -> list[Sentence]:
    """Bring a language's file up to date; return what is not translated."""
    path = LOCALE / language / "LC_MESSAGES" / "valija.po"
    old = load(language) if path.exists() else Catalog(locale=language)
    new = Catalog(locale=language, project="Valija", charset="utf-8", fuzzy=False)
    missing: list[Sentence] = []
    for sentence, places in sentences().items():
        kept = old.get(sentence[0] if isinstance(sentence, tuple) else sentence)
        translated = kept.string if kept is not None and kept.string else ""
        new.add(sentence, translated, locations=[(place, None) for place in places])  # type: ignore[misc]
        if not translated or (isinstance(translated, tuple | list) and not all(translated)):
            missing.append(sentence)
    path.parent.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    write_po(out, new, width=110, omit_header=True, include_lineno=False)
    header = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n"Content-Transfer-Encoding: 8bit\\n"\n'
    plural = f'"Language: {language}\\n"\n"Plural-Forms: {new.plural_forms}\\n"\n\n'
    path.write_bytes((header + plural).encode() + out.getvalue())
    return missing


def main() -> int:
    """Update every catalogue; exit status 1 if something is not translated."""
    languages = sorted(p.name for p in LOCALE.iterdir() if p.is_dir()) if LOCALE.exists() else []
    missing = [(language, sentence) for language in languages for sentence in update(language)]
    for language, sentence in missing:
        sys.stdout.write(f"{language}: {sentence!r}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
