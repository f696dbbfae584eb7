"""The rows of the address book, and what the machine chooses for its scans. See the port for the meaning."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from valija.domain.address_book import Contact
from valija.domain.record import AuditRecord
from valija.store.codec import encode_value
from valija.store.sql_rows import SealedRows, append_audit, readable_values
from valija.store.work import Work, each, rows

_LIST: Final = "SELECT name, payload FROM contacts ORDER BY name"
_SAVE: Final = (
    "INSERT INTO contacts (name, payload) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET payload = excluded.payload"
)
_DELETE: Final = "DELETE FROM contacts WHERE name = ?"


class ContactRows(SealedRows):
    """Part of the store."""

    async def list_contacts(self) -> list[Contact]:
        return readable_values(Contact, "contacts", await self._db.read(lambda: rows(_LIST)))

    async def save_contacts(
        self, contacts: Sequence[Contact], audit: AuditRecord, forget: Collection[str] = ()
    ) -> None:
        # in one order on all nodes: two that store the same names do not wait for each other in a circle
        saved = [(c.key, encode_value(c)) for c in sorted(contacts, key=lambda c: c.key)]
        gone = [(key,) for key in sorted(forget)]

        def work() -> Work[None]:
            yield from each(_DELETE, gone)
            yield from each(_SAVE, saved)
            yield from append_audit(audit)

        await self._db.write(work)
