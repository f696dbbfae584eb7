"""The address book and the machine's choices for scans: the same promises of every engine."""

from __future__ import annotations

from dataclasses import replace

from store_engines import store_fixture
from store_values import audit_record

from valija.domain.address_book import Contact
from valija.domain.record import AuditAction
from valija.domain.scan import Colour, PaperSource, ScanFormat, ScanSettings, SizeChoice
from valija.store.port import Store

store = store_fixture
CHANGED = audit_record("scan", AuditAction.SETTINGS_CHANGED)
ANA, LUIS = Contact("Ana Ñ", ("ana@example.com",), True), Contact("Luis", ("luis@example.com",))
ALL = Contact("todos", ("ana@example.com", "luis@example.com"))


async def test_choices_are_replaced_only_where_they_are_as_expected(store: Store) -> None:
    first = replace(
        ScanSettings(),
        format=ScanFormat.TIFF,
        colour=Colour.MONO,
        source=PaperSource.GLASS,
        size_choice=SizeChoice.REFUSE,
        bcc=("archivo@example.com",),
        signature="Uno\nDos",
        folder="/srv/scans",
    )
    assert await store.load_scan_settings() == ScanSettings()
    assert await store.save_scan_settings(ScanSettings(), first, CHANGED)
    assert not await store.save_scan_settings(ScanSettings(), replace(first, duplex=True), CHANGED)
    assert await store.load_scan_settings() == first
    assert len(await store.list_audit(10)) == 1


async def test_contacts_are_stored_replaced_and_deleted_together(store: Store) -> None:
    """What tells them apart is the name, without large and small letters."""
    await store.save_contacts([LUIS, ANA, ALL], CHANGED)
    assert await store.list_contacts() == [ANA, LUIS, ALL]
    renamed = replace(LUIS, name="LUIS", favourite=True)
    await store.save_contacts([renamed], CHANGED, forget=[ALL.key])
    assert await store.list_contacts() == [ANA, renamed]
    assert len(await store.list_audit(10)) == 2
