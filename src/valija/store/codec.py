"""Domain values to octets and back, strictly: what does not fit is an error, never a silent default.

Values are frozen dataclasses of text, numbers, times, enums, secrets, such dataclasses, and tuples of text, of whole numbers
or of one of them. A union is told apart by the class name. Octets hold secrets in clear: those of secrets only ever go into
the vault.
"""

from __future__ import annotations

import json
import types
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from valija.domain.account_gate import Gate
from valija.domain.administrator import Lockout, Session
from valija.domain.api_token import ApiToken
from valija.domain.device import Device
from valija.domain.learning import Learning
from valija.domain.preferences import Preferences
from valija.domain.queue import RecipientState
from valija.domain.queue_history import GateLine, HistoryLine
from valija.domain.queued_message import QueuedMessage
from valija.domain.registration import Registration
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
        value = _decode_object(raw["value"], "value")
    except (ValueError, KeyError, TypeError) as error:
        raise error if isinstance(error, NotReadable) else NotReadable(type(error).__name__) from None
    if not isinstance(value, expected):
        raise NotReadable(f"a {type(value).__name__} where another value belongs")
    return value


def _encode(value: Any) -> Any:
    match value:
        case Secret():
            return value.reveal()
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Enum():
            return value.value
        case tuple():
            return [_encode(item) for item in value]
        case _ if is_dataclass(value):
            return {"class": type(value).__name__} | {f.name: _encode(getattr(value, f.name)) for f in fields(value)}
        case _:
            return value


def _decode_object(raw: Any, where: str, hint: type | None = None) -> Any:
    if not isinstance(raw, dict) or not isinstance(raw.get("class"), str):
        raise NotReadable(f"{where} is not an object")
    cls = _CLASSES.get(raw["class"]) if hint is None else hint
    if cls is None or cls.__name__ != raw["class"]:
        raise NotReadable(f"{where} has a class that does not belong there")
    hints = _hints(cls)
    names = set(raw) - {"class"}
    if names != set(hints):
        raise NotReadable(f"{where} has other fields than {cls.__name__}")
    return cls(**{name: _decode(raw[name], hint, f"{where}.{name}") for name, hint in hints.items()})


@cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}


def _decode(raw: Any, hint: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _decode_union(raw, get_args(hint), where)
    if origin is tuple:
        return _decode_tuple(raw, get_args(hint)[0], where)
    if is_dataclass(hint):
        return _decode_object(raw, where, hint if isinstance(hint, type) else None)
    return _decode_scalar(raw, hint, where)


def _decode_tuple(raw: Any, hint: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        raise NotReadable(f"{where} is not a list")
    if is_dataclass(hint):
        return tuple(_decode(item, hint, where) for item in raw)
    if not all(type(item) is hint for item in raw):
        raise NotReadable(f"{where} is not a list of {getattr(hint, '__name__', hint)}")
    return tuple(raw)


def _decode_union(raw: Any, members: tuple[Any, ...], where: str) -> Any:
    if raw is None and type(None) in members:
        return None
    rest = [member for member in members if member is not type(None)]
    if len(rest) == 1:
        return _decode(raw, rest[0], where)
    value = _decode_object(raw, where)
    if type(value) not in rest:
        raise NotReadable(f"{where} has a class that does not belong there")
    return value


def _decode_scalar(raw: Any, hint: Any, where: str) -> Any:
    if hint in (Secret, datetime) or (isinstance(hint, type) and issubclass(hint, Enum)):
        if not isinstance(raw, str):
            raise NotReadable(f"{where} is not text")
        return _decode_moment(raw, where) if hint is datetime else hint(raw)
    if hint in (float, timedelta) and isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw) if hint is float else timedelta(seconds=raw)
    if type(raw) is not hint:
        raise NotReadable(f"{where} is not {getattr(hint, '__name__', hint)}")
    return raw


def _decode_moment(raw: str, where: str) -> datetime:
    at = datetime.fromisoformat(raw)
    if at.tzinfo is None:
        raise NotReadable(f"{where} has no time zone")
    return at
