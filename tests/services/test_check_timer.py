"""When the machine looks for mail by itself: at its start, at the check interval, never if that is 0; each setting alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from fakes import FakeClock

from valija.domain.account import POP_SETTINGS, Setting
from valija.domain.errors import StoreError, ValijaError
from valija.domain.settings import PopSettings
from valija.domain.text import message
from valija.domain.trouble import Trouble, WhoActs
from valija.services.retrieval import TICK_S, CheckReport, CheckTimer

FAX, PRINT, STATUS = POP_SETTINGS
MINUTE = 60.0


@dataclass
class Mailboxes:
    """Stands for what fetches: notes when it was asked to."""

    clock: FakeClock
    of: dict[Setting, PopSettings]
    checked: list[tuple[Setting, float]] = field(default_factory=list)
    answer: Trouble | ValijaError | None = None
    others_turn: bool = False
    unfinished: set[Setting] = field(default_factory=set)
    troubles: dict[Setting, Trouble] = field(default_factory=dict)
    began: float = 0.0
    store: StoreError | None = None  # what it says to who reads the settings

    async def settings(self, setting: Setting) -> PopSettings:
        if self.store is not None:
            raise self.store
        return self.of.get(setting, PopSettings())

    async def may_check(self, _setting: Setting, _seconds: float) -> bool:
        return not self.others_turn

    async def check(self, setting: Setting) -> CheckReport:
        self.checked.append((setting, self.clock.monotonic() - self.began))
        if isinstance(self.answer, ValijaError):
            raise self.answer
        return CheckReport((), self.answer)

    def minutes(self, setting: Setting) -> list[int]:
        """Return in which minutes a setting was checked."""
        return [round(at / MINUTE) for which, at in self.checked if which is setting]


def every(minutes: int, server: str = "pop.example.com") -> PopSettings:
    return PopSettings(server=server, check_interval=minutes)


@pytest.fixture
async def boxes() -> AsyncIterator[Mailboxes]:
    """Mailboxes with a timer that runs."""
    clock = FakeClock(by_itself=False)
    made = Mailboxes(clock, {}, began=clock.monotonic())
    timer = CheckTimer(made, clock, POP_SETTINGS)  # type: ignore[arg-type]
    made.troubles = timer.troubles
    running = asyncio.create_task(timer.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_each_is_checked_at_the_start_and_at_its_own_interval_and_0_is_never(boxes: Mailboxes) -> None:
    boxes.of = {FAX: every(5), PRINT: every(0), STATUS: every(480)}
    await boxes.clock.advance(480 * MINUTE + TICK_S)
    assert boxes.minutes(FAX) == list(range(0, 481, 5))
    assert boxes.minutes(PRINT) == []
    assert boxes.minutes(STATUS) == [0, 480]


async def test_a_setting_without_a_server_is_left_alone_and_one_that_gets_it_is_checked(boxes: Mailboxes) -> None:
    boxes.of = {FAX: every(5, server="")}
    await boxes.clock.advance(20 * MINUTE)
    assert boxes.checked == []
    boxes.of = {FAX: every(5)}
    await boxes.clock.advance(MINUTE)
    assert len(boxes.minutes(FAX)) == 1


async def test_an_interval_that_is_changed_counts_from_the_last_check(boxes: Mailboxes) -> None:
    """In steps of a minute; and 0 ends it."""
    boxes.of = {FAX: every(480)}
    await boxes.clock.advance(30 * MINUTE)
    boxes.of = {FAX: every(1)}
    await boxes.clock.advance(3 * MINUTE + TICK_S)
    assert boxes.minutes(FAX) == [0, 30, 31, 32, 33]
    boxes.of = {FAX: every(0)}
    await boxes.clock.advance(60 * MINUTE)
    assert len(boxes.checked) == 5


@pytest.mark.parametrize(
    "answer",
    [Trouble("connection_lost", WhoActs.NOBODY, "", FakeClock().now()), StoreError(message("away"))],
    ids=["server", "store"],
)
async def test_what_goes_wrong_is_kept_to_be_shown_and_is_tried_again_sooner_than_the_interval(
    boxes: Mailboxes, answer: Trouble | ValijaError
) -> None:
    """Not in eight hours because the network came a minute after the machine; and not more often than it is asked to."""
    boxes.of, boxes.answer = {FAX: every(480), STATUS: every(5)}, answer
    await boxes.clock.advance(32 * MINUTE)
    assert boxes.minutes(FAX) == [0, 1, 3, 7, 15, 31]
    assert boxes.minutes(STATUS) == [0, 1, 3, 7, 12, 17, 22, 27]
    troubles = boxes.troubles
    assert troubles == ({FAX: answer, STATUS: answer} if isinstance(answer, Trouble) else {})
    boxes.answer = None
    await boxes.clock.advance(40 * MINUTE)
    assert troubles == {}
    assert boxes.minutes(FAX)[6:] == [63]
    await boxes.clock.advance(480 * MINUTE)
    assert boxes.minutes(FAX)[7:] == [63 + 480]


async def test_what_was_too_much_for_one_check_is_fetched_at_once_but_not_where_that_fails(boxes: Mailboxes) -> None:
    boxes.of, boxes.unfinished = {FAX: every(480)}, {FAX}
    await boxes.clock.advance(MINUTE)
    assert len(boxes.checked) == MINUTE // TICK_S
    boxes.answer = Trouble("connection_lost", WhoActs.NOBODY, "", boxes.clock.now())
    await boxes.clock.advance(MINUTE)
    assert len(boxes.checked) <= MINUTE // TICK_S + 2


async def test_where_another_machine_checks_this_one_does_not(boxes: Mailboxes) -> None:
    boxes.of, boxes.others_turn = {FAX: every(5)}, True
    await boxes.clock.advance(20 * MINUTE)
    assert boxes.checked == []
    boxes.others_turn = False
    await boxes.clock.advance(5 * MINUTE)
    assert len(boxes.checked) == 1


async def test_settings_that_cannot_be_read_are_said_and_read_again_soon(
    boxes: Mailboxes, caplog: pytest.LogCaptureFixture
) -> None:
    """The store is away for a moment, just when the machine starts."""
    boxes.of[FAX] = every(60)
    boxes.store = StoreError(message("away"))
    with caplog.at_level("INFO"):
        await boxes.clock.advance(TICK_S * 3)
    assert "check_waits" in caplog.messages
    boxes.store = None
    await boxes.clock.advance(TICK_S * 2)
    assert boxes.minutes(FAX)
