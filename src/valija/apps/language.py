"""The two languages: choosing one, and translating sentences into it (gettext catalogues under ``valija/locale``)."""

from __future__ import annotations

import gettext
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from valija.domain.text import Message

LANGUAGES: Final = ("en", "es")
DOMAIN: Final = "valija"
LOCALE_DIR: Final = Path(__file__).resolve().parent.parent / "locale"


@cache
def translations(language: str) -> gettext.NullTranslations:
    """Return the catalogue of a language; English is the language of the message ids."""
    if language == "en":
        return gettext.NullTranslations()
    return gettext.translation(DOMAIN, LOCALE_DIR, [language], fallback=True)


def translate(text: Message | str, language: str) -> str:
    """Return a sentence in a language."""
    if isinstance(text, str):
        return translations(language).gettext(text) if text else ""
    return text.fill(translate(text.msgid, language), lambda inner: translate(inner, language))


def from_environment(environment: Mapping[str, str]) -> str:
    """Choose the language as a shell user expects: VALIJA_LANG, then LC_ALL, LC_MESSAGES, LANG; else English."""
    for variable in ("VALIJA_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = environment.get(variable, "").lower()
        if value:
            return _first_known([value]) or "en"
    return "en"


def from_accept_language(header: str) -> str:
    """Choose the language from an Accept-Language field (RFC 9110 section 12.5.4); English if none fits."""
    weighted: list[tuple[float, int, str]] = []
    for position, item in enumerate(header[:200].split(",")):
        tag, _, parameters = item.strip().partition(";")
        quality = parameters.strip().removeprefix("q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            weight = 0.0
        if weight > 0:
            weighted.append((-weight, position, tag.strip().lower()))
    return _first_known([tag for _, _, tag in sorted(weighted)]) or "en"


def use_for_process(language: str) -> None:
    """Make gettext's own functions (and libraries that call them) speak ``language`` in this process."""
    os.environ["LANGUAGE"] = language
    gettext.bindtextdomain(DOMAIN, str(LOCALE_DIR))
    gettext.textdomain(DOMAIN)


def _first_known(tags: list[str]) -> str | None:
    for tag in tags:
        short = tag.replace("_", "-").split("-")[0].split(".")[0]
        if short in LANGUAGES:
            return short
    return None
