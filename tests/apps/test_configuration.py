"""The configuration file: what it says reaches the services, what it cannot say is refused by the key's name."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from valija.apps.config import Configuration, load_configuration
from valija.apps.language import translate
from valija.apps.machine import SystemClock, build
from valija.domain.errors import ConfigurationError
from valija.domain.retry_schedule import RetrySchedule
from valija.store.memory import MemoryStore


def _load(directory: Path, text: str) -> Configuration:
    file = directory / "valija.toml"
    file.write_text(text, "utf-8")
    return load_configuration(file)


def test_nothing_said_is_the_usual_schedule(tmp_path: Path) -> None:
    """Minutes, then hours, for five days."""
    assert _load(tmp_path, "").gateway.schedule() == RetrySchedule()


async def test_the_schedule_of_the_file_is_the_dispatchers(tmp_path: Path) -> None:
    """Delays and lifetime."""
    configuration = _load(tmp_path, "[gateway]\nretry_delays_s = [30, 600]\nlifetime_hours = 1.5\n")
    machine = build(configuration, MemoryStore(), SystemClock(), tmp_path)
    assert machine.gateway.dispatcher.schedule == RetrySchedule((30, 600), timedelta(minutes=90))
    await machine.http.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gateway.tls.smtp]\ncertificate = 'a.pem'\n", "gateway.tls.smtp.key: is missing"),
        ("[gateway]\nkey = 'a.key'\n", "gateway.certificate: is missing"),
        ("[web]\ncertificate = 'a.pem'\n", "web.key: is missing"),
        ("[gateway]\nmay_send_as = ['@a.test', 'ana']\n", "gateway.may_send_as: ana is no address and no @domain"),
        ("[gateway.tls.smpt]\nlegacy = true\n", "gateway.tls.smtp?"),
        ("[gateway.tls.smtp]\nlegcy = true\n", "gateway.tls.smtp.legacy?"),
    ],
)
def test_half_a_certificate_and_unknown_listeners_are_refused(tmp_path: Path, text: str, words: str) -> None:
    """By the key's name, or the nearest one."""
    with pytest.raises(ConfigurationError) as refused:
        _load(tmp_path, text)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ("retry_delays_s = []", "gateway.retry_delays_s", "de 1 a 20 números"),
        ("retry_delays_s = [1]", "gateway.retry_delays_s", "de 1 a 20 números"),
        ("retry_delays_s = [600, 60]", "gateway.retry_delays_s", "de 1 a 20 números"),
        ("lifetime_hours = 121", "gateway.lifetime_hours", "cinco minutos a cinco días"),
        ("lifetime_hours = 0", "gateway.lifetime_hours", "cinco minutos a cinco días"),
        ("lifetime_hours = inf", "gateway.lifetime_hours", "finite number"),
        ("lifetime_days = 1", "gateway.lifetime_days", "no se conoce"),
        ("report_copy_to = 'ana'", "gateway.report_copy_to", "debe ser una dirección de correo"),
    ],
)
def test_what_the_gateway_cannot_do_is_refused_by_its_key(tmp_path: Path, line: str, key: str, words: str) -> None:
    """Tries too often, backwards, without end; reports to who has no address."""
    with pytest.raises(ConfigurationError) as refused:
        _load(tmp_path, f"[gateway]\n{line}\n")
    said = translate(refused.value.what, "es")
    assert key in said
    assert words in said
