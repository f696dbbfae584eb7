"""What every engine promises about received mail and the audit trail."""

from __future__ import annotations

import asyncio

from store_engines import store_fixture
from store_values import audit_record, received

from valija.domain.account import MACHINE
from valija.domain.record import AuditAction, AuditRecord
from valija.store.port import Store, StoredMessage

store = store_fixture

FAX = ("internet-fax", "fax@pop.example.com")


async def test_a_received_message_comes_back_by_its_number(store: Store) -> None:
    stored = await store.record_received(received("u1"))
    assert stored is not None
    assert stored.message == received("u1")
    assert await store.load_received(stored.id) == stored
    assert await store.load_received(stored.id + 1) is None


async def test_the_same_unique_id_is_recorded_once(store: Store) -> None:
    first = await store.record_received(received("u1"))
    assert await store.record_received(received("u1")) is None
    assert await store.list_received(None, 10) == [first]


async def test_of_many_who_record_one_message_exactly_one_does(store: Store) -> None:
    found = await asyncio.gather(*(store.record_received(received("u1")) for _ in range(20)))
    assert len([stored for stored in found if stored]) == 1


async def test_unique_ids_are_known_per_account_and_maildrop(store: Store) -> None:
    await store.record_received(received("u1"))
    await store.record_received(received("u2", maildrop="other@pop.example.com"))
    await store.record_received(received("u3", account="email-print"))
    assert await store.known_unique_ids(*FAX, ["u1", "u2", "u3", "u4"]) == {"u1"}
    assert await store.known_unique_ids("email-print", FAX[1], ["u1", "u3"]) == {"u3"}
    assert await store.known_unique_ids(*FAX, []) == set()


async def test_unique_ids_differ_in_every_character(store: Store) -> None:
    await store.record_received(received("AbC"))
    assert await store.known_unique_ids(*FAX, ["abc", "ABC", "AbC ", "AbC", "%", "A_C"]) == {"AbC"}


async def test_ten_thousand_unique_ids_are_looked_up_at_once(store: Store) -> None:
    await asyncio.gather(*(store.record_received(received(f"u{n}")) for n in range(0, 300, 3)))
    known = await store.known_unique_ids(*FAX, [f"u{n}" for n in range(10_000)])
    assert known == {f"u{n}" for n in range(0, 300, 3)}


async def test_received_messages_are_listed_latest_first_and_limited(store: Store) -> None:
    for n in range(5):
        await store.record_received(received(f"u{n}", account="email-print" if n == 3 else "internet-fax"))

    def uids(listed: list[StoredMessage]) -> list[str]:
        return [stored.message.unique_id for stored in listed]

    assert uids(await store.list_received(None, 3)) == ["u4", "u3", "u2"]
    assert uids(await store.list_received("internet-fax", 3)) == ["u4", "u2", "u1"]
    assert uids(await store.list_received("email-print", 10)) == ["u3"]
    assert uids(await store.list_received("email-status", 10)) == []


async def test_received_messages_of_an_account_come_after_a_number_in_order(store: Store) -> None:
    for n in range(6):
        await store.record_received(received(f"u{n}", account="email-print" if n == 3 else "internet-fax"))
    second, *later = [stored for stored in (await store.list_received(FAX[0], 10))[::-1][1:]]
    assert await store.received_after(FAX[0], second.id, 10) == later
    assert await store.received_after(FAX[0], second.id, 2) == later[:2]
    assert await store.received_after(FAX[0], later[-1].id, 10) == []
    assert [stored.message.unique_id for stored in await store.received_after("email-print", 0, 10)] == ["u3"]


async def test_messages_recorded_at_one_moment_have_numbers_in_order_and_those_known_have_none(store: Store) -> None:
    """Twice in one batch is once; the same identifier in another mailbox is another message."""
    known = await store.record_received(received("u1"))
    assert known is not None
    asked = [received(uid) for uid in ("u0", "u1", "u2", "u2")]
    asked += [received("u0", maildrop="other@x"), received("u0", account="email-print")]
    found = await asyncio.gather(*(store.record_received(one) for one in asked))
    assert [stored and stored.message for stored in found] == [asked[0], None, asked[2], None, *asked[4:]]
    numbers = [stored.id for stored in found if stored]
    assert numbers == sorted(numbers)
    assert numbers[0] > known.id


async def test_audit_records_come_back_latest_first_with_rising_numbers(store: Store) -> None:
    records = [audit_record(str(n), action) for n, action in enumerate(AuditAction)]
    for record in records:
        await store.append_audit(record)
    listed = await store.list_audit(100)
    assert [stored.record for stored in listed] == records[::-1]
    assert [stored.id for stored in listed] == sorted((stored.id for stored in listed), reverse=True)


async def test_the_audit_trail_is_read_page_by_page(store: Store) -> None:
    for n in range(7):
        await store.append_audit(audit_record(str(n)))
    pages, before = [], None
    while page := await store.list_audit(3, before):
        pages.append([stored.record.subject for stored in page])
        before = page[-1].id
    assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"]]


async def test_a_record_without_details_comes_back(store: Store) -> None:
    record = AuditRecord(audit_record().at, MACHINE, AuditAction.TOKEN_DELETED, "smtp")
    await store.append_audit(record)
    assert [stored.record for stored in await store.list_audit(1)] == [record]


async def test_closing_twice_is_allowed(store: Store) -> None:
    await store.close()
    await store.close()
