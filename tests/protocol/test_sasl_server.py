"""SASL mechanisms of a server."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import BEARER, MANY, PASSWORD

from valija.protocol.sasl import BEARER_PREFERENCE, PASSWORD_PREFERENCE, BearerCredentials, choose_mechanism
from valija.protocol.sasl_server import (
    MECHANISMS,
    Challenge,
    Malformed,
    ServerMechanism,
    Shown,
    decode_response,
    error_challenge,
)
from valija.secret import Secret


def test_login_asks_with_the_two_prompts_that_devices_compare() -> None:
    login = ServerMechanism("LOGIN")
    assert login.start(None) == Challenge(b"Username:")
    assert login.respond(b"ana") == Challenge(b"Password:")
    assert login.respond(b"pw") == Shown("LOGIN", "ana", password=Secret("pw"))


def test_login_takes_the_user_name_inline() -> None:
    login = ServerMechanism("LOGIN")
    assert login.start(b"ana") == Challenge(b"Password:")
    assert login.respond(b"pw") == Shown("LOGIN", "ana", password=Secret("pw"))


@pytest.mark.parametrize("name", ["PLAIN", "XOAUTH2", "OAUTHBEARER"])
def test_without_initial_response_the_first_challenge_is_empty(name: str) -> None:
    assert ServerMechanism(name).start(None) == Challenge(b"")


def test_plain_knows_an_authorization_identity_and_octets_that_are_not_utf8() -> None:
    assert ServerMechanism("PLAIN").start(b"boss\0ana\0pw") == Shown("PLAIN", "ana", password=Secret("pw"))
    assert ServerMechanism("PLAIN").start(b"ana\0\0pw") == Shown("PLAIN", "ana", password=Secret("pw"))
    assert ServerMechanism("PLAIN").start(b"\0ana\0\xf1") == Shown("PLAIN", "ana", password=Secret("ñ"))


@pytest.mark.parametrize(
    ("name", "response"),
    [
        ("PLAIN", b""),
        ("PLAIN", b"ana"),
        ("PLAIN", b"\0ana"),
        ("PLAIN", b"\0ana\0pw\0more"),
        ("XOAUTH2", b"user=ana\x01auth=Bearer t\x01"),
        ("XOAUTH2", b"user=ana\x01auth=Basic t\x01\x01"),
        ("XOAUTH2", b"user=ana\x01auth=Bearer \x01\x01"),
        ("XOAUTH2", b"auth=Bearer t\x01\x01"),
        ("OAUTHBEARER", b"n,a=ana,\x01host=h\x01\x01"),
        ("OAUTHBEARER", b"auth=Bearer t\x01\x01"),
        ("OAUTHBEARER", b"\x01"),
        ("OAUTHBEARER", b""),
    ],
)
def test_what_the_mechanism_does_not_say_is_malformed(name: str, response: bytes) -> None:
    assert ServerMechanism(name).start(response) == Malformed()


@pytest.mark.parametrize(
    ("response", "user"),
    [
        (b"n,a=ana,\x01auth=Bearer t\x01\x01", "ana"),
        (b"n,,\x01auth=Bearer t\x01\x01", ""),
        (b"n,a=a=2Cb=3Dc,\x01host=h\x01port=1\x01auth=bearer t\x01x=y\x01\x01", "a,b=c"),
    ],
)
def test_oauthbearer_is_read_in_all_its_forms(response: bytes, user: str) -> None:
    assert ServerMechanism("OAUTHBEARER").start(response) == Shown("OAUTHBEARER", user, token=Secret("t"))


def test_the_error_challenge_is_the_json_of_rfc_7628() -> None:
    assert json.loads(error_challenge("401", "smtp")) == {"status": "401", "schemes": "bearer", "scope": "smtp"}


@pytest.mark.parametrize(
    ("line", "decoded"),
    [(b"YQ==", b"a"), (b"=", b""), (b"", b""), (b" YQ== ", b"a"), (b"YQ=", None), (b"Y Q==", None), (b"\xff", None)],
)
def test_a_response_is_strict_base64_and_an_equal_sign_is_nothing(line: bytes, decoded: bytes | None) -> None:
    assert decode_response(line) == decoded


@pytest.mark.parametrize("name", BEARER_PREFERENCE + PASSWORD_PREFERENCE)
def test_what_our_client_says_our_server_understands(name: str) -> None:
    credentials = BEARER if name in BEARER_PREFERENCE else PASSWORD
    client, server = choose_mechanism([name], credentials), ServerMechanism(name)
    assert client is not None
    step = server.start(None)
    while isinstance(step, Challenge):
        step = server.respond(client.respond(step.data))
    if isinstance(credentials, BearerCredentials):
        assert step == Shown(name, credentials.user, token=credentials.token)
    else:
        assert step == Shown(name, credentials.user, password=credentials.password)


@MANY
@given(st.sampled_from(MECHANISMS), st.lists(st.binary(max_size=60), min_size=1, max_size=3))
def test_any_responses_lead_to_a_challenge_credentials_or_malformed(name: str, responses: list[bytes]) -> None:
    server = ServerMechanism(name)
    for response in responses:
        assert isinstance(server.respond(response), Challenge | Shown | Malformed)


@MANY
@given(st.text(alphabet="ab=,2CD3ñ", max_size=12), st.sampled_from(BEARER_PREFERENCE))
def test_any_user_name_survives_the_escaping(user: str, name: str) -> None:
    client = choose_mechanism([name], BearerCredentials(user, Secret("t"), "h", 1))
    assert client is not None
    assert ServerMechanism(name).start(client.respond(b"")) == Shown(name, user, token=Secret("t"))
