"""Devices: who is known by what, and whose name may stand on the letter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valija.domain.device import (
    Device,
    Rewriting,
    SenderDecision,
    TlsPolicy,
    decide_sender,
    find_by_address,
    is_own,
    parse_device,
    qualify,
)
from valija.domain.device_hints import hint
from valija.domain.errors import InvalidFields
from valija.secret import Secret

RICOH = Device("ricoh", "Ricoh planta 2", "smtp")
MAILBOX = "scanner@example.com"


def test_changes_are_read_strictly_and_lists_as_people_type_them() -> None:
    """With commas, spaces or lines between; networks in their own form."""
    changes = {
        "name": " Ricoh planta 3 ",
        "ranges": "192.168.1.20, 192.168.2.7/24\n2001:db8:1::/64",
        "senders": ["ana@example.com", "@example.org", "ana@example.com"],
        "rewriting": "always",
        "tls": "legacy",
        "language": "es",
        "enabled": False,
    }
    device = parse_device(RICOH, changes, ["smtp"])
    assert device == Device(
        "ricoh",
        "Ricoh planta 3",
        "smtp",
        ranges=("192.168.1.20/32", "192.168.2.0/24", "2001:db8:1::/64"),
        senders=("ana@example.com", "@example.org"),
        rewriting=Rewriting.ALWAYS,
        tls=TlsPolicy.LEGACY,
        language="es",
        enabled=False,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("login", "Ricoh"),
        ("login", "r" * 33),
        ("login", ""),
        ("login", 7),
        ("name", ""),
        ("name", "a\nb"),
        ("name", "x" * 61),
        ("account", "nobody's"),
        ("ranges", "0.0.0.0/0"),
        ("ranges", "::/0"),
        ("ranges", "192.168.1.300"),
        ("ranges", "10.0.0.0/8"),
        ("ranges", ["10.0.0.1"] * 21),
        ("ranges", 5),
        ("senders", "nobody"),
        ("senders", "a@b@c"),
        ("senders", "@"),
        ("rewriting", "sometimes"),
        ("tls", None),
        ("language", "fr"),
        ("enabled", "perhaps"),
        ("password", "clear"),
        ("unknown", "1"),
    ],
)
def test_what_is_out_of_its_limits_is_refused_with_its_field(field: str, value: Any) -> None:
    """And a password is never set this way."""
    with pytest.raises(InvalidFields) as caught:
        parse_device(RICOH, {field: value}, ["smtp"])
    assert [problem.field for problem in caught.value.problems] == [field]


def test_the_narrowest_range_wins_and_two_equal_ones_are_nobody() -> None:
    """A machine that stands inside another one's range is itself."""
    floor = replace(RICOH, login="floor", ranges=("192.168.1.0/24",))
    one = replace(RICOH, login="one", ranges=("10.0.0.0/16", "192.168.1.20/32"))
    off = replace(RICOH, login="off", ranges=("192.168.1.21/32",), enabled=False)
    devices = [floor, one, off, RICOH]
    assert find_by_address(devices, "192.168.1.20") is one
    assert find_by_address(devices, "::ffff:192.168.1.20") is one
    assert find_by_address(devices, "192.168.1.21") is floor
    assert find_by_address(devices, "192.168.2.1") is None
    assert find_by_address([*devices, replace(one, login="two")], "192.168.1.20") is None
    logs_in = replace(one, login="two", password=Secret("hash"))
    assert find_by_address([logs_in, *devices], "192.168.1.20") is one
    assert find_by_address(devices, "not an address") is None
    assert find_by_address(devices, "fe80::1%eth0") is None


def test_the_cure_for_old_tls_leaves_a_device_the_addresses_that_it_has() -> None:
    """It was known by one of them; ``--range`` would take the others away."""
    error = "TLS: UNSUPPORTED_PROTOCOL"
    assert str(hint(error, login="ricoh", address="192.168.1.20")).endswith("valija device set ricoh --tls legacy")
    assert str(hint(error, login="ricoh")).endswith("--tls legacy --range ADDRESS")
    assert str(hint(error, address="192.168.1.20")).endswith("valija device accept 192.168.1.20")


def test_the_cure_for_a_sender_names_all_of_them() -> None:
    """``--sender`` puts a new list in the old one's place."""
    said = str(hint("may not send as b@example.com", login="ricoh"))
    assert "name all of them" in said
    assert said.endswith("valija device set ricoh --sender ADDRESS --sender ADDRESS")


def test_an_ipv6_address_that_holds_an_ipv4_one_is_that_one() -> None:
    """As many programs show it (RFC 4291 section 2.5.5.2): the device comes by IPv4."""
    device = parse_device(RICOH, {"ranges": ["::ffff:192.168.1.20", "::ffff:10.1.0.0/112"]}, ["smtp"])
    assert device.ranges == ("192.168.1.20/32", "10.1.0.0/16")
    assert find_by_address([device], "192.168.1.20") is device
    with pytest.raises(InvalidFields):
        parse_device(RICOH, {"ranges": ["::ffff:0.0.0.0/96"]}, ["smtp"])


@pytest.mark.parametrize(
    ("rewriting", "named", "decision"),
    [
        (Rewriting.FOREIGN, "Scanner@Example.com", SenderDecision(True, "Scanner@Example.com", in_head=True)),
        (Rewriting.FOREIGN, "alias@example.com", SenderDecision(True, "alias@example.com", in_head=True)),
        (Rewriting.FOREIGN, "printer@local", SenderDecision(True, MAILBOX, rewritten=True, in_head=True)),
        (Rewriting.FOREIGN, "", SenderDecision(True, "")),
        (Rewriting.ALWAYS, "alias@example.com", SenderDecision(True, MAILBOX, rewritten=True, in_head=True)),
        (Rewriting.ALWAYS, MAILBOX, SenderDecision(True, MAILBOX, in_head=True)),
        (Rewriting.ALWAYS, "", SenderDecision(True, "")),
        (Rewriting.NEVER, "printer@local", SenderDecision(True, "printer@local")),
    ],
)
def test_a_sender_that_the_mailbox_may_not_use_is_rewritten(
    rewriting: Rewriting, named: str, decision: SenderDecision
) -> None:
    """As the device is set."""
    device = replace(RICOH, rewriting=rewriting)
    assert decide_sender(device, named, MAILBOX, ("alias@example.com",)) == decision


def test_what_the_mailbox_may_send_as_stays_where_the_device_may_name_it() -> None:
    """An address, or all of a domain; not for a device that is always rewritten, nor past its own list."""
    rights = ("fax@example.com", "@sales.example.com")
    for address in ("Fax@example.com", "ana@SALES.example.com"):
        assert is_own(RICOH, rights, address)
        assert not is_own(replace(RICOH, rewriting=Rewriting.ALWAYS), rights, address)
        assert not is_own(replace(RICOH, senders=("luis@example.com",)), rights, address)
    assert not is_own(RICOH, rights, "boss@example.com")
    assert not is_own(RICOH, (), "fax@example.com")


def test_a_sender_that_is_not_allowed_is_refused() -> None:
    """Also one whose domain only ends alike, and the empty one."""
    device = replace(RICOH, senders=("ana@example.com", "@Example.org"))
    assert decide_sender(device, "ANA@example.com", MAILBOX).allowed
    assert decide_sender(device, "luis@example.ORG", MAILBOX).allowed
    for named in ("luis@example.com", "luis@notexample.org", "luis@example.org.evil.test", ""):
        assert not decide_sender(device, named, MAILBOX).allowed


@given(st.text(max_size=60), st.sampled_from(["login", "name", "ranges", "senders", "rewriting", "tls", "language"]))
def test_any_text_is_taken_or_refused(value: str, field: str) -> None:
    """What was taken can be found by, and is one line."""
    try:
        device = parse_device(RICOH, {field: value}, ["smtp"])
    except InvalidFields:
        return
    assert "\n" not in device.login + device.name
    find_by_address([device], "192.168.1.1")


@pytest.mark.parametrize(
    ("address", "mailbox", "expected"),
    [
        ("printer", "box@example.test", "printer@example.test"),
        ("printer", "", "printer"),
        ("", "box@example.test", ""),
        ("a@b.test", "box@example.test", "a@b.test"),
        ("victim%elsewhere.example", "box@example.test", "victim%elsewhere.example"),
        ("elsewhere.example!victim", "box@example.test", "elsewhere.example!victim"),
        ('"victim@elsewhere.example"', "box@example.test", '"victim@elsewhere.example"'),
    ],
)
def test_a_plain_name_gets_the_mailboxes_domain_and_nothing_else_does(
    address: str, mailbox: str, expected: str
) -> None:
    """What looks like a route has no meaning here."""
    assert qualify(address, mailbox) == expected
