"""Structured logs: one event word and fields for each record, as JSON lines or as text; secrets cannot get in.

``log.info("token_refreshed", extra={"fields": {...}})`` is what :func:`event` does. Values are written with ``repr``'s
restraint: a :class:`~valija.secret.Secret` shows as stars, control characters are escaped, long values are cut.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

VALUE_LIMIT: Final = 500
LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class EventFormatter(logging.Formatter):
    """Formats a record as one line; ``as_json`` or ``key=value`` text."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line; a traceback is put into one field."""
        row: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": _cut(record.getMessage()),
        }
        row |= {key: _plain(value) for key, value in getattr(record, "fields", {}).items()}
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)[-4000:]
        if self._as_json:
            return json.dumps(row, ensure_ascii=False)
        fields = " ".join(f"{key}={json.dumps(v, ensure_ascii=False)}" for key, v in list(row.items())[3:])
        return f"{row['at']} {row['level']:7} {row['event']} {fields}".rstrip()


def set_up(*, level: str, as_json: bool) -> None:
    """Send all logs to standard error in our format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter(as_json=as_json))
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)
    for noisy in ("httpx2", "httpcore2", "uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_LIMIT else text[:VALUE_LIMIT] + "…"
