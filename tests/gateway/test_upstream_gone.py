"""The server goes away at every step of a delivery: nothing is lost, and a second copy only where nobody can know."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trustme
from quick_sender import Client, code
from running_gateway import HurryClock, RunningGateway, upstream_fixture
from upstream import STEPS, Fault, Upstream, Visit

from valija.net import smtp

upstream = upstream_fixture
SPEED = 100.0
PATIENCE_S = 1
BEFORE_THE_DOT = [step for step in STEPS if step not in ("body", "QUIT")]
WHILE_OPENING = ("greeting", "EHLO", "STARTTLS", "handshake", "EHLO inside", "AUTH", "credentials")
Start = Callable[..., Coroutine[Any, Any, RunningGateway]]


class Once:
    """A fault that happens once, at one step."""

    def __init__(self, step: str, when: str, what: str | bytes) -> None:
        self._place = (step, when)
        self._what = what
        self.happened = False

    def __call__(self, _visit: Visit, step: str, when: str) -> str | bytes | None:
        if self.happened or (step, when) != self._place:
            return None
        self.happened = True
        return self._what


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts a gateway in front of an upstream, with an open door."""
    monkeypatch.setattr(smtp, "FINAL_REPLY_TIMEOUT_S", PATIENCE_S)
    started: list[RunningGateway] = []

    async def begin(upstream: Upstream, authority: Path | None = None) -> RunningGateway:
        clock = HurryClock(SPEED)
        gateway = RunningGateway(tmp_path, upstream.port, clock=clock, timeout_s=PATIENCE_S, retry_delays_s=[10])
        if authority is not None:
            gateway.logging_in(authority)
        started.append(await gateway.start())
        await gateway.open_door()
        return gateway

    yield begin
    for gateway in started:
        await gateway.stop()


async def _hand_in(gateway: RunningGateway, *recipients: str, size: int = 100) -> None:
    async with await Client.connect(gateway.port) as client:
        message = b"Message-ID: <1@device.test>\r\n\r\n" + (b"0123456789abcdef" * 40 + b"\r\n") * (size // 642)
        assert code(await client.hand_in("scanner@x.test", recipients or ("b@x.test",), message)) == 250


async def _try(start: Start, upstream: Upstream, fault: Fault) -> list[str]:
    """Send one message through a fault; return what befell it until it was delivered."""
    upstream.fault = fault
    gateway = await start(upstream)
    await _hand_in(gateway)
    await gateway.until_all_delivered()
    return await gateway.history()


@pytest.mark.parametrize(
    ("step", "what"),
    [(step, what) for step in BEFORE_THE_DOT for what in ("close", "reset", "half")]
    + [("greeting", "silence"), ("RCPT", "silence"), ("DATA", "silence")],
)
@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "one by one"])
async def test_a_server_gone_before_the_final_dot_gets_the_message_once_and_later(
    start: Start, step: str, what: str, pipelining: bool
) -> None:
    """Whatever it was about to say: one copy, and never a doubt."""
    fault = Once(step, "before", what)
    upstream = await Upstream(pipelining=pipelining).start()
    history = await _try(start, upstream, fault)
    assert fault.happened
    assert len(upstream.taken("<1@device.test>")) == 1
    assert "in_doubt" not in history
    await upstream.stop()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """What a server with TLS and a log-in needs, and the file of its authority."""
    authority, file = trustme.CA(), tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context, file


@pytest.mark.parametrize(
    ("step", "what"),
    [(step, "close") for step in WHILE_OPENING]
    + [(step, "half") for step in WHILE_OPENING if step != "handshake"]
    + [(step, "reset") for step in ("handshake", "credentials")]
    + [(step, "silence") for step in ("STARTTLS", "credentials")],
)
async def test_a_server_gone_while_it_is_logged_in_to_costs_no_try_and_gets_the_message_once(
    start: Start, secure: tuple[ssl.SSLContext, Path], step: str, what: str
) -> None:
    """In clear, in the handshake, inside TLS: it is the server's moment, nobody's password is at fault, no mail is held."""
    context, authority = secure
    fault = Once(step, "before", what)
    upstream = await Upstream(fault, tls=context).start()
    gateway = await start(upstream, authority)
    await _hand_in(gateway)
    await gateway.until_all_delivered()
    assert fault.happened
    assert len(upstream.taken("<1@device.test>")) == 1
    assert await gateway.history() == []
    assert await gateway.store.queue.gate_history("smtp") == []
    await upstream.stop()


@pytest.mark.parametrize("step", BEFORE_THE_DOT)
async def test_a_server_gone_right_after_a_reply_gets_the_message_once_and_later(
    start: Start, upstream: Upstream, step: str
) -> None:
    """The reply was read, the next command finds nobody."""
    history = await _try(start, upstream, Once(step, "after", "close"))
    if step == "DATA":  # the dot was sent before the end could be noticed: from here nobody can know
        assert history in ([], ["in_doubt"], ["try_failed"])
    else:
        assert "in_doubt" not in history
    assert len(upstream.taken("<1@device.test>")) == 1


@pytest.mark.parametrize("what", ["close", "reset", "half", "silence"])
async def test_a_server_gone_after_the_final_dot_leaves_a_doubt_and_gets_the_same_message_again(
    start: Start, upstream: Upstream, what: str
) -> None:
    """It may have it, it may not: tried again, with the same Message-ID, so that the two can be told for one."""
    assert await _try(start, upstream, Once("body", "before", what)) == ["in_doubt"]
    first, second = upstream.copies
    assert first.message_id == second.message_id == "<1@device.test>"
    assert (first.wire, first.recipients, first.sender) == (second.wire, second.recipients, second.sender)


async def test_a_server_gone_after_its_last_word_is_believed(start: Start, upstream: Upstream) -> None:
    """It said 250: nothing is sent again."""
    assert await _try(start, upstream, Once("body", "after", "close")) == []
    assert len(upstream.copies) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_server_gone_at_quit_is_nobodys_loss(start: Start, upstream: Upstream, when: str) -> None:
    """The message was taken before."""
    upstream.fault = Once("QUIT", when, "reset")
    gateway = await start(upstream)
    await _hand_in(gateway)
    await gateway.until_all_delivered()
    await gateway.machine.gateway.dispatcher.stop()
    assert len(upstream.copies) == 1
    assert upstream.visits[0].commands[-1] == b"QUIT\r\n"


async def test_a_server_gone_in_the_middle_of_a_large_message_has_not_got_it(start: Start, upstream: Upstream) -> None:
    """The dot was never sent, so there is no doubt."""
    fault = Once("body", "during", "close")
    upstream.fault = fault
    gateway = await start(upstream)
    await _hand_in(gateway, size=8_000_000)
    await gateway.until_all_delivered()
    assert fault.happened
    assert await gateway.history() == ["try_failed"]
    assert len(upstream.copies) == 1
    assert len(upstream.copies[0].wire) > 7_900_000


async def test_a_doubt_about_some_recipients_is_no_doubt_about_those_who_were_refused(
    start: Start, upstream: Upstream
) -> None:
    """One is refused for good, then the server is gone after the dot: the other one alone gets it again."""
    lost = Once("body", "before", "close")
    refused = Once("RCPT", "before", b"550 5.1.1 No such user\r\n")
    upstream.fault = lambda visit, step, when: refused(visit, step, when) or lost(visit, step, when)
    gateway = await start(upstream)
    await _hand_in(gateway, "nobody@x.test", "b@x.test")
    states = await gateway.until(
        lambda found: len(found) >= 2 and all(s.name in ("delivered", "failed") for _a, s in found)
    )
    assert [(address, state.name.value) for address, state in states[:2]] == [
        ("nobody@x.test", "failed"),
        ("b@x.test", "delivered"),
    ]
    assert [copy.recipients for copy in upstream.taken("<1@device.test>")] == [("b@x.test",)] * 2


async def test_what_was_delivered_is_never_sent_again_while_another_recipient_is_put_off(
    start: Start, upstream: Upstream
) -> None:
    """Each recipient has its own life."""
    upstream.fault = Once("RCPT", "before", b"450 4.2.1 Busy\r\n")
    gateway = await start(upstream)
    await _hand_in(gateway, "busy@x.test", "b@x.test", "c@x.test")
    await gateway.until_all_delivered()
    assert [copy.recipients for copy in upstream.copies] == [("b@x.test", "c@x.test"), ("busy@x.test",)]
