"""Values come back from octets as they went in; what does not fit is an error, never a default."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_values import every_state, pop_settings, registration, smtp_settings, token_set

from valija.domain.account import GrantKind
from valija.domain.registration import Registration
from valija.domain.settings import PopSettings, SmtpSettings
from valija.domain.token import Invalid, InvalidCause, Retrieved, TokenSet, TokenState
from valija.domain.trouble import Trouble, WhoActs
from valija.secret import Secret
from valija.store.codec import NotReadable, decode_value, encode_value

STATES = tuple({type(state) for state in every_state()})
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
MOMENT = st.datetimes(timezones=st.just(UTC))
SECRET = st.builds(Secret, TEXT)
TOKENS = st.builds(
    TokenSet,
    grant_id=TEXT,
    grant=st.sampled_from(GrantKind),
    access_token=SECRET,
    expires_at=MOMENT,
    refresh_token=st.none() | SECRET,
    scopes=st.lists(TEXT, max_size=4).map(tuple),
    obtained_at=MOMENT,
    refreshed_at=MOMENT,
    refresh_token_expires_at=st.none() | MOMENT,
)
TROUBLE = st.builds(Trouble, TEXT, st.sampled_from(WhoActs), TEXT, MOMENT)
RETRIEVED = st.builds(Retrieved, TOKENS, st.none() | TROUBLE, st.integers(0, 9), st.none() | MOMENT)
INVALID = st.builds(Invalid, TOKENS, TROUBLE, MOMENT, st.sampled_from(InvalidCause), st.none() | TROUBLE)


@given(RETRIEVED | INVALID)
def test_any_token_comes_back_equal(state: TokenState) -> None:
    assert decode_value(encode_value(state), *STATES) == state


@pytest.mark.parametrize("value", [*every_state(), smtp_settings(), pop_settings(), registration()], ids=repr)
def test_every_kind_of_value_comes_back_equal(value: Any) -> None:
    assert decode_value(encode_value(value), type(value)) == value


def changed(**changes: Any) -> bytes:
    raw = json.loads(encode_value(pop_settings()))
    raw["value"] |= changes
    return json.dumps(raw).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"port": "995"},
        {"port": 995.0},
        {"port": True},
        {"port": None},
        {"tls": 1},
        {"tls": "true"},
        {"server": 7},
        {"server": None},
        {"auth": "kerberos"},
        {"auth": 3},
        {"password": 7},
        {"unknown": 1},
        {"class": "Nothing"},
        {"class": 7},
        {"class": "SmtpSettings"},
    ],
    ids=str,
)
def test_a_field_that_does_not_fit_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(NotReadable):
        decode_value(changed(**changes), PopSettings, SmtpSettings)


def test_a_missing_field_is_an_error_not_a_default() -> None:
    raw = json.loads(encode_value(pop_settings()))
    del raw["value"]["port"]
    with pytest.raises(NotReadable, match="other fields"):
        decode_value(json.dumps(raw).encode(), PopSettings)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"7", b'{"format":1}', b'{"value":{}}', b"\xff\xfe", b"null"])
def test_octets_that_are_no_value_are_an_error(data: bytes) -> None:
    with pytest.raises(NotReadable):
        decode_value(data, PopSettings)


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_format_is_an_error(number: Any) -> None:
    raw = json.loads(encode_value(pop_settings())) | {"format": number}
    with pytest.raises(NotReadable):
        decode_value(json.dumps(raw).encode(), PopSettings)


def test_a_value_of_another_class_than_expected_is_an_error() -> None:
    with pytest.raises(NotReadable, match="another value belongs"):
        decode_value(encode_value(registration()), *STATES)


def test_a_state_where_another_value_belongs_is_an_error() -> None:
    raw = json.loads(encode_value(Retrieved(token_set())))
    raw["value"]["tokens"] = json.loads(encode_value(pop_settings()))["value"]
    with pytest.raises(NotReadable):
        decode_value(json.dumps(raw).encode(), *STATES)


def test_every_cut_of_the_octets_is_an_error() -> None:
    data = encode_value(registration())
    for n in range(len(data)):
        with pytest.raises(NotReadable):
            decode_value(data[:n], Registration)


def test_what_is_wrong_is_told_without_any_value() -> None:
    raw = json.loads(encode_value(Retrieved(token_set("hidden"))))
    raw["value"]["tokens"]["access_token"] = ["access-hidden"]
    with pytest.raises(NotReadable) as raised:
        decode_value(json.dumps(raw).encode(), *STATES)
    assert "hidden" not in str(raised.value)
    assert "access_token" in str(raised.value)


def test_a_moment_without_time_zone_is_an_error() -> None:
    raw = json.loads(encode_value(Retrieved(token_set())))
    raw["value"]["tokens"]["expires_at"] = datetime(2031, 1, 1).isoformat()  # noqa: DTZ001
    with pytest.raises(NotReadable):
        decode_value(json.dumps(raw).encode(), *STATES)
