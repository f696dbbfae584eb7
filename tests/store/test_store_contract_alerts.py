"""Alerts and what is told of them: the same promises of every engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from queue_engines import queued
from store_engines import store_fixture
from store_values import NOW, audit_record

from valija.domain.alert import (
    Alert,
    AlertKind,
    Level,
    Raised,
    Solved,
    condition,
)
from valija.domain.alert_settings import AlertSettings
from valija.domain.alert_telling import (
    Channel,
    Handing,
    HandingName,
    Telling,
    TellingKind,
    TellingLine,
    TellingWord,
    tell,
)
from valija.domain.queue import Accepted
from valija.secret import Secret
from valija.store.alerts_port import StoredAlert
from valija.store.port import Store
from valija.store.queue_port import Body

store = store_fixture
MINUTE = timedelta(minutes=1)
DISK = condition(AlertKind.DISK_LOW, "máquina", Level.WARNING, node="here", free="500")
ALERT = Alert(DISK, Raised(NOW))
LINE = TellingLine(TellingWord.RAISED, DISK, NOW)
TELLING = Telling("alerts 1", TellingKind.ALERTS, NOW, (LINE,), (Handing(Channel.MAIL, HandingName.WAITING, NOW),))


async def test_an_alert_is_kept_with_what_is_told_of_it(store: Store) -> None:
    assert await store.alerting.save([StoredAlert(0, ALERT)])
    assert await store.alerting.save([StoredAlert(1, tell(ALERT, NOW))], TELLING)
    assert await store.alerting.alerts() == [StoredAlert(2, tell(ALERT, NOW))]
    (told,) = await store.alerting.tellings(10)
    assert told.telling == TELLING
    assert await store.alerting.has_told("alerts 1")
    assert not await store.alerting.has_told("alerts 2")


async def test_of_two_who_tell_the_same_alert_one_does_and_the_other_changes_nothing(store: Store) -> None:
    await store.alerting.save([StoredAlert(0, ALERT)])
    assert await store.alerting.save([StoredAlert(1, tell(ALERT, NOW))], TELLING)
    other = condition(AlertKind.LOCKOUT, "ana", Level.WARNING)
    late = [StoredAlert(0, Alert(other, Raised(NOW))), StoredAlert(1, tell(ALERT, NOW))]
    assert not await store.alerting.save(late, replace(TELLING, name="alerts 2"))
    assert len(await store.alerting.alerts()) == len(await store.alerting.tellings(10)) == 1


async def test_a_name_is_told_once(store: Store) -> None:
    assert await store.alerting.save((), replace(TELLING, name="daily 2026-11-26"))
    assert not await store.alerting.save([StoredAlert(0, ALERT)], replace(TELLING, name="daily 2026-11-26"))
    assert await store.alerting.alerts() == []


async def test_a_telling_is_claimed_by_one_and_by_another_when_that_one_has_died(store: Store) -> None:
    await store.alerting.save((), TELLING)
    (due,) = await store.alerting.due(NOW, 10)
    claimed = await store.alerting.claim(due, NOW + MINUTE)
    assert claimed is not None
    assert await store.alerting.claim(due, NOW + MINUTE) is None
    assert await store.alerting.due(NOW, 10) == []
    (again,) = await store.alerting.due(NOW + MINUTE, 10)
    second = await store.alerting.claim(again, NOW + 2 * MINUTE)
    assert second is not None
    done = replace(TELLING, handings=(Handing(Channel.MAIL, HandingName.DONE, NOW),))
    assert not await store.alerting.note(claimed, done)
    assert await store.alerting.note(second, done)
    assert await store.alerting.due(NOW + 10 * MINUTE, 10) == []


async def test_what_is_solved_and_done_is_forgotten_and_nothing_else(store: Store) -> None:
    other = condition(AlertKind.LOCKOUT, "ana", Level.WARNING)
    solved = Alert(other, Solved(NOW, NOW, None))
    await store.alerting.save([StoredAlert(0, ALERT), StoredAlert(0, solved)], TELLING)
    await store.alerting.save((), replace(TELLING, name="done", handings=()))
    await store.alerting.forget(NOW + MINUTE, 9)
    assert [s.alert for s in await store.alerting.alerts()] == [ALERT]
    assert [t.telling.name for t in await store.alerting.tellings(10)] == ["alerts 1"]


async def test_of_what_is_solved_the_latest_are_kept_and_no_more(store: Store) -> None:
    """Each is looked at with every page: a year of guessing must not slow them down. What holds stays, however old it is."""
    solved = [
        Alert(condition(AlertKind.LOCKOUT, f"guess{n}", Level.WARNING), Solved(NOW, NOW + n * MINUTE, None))
        for n in range(5)
    ]
    await store.alerting.save([StoredAlert(0, alert) for alert in (ALERT, *solved)])
    await store.alerting.forget(NOW - MINUTE, 2)
    assert [s.alert.condition.subject for s in await store.alerting.alerts()] == ["máquina", "guess3", "guess4"]


async def test_settings_replace_those_that_were_read(store: Store) -> None:
    new = AlertSettings(alert_to=("ana@example.com",), webhook_secret=Secret("x" * 20), status_since=NOW)
    assert await store.load_alerting() == AlertSettings()
    assert await store.save_alerting(AlertSettings(), new, audit_record())
    assert await store.load_alerting() == new
    assert not await store.save_alerting(AlertSettings(), AlertSettings(), audit_record())


async def test_the_oldest_mail_that_waits_is_known_by_account(store: Store) -> None:
    assert await store.queue.oldest_waiting() == {}
    for account, minutes in (("smtp", 2), ("smtp", 5), ("other", 7)):
        await store.queue.accept(queued(account=account, accepted_at=NOW + minutes * MINUTE), Body())
    assert await store.queue.oldest_waiting() == {"smtp": NOW + 2 * MINUTE, "other": NOW + 7 * MINUTE}
    for leased in await store.queue.lease("smtp", NOW + 9 * MINUTE, NOW + 10 * MINUTE, 1):
        await store.queue.apply([(entry.id, Accepted(NOW, "250 ok")) for entry in leased.entries])
    assert (await store.queue.oldest_waiting())["smtp"] == NOW + 5 * MINUTE
