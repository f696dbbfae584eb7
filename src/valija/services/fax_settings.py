"""How faxes are sent and received: read and changed, whatever the face."""

from __future__ import annotations

from typing import Final

from valija.domain.clock import Clock
from valija.domain.fax import FaxSettings, parse_fax_settings
from valija.services.events import EventBus
from valija.services.one_record import OneRecord
from valija.store.port import Store

SUBJECT: Final = "fax"


class FaxSettingsDesk(OneRecord[FaxSettings]):
    """Where they are changed."""

    def __init__(self, store: Store, clock: Clock, events: EventBus) -> None:
        super().__init__(SUBJECT, store.load_fax, store.save_fax, parse_fax_settings, clock, events)
