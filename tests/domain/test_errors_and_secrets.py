"""Errors have a code, an exit status and a cure; secrets cannot be printed."""

from __future__ import annotations

import json
import logging
import pickle
import time
import traceback
from dataclasses import dataclass

import pytest

from valija.domain import errors
from valija.domain.account import Setting
from valija.domain.errors import FieldProblem, InvalidFields, ValijaError
from valija.domain.settings import PopSettings, SmtpSettings, parse_changes, uses_implicit_tls
from valija.domain.text import Message, message
from valija.secret import Secret

ALL = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, ValijaError)]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_an_exit_status_and_an_http_status(kind: type[ValijaError]) -> None:
    """2 wrong use, 3 consent, 4 operator, 5 later; never a success."""
    assert kind.exit_status in (2, 3, 4, 5)
    assert 400 <= kind.http_status < 600
    assert kind.code


def test_codes_are_distinct() -> None:
    """Programs tell errors apart by code."""
    assert len({kind.code for kind in ALL}) == len(ALL)


def test_a_message_with_braces_in_its_values_is_not_filled_twice() -> None:
    """What people and servers say may hold braces."""
    assert str(message("Words: {words}", words="{0} {evil!r}")) == "Words: {0} {evil!r}"
    assert str(InvalidFields((FieldProblem("a{b}", Message("c {d}")),))) == "a{b} c {d}"


@dataclass
class _Holder:
    token: Secret


def test_a_secret_shows_nowhere() -> None:
    """Printing, formatting, logging, serialising, and what holds it."""
    secret = Secret("planted")
    seen = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r}",
        f"{secret:>20}",
        repr(_Holder(secret)),
    ]
    seen += [
        repr([secret]),
        repr({"k": secret}),
        repr((secret,)),
        repr(logging.LogRecord("x", 20, "x", 1, "%s", (secret,), None).getMessage()),
    ]
    try:
        raise ValueError(secret)
    except ValueError:
        seen.append(traceback.format_exc())
    assert "planted" not in " ".join(seen)
    assert secret.reveal() == "planted"


@pytest.mark.parametrize("leak", [json.dumps, pickle.dumps])
def test_a_secret_cannot_be_serialised(leak: object) -> None:
    """By accident, into a file or an answer."""
    with pytest.raises(TypeError):
        leak(Secret("planted"))  # type: ignore[operator]


def test_secrets_compare_by_value() -> None:
    """In constant time; and are not equal to plain text."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_settings_have_the_manuals_defaults() -> None:
    """587 and 995, 20 s, 5 min, TLS on."""
    smtp, pop = SmtpSettings(), PopSettings()
    assert (smtp.port, smtp.timeout, smtp.tls) == (587, 20, True)
    assert (pop.port, pop.timeout, pop.tls, pop.check_interval) == (995, 20, True, 5)


@pytest.mark.parametrize(
    ("field", "good"),
    [
        ("port", [1, 65535, "25"]),
        ("timeout", [1, 600]),
        ("check_interval", [0, 480]),
        ("server", ["a.b", "a.b.", "a-b_c.x", "x" * 63 + ".y", "10.0.0.1", "::1", ""]),
    ],
)
def test_what_fits_is_taken(field: str, good: list[object]) -> None:
    """The ends of every range."""
    for value in good:
        parse_changes(PopSettings(), {field: value})


@pytest.mark.parametrize(
    "server", ["a" * 30 + "!", "mail.a-company-with-a-long-name.example.com:587", "a" * 64 + ".x", "a..b"]
)
def test_a_server_that_is_none_is_refused_in_no_time(server: str) -> None:
    """A port that was pasted with it, a label that is too long: there is one way to read a name, not 2 to the n."""
    begun = time.perf_counter()
    with pytest.raises(InvalidFields):
        parse_changes(PopSettings(), {"server": server})
    assert time.perf_counter() - begun < 1


def test_all_problems_are_named_at_once() -> None:
    """A person mends a form once, not field by field."""
    with pytest.raises(InvalidFields) as caught:
        parse_changes(SmtpSettings(), {"port": 0, "timeout": 900, "server": "a b", "sender_name": "ok"})
    assert {p.field for p in caught.value.problems} == {"port", "timeout", "server"}


def test_a_password_keeps_the_spaces_at_its_ends() -> None:
    """They belong to it."""
    changed = parse_changes(SmtpSettings(), {"password": " pass word "})
    assert changed.password == Secret(" pass word ")


@pytest.mark.parametrize(("port", "implicit"), [(465, True), (995, True), (587, False), (25, False), (10995, None)])
def test_when_tls_begins(port: int, implicit: bool | None) -> None:
    """465 and 995 at once, the other registered ports by command; any other is found out."""
    assert uses_implicit_tls(parse_changes(SmtpSettings(), {"port": port})) is implicit


def test_settings_are_named_as_scripts_know_them() -> None:
    """These names are for ever."""
    assert [s.value for s in Setting] == ["smtp", "internet-fax", "email-print", "email-status"]
