"""What changes may name, as JSON Schema. It describes; the domain checks, and says what is wrong in the reader's language."""

from __future__ import annotations

from typing import Any, Final

from valija.domain import scan
from valija.domain import settings as limits
from valija.domain.account import POP_SETTINGS, Authentication, GrantKind
from valija.domain.device import LOGIN_PATTERN, Rewriting, TlsPolicy

CHANGES_LIMIT: Final = 40  # fields; more than anything has
PROVIDER_NAME_PATTERN: Final = "[a-z0-9][a-z0-9._-]{0,62}"


def _text(limit: int = limits.TEXT_LIMIT) -> dict[str, Any]:
    return {"type": "string", "maxLength": limit}


def _number(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _fields(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "description": description, "properties": properties, "additionalProperties": False}


_SECRET: Final = _or_null({"type": "string", "writeOnly": True})
SETTING_FIELDS: Final = _fields(
    "sender_name and sender_address are SMTP's, check_interval (minutes, 0 is never) is POP's",
    {
        "server": _text(),
        "port": _number(*limits.PORT_RANGE),
        "timeout": _number(*limits.TIMEOUT_RANGE_S),
        "sender_name": _text(),
        "sender_address": _text(),
        "check_interval": _number(*limits.CHECK_INTERVAL_RANGE_MIN),
        "tls": {"type": "boolean"},
        "auth": {"type": "string", "enum": [kind.value for kind in Authentication]},
        "provider": _text(),
        "account": _text(),
        "password": _SECRET,
    },
)
PROVIDER_FIELDS: Final = _fields(
    "null or an empty text forgets what was set",
    {
        "kind": {"type": "string", "enum": ["microsoft", "google", "yahoo", "aol", "custom"]},
        "cloud": _or_null(_text()),
        "issuer": _text(500),
        "tenant": _or_null(_text()),
        "client_id": _or_null(_text()),
        "client_secret": _SECRET,
        "certificate": _or_null({"type": "string"}),
        "private_key": _SECRET,
        "service_account": _SECRET,
        "grant": _or_null({"type": "string", "enum": [kind.value for kind in GrantKind]}),
        "scopes": {"type": "array", "items": _text(), "maxItems": 50},
    },
)
DEVICE_FIELDS: Final = _fields(
    "login is made from the name if it is missing, and stays; ranges are where it connects from",
    {
        "login": {"type": "string", "pattern": f"^{LOGIN_PATTERN}$"},
        "name": _text(60),
        "account": {"type": "string", "enum": ["smtp"]},
        "mailbox": {"type": "string", "enum": ["", *(setting.value for setting in POP_SETTINGS)]},
        "ranges": {"type": "array", "items": _text(60), "maxItems": 20},
        "senders": {"type": "array", "items": _text(), "maxItems": 50},
        "rewriting": {"type": "string", "enum": [kind.value for kind in Rewriting]},
        "tls": {"type": "string", "enum": [kind.value for kind in TlsPolicy]},
        "language": {"type": "string", "enum": ["", "en", "es"]},
        "lf_ends_message": {"type": "boolean"},
        "enabled": {"type": "boolean"},
    },
)


def _words(kind: Any) -> dict[str, Any]:
    return {"type": "string", "enum": [member.value for member in kind]}


_ADDRESSES: Final[dict[str, Any]] = {"type": "array", "items": _text(), "maxItems": scan.ADDRESSES_LIMIT}
_CHOICES: Final[dict[str, Any]] = {
    "scanner": _text(),
    "format": _words(scan.ScanFormat),
    "colour": _words(scan.Colour),
    "resolution": _number(*scan.RESOLUTION_RANGE),
    "source": _words(scan.PaperSource),
    "duplex": {"type": "boolean"},
    "drop_blank": {"type": "boolean"},
    "review": {"type": "boolean"},
    "subject": _text(scan.TEMPLATE_LIMIT),
    "text": _text(scan.TEXT_LIMIT),
    "file_name": _text(scan.TEMPLATE_LIMIT),
    "size_choice": _words(scan.SizeChoice),
}
SCAN_CHOICES: Final = _fields(
    "to: addresses, and contacts by their names; review: wait until somebody has looked at the pages",
    {"to": _ADDRESSES | {"minItems": 1}, **_CHOICES},
) | {"required": ["to"]}
SCAN_SETTINGS: Final = _fields(
    "subject, text and file_name may name {date}, {time}, {counter}, {machine}, {user}; folder: its files go to folder_to",
    {
        **_CHOICES,
        "bcc": _ADDRESSES,
        "signature": _text(scan.TEXT_LIMIT),
        "size_limit_mb": _number(*scan.SIZE_RANGE_MB),
        "ocr_language": _text(40),
        "folder": _text(scan.PATH_LIMIT),
        "folder_to": _ADDRESSES,
    },
)
