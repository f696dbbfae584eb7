"""What servers and providers say is explained: a test for every row of the tables, and for the cases that cost people days."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from valija.domain.explanations import Effect
from valija.domain.trouble import WhoActs
from valija.net.data_files import read_error_table, read_explainer

SOURCE = Path(__file__).resolve().parents[2] / "src" / "valija"
EXPLAINER = read_explainer()
ROWS = tomllib.loads((SOURCE / "domain/reply_table.toml").read_text("utf-8"))["reply"]
OWN = tomllib.loads((SOURCE / "domain/explanations.toml").read_text("utf-8"))


def _example(pattern: str | None, otherwise: str) -> str:
    """Return a text that a simple regular expression of the tables fits."""
    if pattern is None:
        return otherwise
    text = re.sub(r"\[(\d)(?:\d|-\d)*\]", r"\1", pattern).split("|")[0]
    text = re.sub(r"\\d\+?|\[0-9\]\+?", "1", text)
    text = re.sub(r"\(\?:|[()^$?]", "", text).replace(r"\.", ".").replace(".*", " ").replace("\\", "")
    return text if re.search(pattern, text, re.IGNORECASE) else ""


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_every_row_is_reached_by_its_own_example_and_explains(number: int) -> None:
    """No row is hidden by one before it; meaning and cure are sentences; somebody acts or time does."""
    row = ROWS[number]
    code = _example(row.get("code"), "550" if row["protocol"] == "smtp" else "")
    enhanced, text = _example(row.get("enhanced"), ""), _example(row.get("text"), "no")
    found = EXPLAINER.classify(row["protocol"], row.get("stage", "anything"), code, enhanced, text)
    wanted = EXPLAINER.rows[number]
    assert found is wanted or found.explanation.reason == row["reason"], (
        code,
        enhanced,
        text,
        found.explanation.reason,
    )
    for sentence in (wanted.explanation.meaning, wanted.explanation.cure):
        assert sentence.rstrip()[-1:] or sentence == ""
        assert sentence[:1].isupper()


SAID: list[tuple[str, str, str, str, str, str, str]] = [
    # protocol, stage, code, enhanced, what the server says, reason, who acts
    *(
        ("smtp", stage, code, enhanced, text, reason, who)
        for stage, code, enhanced, text, reason, who in [
            (
                "auth",
                "535",
                "5.7.139",
                "Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
                "smtp_auth_disabled",
                "administrator",
            ),
            (
                "auth",
                "535",
                "5.7.139",
                "Authentication unsuccessful, locked by your organization's security defaults policy.",
                "security_defaults",
                "administrator",
            ),
            ("auth", "535", "5.7.3", "Authentication unsuccessful", "login_refused", "operator"),
            ("auth", "454", "4.7.0", "Temporary authentication failure", "login_later", "nobody"),
            (
                "data",
                "432",
                "4.3.2",
                "Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending",
                "too_many_connections",
                "nobody",
            ),
            (
                "data",
                "554",
                "5.2.252",
                "SendAsDenied; scan@x not allowed to send as ana@x",
                "send_as_denied",
                "operator",
            ),
            (
                "mail",
                "550",
                "5.7.60",
                "Client does not have permissions to send as this sender",
                "send_as_denied",
                "operator",
            ),
            ("rcpt", "550", "5.1.1", "User unknown", "recipient_refused", "user"),
            ("rcpt", "552", "5.2.2", "<luis@x>: Mailbox is full / Quota exceeded", "mailbox_full", "user"),
            ("rcpt", "452", "4.2.2", "<luis@x>: Mailbox is full", "mailbox_full", "user"),
            ("rcpt", "452", "4.5.3", "Too many recipients", "too_many_recipients", "nobody"),
            ("rcpt", "552", "5.5.3", "Too many recipients", "too_many_recipients", "nobody"),
            ("rcpt", "452", "4.3.1", "Insufficient system storage", "server_busy", "nobody"),
            ("rcpt", "554", "5.7.1", "<luis@y>: Relay access denied", "relay_denied", "operator"),
            ("rcpt", "550", "5.7.54", "SMTP; Unable to relay recipient", "relay_denied", "operator"),
            ("rcpt", "550", "5.7.1", "Relaying denied", "relay_denied", "operator"),
            ("data", "552", "5.3.4", "Message size exceeds fixed limit", "message_too_large", "user"),
            ("rcpt", "451", "4.7.1", "Greylisted", "server_busy", "nobody"),
        ]
    ),
    (
        "pop3",
        "auth",
        "AUTH",
        "",
        "Authentication failure: unknown user name or bad password.",
        "login_refused",
        "operator",
    ),
    ("pop3", "auth", "IN-USE", "", "Mailbox is locked", "maildrop_in_use", "nobody"),
    ("pop3", "auth", "LOGIN-DELAY", "", "too early", "login_delay", "nobody"),
]


@pytest.mark.parametrize("said", SAID, ids=lambda s: f"{s[0]} {s[2]} {s[3]} {s[4][:25]}")
def test_what_real_servers_say(said: tuple[str, str, str, str, str, str, str]) -> None:
    """Exchange, Gmail, Dovecot: the reason and who must act."""
    protocol, stage, code, enhanced, text, reason, who = said
    found = EXPLAINER.classify(protocol, stage, code, enhanced, text).explanation
    assert (found.reason, found.who_acts.value) == (reason, who)


@pytest.mark.parametrize("reason", OWN)
def test_own_reasons_are_complete(reason: str) -> None:
    """This machine's own troubles say who acts and what to do."""
    found = EXPLAINER.explain(reason)
    assert found.meaning
    assert found.who_acts is WhoActs.NOBODY or found.cure


def test_every_reason_of_a_provider_is_explained() -> None:
    """What the error table calls a reason has an explanation."""
    for row in read_error_table().rows:
        assert EXPLAINER.explain(row.reason).meaning


@pytest.mark.parametrize("protocol", ["smtp", "pop3"])
@pytest.mark.parametrize("noise", [("599", "5.9.9", "?"), ("450", "4.9.9", "x" * 1000), ("500", "", "")])
def test_nothing_a_server_says_is_without_explanation(protocol: str, noise: tuple[str, str, str]) -> None:
    """The tables end with rows that fit everything; a 4yz is never taken for good."""
    row = EXPLAINER.classify(protocol, "quit", *noise)
    assert row.explanation.meaning
    if protocol == "smtp" and noise[0].startswith("4"):
        assert row.effect is Effect.RETRY


def test_tables_have_no_unknown_keys() -> None:
    """A misspelt condition would fit everything."""
    known: set[str] = {
        "protocol",
        "stage",
        "code",
        "enhanced",
        "text",
        "reason",
        "effect",
        "who_acts",
        "meaning",
        "cure",
    }
    row: dict[str, Any]
    for row in ROWS:
        assert set(row) <= known
