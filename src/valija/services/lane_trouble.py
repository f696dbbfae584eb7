"""What stops a lane: trouble of the account closes its gate, what passes by itself makes a pause that grows."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from valija.domain import account_gate as gates
from valija.domain.errors import ConsentNeeded, NotReady, TryLater
from valija.domain.trouble import Trouble, WhoActs
from valija.net.smtp import SmtpConnection
from valija.services.lane_connection import LaneConnections
from valija.services.lane_leasing import Leasing, Pause
from valija.services.login import LoginFailed

if TYPE_CHECKING:
    from valija.services.dispatcher import Dispatcher

log: Final = logging.getLogger(__name__)
PAUSES_S: Final = (5, 10, 20, 40, 80, 160, 300)
# a server or resolver that starts anew or is too busy to answer, a machine without descriptors for a moment: at first
MAY_PASS: Final = frozenset(
    {"connection_refused", "connection_failed", "name_not_found", "timed_out", "tls_protocol", "tls_other"}
)
PATIENCE: Final = 4  # pauses until it is somebody's to mend


class LaneTrouble:
    """That of one lane; ``empty`` gives back what is in its line."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        account: str,
        leasing: Leasing,
        connections: LaneConnections,
        *,
        empty: Callable[[], Awaitable[None]],
    ) -> None:
        self._d = dispatcher
        self._account = account
        self._leasing = leasing
        self._connections = connections
        self._empty = empty
        self._pauses = 0  # one after the other

    def over(self) -> None:
        """Wait no longer: a connection was opened, or the setting is another one."""
        self._pauses, self._leasing.pause = 0, None

    async def open(self) -> SmtpConnection | None:
        """Return a connection that is logged in; None if there is none, and the lane stops for that."""
        try:
            return await self._d.route.open(self._account)
        except LoginFailed as error:
            may_pass = error.trouble.reason in MAY_PASS and self._pauses < PATIENCE
            if error.trouble.who_acts is WhoActs.NOBODY or may_pass:
                await self.connection_failed(error.trouble)
            else:
                await self.block(error.trouble)
        except ConsentNeeded:
            await self.block(self._d.troubles.of_reason("no_token"), opens_with_token=True)
        except NotReady:  # its words are ours, not a server's
            await self.block(self._d.troubles.of_reason("not_ready"))
        except TryLater as error:
            await self.connection_failed(words=str(error.what))
        return None

    async def block(self, trouble: Trouble, *, opens_with_token: bool = False) -> None:
        """Close the account's gate."""
        if not opens_with_token:
            opens_with_token = not await self._d.route.token_works(self._account)
        now, jitter = self._d.clock.now(), self._d.jitter()
        log.warning("account_blocked", extra={"fields": {"account": self._account, "reason": trouble.reason}})

        def blocked(gate: gates.Gate) -> gates.Gate:
            return gates.block(gate, trouble, now, opens_with_token=opens_with_token, jitter=jitter)

        await self._d.change_gate(self._account, blocked)
        await self._empty()

    async def unblock(self) -> None:
        """Open the gate: the provider has taken mail."""
        if not self._d.gate(self._account).is_open:
            await self._d.change_gate(self._account, lambda gate: gates.account_works(gate, self._d.clock.now()))

    async def connection_failed(self, trouble: Trouble | None = None, words: str = "") -> None:
        """Go on with fewer connections if others are open; else pause, longer each time.

        What several connections tell at one moment is one failure.
        """
        if self._connections.refused():
            why = (trouble.server_words or trouble.reason) if trouble is not None else words
            log.info("fewer_connections", extra={"fields": {"account": self._account, "why": why}})
            return
        pause = self._leasing.pause
        if pause is None or pause.until <= self._d.clock.now():
            await self.pause_for(self._next_pause(), trouble, words)

    def _next_pause(self) -> float:
        seconds = PAUSES_S[min(self._pauses, len(PAUSES_S) - 1)] * (0.8 + 0.4 * self._d.jitter())
        self._pauses += 1
        return seconds

    async def pause_for(self, seconds: float, trouble: Trouble | None = None, words: str = "") -> None:
        """Send nothing for so long; ``words`` say why where it is no trouble."""
        until, pause = self._d.clock.now() + timedelta(seconds=seconds), self._leasing.pause
        if pause is None or pause.until < until:
            said, reason = (words, "") if trouble is None else (trouble.server_words, trouble.reason)
            self._leasing.pause = Pause(until, said, reason)
        await self._empty()
        self._d.changed(self._account)
        self._leasing.wake()
