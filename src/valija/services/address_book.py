"""The address book: contacts are stored, found by name, taken from files and given out as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from valija.domain.account import Actor
from valija.domain.address_book import (
    ENTRIES_LIMIT,
    Contact,
    Imported,
    format_csv,
    format_vcards,
    in_order,
    parse_contact,
    parse_file,
)
from valija.domain.clock import Clock
from valija.domain.errors import FieldProblem, InvalidFields, RequestError, UnknownName
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.text import N_, message
from valija.protocol.smtp_path import is_address
from valija.services.events import EventBus, SettingsChanged
from valija.store.port import Store

SUBJECT: Final = "contacts"
FORMATS: Final = {"csv": ("text/csv", format_csv), "vcard": ("text/vcard", format_vcards)}


class AddressBook:
    """Where contacts are changed, whatever the face."""

    def __init__(self, store: Store, clock: Clock, events: EventBus) -> None:
        self._store = store
        self._clock = clock
        self._events = events

    async def all(self) -> list[Contact]:
        """Return all contacts, the favourites first."""
        return in_order(await self._store.list_contacts())

    async def contact(self, name: str) -> Contact:
        """Return a contact. Raises :class:`UnknownName`."""
        key = Contact(name, ()).key
        found = next((c for c in await self._store.list_contacts() if c.key == key), None)
        if found is None:
            raise UnknownName(
                message(N_("There is no contact {name}."), name=name[:80]),
                message(N_("`valija contact list` shows those that exist.")),
            )
        return found

    async def save(self, name: str, changes: Mapping[str, Any], actor: Actor, *, new: bool = False) -> Contact:
        """Add a contact, or change the one that is there, unless it is to be ``new``; ``changes`` may rename it.

        Raises :class:`InvalidFields`.
        """
        stored = await self._store.list_contacts()
        key = Contact(name, ()).key
        before = next((c for c in stored if c.key == key), None)
        contact = parse_contact(before, {"name": name, **changes})
        if before is None and len(stored) >= ENTRIES_LIMIT:
            raise RequestError(message(N_("The address book is full: at most {limit} fit."), limit=ENTRIES_LIMIT))
        if (new or contact.key != key) and any(c.key == contact.key for c in stored):
            raise InvalidFields((FieldProblem("name", message(N_("is in the address book already"))),))
        await self._store_changes([contact], actor, forget=[key] if contact.key != key and before else [])
        return contact

    async def delete(self, name: str, actor: Actor) -> None:
        """Delete a contact. Raises :class:`UnknownName`."""
        contact = await self.contact(name)
        await self._store_changes([], actor, forget=[contact.key])

    async def take_in(self, text: str, actor: Actor) -> Imported:
        """Add the contacts of a CSV or vCard file, in place of those of the same name. Raises :class:`RequestError`."""
        found = parse_file(text)
        known = {c.key for c in await self._store.list_contacts()}
        if len(known | {c.key for c in found.contacts}) > ENTRIES_LIMIT:
            raise RequestError(message(N_("The address book is full: at most {limit} fit."), limit=ENTRIES_LIMIT))
        if found.contacts:
            await self._store_changes(found.contacts, actor)
        return found

    async def give_out(self, form: str) -> tuple[str, str]:
        """Return a file of all contacts and its media type; ``form``: csv or vcard."""
        media_type, write = FORMATS[form]
        return write(await self.all()), media_type

    async def addresses(self, to: Sequence[str]) -> list[str]:
        """Return the addresses of recipients, who are addresses or contacts' names. Raises :class:`InvalidFields`."""
        contacts: dict[str, Contact] | None = None
        found: list[str] = []
        for written in to:
            text = written.strip()
            if is_address(text):
                found.append(text)
                continue
            if contacts is None:
                contacts = {c.key: c for c in await self._store.list_contacts()}
            contact = contacts.get(Contact(text, ()).key)
            if contact is None:
                shown = "".join(c if c.isprintable() else "?" for c in text)[:80]
                problem = message(N_("has {name}, which is neither an address nor in the address book"), name=shown)
                raise InvalidFields((FieldProblem("to", problem),))
            found += contact.addresses
        return list(dict.fromkeys(found))

    async def _store_changes(self, contacts: Sequence[Contact], actor: Actor, forget: Sequence[str] = ()) -> None:
        now = self._clock.now()
        names = ", ".join([c.name for c in contacts[:5]] or list(forget))
        record = AuditRecord(now, actor, AuditAction.CONTACTS_CHANGED, SUBJECT, {"names": names[:200]})
        await self._store.save_contacts(contacts, record, forget)
        self._events.publish(SettingsChanged(SUBJECT, now))
