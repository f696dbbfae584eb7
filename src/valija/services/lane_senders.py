"""Whose names an account's mail bears, and what a refused one means: its own fault, or the account's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from valija.domain.bad_senders import BadSenders, Sender
from valija.domain.errors import ValijaError
from valija.domain.queued_message import QueuedMessage
from valija.message.submission import HEAD_LIMIT, author_of, name_mailbox, rename_author
from valija.services.outcomes import WRONG_SENDER_PAUSE, Judgement, blame_account
from valija.store.queue_port import Leased

if TYPE_CHECKING:
    from valija.services.dispatcher import Dispatcher

FORMER_LIMIT: Final = 100
Read = Callable[[], AsyncIterator[bytes]]


class LaneSenders:
    """Those of one lane.

    A mailbox that may not even send as itself has no rights: all mail would be refused, so none is tried. What was taken in
    while another one was set, or none, goes out as the mailbox of now. Any other sender waits alone, and of a device that
    names one after the other all that were not tried: tries in vain get the whole mailbox throttled.
    """

    def __init__(self, dispatcher: Dispatcher, account: str) -> None:
        self._d = dispatcher
        self._account = account
        self._bad = BadSenders()
        self._former: set[str] = set()  # reverse-paths that were the mailbox's
        self._null_path_refused = False

    def forget(self) -> None:
        """Try all of them again: something was mended, or somebody wants to know."""
        self._bad = BadSenders()
        self._former.clear()
        self._null_path_refused = False

    async def path(self, message: QueuedMessage) -> str:
        """Return the reverse-path to send a message with. Raises store errors."""
        if message.is_report:  # some providers take no report without a sender: it goes out as the mailbox
            return await self._mailbox() if self._null_path_refused else message.reverse_path
        if _had_no_mailbox(message) or (message.reverse_path in self._former and self._d.goes_as_mailbox(message)):
            return await self._mailbox() or message.reverse_path
        return message.reverse_path

    async def octets(self, leased: Leased, path: str) -> tuple[int, Read]:
        """Return a message's size, and what reads its octets, for the path that it is sent with. Raises store errors."""
        message, read = leased.message, partial(self._d.octets, leased.body)
        if message.is_report or path == message.reverse_path:
            return message.size, read
        head, _line, _body = (await self._beginning(leased)).partition(b"\r\n\r\n")
        if _had_no_mailbox(message):
            written = name_mailbox(head + b"\r\n", path)
        else:
            written = rename_author(head + b"\r\n", message.reverse_path, path)
        return message.size + len(written) - len(head) - 2, lambda: _with_head(written, len(head) + 2, read())

    async def until(self, leased: Leased, now: datetime) -> datetime | None:
        """Return until when a message's sender is left alone; None if it may be tried. Raises store errors."""
        path = leased.message.reverse_path
        by_device = None if leased.message.is_report else self._bad.device_until(leased.message.device, now)
        if by_device is None and not self._bad.has(path):
            return None
        sender = await self._sender(leased)
        until = self._bad.until(sender, now)
        if until is not None or by_device is None:
            return until
        own = (await self._mailbox()).casefold()
        return None if path.casefold() == own and sender.author in ("", own) else by_device

    async def refused(self, leased: Leased, sent_as: str, judgement: Judgement) -> bool:
        """Learn from a message that was refused for its sender, ``sent_as``; tell whether it goes out as the mailbox now."""
        message = leased.message
        if message.is_report and not sent_as:
            self._null_path_refused = True
            return True
        try:
            sender, mailbox = await self._sender(leased), await self._mailbox()
        except ValijaError:  # it is only put off; what others were told of it counts more
            return False
        own, is_own = mailbox.casefold(), sent_as.casefold() == mailbox.casefold()
        # From names what the envelope names
        follows = _had_no_mailbox(message) or sender.author in ("", message.reverse_path.casefold())
        may_mend = bool(mailbox and sent_as) and not judgement.accepted
        if may_mend and is_own and (follows or sender.author == own):
            blame_account(judgement, leased.lease)
        elif may_mend and not is_own and follows and self._d.goes_as_mailbox(message):
            if len(self._former) >= FORMER_LIMIT:
                self._former.clear()
            self._former.add(message.reverse_path)
            return True
        else:
            self._bad.note(sender, self._d.clock.now() + WRONG_SENDER_PAUSE, message.device)
        return False

    async def _mailbox(self) -> str:
        return await self._d.route.mailbox(self._account)

    async def _sender(self, leased: Leased) -> Sender:
        return Sender(leased.message.reverse_path, author_of(await self._beginning(leased)))

    async def _beginning(self, leased: Leased) -> bytes:
        kept = b""
        async for piece in self._d.octets(leased.body):
            kept += piece
            if b"\r\n\r\n" in kept or len(kept) > 2 * HEAD_LIMIT:
                break
        return kept


def _had_no_mailbox(message: QueuedMessage) -> bool:
    """Tell whether a message that goes out as the mailbox was taken in before one was set."""
    return not message.reverse_path and bool(message.report_to)


async def _with_head(head: bytes, instead_of: int, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for piece in body:
        if rest := piece[instead_of:]:
            yield rest
        instead_of = max(instead_of - len(piece), 0)
