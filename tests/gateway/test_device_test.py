"""A device is played: towards the real listener, as it would, with what that means and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from running_gateway import OPERATOR, RunningGateway, upstream_fixture
from upstream import Upstream

from valija.domain.errors import InvalidFields, NotReady, UnknownName
from valija.secret import Secret
from valija.services.device_test import KEPT, Play, PlayAuth, Played, PlayTls

__all__ = ["upstream_fixture"]


@pytest.fixture
async def office(tmp_path: Path, upstream: Upstream) -> AsyncIterator[RunningGateway]:
    """A gateway with a printer that logs in."""
    running = await RunningGateway(tmp_path, upstream.port, submissions_port=-1).start()
    await running.add_device("Ricoh")
    yield running
    await running.stop()


async def _play(office: RunningGateway, play: Play | None = None, login: str = "ricoh") -> Played:
    return await office.machine.device_test.run(login, play or Play())


def _ways(played: Played) -> list[str]:
    return [f"{'+' if stage.passed else '-'}{stage.stage.value}" for stage in played.stages]


@pytest.mark.parametrize("auth", [PlayAuth.LOGIN, PlayAuth.PLAIN])
@pytest.mark.parametrize("tls", [PlayTls.STARTTLS, PlayTls.IMPLICIT])
async def test_a_device_is_played_without_its_password_and_nothing_is_sent(
    office: RunningGateway, tls: PlayTls, auth: PlayAuth
) -> None:
    """With one that is good once; what was said is kept, credentials blanked."""
    played = await _play(office, Play(tls, auth))
    security = "tls" if tls is PlayTls.STARTTLS else "greeting"
    assert _ways(played) == ["+connect", f"+{security}", "+auth", "+sender", "+recipient", "+end"]
    assert await office.count() == 0
    kept = (office.directory / played.file).read_text()
    assert "S: 235" in kept
    assert "C: ********" in kept
    assert "cmljb2g" not in kept, "the user name in base64 is part of the credentials"
    assert office.machine.gateway.devices._logins._one_time == {}
    assert (office.directory / played.file).parent.stat().st_mode & 0o077 == 0


async def test_two_tests_in_one_second_keep_both_transcripts(office: RunningGateway) -> None:
    """A script that tries all ways of a device is that fast."""
    files = {(await _play(office, Play(auth=auth))).file for auth in (PlayAuth.LOGIN, PlayAuth.PLAIN, PlayAuth.LOGIN)}
    assert len(files) == 3
    assert all((office.directory / file).is_file() for file in files)


@pytest.mark.parametrize(("language", "asker"), [("es", "en"), ("", "es")])
async def test_a_test_page_is_really_sent_where_it_is_wanted(
    office: RunningGateway, upstream: Upstream, language: str, asker: str
) -> None:
    """In the device's language, else in that of who asks; as a message of the device."""
    await office.machine.gateway.devices.change("ricoh", {"language": language}, OPERATOR)
    played = await _play(office, Play(to="luis@example.test", language=asker))
    assert _ways(played)[-1] == "+page"
    await office.until_all_delivered()
    [copy] = upstream.taken()
    assert b"Esta p=C3=A1gina" in copy.wire
    assert copy.recipients == ("luis@example.test",)


async def test_its_own_password_is_tried_where_it_is_given(office: RunningGateway) -> None:
    """A wrong one is said to be wrong, with the cure."""
    made = await office.machine.gateway.devices.new_password("ricoh", OPERATOR)
    assert made.password is not None
    assert (await _play(office, Play(password=made.password))).passed
    played = await _play(office, Play(password=Secret("wrong")))
    assert _ways(played)[-1] == "-auth"
    assert "valija device password ricoh" in str(played.stages[-1].cure)


async def test_a_device_known_by_its_address_is_played_from_here(office: RunningGateway) -> None:
    """As if it were there; nobody else on this machine gets through by that."""
    await office.add_device("Old fax", ranges=["192.168.7.9"])
    played = await _play(office, Play(helo=True), "old-fax")
    assert _ways(played) == ["+connect", "+greeting", "+sender", "+recipient", "+end"]
    assert any("HELO" in line for line in played.transcript)
    assert office.machine.gateway.devices._played == {}
    assert not (await _play(office, Play(auth=PlayAuth.NONE))).passed


@pytest.mark.parametrize(
    ("changes", "play", "last", "cure"),
    [
        ({}, Play(tls=PlayTls.NONE), "-auth", "--tls offered"),
        ({}, Play(auth=PlayAuth.NONE), "-sender", "SMTP authentication"),
        ({"enabled": False}, Play(), "-auth", "switched off"),
        ({"senders": ["boss@example.test"]}, Play(sender="scan@office.test"), "-sender", "--sender ADDRESS"),
    ],
)
async def test_what_is_refused_is_explained(
    office: RunningGateway, changes: dict[str, object], play: Play, last: str, cure: str
) -> None:
    """By what the administrator can do about it; the test ends there."""
    await office.machine.gateway.devices.change("ricoh", changes, OPERATOR)
    played = await _play(office, play)
    assert _ways(played)[-1] == last
    assert cure in str(played.stages[-1].cure)


@pytest.mark.parametrize("auth", [PlayAuth.LOGIN, PlayAuth.PLAIN])
async def test_who_must_encrypt_is_told_so_though_another_may_log_in_in_clear(
    office: RunningGateway, auth: PlayAuth
) -> None:
    """Its password is not called wrong, and no guess is counted."""
    made = await office.machine.gateway.devices.new_password("ricoh", OPERATOR)
    await office.add_device("Old fax", tls="offered")
    for password in (None, made.password):
        refused = (await _play(office, Play(tls=PlayTls.NONE, auth=auth, password=password))).stages[-1]
        assert (refused.stage.value, refused.passed) == ("auth", False)
        assert "--tls offered" in str(refused.cure)
    assert office.machine.gateway.devices._logins._guard._failed == {}
    seen = office.machine.gateway.devices.sighting("ricoh")
    assert seen is not None
    assert (seen.refused, seen.last_error) == (2, "log-in without TLS")


async def test_the_sender_that_is_named_is_the_one_that_is_tried(office: RunningGateway) -> None:
    """A name without a domain, as of many devices; what is no sender is refused, not replaced."""
    played = await _play(office, Play(sender="printer"))
    assert played.passed
    assert "C: MAIL FROM:<printer>" in played.transcript
    for wrong in ("x y", "a@b@c", "x>\r\nRSET"):
        with pytest.raises(InvalidFields, match="must be an e-mail address"):
            await _play(office, Play(sender=wrong))


async def test_the_cure_for_a_device_that_cannot_log_in_is_one(office: RunningGateway) -> None:
    """An address beside its password would change nothing."""
    refused = (await _play(office, Play(auth=PlayAuth.NONE))).stages[-1]
    assert refused.cure is not None
    assert "valija device add NAME --range" in str(refused.cure)
    await office.machine.gateway.devices.change("ricoh", {"ranges": "127.0.0.1"}, OPERATOR)
    assert not (await _play(office, Play(auth=PlayAuth.NONE))).passed
    await office.machine.gateway.devices.delete("ricoh", OPERATOR)
    await office.add_device("Ricoh", ranges="127.0.0.1")
    assert (await _play(office)).passed


async def test_a_one_time_password_opens_nothing_twice_or_later(office: RunningGateway) -> None:
    """Nor for another device, nor for one that is switched off."""
    devices = office.machine.gateway.devices
    await office.add_device("Other")
    password = devices.one_time_password("ricoh")
    assert devices.recognise("other", password, "127.0.0.1") is None
    assert devices.recognise("ricoh", Secret("wrong"), "127.0.0.1") is None
    assert devices.recognise("ricoh", password, "127.0.0.1") is not None
    assert devices.recognise("ricoh", password, "127.0.0.1") is None
    password = devices.one_time_password("ricoh")
    await devices.change("ricoh", {"enabled": False}, OPERATOR)
    assert devices.recognise("ricoh", password, "127.0.0.1") is None
    devices.played("ricoh")
    await devices.change("ricoh", {"enabled": True}, OPERATOR)
    assert devices.recognise("ricoh", password, "127.0.0.1") is None


async def test_what_was_found_is_said_though_it_cannot_be_kept(
    office: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is when somebody tries devices."""

    def full(*_what: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    played = await _play(office)
    assert (played.passed, played.file) == (True, "")


async def test_transcripts_are_few_and_unknown_devices_are_said(office: RunningGateway) -> None:
    """And so is a listener that is not there."""
    for number in range(KEPT + 3):
        (office.directory / "device-tests").mkdir(exist_ok=True)
        (office.directory / "device-tests" / f"20200101-0000{number:02}-x.txt").write_text("")
    await _play(office)
    assert len(list((office.directory / "device-tests").iterdir())) == KEPT
    with pytest.raises(UnknownName):
        await _play(office, login="nobody")
    office.machine.device_test.places = lambda: ("127.0.0.1", {})
    with pytest.raises(NotReady):
        await _play(office)
