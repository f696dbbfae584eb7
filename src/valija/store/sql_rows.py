"""What the rows of all subjects have in common: values sealed for their place, moments, the audit trail's next row."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, TypeVar

from valija.domain.errors import StoreError
from valija.domain.record import AuditRecord
from valija.domain.text import N_, message
from valija.store import statements as sql
from valija.store.codec import NotReadable, Stored, decode_value, encode_value
from valija.store.port import ChangeKind
from valija.store.vault import BoxNotOpened, Vault
from valija.store.work import Engine, Row, Work, do

log: Final = logging.getLogger(__name__)
T = TypeVar("T")


class SealedRows:
    """A database and the vault that its values are sealed with."""

    _db: Engine
    _vault: Vault

    def _tell(self, kind: ChangeKind, name: str = "") -> Work[None]:
        """Tell other nodes of a change, with the transaction that makes it; an engine that has none says nothing."""
        yield from ()

    def _seal(self, table: str, row: str, value: Stored) -> bytes:
        return self._seal_octets(table, row, encode_value(value))

    def _seal_octets(self, table: str, row: str, clear: bytes) -> bytes:
        return self._vault.seal(clear, f"{table}|{row}|payload")

    def _open(self, table: str, row: str, box: bytes, *expected: type[T]) -> T:
        try:
            return decode_value(self._open_octets(table, row, box), *expected)
        except NotReadable as error:
            raise unreadable(table, row, error) from None

    def _open_octets(self, table: str, row: str, box: bytes) -> bytes:
        try:
            return self._vault.open(box, f"{table}|{row}|payload")
        except BoxNotOpened as error:
            raise unreadable(table, row, error) from None


def readable_values(kind: type[T], table: str, found: Iterable[Row]) -> list[T]:
    """Return the values of rows (key, payload); one that cannot be read is left out."""
    values = []
    for key, payload in found:
        try:
            values.append(decode_value(payload, kind))
        except NotReadable as error:
            log.warning("entry_unreadable", extra={"fields": {"table": table, "row": key, "why": str(error)}})
    return values


def unreadable(table: str, row: str, error: Exception) -> StoreError:
    return StoreError(
        message(N_("An entry of the store cannot be read: {row} in {table}."), row=row, table=table),
        message(N_("Put the store back from your backup, or delete this entry and set it again.")),
        diagnostics=str(error),
    )


def append_audit(r: AuditRecord) -> Work[None]:
    details = json.dumps(dict(r.details), ensure_ascii=False, sort_keys=True)
    a = r.actor
    at = epoch(r.at)
    yield from do(sql.APPEND_AUDIT, at, a.who, a.where, a.presence.value, r.action.value, r.subject, details)


def epoch(at: datetime | None) -> int | None:
    """Return milliseconds since 1970."""
    return None if at is None else round(at.timestamp() * 1000)


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
