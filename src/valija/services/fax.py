"""Internet fax as a whole: its settings, what is sent, what is received."""

from __future__ import annotations

from dataclasses import dataclass

from valija.services.fax_receiving import FaxReceiver
from valija.services.fax_sending import FaxSender
from valija.services.fax_settings import FaxSettingsDesk


@dataclass(frozen=True, slots=True)
class Fax:
    """All of it. :meth:`MailTaker.run` of the receiver's ``mail`` is a task."""

    settings: FaxSettingsDesk
    sender: FaxSender
    receiver: FaxReceiver
