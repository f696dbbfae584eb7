"""Whose names an account's mail bears, and what a refused one means: its own fault, or the account's."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from valija.domain.bad_senders import BadSenders, Sender
from valija.domain.errors import ValijaError
from valija.message.submission import HEAD_LIMIT, author_of
from valija.services.outcomes import WRONG_SENDER_PAUSE, Judgement, blame_account
from valija.store.queue_port import Leased

if TYPE_CHECKING:
    from valija.services.dispatcher import Dispatcher


class LaneSenders:
    """Those of one lane.

    A mailbox that may not even send as itself has no rights: all mail would be refused, so none is tried. Any other sender
    waits alone: tries in vain get the whole mailbox throttled.
    """

    def __init__(self, dispatcher: Dispatcher, account: str) -> None:
        self._d = dispatcher
        self._account = account
        self._bad = BadSenders()
        self.null_path_refused = False  # some providers take no report without a sender: it goes out as the mailbox

    def forget(self) -> None:
        """Try all of them again: something was mended, or somebody wants to know."""
        self._bad = BadSenders()
        self.null_path_refused = False

    async def until(self, leased: Leased, now: datetime) -> datetime | None:
        """Return until when a message's sender is left alone; None if it may be tried. Raises store errors."""
        if not self._bad.has(leased.message.reverse_path):
            return None
        return self._bad.until(await self._sender(leased), now)

    async def refused(self, leased: Leased, sent_as: str, judgement: Judgement) -> None:
        """Learn from a message that was refused for its sender; ``sent_as`` was its reverse-path."""
        try:
            sender, mailbox = await self._sender(leased), (await self._d.route.mailbox(self._account)).casefold()
        except ValijaError:  # it is only put off; what others were told of it counts more
            return
        if mailbox and sent_as.casefold() == mailbox and sender.author in ("", mailbox) and not judgement.accepted:
            blame_account(judgement, leased.lease)
        else:
            self._bad.note(sender, self._d.clock.now() + WRONG_SENDER_PAUSE)

    async def _sender(self, leased: Leased) -> Sender:
        kept = b""
        async for piece in self._d.octets(leased.body):
            kept += piece
            if b"\r\n\r\n" in kept or len(kept) > 2 * HEAD_LIMIT:
                break
        return Sender(leased.message.reverse_path, author_of(kept))
