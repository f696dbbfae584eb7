"""Our clients and our servers talk to each other, their octets cut anywhere."""

from __future__ import annotations

import re
from dataclasses import replace

from hosts import SMTP_POLICY, PopHost, Session, SmtpHost
from hypothesis import given
from hypothesis import strategies as st
from talk import BEARER, PASSWORD, STEADY, cuts

from valija.protocol import pop3_client as pop
from valija.protocol import smtp_client as smtp
from valija.protocol.dot_stuffing import DotUnstuffer
from valija.protocol.sasl import Credentials
from valija.protocol.smtp_transaction import Envelope, Recipient, Verdict, send_message
from valija.secret import Secret

LINES = st.lists(st.sampled_from([b"", b".", b"..", b".x", b"text", b"ends with CR\r", b"a\nb"]), max_size=12)
CREDENTIALS = st.sampled_from([BEARER, PASSWORD])
MECHANISM_SETS = st.sampled_from([("XOAUTH2", "PLAIN"), ("OAUTHBEARER", "LOGIN")])


def normal(body: bytes) -> bytes:
    """Return a body as it arrives: CRLF at the end of each line."""
    body = re.sub(rb"\r\n|\r|\n", b"\r\n", body)
    return body if not body or body.endswith(b"\r\n") else body + b"\r\n"


def open_smtp(session: Session, credentials: Credentials, *, tls: bool) -> smtp.Capabilities:
    """Greet, secure, log in."""
    capabilities = session.run(smtp.greet("box.test")).value
    assert isinstance(capabilities, smtp.Capabilities)
    if tls:
        assert capabilities.has("STARTTLS")
        capabilities = session.run(smtp.start_tls("box.test")).value
        assert isinstance(capabilities, smtp.Capabilities)
    assert isinstance(session.run(smtp.authenticate(capabilities, credentials)).value, smtp.AuthAccepted)
    return capabilities


@STEADY
@given(LINES, cuts, cuts, CREDENTIALS, MECHANISM_SETS, st.booleans(), st.booleans())
def test_messages_go_over_one_authenticated_connection_and_arrive_as_they_were(
    lines: list[bytes],
    to_server: list[int],
    to_client: list[int],
    credentials: Credentials,
    mechanisms: tuple[str, ...],
    tls: bool,
    pipelining: bool,
) -> None:
    host = SmtpHost(replace(SMTP_POLICY, mechanisms=mechanisms), secure=not tls)
    body = b"\r\n".join(lines)
    session = Session(host, to_server, to_client, body)
    capabilities = open_smtp(session, credentials, tls=tls)
    if not pipelining:
        capabilities = smtp.Capabilities({k: v for k, v in capabilities.keywords.items() if k != "PIPELINING"})
    recipients = (Recipient("b@x.test"), Recipient("nobody@x.test"), Recipient("josé@x.test"))
    for _message in range(2):
        found = session.run(send_message(capabilities, Envelope("ana@x.test", recipients, len(body)))).value
        assert [o.verdict for o in found.outcomes] == [Verdict.ACCEPTED, Verdict.FAILED, Verdict.ACCEPTED]
        assert found.reusable
    assert host.messages == [("ana@x.test", ("b@x.test", "josé@x.test"), normal(body))] * 2
    assert len(host.logins) == 1
    session.run(smtp.say_goodbye())
    assert host.closed


@STEADY
@given(cuts, cuts, st.booleans())
def test_when_all_recipients_are_refused_the_next_message_goes_over_the_same_connection(
    to_server: list[int], to_client: list[int], pipelining: bool
) -> None:
    host = SmtpHost()
    session = Session(host, to_server, to_client, b"Hi")
    capabilities = open_smtp(session, BEARER, tls=False)
    if not pipelining:
        capabilities = smtp.Capabilities({"SIZE": "100"})
    refused = session.run(send_message(capabilities, Envelope("a@x.test", (Recipient("no@x.test"),), 2))).value
    assert [o.verdict for o in refused.outcomes] == [Verdict.FAILED]
    assert refused.reusable
    taken = session.run(send_message(capabilities, Envelope("a@x.test", (Recipient("b@x.test"),), 2))).value
    assert [o.verdict for o in taken.outcomes] == [Verdict.ACCEPTED]
    assert len(host.messages) == 1


def test_the_parameters_of_an_envelope_reach_the_server() -> None:
    host = SmtpHost()
    session = Session(host, body=b"Hi")
    capabilities = open_smtp(session, BEARER, tls=False)
    with_dsn = smtp.Capabilities({**capabilities.keywords, "DSN": ""})
    recipient = Recipient("josé@x.test", "SUCCESS,FAILURE", "b@x.test")
    envelope = Envelope("ana@x.test", (recipient,), 2, eight_bit=True, envelope_id="a b", ret="HDRS")
    session.run(send_message(with_dsn, envelope))
    assert host.parameters == [
        {"SIZE": "2", "BODY": "8BITMIME", "SMTPUTF8": "", "RET": "HDRS", "ENVID": "a+20b"},
        {"NOTIFY": "SUCCESS,FAILURE", "ORCPT": "rfc822;b@x.test"},
    ]


def test_a_bad_token_is_refused_with_the_servers_error_challenge_and_the_session_goes_on() -> None:
    session = Session(SmtpHost())
    capabilities = session.run(smtp.greet("box.test")).value
    assert isinstance(capabilities, smtp.Capabilities)
    for mechanism in ("XOAUTH2", "OAUTHBEARER"):
        bad = replace(BEARER, token=Secret("bad"))
        found = session.run(smtp.authenticate(capabilities, bad, (mechanism,))).value
        assert isinstance(found, smtp.AuthRefused)
        assert (found.mechanism, found.reply.enhanced) == (mechanism, "5.7.8")
        assert found.challenge is not None
        assert (found.challenge.status, found.challenge.scope) == ("401", "smtp")
    assert isinstance(session.run(smtp.authenticate(capabilities, BEARER)).value, smtp.AuthAccepted)


def retrieve(session: Session, host: PopHost, number: int) -> bytes:
    """Fetch a message past the session's own reader, as a driver does: straight from the server."""
    said = host.receive(b"RETR %d\r\n" % number)
    status, _end, data = said.partition(b"\r\n")
    assert pop.parse_status(status).ok
    body, rest = DotUnstuffer().feed(data)
    assert rest == b""
    return body


@STEADY
@given(st.lists(LINES.map(b"\r\n".join), max_size=4), cuts, cuts, CREDENTIALS, st.booleans())
def test_a_maildrop_is_listed_fetched_and_emptied(
    messages: list[bytes], to_server: list[int], to_client: list[int], credentials: Credentials, tls: bool
) -> None:
    host = PopHost(messages, secure=not tls)
    session = Session(host, to_server, to_client)
    capabilities = session.run(pop.greet()).value
    assert isinstance(capabilities, pop.PopCapabilities)
    assert capabilities.stls == tls
    if tls:
        capabilities = session.run(pop.start_tls()).value
        assert isinstance(capabilities, pop.PopCapabilities)
    assert isinstance(session.run(pop.authenticate(capabilities, credentials)).value, pop.PopAuthAccepted)
    assert session.run(pop.ask_stat()).value == pop.Maildrop(len(messages), sum(map(len, messages)))
    ids = session.run(pop.ask_unique_ids()).value
    assert ids == [(n + 1, f"uid-{n}") for n in range(len(messages))]
    for number, message in enumerate(messages, 1):
        assert retrieve(session, host, number) == normal(message)
    assert session.run(pop.ask_deletions(range(1, len(messages) + 1), capabilities)).value == []
    assert session.run(pop.say_goodbye()).value.ok
    assert host.deleted == (tuple(range(len(messages))) or None)


def test_a_bad_token_is_refused_by_pop3_with_the_servers_error_challenge() -> None:
    session = Session(PopHost())
    capabilities = session.run(pop.greet()).value
    assert isinstance(capabilities, pop.PopCapabilities)
    found = session.run(pop.authenticate(capabilities, replace(BEARER, token=Secret("bad")))).value
    assert isinstance(found, pop.PopAuthRefused)
    assert (found.status.code, found.challenge and found.challenge.scope) == ("AUTH", "pop")
