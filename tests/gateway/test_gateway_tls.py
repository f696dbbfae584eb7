"""TLS of the gateway as devices meet it: old versions for whom they are named, certificates renewed without a restart."""

from __future__ import annotations

import asyncio
import shutil
import smtplib
import ssl
import subprocess
import time
import warnings
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from running_gateway import RunningGateway, upstream_fixture
from upstream import Upstream

from valija.apps import gateway_tls
from valija.apps.certificates import AUTHORITY_LIFE, GATEWAY_LIFE, OwnChain, own_chain
from valija.apps.machine import SystemClock
from valija.domain.errors import ConfigurationError
from valija.net.tls import KeyLocked, device_context, server_context, what_old_devices_lack

__all__ = ["upstream_fixture"]
HERE, OLD_PLACE, ELSEWHERE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
PEM = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
TLS1, TLS12, TLS13 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class MovableClock(SystemClock):
    """This machine's clock, with a difference."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


class Office:
    """A gateway and its clients on several addresses."""

    def __init__(self, running: RunningGateway, clock: MovableClock) -> None:
        self.running = running
        self.clock = clock

    async def meet(self, place: str, version: ssl.TLSVersion, ciphers: str = "", *, at_once: bool = False) -> str:
        """Connect from an address with one version alone; return what was agreed on, or "refused"."""
        client = _client(version, ciphers)
        return await asyncio.to_thread(self._meet, place, client, at_once)

    def _meet(self, place: str, client: ssl.SSLContext, at_once: bool) -> str:
        ports, source = self.running.ports, (place, 0)
        session: smtplib.SMTP | None = None
        try:
            if at_once:
                session = smtplib.SMTP_SSL(
                    HERE, ports["submissions"], timeout=10, source_address=source, context=client
                )
            else:
                session = smtplib.SMTP(HERE, ports["smtp"], timeout=10, source_address=source)
                session.starttls(context=client)
        except (ssl.SSLError, ConnectionError, smtplib.SMTPServerDisconnected):
            return "refused"
        else:
            inside = session.sock
            assert isinstance(inside, ssl.SSLSocket)
            found = f"{inside.version()} {inside.cipher()[0]}"  # type: ignore[index]
            assert session.ehlo("printer")[0] == 250
            return found
        finally:
            if session is not None:
                session.close()

    async def certificate(self, authority: Path | None = None) -> bytes:
        """Return the certificate that a modern client sees; checked by ``authority`` and this address, if it is given."""
        client = _client(TLS12) if authority is None else ssl.create_default_context(cafile=authority)

        def look() -> bytes:
            with smtplib.SMTP_SSL(HERE, self.running.ports["submissions"], timeout=10, context=client) as session:
                assert isinstance(session.sock, ssl.SSLSocket)
                return session.sock.getpeercert(binary_form=True) or b""

        return await asyncio.to_thread(look)

    async def until_certificate(self, wanted: Callable[[bytes], bool]) -> bytes:
        """Let the files be looked at until another certificate is shown."""
        end = time.monotonic() + 10
        self.running._listeners.reload()
        while not wanted(found := await self.certificate()):
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        return found

    def warnings(self) -> str:
        """Return what an operator is told."""
        return " ".join(map(str, self.running.machine.warnings()))


def _client(version: ssl.TLSVersion, ciphers: str = "") -> ssl.SSLContext:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE  # as such devices do
    if ciphers:
        client.set_ciphers(ciphers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = client.maximum_version = version
    return client


@pytest.fixture
async def opened(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Callable[..., Any]]:
    """Start a gateway with these settings."""
    started: list[RunningGateway] = []

    async def start(**settings: Any) -> Office:
        clock = MovableClock()
        ports = {"submissions_port": -1}
        running = await RunningGateway(tmp_path, upstream.port, clock=clock, **ports, **settings).start()
        started.append(running)
        return Office(running, clock)

    yield start
    for running in started:
        await running.stop()


OLD_CIPHERS = "DEFAULT:@SECLEVEL=0"
RSA_EXCHANGE = "AES128-SHA"


async def test_old_tls_is_for_the_address_that_is_named_alone(opened: Callable[..., Any]) -> None:
    """On the very same ports; all others keep the modern floor, and TLS 1.2 devices without forward secrecy get through."""
    office = await opened()
    await office.running.add_device("Old HP", ranges=[OLD_PLACE], tls="legacy")
    for at_once in (False, True):
        assert (await office.meet(OLD_PLACE, TLS1, OLD_CIPHERS, at_once=at_once)).startswith("TLSv1 ")
        assert await office.meet(ELSEWHERE, TLS1, OLD_CIPHERS, at_once=at_once) == "refused"
        assert (await office.meet(ELSEWHERE, TLS13, at_once=at_once)).startswith("TLSv1.3")
        assert (await office.meet(OLD_PLACE, TLS13, at_once=at_once)).startswith("TLSv1.3")
        assert await office.meet(ELSEWHERE, TLS12, RSA_EXCHANGE, at_once=at_once) == f"TLSv1.2 {RSA_EXCHANGE}"
    assert office.warnings() == ""
    await office.running.machine.gateway.devices.change("old-hp", {"tls": "required"}, _ana())
    assert await office.meet(OLD_PLACE, TLS1, OLD_CIPHERS) == "refused"


async def test_a_listener_that_is_named_is_old_for_all_and_the_others_are_not(opened: Callable[..., Any]) -> None:
    """By configuration."""
    office = await opened(tls={"submissions": {"legacy": True}})
    assert (await office.meet(ELSEWHERE, TLS1, OLD_CIPHERS, at_once=True)).startswith("TLSv1 ")
    assert await office.meet(ELSEWHERE, TLS1, OLD_CIPHERS) == "refused"


async def test_openssl_agrees(opened: Callable[..., Any]) -> None:
    """The tool that people try it with; an RSA certificate for who asks for one."""
    office = await opened()
    await office.running.add_device("Old HP", ranges=[OLD_PLACE], tls="legacy")
    asked = ["openssl", "s_client", "-starttls", "smtp", "-connect", f"{HERE}:{office.running.port}", "-brief"]

    def talk(*more: str) -> str:
        done = subprocess.run([*asked, *more], input=b"QUIT\n", capture_output=True, timeout=20, check=False)
        return (done.stdout + done.stderr).decode("utf-8", "replace")

    old = ("-tls1", "-cipher", OLD_CIPHERS)
    assert "TLSv1\n" in await asyncio.to_thread(talk, "-bind", OLD_PLACE, *old)
    assert "CONNECTION ESTABLISHED" not in await asyncio.to_thread(talk, "-bind", ELSEWHERE, *old)
    assert "ecdsa" in (await asyncio.to_thread(talk, "-tls1_2")).lower()
    assert RSA_EXCHANGE in await asyncio.to_thread(talk, "-tls1_2", "-cipher", RSA_EXCHANGE)


async def test_our_certificate_is_made_out_to_the_address_and_checked_by_our_authority(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    """What a device that can check needs to import, once."""
    office = await opened()
    assert office.running.machine.gateway_authority == tmp_path / "gateway" / "ca.pem"
    assert await office.certificate(tmp_path / "gateway" / "ca.pem")


async def test_our_certificate_is_renewed_before_its_end_without_a_restart(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    """By the same authority: who imported it need not do so again."""
    office = await opened()
    first, authority = await office.certificate(), (tmp_path / "gateway" / "ca.pem").read_bytes()
    office.clock.ahead = GATEWAY_LIFE - timedelta(days=31)
    office.running._listeners.reload()
    await asyncio.sleep(0.3)
    assert await office.certificate() == first
    office.clock.ahead = GATEWAY_LIFE - timedelta(days=29)
    await office.until_certificate(lambda seen: seen != first)
    assert (tmp_path / "gateway" / "ca.pem").read_bytes() == authority


async def test_files_that_change_are_taken_at_once_and_broken_ones_are_not(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    """The one before stays in use, and it is said why; sessions go on."""
    authority = trustme.CA()
    paths = {"certificate": tmp_path / "own.pem", "key": tmp_path / "own.key"}
    _issue(authority, paths)
    office = await opened(tls={"submissions": {name: str(path) for name, path in paths.items()}})
    first = await office.certificate()
    open_session = await asyncio.to_thread(_session, office.running.ports["submissions"])
    paths["certificate"].write_text("-----BEGIN CERTIFICATE-----\nrubbish\n")
    office.running._listeners.reload()
    await asyncio.to_thread(_until, lambda: "own.pem" in office.warnings())
    assert await office.certificate() == first
    _issue(authority, paths)
    second = await office.until_certificate(lambda seen: seen != first)
    assert office.warnings() == ""
    paths["key"].unlink()
    office.running._listeners.reload()
    await asyncio.to_thread(_until, lambda: "own.key" in office.warnings())
    assert await office.certificate() == second
    assert (await asyncio.to_thread(open_session.noop))[0] == 250
    await asyncio.to_thread(open_session.quit)


async def test_an_openssl_without_old_tls_is_said_and_all_others_go_on(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system of tomorrow: no context for TLS 1.0 can be made."""

    def of_tomorrow(pairs: Any, *, old: bool = False) -> ssl.SSLContext:
        if old:
            raise ValueError("Unsupported protocol version")
        return device_context(pairs)

    monkeypatch.setattr(gateway_tls, "device_context", of_tomorrow)
    office = await opened()
    assert office.warnings() == ""
    await office.running.add_device("Old HP", ranges=[OLD_PLACE], tls="legacy")
    assert "TLS 1.0" in office.warnings()
    assert (await office.meet(OLD_PLACE, TLS12)).startswith("TLSv1.2")


def test_the_self_test_tells_what_a_context_cannot_do(tmp_path: Path) -> None:
    """By real handshakes."""
    pairs = own_chain(tmp_path, "office", (), datetime.now(UTC)).pairs
    assert what_old_devices_lack(device_context(pairs[:1], old=True)) == []
    assert what_old_devices_lack(device_context(pairs)) == ["TLS 1.0"]
    modern = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    modern.load_cert_chain(*pairs[0])
    modern.set_ciphers("ECDHE+AESGCM")
    assert what_old_devices_lack(modern) == ["TLS 1.0", "AES128-SHA"]


def test_own_certificates_stay_until_they_must_change(tmp_path: Path) -> None:
    """Made out to another address: by the same authority. Damaged, or the authority near its end: made anew."""
    now = datetime.now(UTC)

    def make(*addresses: str, at: datetime = now) -> tuple[bytes, bytes]:
        chain = own_chain(tmp_path, "office", addresses, at)
        return chain.authority.read_bytes(), chain.pairs[0][0].read_bytes()

    first = make("192.168.1.10")
    assert make("192.168.1.10", at=now + timedelta(days=600)) == first
    moved = make("192.168.1.11")
    assert moved[0] == first[0]
    assert moved[1] != first[1]
    (tmp_path / "rsa.key").write_text("damaged")
    repaired = make("192.168.1.11")
    assert repaired[0] == first[0]
    assert device_context(own_chain(tmp_path, "office", ["192.168.1.11"], now).pairs)
    later = make("192.168.1.11", at=now + AUTHORITY_LIFE - GATEWAY_LIFE + timedelta(days=1))
    assert later[0] != first[0]
    for file in tmp_path.glob("*.key"):
        assert file.stat().st_mode & 0o077 == 0


def test_the_power_fails_between_two_files(tmp_path: Path) -> None:
    """A key and the certificate of the one before, an authority's or a server's: what follows belongs together again."""
    now = datetime.now(UTC)

    def make() -> OwnChain:
        return own_chain(tmp_path, "office", ("10.0.0.1",), now)

    make()
    for name in ("rsa", "ca"):
        before = (tmp_path / f"{name}.pem").read_bytes()
        (tmp_path / f"{name}.key").write_text("damaged")
        make()
        (tmp_path / f"{name}.pem").write_bytes(before)
        chain = make()
        assert device_context(chain.pairs)
        assert _checks(chain.pairs[0], chain.authority)
    shutil.copy(tmp_path / "ca.pem", tmp_path / "ec.pem")  # a certificate without what ours say
    assert device_context(make().pairs)


def test_an_authority_made_anew_has_its_key_still(tmp_path: Path) -> None:
    """Who imported the one before goes on with it until its end."""
    now = datetime.now(UTC)
    before = tmp_path / "imported.pem"
    shutil.copy(own_chain(tmp_path, "office", (), now).authority, before)
    later = own_chain(tmp_path, "office", (), now + AUTHORITY_LIFE - GATEWAY_LIFE + timedelta(days=2))
    assert later.authority.read_bytes() != before.read_bytes()
    assert _checks(later.pairs[0], later.authority)
    assert _checks(later.pairs[0], before)


def test_what_was_made_while_the_clock_was_wrong_is_made_anew(tmp_path: Path) -> None:
    """Years ahead: nobody who checks would take it. A clock that has lost its time changes nothing."""
    now = datetime.now(UTC)

    def make(at: datetime) -> bytes:
        return own_chain(tmp_path, "office", (), at).pairs[0][0].read_bytes()

    ahead = make(now + timedelta(days=3000))
    good = make(now)
    assert good != ahead
    assert make(datetime(1970, 1, 1, tzinfo=UTC)) == good == make(now)


@pytest.mark.parametrize("place", ["printers.office.example", "2001:DB8:0::1", "fe80::1%eth0"])
def test_a_certificate_is_made_out_once_however_the_place_is_written(tmp_path: Path, place: str) -> None:
    """gateway.host may be a name; an address has several spellings."""
    now = datetime.now(UTC)
    first = own_chain(tmp_path, "office", (place,), now).pairs[0][0].read_bytes()
    assert own_chain(tmp_path, "office", (place,), now).pairs[0][0].read_bytes() == first


async def test_a_key_that_is_encrypted_is_said_and_nobody_is_asked(opened: Callable[..., Any], tmp_path: Path) -> None:
    """OpenSSL would ask at the terminal of who started it, and wait."""
    paths = {"certificate": tmp_path / "own.pem", "key": tmp_path / "own.key"}
    _issue(trustme.CA(), paths)
    office = await opened(tls={"submissions": {name: str(path) for name, path in paths.items()}})
    key = serialization.load_pem_private_key(paths["key"].read_bytes(), None)
    how = serialization.BestAvailableEncryption(b"secret")
    paths["key"].write_bytes(key.private_bytes(*PEM, how))
    office.running._listeners.reload()
    await asyncio.to_thread(_until, lambda: "own.key is encrypted" in office.warnings())
    with pytest.raises(KeyLocked):
        device_context([(paths["certificate"], paths["key"])])
    with pytest.raises(KeyLocked):
        server_context(paths["certificate"], paths["key"])


async def test_files_that_cannot_be_used_at_the_start_are_named_by_their_section(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    """An administrator looks where the key is."""
    (tmp_path / "own.pem").write_text("nothing")
    paths = {"certificate": str(tmp_path / "own.pem"), "key": str(tmp_path / "own.pem")}
    with pytest.raises(ConfigurationError) as refused:
        await opened(tls={"submissions": paths})
    assert "gateway.tls.submissions.key" in str(refused.value.cure)


def _checks(pair: tuple[Path, Path], authority: Path) -> bool:
    """Tell whether an authority is that of a certificate; its time is not looked at."""
    asked = ["openssl", "verify", "-no_check_time", "-CAfile", str(authority), str(pair[0])]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def _issue(authority: trustme.CA, paths: dict[str, Path]) -> None:
    made = authority.issue_cert("gateway.example", HERE)
    fresh = paths["key"].with_suffix(".fresh")
    made.private_key_pem.write_to_path(str(fresh))
    shutil.move(fresh, paths["key"])
    made.cert_chain_pems[0].write_to_path(str(paths["certificate"]))


def _session(port: int) -> smtplib.SMTP_SSL:
    return smtplib.SMTP_SSL(HERE, port, timeout=10, context=_client(TLS13))


def _until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def _ana() -> Any:
    from running_gateway import OPERATOR

    return OPERATOR
