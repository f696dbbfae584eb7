"""The queue: the same promises of every engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from queue_engines import MINUTE, NOW, TROUBLE, line_fixture, queued

from valija.domain import queue as q
from valija.domain.account_gate import Gate, block, hold
from valija.domain.queue import Accepted, Deferred, Delivered, Failed, Held, InFlight, Queued, RecipientStateName
from valija.domain.queue_history import (
    FIRST_LINES,
    GATE_LINES,
    LINES_LIMIT,
    GateLine,
    GateWord,
    HistoryLine,
    HistoryWord,
)
from valija.domain.traffic import SLOT, TrafficSlot
from valija.store.queue_port import Body, Leased, QueueStore
from valija.store.sqlite_engine import SqliteEngine
from valija.store.sqlite_queue import SqliteQueue

line = line_fixture

SOON = NOW + MINUTE
DAY = timedelta(days=1)


async def test_a_message_comes_back_as_it_was_accepted(line: QueueStore) -> None:
    """Envelope, DSN parameters, recipients in their order, octets."""
    message = queued("b@example.org", "ñ@example.org")
    number = await line.accept(message, Body(b"Subject: x\r\n\r\n\x00\xff"))
    stored = await line.load(number)
    assert stored is not None
    assert stored.message == message
    assert [(e.message_id, e.recipient) for e in stored.entries] == [(number, r) for r in message.recipients]
    assert [e.state for e in stored.entries] == [Queued(NOW)] * 2
    assert await line.load_body(number) == Body(b"Subject: x\r\n\r\n\x00\xff")
    assert await line.load(number + 1) is None
    assert await line.load_body(number + 1) is None


async def test_what_is_due_is_leased_in_the_order_of_the_line(line: QueueStore) -> None:
    """By due time, then by acceptance; other accounts and the future stay where they are."""
    later = await line.accept(queued(accepted_at=NOW + 2 * MINUTE), Body())
    first = await line.accept(queued(), Body())
    second = await line.accept(queued(), Body())
    await line.accept(queued(account="other"), Body())
    assert await line.next_due("smtp") == NOW
    assert await line.next_due("nobody") is None
    assert [leased.id for leased in await line.lease("smtp", NOW, SOON, 1)] == [first]
    assert [leased.id for leased in await line.lease("smtp", NOW, SOON, 9)] == [second]
    assert await line.lease("smtp", NOW, SOON, 9) == []
    assert await line.next_due("smtp") == NOW + 2 * MINUTE
    assert [leased.id for leased in await line.lease("smtp", NOW + DAY, SOON, 9)] == [later]


async def test_a_lease_takes_all_due_recipients_of_a_message_under_one_number(line: QueueStore) -> None:
    """Numbers are never given twice."""
    await line.accept(queued("a@x.org", "b@x.org"), Body())
    await line.accept(queued("c@x.org"), Body())
    first, second = await line.lease("smtp", NOW, SOON, 9)
    assert [e.recipient.address for e in first.entries] == ["a@x.org", "b@x.org"]
    assert all(e.state == InFlight(first.lease, Queued(NOW)) for e in first.entries)
    assert second.lease > first.lease
    await line.apply([(e.id, q.GivenBack(first.lease)) for e in first.entries])
    again = (await line.lease("smtp", NOW, SOON, 9))[0]
    assert again.lease > second.lease


async def test_only_the_recipients_that_are_due_are_taken_again(line: QueueStore) -> None:
    """One delivered, one refused, one deferred, one held: each has its own life."""
    number = await line.accept(queued("a@x.org", "b@x.org", "c@x.org", "d@x.org"), Body())
    (leased,) = await line.lease("smtp", NOW, SOON, 9)
    a, b, c, d = (entry.id for entry in leased.entries)
    events: list[tuple[int, q.RecipientEvent]] = [
        (a, Accepted(SOON, "250 2.0.0 ok")),
        (b, q.Refused(leased.lease, TROUBLE)),
        (c, q.TryFailed(leased.lease, SOON, TROUBLE)),
        (d, q.HoldAsked(NOW)),
        (d, q.GivenBack(leased.lease)),
        (999, q.HoldAsked(NOW)),
    ]
    states = await line.apply(events)
    wanted = [Delivered(SOON, "250 2.0.0 ok"), Failed(NOW, q.FailureCause.REFUSED, TROUBLE), Deferred(SOON, 1, TROUBLE)]
    assert states[:3] == wanted
    assert states[4:] == [Held(NOW, Queued(NOW)), None]
    stored = await line.load(number)
    assert stored is not None
    assert [e.state for e in stored.entries] == [*wanted, Held(NOW, Queued(NOW))]
    assert await line.lease("smtp", NOW, SOON, 9) == []
    (again,) = await line.lease("smtp", SOON, SOON + MINUTE, 9)
    assert [e.id for e in again.entries] == [c]
    names = RecipientStateName
    counts = {
        ("smtp", names.DELIVERED): 1,
        ("smtp", names.FAILED): 1,
        ("smtp", names.IN_FLIGHT): 1,
        ("smtp", names.HELD): 1,
    }
    assert dict(await line.counts()) == counts


async def test_a_stale_worker_cannot_undo_what_another_did(line: QueueStore) -> None:
    """Its lease is over: only that it delivered is still news."""
    await line.accept(queued(), Body())
    (old,) = await line.lease("smtp", NOW, SOON, 9)
    entry = old.entries[0].id
    assert await line.end_leases(SOON) == 0
    assert await line.end_leases(SOON + MINUTE) == 1
    assert await line.end_leases(SOON + MINUTE) == 0
    (new,) = await line.lease("smtp", SOON + MINUTE, SOON + 2 * MINUTE, 9)
    assert new.entries[0].state == InFlight(new.lease, Queued(SOON + MINUTE, in_doubt=True))
    assert await line.apply([(entry, q.Refused(old.lease, TROUBLE))]) == [new.entries[0].state]
    assert await line.apply([(entry, Accepted(SOON, "250 ok"))]) == [Delivered(SOON, "250 ok")]
    assert await line.apply([(entry, q.TryFailed(new.lease, SOON, TROUBLE))]) == [Delivered(SOON, "250 ok")]


async def test_what_a_former_process_had_is_due_now_however_long_its_leases_last(line: QueueStore) -> None:
    """A crash puts nothing off."""
    await line.accept(queued(), Body())
    await line.lease("smtp", NOW, NOW + DAY, 9)
    assert await line.end_leases(SOON, NOW + 9999 * DAY) == 1
    assert await line.end_leases(SOON, NOW + 9999 * DAY) == 0
    (again,) = await line.lease("smtp", SOON, NOW + DAY, 9)
    assert again.entries[0].state == InFlight(again.lease, Queued(SOON, in_doubt=True))


async def test_a_wish_does_not_free_a_lease(line: QueueStore) -> None:
    """A message that shall be held still comes back if its worker vanishes."""
    await line.accept(queued(), Body())
    (leased,) = await line.lease("smtp", NOW, SOON, 9)
    entry = leased.entries[0].id
    await line.apply([(entry, q.HoldAsked(NOW))])
    assert await line.end_leases(SOON + MINUTE) == 1
    assert (await line.apply([(entry, q.TimeOver(NOW))]))[0] == Held(
        SOON + MINUTE, Queued(SOON + MINUTE, in_doubt=True)
    )


async def test_two_workers_never_get_the_same_message(line: QueueStore) -> None:
    """At one moment."""
    for _n in range(30):
        await line.accept(queued(), Body())
    found = await asyncio.gather(*(line.lease("smtp", NOW, SOON, 4) for _worker in range(10)))
    numbers = [leased.id for each in found for leased in each]
    assert sorted(numbers) == sorted(set(numbers))
    assert len(numbers) == 30


async def test_lists_are_latest_first_and_can_be_paged_and_filtered(line: QueueStore) -> None:
    """By account, by a state that one of the recipients has."""
    numbers = [await line.accept(queued(account=account), Body()) for account in ("smtp", "other", "smtp", "smtp")]
    (leased,) = await line.lease("other", NOW, SOON, 1)
    everything = await line.list_messages(account=None, state=None, limit=3)
    assert [m.id for m in everything] == numbers[:0:-1]
    rest = await line.list_messages(account=None, state=None, limit=3, before_id=numbers[1])
    assert [m.id for m in rest] == numbers[:1]
    assert [m.id for m in await line.list_messages(account="other", state=None, limit=9)] == [leased.id]
    flying = await line.list_messages(account=None, state=RecipientStateName.IN_FLIGHT, limit=9)
    assert [m.id for m in flying] == [leased.id]
    assert await line.list_messages(account="smtp", state=RecipientStateName.IN_FLIGHT, limit=9) == []


async def test_a_list_can_be_of_a_device_and_of_a_text(line: QueueStore) -> None:
    """In every state, and together with the other filters; a text stands in subject, Message-ID or addresses."""
    about = [("ricoh", "Escáner Á"), ("fax", 'a "100 %"'), ("", "plain"), ("ricoh", "reversed_path"), ("ricoh", "z")]
    numbers = [await line.accept(queued("B@x.org", device=d, subject=s), Body()) for d, s in about]
    first, second, third, fourth, fifth = numbers
    leased = {each.id: each for each in await line.lease("smtp", NOW, SOON, 9)}

    def told(number: int, event: type[Any], *values: object) -> tuple[int, q.RecipientEvent]:
        return leased[number].entries[0].id, event(*values)

    await line.apply(
        [
            told(first, q.TryFailed, leased[first].lease, SOON, TROUBLE),
            told(second, q.Accepted, SOON, "250 ok"),
            told(third, q.GivenBack, leased[third].lease),
            told(third, q.HoldAsked, NOW),
            told(fourth, q.Refused, leased[fourth].lease, TROUBLE),
            told(fifth, q.GivenBack, leased[fifth].lease),
        ]
    )

    async def found(**filters: Any) -> list[int]:
        return [m.id for m in await line.list_messages(**{"account": None, "state": None, "limit": 9} | filters)]

    names = RecipientStateName
    states = {
        first: names.DEFERRED,
        second: names.DELIVERED,
        third: names.HELD,
        fourth: names.FAILED,
        fifth: names.QUEUED,
    }
    assert dict(await line.counts()) == {("smtp", state): 1 for state in states.values()}
    for number, (device, _subject) in zip(numbers, about, strict=True):
        assert await found(state=states[number]) == [number]
        assert await found(state=states[number], device=device, account="smtp") == [number]
        assert await found(state=states[number], device=device, account="other") == []
        assert await found(state=states[number], device="none") == []
        assert await found(state=states[number], before_id=number) == []
    assert await found(device="ricoh", limit=2) == [fifth, fourth]
    assert await found(device="ricoh", before_id=fourth) == [first]
    assert await found(device="") == [third]
    assert await found(text="ESCÁNER Á") == [first]
    assert await found(text='"100 %"', device="fax") == [second]
    assert await found(text="b@X", limit=2, before_id=fifth) == [fourth, third]
    assert await found(text="b@X", state=names.HELD) == [third]
    assert await found(text="reverse_path") == []
    assert await found(text="%") == [second]


async def test_how_much_mail_passed_is_added_up_slot_by_slot(line: QueueStore) -> None:
    """What is old goes; how many waited is the last that was said."""
    slots = [TrafficSlot(NOW + n * SLOT, 1, 2, 3, 4) for n in range(3)]
    await line.add_traffic(slots, NOW)
    assert await line.traffic() == slots
    await line.add_traffic([TrafficSlot(NOW + 2 * SLOT, 10, 20, 30, 0)], NOW + SLOT)
    assert await line.traffic() == [slots[1], TrafficSlot(NOW + 2 * SLOT, 11, 22, 33, 0)]
    assert await line.traffic(slots[1].at + SLOT / 2) == await line.traffic()
    assert await line.traffic(slots[1].at + SLOT) == [TrafficSlot(NOW + 2 * SLOT, 11, 22, 33, 0)]


async def test_what_has_ended_is_forgotten_with_its_file_and_nothing_else(line: QueueStore) -> None:
    """Only when all recipients ended, and long enough ago."""
    gone = await line.accept(queued(), Body(file="one"))
    half = await line.accept(queued("a@x.org", "b@x.org"), Body(file="two"))
    small = await line.accept(queued(), Body(b"x"))
    leased = await line.lease("smtp", NOW, SOON, 9)
    entries = {each.id: each.entries for each in leased}
    ended = [entries[gone][0], entries[half][0], entries[small][0]]
    await line.apply([(entry.id, Accepted(NOW, "250 ok")) for entry in ended])
    assert await line.files() == {"one", "two"}
    assert await line.forget_ended(NOW, 9) == []
    assert await line.forget_ended(NOW + MINUTE, 9) == ["one"]
    assert await line.load(gone) is None
    assert await line.load(small) is None
    assert await line.load(half) is not None
    assert await line.apply([(ended[0].id, q.HoldAsked(NOW))]) == [None]
    assert await line.files() == {"two"}


async def test_a_gate_is_compared_before_it_is_replaced(line: QueueStore) -> None:
    """Two workers with news at one moment: one of them reads again."""
    assert await line.load_gate("smtp") == Gate()
    closed = block(Gate(), TROUBLE, TROUBLE.at, opens_with_token=True, jitter=0.5)
    assert await line.save_gate("smtp", 0, closed)
    assert not await line.save_gate("smtp", 0, hold(Gate(), NOW))
    assert await line.load_gate("smtp") == closed
    both = hold(closed, SOON)
    assert await line.save_gate("smtp", closed.version, both)
    assert not await line.save_gate("smtp", closed.version, closed)
    assert await line.gates() == {"smtp": both}


async def test_a_message_that_leaves_at_once_has_no_history(line: QueueStore) -> None:
    """Nor does one that a worker gave back, or a stale worker's news."""
    number = await line.accept(queued(), Body())
    (leased,) = await line.lease("smtp", NOW, SOON, 9)
    entry = leased.entries[0].id
    await line.apply([(entry, q.GivenBack(leased.lease)), (entry, q.Refused(leased.lease, TROUBLE))])
    (again,) = await line.lease("smtp", NOW, SOON, 9)
    await line.apply([(entry, q.TryFailed(again.lease + 1, SOON, TROUBLE)), (entry, Accepted(SOON, "250 ok"))])
    assert await line.history(number) == []
    assert await line.history(number + 1) == []


async def test_a_message_has_a_history_of_what_befell_it(line: QueueStore) -> None:
    """In order, with who asked and the server's words; what befell several recipients alike is one line."""
    number = await line.accept(queued("a@x.org", "b@x.org", "c@x.org"), Body())
    other = await line.accept(queued(account="other"), Body())
    (leased,) = await line.lease("smtp", NOW, SOON, 9)
    a, b, c = (entry.id for entry in leased.entries)
    no = replace(TROUBLE, reason="mailbox_unknown", server_words="550 5.1.1 no")
    await line.apply(
        [
            (a, q.TryFailed(leased.lease, SOON + MINUTE, TROUBLE)),
            (b, q.Refused(leased.lease, no)),
            (c, q.TryFailed(leased.lease, SOON, replace(TROUBLE, at=NOW + MINUTE))),
        ]
    )
    await line.apply([(a, q.HoldAsked(SOON, "ana")), (b, q.HoldAsked(SOON, "ana")), (c, q.HoldAsked(SOON, "ana"))])
    await line.apply([(a, q.RetryAsked(SOON, "luis"))])
    await line.lease("smtp", SOON, SOON + MINUTE, 9)
    await line.end_leases(SOON + DAY)
    await line.apply([(a, q.TimeOver(SOON + DAY))])
    words = HistoryWord
    assert await line.history(number) == [
        HistoryLine(NOW, words.TRY_FAILED, (0, 2), TROUBLE, 1, SOON),
        HistoryLine(NOW, words.REFUSED, (1,), no, 1),
        HistoryLine(SOON, words.HELD, (0, 2), who="ana"),
        HistoryLine(SOON, words.RETRIED, (0,), who="luis"),
        HistoryLine(SOON + DAY, words.LEASE_ENDED, (0,)),
        HistoryLine(SOON + DAY, words.EXPIRED, (0,)),
    ]
    assert await line.history(other) == []


async def test_a_history_keeps_its_beginning_and_its_end(line: QueueStore) -> None:
    """It does not grow for ever, and goes with its message."""
    number = await line.accept(queued(), Body())
    (leased,) = await line.lease("smtp", NOW, SOON, 9)
    entry, times = leased.entries[0].id, LINES_LIMIT // 2 + 20
    await line.apply([(entry, q.GivenBack(leased.lease))])
    for n in range(times):
        await line.apply([(entry, q.HoldAsked(NOW + n * MINUTE, str(n)))])
        await line.apply([(entry, q.ReleaseAsked(NOW + n * MINUTE, str(n)))])
    lines = await line.history(number)
    assert len(lines) == LINES_LIMIT
    left_out = 2 * times - LINES_LIMIT
    numbers = [n // 2 for n in range(2 * times) if not FIRST_LINES <= n < FIRST_LINES + left_out]
    assert [one.who for one in lines] == [str(n) for n in numbers]
    await line.apply([(entry, Accepted(NOW, "250 ok"))])
    await line.forget_ended(SOON, 9)
    assert await line.history(number) == []


async def test_a_gate_has_a_history_too(line: QueueStore) -> None:
    """Written only with the gate; the last of it is kept."""
    blocked = GateLine(NOW, GateWord.BLOCKED, TROUBLE)
    assert await line.save_gate("smtp", 0, replace(Gate(), version=1), blocked)
    assert not await line.save_gate("smtp", 0, Gate(), GateLine(SOON, GateWord.HELD, who="ana"))
    assert await line.save_gate("smtp", 1, replace(Gate(), version=2))
    assert await line.save_gate("other", 0, replace(Gate(), version=1), GateLine(SOON, GateWord.HELD, who="luis"))
    assert await line.gate_history("smtp") == [blocked]
    for n in range(2, GATE_LINES + 5):
        await line.save_gate("smtp", n, replace(Gate(), version=n + 1), GateLine(SOON, GateWord.HELD, who=str(n)))
    assert [one.who for one in await line.gate_history("smtp")] == [str(n) for n in range(5, GATE_LINES + 5)]
    assert len(await line.gate_history("other")) == 1
    assert await line.gate_history("nobody") == []


async def test_what_was_accepted_is_there_after_the_process_is_gone(tmp_path: Path) -> None:
    """With leases, states and gates."""
    database = SqliteEngine(tmp_path)
    line = SqliteQueue(database)
    number = await line.accept(queued("a@x.org", "b@x.org"), Body(b"body"))
    (leased,) = await line.lease("smtp", NOW, SOON, 9)
    await line.apply([(leased.entries[0].id, q.InDoubt(leased.lease, SOON, TROUBLE))])
    await line.save_gate("smtp", 0, hold(Gate(), NOW))
    await database.close()
    database = SqliteEngine(tmp_path)
    line = SqliteQueue(database)
    stored = await line.load(number)
    assert stored is not None
    assert [e.state for e in stored.entries] == [
        Deferred(SOON, 1, TROUBLE, in_doubt=True),
        InFlight(leased.lease, Queued(NOW)),
    ]
    assert await line.load_gate("smtp") == replace(Gate(), held_at=NOW, closed_at=NOW, version=1)
    assert await line.end_leases(SOON + MINUTE) == 1
    assert (await line.lease("smtp", SOON + MINUTE, SOON + DAY, 9))[0].lease > leased.lease
    await database.close()


@pytest.mark.parametrize("count", [1, 5000])
async def test_a_lease_looks_at_the_head_of_the_line_only(tmp_path: Path, count: int) -> None:
    """Counted in steps of the database's machine: as many with 5,000 waiting as with one; lists of other states likewise."""
    database = SqliteEngine(tmp_path)
    line = SqliteQueue(database)
    await asyncio.gather(*(line.accept(queued(accepted_at=NOW + n * MINUTE), Body()) for n in range(count)))
    steps = 0

    def count_step() -> None:
        nonlocal steps
        steps += 1

    database._writer.set_progress_handler(count_step, 10)
    assert len(await line.lease("smtp", NOW, SOON, 10)) == 1
    assert steps < 100
    database._reader.set_progress_handler(count_step, 10)
    for state in (RecipientStateName.IN_FLIGHT, RecipientStateName.HELD, RecipientStateName.FAILED):
        steps = 0
        found = await line.list_messages(account=None, state=state, limit=20)
        assert len(found) == (state is RecipientStateName.IN_FLIGHT)
        assert steps < 100
    await database.close()


async def test_what_is_accepted_under_a_lease_is_in_hand_or_in_the_line(line: QueueStore) -> None:
    """Told once; a crash of who has it puts nothing off; a stale lease wins nothing."""
    told: list[Leased | None] = []
    message = queued("b@example.org", "ñ@example.org")
    numbers = await asyncio.gather(
        *(line.accept_leased(message, Body(b"Subject: %d" % n), SOON, told.append) for n in range(3)),
        line.accept(queued(), Body()),
    )
    assert len(set(numbers)) == 4
    assert len(told) == 3
    for number, leased in zip(numbers, told, strict=False):
        stored = await line.load(number)
        assert stored is not None
        if leased is None:
            assert [entry.state for entry in stored.entries] == [Queued(NOW)] * 2
        else:
            assert leased == Leased(leased.lease, number, message, stored.entries, leased.body)
            assert [entry.state for entry in stored.entries] == [InFlight(leased.lease, Queued(NOW))] * 2
            assert await line.load_body(number) == leased.body
    waiting = await line.lease("smtp", NOW, SOON, 9)
    assert [job.id for job in waiting] == [n for n, job in zip(numbers, [*told, None], strict=True) if job is None]
    assert await line.end_leases(SOON + MINUTE) == 7
    again = await line.lease("smtp", SOON + MINUTE, SOON + DAY, 9)
    assert [job.id for job in again] == sorted(numbers)
    old = [(entry.id, q.GivenBack(job.lease)) for job in told if job is not None for entry in job.entries]
    assert all(isinstance(state, InFlight) for state in await line.apply(old))


@pytest.mark.parametrize("when", ["cancelled", "closed"])
async def test_a_lease_is_told_of_whatever_becomes_of_who_asked(tmp_path: Path, when: str) -> None:
    """With the lease if the message was stored, with None if it was not."""
    engine = SqliteEngine(tmp_path)
    line, told = SqliteQueue(engine), list[Leased | None]()
    if when == "closed":
        await engine.close()
    asked = asyncio.create_task(line.accept_leased(queued(), Body(), SOON, told.append))
    await asyncio.sleep(0)
    if when == "cancelled":
        asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await engine.close()
    await asyncio.sleep(0)
    assert [job is not None for job in told] == [when == "cancelled"]


async def test_what_is_under_lease_is_known_with_what_was_asked_of_it(line: QueueStore) -> None:
    """Of one account; neither what waits nor what has ended."""
    await line.accept(queued("a@x.org", "b@x.org"), Body())
    await line.accept(queued("c@x.org", account="other"), Body())
    (job,) = await line.lease("smtp", NOW, NOW + MINUTE, 9)
    await line.lease("other", NOW, NOW + MINUTE, 9)
    await line.accept(queued("d@x.org"), Body())
    first, second = (entry.id for entry in job.entries)
    await line.apply([(second, q.CancelAsked(NOW))])
    before = Queued(NOW)
    assert await line.under_lease("smtp") == [
        (first, InFlight(job.lease, before)),
        (second, InFlight(job.lease, before, q.Wish.CANCEL)),
    ]
    await line.apply([(first, q.Accepted(NOW, "250 ok")), (second, q.GivenBack(job.lease))])
    assert await line.under_lease("smtp") == []
