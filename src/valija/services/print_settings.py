"""Where mail is printed and whose: read and changed, whatever the face."""

from __future__ import annotations

from typing import Final

from valija.domain.clock import Clock
from valija.domain.print_job import PrintSettings, parse_print_settings
from valija.services.events import EventBus
from valija.services.one_record import OneRecord
from valija.store.port import Store

SUBJECT: Final = "print"


class PrintSettingsDesk(OneRecord[PrintSettings]):
    """Where they are changed."""

    def __init__(self, store: Store, clock: Clock, events: EventBus) -> None:
        super().__init__(SUBJECT, store.load_print, store.save_print, parse_print_settings, clock, events)
