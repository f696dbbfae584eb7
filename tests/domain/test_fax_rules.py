"""Fax settings, addresses, lists of senders, and what answers come to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valija.domain.errors import InvalidFields
from valija.domain.fax import (
    AnswerKind,
    Confirmation,
    FaxAnswer,
    FaxSettings,
    file_to,
    forward_to,
    is_wanted,
    parse_fax_settings,
    settles,
    sum_up,
)
from valija.domain.fax_address import parse_fax_address
from valija.protocol.smtp_path import is_address


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"resend": 16}, "resend"),
        ({"resend": -1}, "resend"),
        ({"resend_every": 0}, "resend_every"),
        ({"resend_every": 16}, "resend_every"),
        ({"wait": 0}, "wait"),
        ({"profile": "j"}, "profile"),
        ({"profile": "s", "resolution": "superfine"}, "profile"),
        ({"paper": "b4"}, "profile"),
        ({"gateway": "http://gw"}, "gateway"),
        ({"senders": [f"a{n}@x.y" for n in range(51)]}, "senders"),
        ({"senders": ["nobody"]}, "senders"),
        ({"senders": 5}, "senders"),
        ({"forward": ["ana@x.y"]}, "forward"),
        ({"forward": ["@x.y: @z.w"]}, "forward"),
        ({"forward": [": faxes"]}, "forward"),
        ({"forward": [": /srv/../etc"]}, "forward"),
        ({"forward": [": /srv/a\u202eb"]}, "forward"),
        ({"forward": [": /" + "x" * 250]}, "forward"),
        ({"own_number": "abc"}, "own_number"),
        ({"nothing": 1}, "nothing"),
    ],
)
def test_what_is_out_of_its_limits_is_named(changes: dict[str, Any], field: str) -> None:
    """And nothing is applied."""
    with pytest.raises(InvalidFields) as caught:
        parse_fax_settings(FaxSettings(), changes)
    assert [problem.field for problem in caught.value.problems] == [field]


def test_limits_themselves_fit() -> None:
    """15 resends, every 15 minutes, 50 senders, as a list or as lines."""
    senders = "\n".join([f"A{n}@X.y" for n in range(49)] + ["@Junk.example", "@junk.example", " "])
    changes = {"resend": "15", "resend_every": 15, "senders": senders, "profile": "f", "paper": "b4"}
    found = parse_fax_settings(FaxSettings(), changes)
    assert (found.resend, found.resend_every, len(found.senders)) == (15, 15, 50)
    assert "a0@x.y" in found.senders


@pytest.mark.parametrize(
    ("junk", "sender", "wanted"),
    [
        ("off", "eva@junk.example", True),
        ("reject", "eva@junk.example", False),
        ("reject", "EVA@Junk.Example", False),
        ("reject", "eva@notjunk.example", True),
        ("reject", "bad@x.y", False),
        ("reject", "notbad@x.y", True),
        ("reject", "", True),
        ("allow", "eva@junk.example", True),
        ("allow", "ana@x.y", False),
        ("allow", "", False),
    ],
)
def test_the_list_rejects_or_allows(junk: str, sender: str, wanted: bool) -> None:
    """Addresses and @domains; large and small letters are one."""
    found = parse_fax_settings(FaxSettings(), {"junk": junk, "senders": ["@junk.example", "bad@x.y"]})
    assert is_wanted(found, sender) is wanted


def test_a_rule_hands_on_by_sender_and_never_back() -> None:
    """Each address once."""
    rules = ["@office.example: ana@x.y", ": all@x.y", "eva@office.example: ana@x.y", "luis@x.y: eva@x.y"]
    found = parse_fax_settings(FaxSettings(), {"forward": rules})
    assert forward_to(found, "Eva@office.example") == ("ana@x.y", "all@x.y")
    assert forward_to(found, "all@x.y") == ()
    assert forward_to(found, "") == ("all@x.y",)


def test_a_rule_may_name_a_folder_which_gets_no_mail() -> None:
    rules = ["@office.example: /srv/faxes/Año 2026", ": /srv/all", ": ana@x.y", "luis@x.y: /srv/all"]
    found = parse_fax_settings(FaxSettings(), {"forward": rules})
    assert file_to(found, "eva@office.example") == ("/srv/faxes/Año 2026", "/srv/all")
    assert file_to(found, "luis@x.y") == ("/srv/all",)
    assert forward_to(found, "eva@office.example") == ("ana@x.y",)


@pytest.mark.parametrize(
    ("text", "gateway", "mail", "number"),
    [
        ("ana@example.com", "", "ana@example.com", ""),
        ("FAX=+15551234567@gw.example", "", "FAX=+15551234567@gw.example", "+15551234567"),
        ("fax=273@host", "", "FAX=273@host", "273"),
        ("FAX=+1-555-123/T33S=12@gw", "", "FAX=+1555123/T33S=12@gw", "+1555123"),
        ("+34 (91) 123 45 67", "gw", "FAX=+34911234567@gw", "+34911234567"),
        ("FAX=+34911234567", "gw", "FAX=+34911234567@gw", "+34911234567"),
    ],
)
def test_addresses_of_faxes_are_read(text: str, gateway: str, mail: str, number: str) -> None:
    """As RFC 3192 and as people write them."""
    found = parse_fax_address(text, gateway)
    assert found is not None
    assert (found.mail, found.number) == (mail, number)
    assert is_address(found.mail)
    assert parse_fax_address(found.mail) == found


@pytest.mark.parametrize(
    "text", ["", "@", "FAX=", "FAX=@gw", "FAX=abc@gw", "+1555", "ana", "FAX=+1/T33S=@gw", "FAX=+1\r\nX@gw", "FAX=1@a b"]
)
def test_what_is_no_address_is_none(text: str) -> None:
    """A number without a gateway, too."""
    assert parse_fax_address(text) is None


@given(st.text(max_size=80), st.sampled_from(["", "gw.example"]))
def test_any_text_is_an_address_that_mail_can_carry_or_none(text: str, gateway: str) -> None:
    """Nothing can be injected."""
    found = parse_fax_address(text, gateway)
    assert found is None or is_address(found.mail)


def test_the_answer_that_says_most_counts() -> None:
    """Delivered, then processed; a delay says nothing; a refusal beats a delivery."""
    to = ("ana@x.y", "FAX=+1@gw")
    answers = [
        FaxAnswer("ANA@x.y", AnswerKind.DELIVERED),
        FaxAnswer("ana@x.y", AnswerKind.PROCESSED),
        FaxAnswer("ana@x.y", AnswerKind.DELAYED),
        FaxAnswer("FAX=+1@gw", AnswerKind.DELIVERED),
        FaxAnswer("FAX=+1@gw", AnswerKind.REFUSED, "no paper"),
        FaxAnswer("eva@x.y", AnswerKind.REFUSED),
    ]
    found = sum_up(to, answers)
    assert {who: answer.kind for who, answer in found.items()} == {
        "ana@x.y": AnswerKind.PROCESSED,
        "FAX=+1@gw": AnswerKind.REFUSED,
    }
    assert (
        sum_up(("list@x.y",), [FaxAnswer("member@x.y", AnswerKind.PROCESSED)])["list@x.y"].kind is AnswerKind.PROCESSED
    )


@pytest.mark.parametrize(
    ("kind", "confirmation", "settled"),
    [
        (AnswerKind.DELIVERED, Confirmation.DELIVERY, True),
        (AnswerKind.DELIVERED, Confirmation.PROCESSING, False),
        (AnswerKind.HANDED_ON, Confirmation.DELIVERY, True),
        (AnswerKind.DELAYED, Confirmation.DELIVERY, False),
        (AnswerKind.PROCESSED, Confirmation.DELIVERY, True),
        (AnswerKind.REFUSED, Confirmation.PROCESSING, True),
        (AnswerKind.NOT_DELIVERED, Confirmation.PROCESSING, True),
    ],
)
def test_an_answer_settles_what_was_asked_for(kind: AnswerKind, confirmation: Confirmation, settled: bool) -> None:
    """What is waited for may be more than a delivery."""
    assert settles(kind, confirmation) is settled
