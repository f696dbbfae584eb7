"""Domain values to octets and back, strictly: what does not fit is an error, never a silent default.

Values are frozen dataclasses of text, numbers, times, enums, secrets, such dataclasses, and tuples of text, of whole numbers
or of one of them. A union is told apart by the class name. Octets hold secrets in clear: those of secrets only ever go into
the vault.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from valija.domain.account_gate import Gate
from valija.domain.address_book import Contact
from valija.domain.administrator import Lockout, Session
from valija.domain.alert import Alert
from valija.domain.alert_settings import AlertSettings
from valija.domain.alert_telling import Telling
from valija.domain.api_token import ApiToken
from valija.domain.device import Device
from valija.domain.fax import FaxSettings
from valija.domain.job import JobCard, JobLine, JobState
from valija.domain.learning import Learning
from valija.domain.preferences import Preferences
from valija.domain.print_job import PrintSettings
from valija.domain.queue import RecipientState
from valija.domain.queue_history import GateLine, HistoryLine
from valija.domain.queued_message import QueuedMessage
from valija.domain.registration import Registration
from valija.domain.scan import ScanSettings
from valija.domain.settings import PopSettings, SmtpSettings
from valija.domain.sighting import Sighting
from valija.domain.token import TokenState
from valija.secret import Secret

FORMAT: Final = 1
T = TypeVar("T")
Stored = (
    TokenState
    | SmtpSettings
    | PopSettings
    | Registration
    | Session
    | Lockout
    | Preferences
    | ApiToken
    | QueuedMessage
    | RecipientState
    | HistoryLine
    | Gate
    | GateLine
    | Device
    | Sighting
    | Learning
    | FaxSettings
    | PrintSettings
    | JobCard
    | Contact
    | ScanSettings
    | JobLine
    | Alert
    | Telling
    | AlertSettings
    | JobState
)

_CLASSES: Final[dict[str, type]] = {c.__name__: c for c in get_args(Stored)}


class NotReadable(ValueError):
    """Stored octets are not what this version writes; the text names where, never a value."""


def encode_value(value: Stored) -> bytes:
    """Return a value's octets."""
    return json.dumps({"format": FORMAT, "value": _encode(value)}, ensure_ascii=False, separators=(",", ":")).encode()


def decode_value(data: bytes, *expected: type[T]) -> T:
    """Read a value of one of the ``expected`` classes. Raises :class:`NotReadable`."""
    try:
        raw = json.loads(data)
        if raw["format"] != FORMAT:
            raise NotReadable(f"format {raw['format']!r} is not {FORMAT}")
        value = _decode_object(raw["value"], "value", _classes(expected))
    except (ValueError, KeyError, TypeError) as error:
        raise error if isinstance(error, NotReadable) else NotReadable(type(error).__name__) from None
    if not isinstance(value, expected):
        raise NotReadable(f"a {type(value).__name__} where another value belongs")
    return value


@cache
def _classes(expected: tuple[type, ...]) -> Mapping[str, type]:
    """Return all classes by name; of two that have the same name, the one that is expected."""
    return _CLASSES | {cls.__name__: cls for cls in expected}


Writer = Callable[[Any], Any]
Reader = Callable[[Any, str], Any]  # of what JSON gave, and where that was


def _encode(value: Any) -> Any:
    cls: Any = type(value)
    return _writer(cls)(value)


@cache
def _writer(cls: type) -> Writer:
    """Return what turns values of a class into JSON's; found out once for each class."""
    if issubclass(cls, Secret):
        return Secret.reveal
    if issubclass(cls, datetime):
        return datetime.isoformat
    if issubclass(cls, timedelta):
        return timedelta.total_seconds
    if issubclass(cls, Enum):
        return lambda value: value.value
    if issubclass(cls, tuple):
        return lambda value: [_encode(item) for item in value]
    if not is_dataclass(cls):
        return lambda value: value
    name, names = cls.__name__, tuple(f.name for f in fields(cls))
    return lambda value: {"class": name, **{field: _encode(getattr(value, field)) for field in names}}


def _decode_object(raw: Any, where: str, classes: Mapping[str, type]) -> Any:
    if not isinstance(raw, dict) or not isinstance(raw.get("class"), str):
        raise NotReadable(f"{where} is not an object")
    cls = classes.get(raw["class"])
    if cls is None:
        raise NotReadable(f"{where} has a class that does not belong there")
    readers = _field_readers(cls)
    if raw.keys() - readers.keys() != _CLASS_ONLY or len(raw) != len(readers) + 1:
        raise NotReadable(f"{where} has other fields than {cls.__name__}")
    return cls(**{name: read(raw[name], f"{where}.{name}") for name, read in readers.items()})


_CLASS_ONLY: Final = {"class"}


@cache
def _field_readers(cls: type) -> dict[str, Reader]:
    hints = get_type_hints(cls)
    return {f.name: _reader(hints[f.name]) for f in fields(cls)}


def _reader(hint: Any) -> Reader:
    """Return what reads values of a type."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _union_reader(get_args(hint))
    if origin is tuple:
        return _tuple_reader(get_args(hint)[0])
    if is_dataclass(hint) and isinstance(hint, type):
        own = {hint.__name__: hint}
        return lambda raw, where: _decode_object(raw, where, own)
    return lambda raw, where: _decode_scalar(raw, hint, where)


def _tuple_reader(hint: Any) -> Reader:
    inside = _reader(hint) if is_dataclass(hint) else None

    def read(raw: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            raise NotReadable(f"{where} is not a list")
        if inside is not None:
            return tuple([inside(item, where) for item in raw])
        if not all(type(item) is hint for item in raw):
            raise NotReadable(f"{where} is not a list of {getattr(hint, '__name__', hint)}")
        return tuple(raw)

    return read


def _union_reader(members: tuple[Any, ...]) -> Reader:
    rest = [member for member in members if member is not type(None)]
    inside = _reader(rest[0]) if len(rest) == 1 else None
    classes = {member.__name__: member for member in rest}

    def read(raw: Any, where: str) -> Any:
        if raw is None and len(rest) < len(members):
            return None
        if inside is not None:
            return inside(raw, where)
        return _decode_object(raw, where, classes)

    return read


def _decode_scalar(raw: Any, hint: Any, where: str) -> Any:
    if type(raw) is hint:
        return raw
    if hint in (Secret, datetime) or (isinstance(hint, type) and issubclass(hint, Enum)):
        if not isinstance(raw, str):
            raise NotReadable(f"{where} is not text")
        return _decode_moment(raw, where) if hint is datetime else hint(raw)
    if hint in (float, timedelta) and isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw) if hint is float else timedelta(seconds=raw)
    raise NotReadable(f"{where} is not {getattr(hint, '__name__', hint)}")


def _decode_moment(raw: str, where: str) -> datetime:
    at = datetime.fromisoformat(raw)
    if at.tzinfo is None:
        raise NotReadable(f"{where} has no time zone")
    return at
