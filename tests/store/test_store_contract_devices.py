"""Devices and what was seen of them: the same promises of every engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from store_engines import store_fixture
from store_values import NOW, audit_record

from valija.domain.device import Device, Rewriting, TlsPolicy
from valija.domain.learning import Learning, begin
from valija.domain.record import AuditAction
from valija.domain.sighting import Attempt, Seen, Sighting, note
from valija.secret import Secret
from valija.store.port import Store, VersionedDevice

store = store_fixture
ADDED = audit_record("ricoh", AuditAction.DEVICE_ADDED)
DEVICE = Device(
    "ricoh",
    "Ricoh planta 2",
    "smtp",
    Secret("$argon2id$..."),
    ("192.168.1.20/32",),
    ("@example.com",),
    Rewriting.ALWAYS,
    TlsPolicy.LEGACY,
    "es",
    "internet-fax",
    True,
    True,
    NOW,
    "uid 0",
)


async def test_a_device_is_added_changed_and_deleted(store: Store) -> None:
    """Each time only in place of the version that was seen."""
    assert await store.list_devices() == []
    assert await store.save_device(0, DEVICE, ADDED) == VersionedDevice(1, DEVICE)
    assert await store.save_device(0, DEVICE, ADDED) is None
    changed = replace(DEVICE, enabled=False)
    assert await store.save_device(2, changed, ADDED) is None
    assert await store.save_device(1, changed, ADDED) == VersionedDevice(2, changed)
    other = replace(DEVICE, login="brother", password=None)
    await store.save_device(0, other, ADDED)
    assert await store.list_devices() == [VersionedDevice(1, other), VersionedDevice(2, changed)]
    assert await store.delete_device("ricoh", ADDED)
    assert not await store.delete_device("ricoh", ADDED)
    assert len(await store.list_audit(100)) == 4


async def test_what_was_seen_is_replaced_by_subject_and_listed_latest_first(store: Store) -> None:
    """A device's record goes with it."""
    await store.save_device(0, DEVICE, ADDED)
    known = note(None, "ricoh", Seen(NOW, "192.168.1.20", "smtp", "TLSv1.3"))
    tried = Attempt("submission", "printer", "LOGIN", "scan@office.local", 3)
    stranger = note(None, "@192.168.1.99", Seen(NOW, "192.168.1.99", "smtp", "", "scanner", "535 5.7.8", tried))
    await store.save_sightings([known, stranger])
    later = note(known, "ricoh", Seen(NOW + timedelta(minutes=1), "192.168.1.21", "smtp", ""))
    await store.save_sightings([later])
    assert await store.list_sightings() == [later, stranger]
    await store.save_sightings([], forget=["@192.168.1.99"])
    await store.delete_device("ricoh", ADDED)
    assert await store.list_sightings() == []


def test_a_record_counts_and_keeps_what_was_last() -> None:
    """Text from the network is one short line."""
    first = note(None, "@10.0.0.1", Seen(NOW, "10.0.0.1", "smtp", "", "a\nb", "535 no\r\nway" + "x" * 500))
    assert first.tried == "a?b"
    assert first.last_error.startswith("535 no??way")
    assert len(first.last_error) == 120
    assert not first.is_known
    second = note(first, "@10.0.0.1", Seen(NOW + timedelta(seconds=1), "10.0.0.1", "pop3", "TLSv1.2"))
    assert (second.refused, second.accepted, second.tried, second.tls) == (1, 1, "a?b", "TLSv1.2")
    assert second == replace(
        Sighting("@10.0.0.1", NOW, NOW + timedelta(seconds=1), "10.0.0.1", "pop3", "TLSv1.2", "a?b", 1),
        accepted_at=NOW + timedelta(seconds=1),
        refused=1,
        refused_at=NOW,
        last_error=first.last_error,
    )


async def test_learning_mode_is_kept_with_its_end(store: Store) -> None:
    """Only in place of what was seen; each change is on record."""
    assert await store.load_learning() == Learning()
    first = begin(30, NOW, "ana")
    record = audit_record("devices", AuditAction.LEARNING_STARTED)
    assert await store.save_learning(Learning(), first, record)
    assert not await store.save_learning(Learning(), begin(60, NOW, "luis"), record)
    assert await store.load_learning() == first
    assert len(await store.list_audit(100)) == 1
