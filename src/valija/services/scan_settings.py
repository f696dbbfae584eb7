"""What the machine chooses for its scans: read and change."""

from __future__ import annotations

from typing import Final

from valija.domain.clock import Clock
from valija.domain.scan import ScanSettings, parse_scan_settings
from valija.services.events import EventBus
from valija.services.one_record import OneRecord
from valija.store.port import Store

SUBJECT: Final = "scan"


class ScanSettingsDesk(OneRecord[ScanSettings]):
    """Where they are changed, whatever the face."""

    def __init__(self, store: Store, clock: Clock, events: EventBus) -> None:
        super().__init__(
            SUBJECT, store.load_scan_settings, store.save_scan_settings, parse_scan_settings, clock, events
        )
