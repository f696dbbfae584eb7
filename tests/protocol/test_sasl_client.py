"""SASL mechanisms of a client."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import BEARER, MANY, PASSWORD

from valija.protocol.errors import LocalProtocolError, RemoteProtocolError
from valija.protocol.sasl import (
    BearerCredentials,
    ErrorChallenge,
    Login,
    OauthBearer,
    PasswordCredentials,
    Plain,
    Xoauth2,
    choose_mechanism,
    decode_challenge,
    encode_line,
    parse_error_challenge,
)
from valija.secret import Secret

GOOGLE = b'{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}'


def test_xoauth2_sends_user_and_token() -> None:
    assert Xoauth2(BEARER).respond(b"") == b"user=ana@example.test\x01auth=Bearer good-token\x01\x01"


def test_oauthbearer_sends_user_server_and_token_with_commas_and_equal_signs_escaped() -> None:
    assert OauthBearer(BEARER).respond(b"") == (
        b"n,a=ana@example.test,\x01host=mail.example.test\x01port=587\x01auth=Bearer good-token\x01\x01"
    )
    assert OauthBearer(replace(BEARER, user="a,b=c")).respond(b"").startswith(b"n,a=a=2Cb=3Dc,\x01")


def test_plain_sends_both_at_once_and_login_one_after_the_other_whatever_the_prompts_say() -> None:
    assert Plain(PASSWORD).respond(b"") == b"\0ana@example.test\0open sesame"
    login = Login(PASSWORD)
    assert [login.respond(b"User Name\0"), login.respond(b"Usuario:")] == [b"ana@example.test", b"open sesame"]


def test_names_and_passwords_that_are_not_ascii_go_as_utf8() -> None:
    credentials = PasswordCredentials("josé@españa.test", Secret("contraseña"))
    assert Plain(credentials).respond(b"") == "\0josé@españa.test\0contraseña".encode()
    assert "user=josé@españa.test".encode() in Xoauth2(replace(BEARER, user="josé@españa.test")).respond(b"")


@pytest.mark.parametrize(("mechanism", "formality"), [(Xoauth2, b""), (OauthBearer, b"\x01")])
def test_an_error_challenge_is_kept_and_answered_with_the_formality(
    mechanism: type[Xoauth2 | OauthBearer], formality: bytes
) -> None:
    login = mechanism(BEARER)
    login.respond(b"")
    assert login.error is None
    assert login.respond(GOOGLE) == formality
    assert login.error == ErrorChallenge("400", "https://mail.google.com/", "", GOOGLE.decode())


def test_a_challenge_too_many_to_a_password_mechanism_is_the_servers_fault() -> None:
    plain, login = Plain(PASSWORD), Login(PASSWORD)
    plain.respond(b"")
    login.respond(b"")
    login.respond(b"")
    for spent in (plain, login):
        with pytest.raises(RemoteProtocolError):
            spent.respond(b"again")


@pytest.mark.parametrize("bad", ["a\r\nb", "a\nb", "a\rb", "a\0b", "a\x01b", "a\udc80b"])
def test_a_control_character_in_any_credential_is_refused(bad: str) -> None:
    for bearer in (replace(BEARER, user=bad), replace(BEARER, token=Secret(bad))):
        for mechanism in (Xoauth2(bearer), OauthBearer(bearer)):
            with pytest.raises(LocalProtocolError):
                mechanism.respond(b"")
    with pytest.raises(LocalProtocolError):
        OauthBearer(replace(BEARER, host=bad)).respond(b"")
    for password in (PasswordCredentials(bad, Secret("p")), PasswordCredentials("u", Secret(bad))):
        with pytest.raises(LocalProtocolError):
            Plain(password).respond(b"")
        with pytest.raises(LocalProtocolError):
            Login(password)


@pytest.mark.parametrize(
    ("offered", "credentials", "preference", "chosen"),
    [
        (["LOGIN", "XOAUTH2"], BEARER, (), "XOAUTH2"),
        (["oauthbearer", "xoauth2"], BEARER, (), "XOAUTH2"),
        (["OAUTHBEARER", "XOAUTH2"], BEARER, ("OAUTHBEARER",), "OAUTHBEARER"),
        (["XOAUTH2"], BEARER, ("OAUTHBEARER",), "XOAUTH2"),
        (["XOAUTH2"], BEARER, ("PLAIN",), "XOAUTH2"),
        (["PLAIN", "LOGIN"], BEARER, ("PLAIN",), None),
        ([], BEARER, (), None),
        (["LOGIN", "PLAIN"], PASSWORD, (), "PLAIN"),
        (["LOGIN"], PASSWORD, (), "LOGIN"),
        (["XOAUTH2", "OAUTHBEARER"], PASSWORD, ("XOAUTH2",), None),
        (["GSSAPI", "CRAM-MD5"], PASSWORD, (), None),
    ],
)
def test_the_first_preferred_mechanism_on_offer_that_fits_the_credentials_is_chosen(
    offered: list[str],
    credentials: BearerCredentials | PasswordCredentials,
    preference: tuple[str, ...],
    chosen: str | None,
) -> None:
    mechanism = choose_mechanism(offered, credentials, preference)
    assert (mechanism.name if mechanism else None) == chosen


@pytest.mark.parametrize(
    ("challenge", "error"),
    [
        (b'{"status":"401","openid-configuration":"https://x.test/c"}', ("401", "", "https://x.test/c")),
        (b'{"status":401,"scope":null}', ("401", "None", "")),
        (b"invalid token, sorry", ("", "", "")),
        (b"[1, 2]", ("", "", "")),
        (b'{"status":', ("", "", "")),
        (b"", ("", "", "")),
        (b"\xff\xfe\x00", ("", "", "")),
        (b"[" * 9000, ("", "", "")),
        (b'{"status":' + b"9" * 9000 + b"}", ("", "", "")),
    ],
)
def test_an_error_challenge_is_read_with_and_without_json(challenge: bytes, error: tuple[str, str, str]) -> None:
    found = parse_error_challenge(challenge)
    assert (found.status, found.scope, found.configuration) == error
    assert found.text == challenge.decode("utf-8", "replace").replace("\0", " ").strip()[:500]


def test_control_characters_in_an_error_challenge_are_not_shown() -> None:
    found = parse_error_challenge(b'{"status":"4\\u001b[2J01","scope":"a\\r\\nb\\u202e"}')
    assert found.status == "4 [2J01"
    assert found.scope == "a b "
    assert "\r" not in found.text


def test_a_challenge_that_is_not_base64_is_taken_as_it_is() -> None:
    assert decode_challenge(" eyJ9 ") == base64.b64decode("eyJ9")
    assert decode_challenge("") == b""
    assert decode_challenge("Username: ñ") == "Username: ñ".encode()
    assert encode_line(b"") == b"\r\n"


def test_a_line_of_any_answer_is_one_line() -> None:
    assert encode_line(b"x" * 5000).count(b"\n") == 1


@MANY
@given(st.binary(max_size=200))
def test_any_challenge_is_decoded_and_kept_as_text_that_is_safe_to_show(challenge: bytes) -> None:
    found = parse_error_challenge(decode_challenge(challenge.decode("latin-1")))
    for text in (found.status, found.scope, found.configuration, found.text):
        assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in text)
