"""The server's side of SMTP and what only some devices need, or do."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hosts import SMTP_POLICY, SmtpHost
from hypothesis import given
from hypothesis import strategies as st
from talk import MANY, cut, cuts

from valija.protocol.dot_stuffing import LooseDotUnstuffer
from valija.protocol.smtp_server import LINE_LIMIT
from valija.protocol.smtp_server_events import SmtpPolicy

OPEN = replace(SMTP_POLICY, auth_required=False, auth_needs_tls=False)
BEGIN = b"EHLO x\r\nMAIL FROM:<ana@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"
EVIL = b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<victim@x.test>\r\nDATA\r\nsmuggled\r\n.\r\n"
BARE_ENDS = [b"\n.\n", b"\r\n.\n", b"\n.\r\n"]


def loose(policy: SmtpPolicy = OPEN) -> SmtpHost:
    """Return a server for a device whose messages end with bare LF too."""
    host = SmtpHost(policy)
    host.core.lf_ends_message = True
    return host


@pytest.mark.parametrize("octet_by_octet", [False, True])
@pytest.mark.parametrize("end", BARE_ENDS)
def test_a_bare_end_ends_the_message_of_who_needs_it_and_the_session(end: bytes, octet_by_octet: bool) -> None:
    """What follows it in the same packet is dropped: nothing is smuggled in behind it."""
    host = loose()
    said = host.receive(BEGIN)
    data = b"Subject: fax\n\nline\n..dot" + end + EVIL
    for piece in cut(data, [1] * len(data) if octet_by_octet else []):
        said += host.receive(piece)
    assert [body for _sender, _to, body in host.messages] == [b"Subject: fax\n\nline\n.dot" + end[: end.index(b".")]]
    assert said.endswith(b"250 2.0.0 Taken\r\n")
    assert host.closed


def test_a_proper_end_leaves_the_session_open_even_so() -> None:
    """And what follows is the next command."""
    host = loose()
    host.receive(BEGIN + b"a\r\n..b\r\n.\r\n")
    assert host.messages == [("ana@x.test", ("b@x.test",), b"a\r\n.b\r\n")]
    assert not host.closed
    assert host.receive(b"NOOP\r\n").startswith(b"250")


LINES = st.lists(
    st.binary(max_size=9).map(lambda b: b.replace(b".", b"-").replace(b"\n", b"-")) | st.just(b"..x"), max_size=8
)


@given(LINES, st.sampled_from([b"\n", b"\r\n"]), st.sampled_from([*BARE_ENDS, b"\r\n.\r\n"]), cuts)
@MANY
def test_any_body_comes_out_whole_however_it_is_cut(
    lines: list[bytes], line_end: bytes, end: bytes, lengths: list[int]
) -> None:
    """Up to the end, in either form; a dot at a line's beginning goes."""
    sent = line_end.join([b"first", *lines, b"last"])
    unstuffer, out, rest = LooseDotUnstuffer(), b"", b""
    for piece in cut(sent + end + b"NEXT", lengths):
        if unstuffer.done:
            rest += piece
            continue
        given_out, rest = unstuffer.feed(piece)
        out += given_out
    assert (unstuffer.done, rest) == (True, b"NEXT")
    assert unstuffer.ended_bare == (end != b"\r\n.\r\n")
    assert out == sent.replace(b"\n.", b"\n") + end[: end.index(b".")]


def test_log_ins_are_offered_in_the_old_form_too_where_that_is_wanted() -> None:
    """``AUTH=``: very old clients look for nothing else."""
    said = SmtpHost(replace(OPEN, mechanisms=("PLAIN", "LOGIN"), old_auth_line=True)).receive(b"EHLO x\r\n")
    assert b"250-AUTH PLAIN LOGIN\r\n250 AUTH=PLAIN LOGIN\r\n" in said


def test_cram_md5_is_never_offered_and_a_device_that_asks_can_go_on_with_login() -> None:
    """It would need passwords that can be read."""
    host = SmtpHost(OPEN)
    assert b"CRAM" not in host.receive(b"EHLO x\r\n")
    assert host.receive(b"AUTH CRAM-MD5\r\n").startswith(b"504")
    assert host.receive(b"AUTH LOGIN\r\nYW5h\r\n").startswith(b"334 ")
    assert host.receive(base64.b64encode(b"open sesame") + b"\r\n").startswith(b"235")


def test_a_long_line_of_auth_is_taken() -> None:
    """RFC 4954 section 4.1: up to 12,288 octets."""
    host = SmtpHost(OPEN)
    host.receive(b"EHLO x\r\n")
    proof = base64.b64encode(b"\0ana\0" + b"x" * 8000)
    assert len(proof) + 11 < LINE_LIMIT
    assert host.receive(b"AUTH PLAIN " + proof + b"\r\n").startswith(b"535")
    assert host.logins[0].user == "ana"


def test_data_without_line_ends_has_no_limit_but_the_messages() -> None:
    """Attachments in base64 that were never folded."""
    host = SmtpHost(replace(OPEN, size_limit=2_000_000))
    host.receive(BEGIN)
    for _piece in range(15):
        host.receive(b"QUJD" * 25_000)
    assert host.receive(b"\r\n.\r\n").startswith(b"250")
    assert len(host.messages[0][2]) == 1_500_002


def test_a_device_that_resets_before_each_message_is_served_and_a_storm_ends() -> None:
    """The limit is on commands that bring no message forward."""
    host = SmtpHost(OPEN)
    host.receive(b"EHLO x\r\n")
    for _message in range(200):
        said = host.receive(b"RSET\r\n" + BEGIN[8:] + b"hello\r\n.\r\n")
        assert said.endswith(b"250 2.0.0 Taken\r\n")
    assert b"421" not in host.receive(b"RSET\r\n" * 90)
    assert b"421" in host.receive(b"RSET\r\n" * 20)


def test_a_device_that_waits_for_nothing_is_understood() -> None:
    """Commands before the greeting, the message right after DATA, QUIT right after the dot."""
    host = SmtpHost(OPEN)
    host.receive(BEGIN + b"Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n")
    assert host.messages == [("ana@x.test", ("b@x.test",), b"Subject: x\r\n\r\nhello\r\n")]
    assert host.closed


def test_a_log_in_stays_when_the_device_says_ehlo_again() -> None:
    """Some do, right after it."""
    host = SmtpHost(replace(OPEN, auth_required=True))
    host.receive(b"EHLO x\r\nAUTH PLAIN " + base64.b64encode(b"\0ana\0open sesame") + b"\r\n")
    assert host.receive(b"EHLO x\r\nMAIL FROM:<a@x.test>\r\n").endswith(b"250 2.1.0 OK\r\n")
