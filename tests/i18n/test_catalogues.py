"""Both languages are complete, and say the words of the machine's printed manual."""

from __future__ import annotations

import ast
import gettext
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from babel.messages.catalog import Message

from valija.apps.language import LOCALE_DIR, from_accept_language, from_environment, translate

ROOT = Path(__file__).resolve().parent.parent.parent


def _load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("messages", ROOT / "tools" / "messages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["messages"] = module
    spec.loader.exec_module(module)
    return module


messages = _load_tool()
CATALOGUE = messages.load("es")
SENTENCES = messages.sentences()

MANUAL = {
    "Primary Server": "Servidor Primario",
    "Port Number": "Número de Puerto",
    "Timeout": "Tiempo de espera",
    "Sender Name": "Nombre Remit.",
    "Sender Address": "Dirección del Remitente",
    "Enable SSL/TLS": "Habilitar SSL/TLS",
    "Authentication Option": "Opción de autenticación",
    "Provider": "Proveedor",
    "Account Name": "Nombre de cuenta",
    "POP3 Server": "Servidor POP3",
    "Check Interval": "Intervalo de comprobación",
    "SMTP": "SMTP",
    "Internet Fax": "Internet Fax",
    "E-mail Print": "Impresión de correo",
    "E-mail Status": "Estado por correo",
    "OAuth 2.0": "OAuth 2.0",
    "Token": "Token",
    "Get Token": "Obtener token",
    "Delete": "Borrar",
    "Settings (Administrator)": "Ajustes (administrador)",
    "System Settings": "Configuraciones del sistema",
    "Network Settings": "Ajustes de red",
    "Service Settings": "Instalación de Servicios",
    "System Control": "Control del sistema",
    "E-mail Alert and Status": "Alerta y estado por correo",
    "SMTP Settings": "Ajustes SMTP",
    "Quick Settings": "Ajustes rápidos",
    "Initial Installation Settings": "Ajustes de instalación inicial",
    "Network Quick Settings": "Ajustes rápidos de red",
    "Image Send Settings": "Configuración Envío Imágenes",
    "Internet Fax Settings": "Ajustes de Internet Fax",
    "Server Settings": "Configuración del servidor",
    "Printer Settings": "Ajustes de la impresora",
    "E-mail Print Settings": "Ajustes de impresión de correo",
    "Not retrieved": "No se ha recuperado",
    "Waiting for authorization": "Esperando autorización",
    "Retrieved": "Recuperado",
    "Invalid": "No válido",
    "The setup cannot be completed on the web page.": "La configuración no se puede completar en la página web.",
    "Token update failed. Please delete the token and obtain it again.": (
        "La actualización del token ha fallado. Borre el token y obténgalo de nuevo."
    ),
}

LABELS_IN_SENTENCES = {
    "Get Token": "Obtener token",
    "Check Interval": "Intervalo de comprobación",
    **{label: MANUAL[label] for label in ("Account Name", "Authentication Option", "Enable SSL/TLS", "Sender Address")},
}

OWN = re.compile(r"(?<= )[A-ZÁÉÍÓÚÑ]{2,}\b")
AS_TYPED = re.compile(r"`[^`]*`|https?://\S+|(?<!\w)--[a-z][a-z-]*|valija [a-z]+ set [^:]*$|VALIJA_\w+|tls\.ca_file")


def _gaps(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w*(?:!r)?\}|%\(\w+\)s", text))


def _pairs() -> Iterator[tuple[str, str]]:
    for sentence in SENTENCES:
        entry = _entry(sentence)
        assert entry is not None, sentence
        one = (sentence,) if isinstance(sentence, str) else sentence
        two = (entry.string,) if isinstance(entry.string, str) else tuple(entry.string or ())
        yield from zip(one, two, strict=True)


def _entry(sentence: str | tuple[str, str]) -> Message | None:
    entry: Message | None = CATALOGUE.get(sentence[0] if isinstance(sentence, tuple) else sentence)
    return entry


def test_no_sentence_hides_inside_another() -> None:
    """What is marked inside an f-string is found by some Pythons and not by others."""
    hidden = [
        f"{path.name}:{call.lineno}"
        for path in messages.SOURCE.rglob("*.py")
        for outer in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(outer, ast.JoinedStr)
        for call in ast.walk(outer)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("N_", "_", "ngettext")
    ]
    assert hidden == []


def test_every_sentence_is_in_spanish_too() -> None:
    """Run ``python tools/messages.py`` and fill in what this names."""
    missing = []
    for sentence in SENTENCES:
        entry = _entry(sentence)
        strings = () if entry is None else entry.string if isinstance(entry.string, tuple | list) else (entry.string,)
        plural = isinstance(sentence, tuple)
        if len(strings) != (2 if plural else 1) or not all(strings):
            missing.append(sentence)
    assert missing == []


def test_every_translation_has_the_same_gaps() -> None:
    """A gap that is lost or misspelt would break the sentence where it is shown."""
    for english, spanish in _pairs():
        assert _gaps(english) == _gaps(spanish), english


def test_what_a_person_types_is_the_same_in_both() -> None:
    """A command, an option or an address is never translated; what stands for something of one's own (``NAME``) is."""
    for english, spanish in _pairs():
        typed = [[OWN.sub("…", found) for found in AS_TYPED.findall(text)] for text in (english, spanish)]
        assert typed[0] == typed[1], english


@pytest.mark.parametrize(("english", "spanish"), LABELS_IN_SENTENCES.items())
def test_a_sentence_that_names_a_label_names_it_as_the_manual_does(english: str, spanish: str) -> None:
    """Advice that sends a person to a field must be found on the screen."""
    found = [(one, two) for one, two in _pairs() if english in one]
    assert found
    assert [one for one, two in found if spanish not in two] == []


def test_nothing_stale_is_kept() -> None:
    """What the program no longer says is not in the catalogue."""
    said = {s[0] if isinstance(s, tuple) else s for s in SENTENCES}
    kept = {e.id[0] if isinstance(e.id, tuple | list) else e.id for e in CATALOGUE if e.id}
    assert kept - said == set()


@pytest.mark.parametrize(("english", "spanish"), MANUAL.items())
def test_the_printed_manuals_words_are_exact(english: str, spanish: str) -> None:
    """An operator who holds the printed manual finds each word."""
    assert english in SENTENCES
    assert translate(english, "es") == spanish
    assert translate(english, "en") == english


def test_the_compiled_catalogue_is_the_one_in_the_source() -> None:
    """What runs is what was translated."""
    compiled = gettext.translation("valija", LOCALE_DIR, ["es"])
    for sentence in SENTENCES:
        entry = _entry(sentence)
        assert entry is not None
        if isinstance(sentence, str):
            assert compiled.gettext(sentence) == entry.string
        else:
            one, many = sentence
            said = [compiled.ngettext(one, many, n) for n in (1, 2, 0)]
            assert said == [*(entry.string or ()), said[1]]


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("es-ES,es;q=0.9,en;q=0.8", "es"),
        ("en-GB", "en"),
        ("fr, es;q=0.5", "es"),
        ("", "en"),
        ("es;q=0, en", "en"),
        ("q=;,", "en"),
    ],
)
def test_accept_language(header: str, language: str) -> None:
    """The browser's wish is honoured by weight; anything else is English."""
    assert from_accept_language(header) == language


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"LANG": "es_ES.UTF-8"}, "es"),
        ({"LANG": "es_ES.UTF-8", "VALIJA_LANG": "en"}, "en"),
        ({"LC_ALL": "C", "LANG": "es_ES.UTF-8"}, "en"),
        ({}, "en"),
    ],
)
def test_language_of_the_shell(environment: dict[str, str], language: str) -> None:
    """VALIJA_LANG wins, then the usual variables in their order."""
    assert from_environment(environment) == language
