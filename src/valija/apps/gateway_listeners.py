"""The gateway's listeners: SMTP and POP3 for the devices of the local network."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from valija.apps.config import Configuration
from valija.apps.gateway_tls import GatewayTls
from valija.apps.http_server import port_taken
from valija.apps.machine import Machine, local_name
from valija.net.addresses import local_addresses
from valija.net.listeners import Listener, pop3_listener, smtp_listener
from valija.services.collection import Collection
from valija.services.keeping_up import kept_up
from valija.services.login import Troubles
from valija.services.submission import Submission

LOOPBACK: Final = "127.0.0.1"
NAMED_TIMES: Final = 4
IDLE_S: Final = 300.0
POP3_IDLE_S: Final = 600.0  # RFC 1939 section 3: at least ten minutes
NAMES: Final = ("smtp", "submission", "submissions")
POP3_NAMES: Final = ("pop3", "pop3s")


class GatewayListeners:
    """All of them; each is there if the configuration says so. ``places``: their ports by name."""

    def __init__(self, machine: Machine, configuration: Configuration, *, loopback_only: bool) -> None:
        self._machine = machine
        self._settings = configuration.gateway
        self._host = LOOPBACK if loopback_only else configuration.gateway.host
        gateway = machine.gateway
        self._tls = GatewayTls(
            configuration.gateway,
            configuration.web,
            machine.state_dir,
            gateway.devices,
            machine.clock,
            self.addresses,
        )
        self._watch: asyncio.Task[None] | None = None
        self._listeners: list[Listener] = []
        self.places: dict[str, int] = {}

    async def start(self) -> None:
        """Listen. Raises :class:`ConfigurationError`."""
        settings = self._settings
        if not settings.enabled:
            return
        ports = dict(zip(NAMES, (settings.smtp_port, settings.submission_port, settings.submissions_port), strict=True))
        pop3_ports = dict(zip(POP3_NAMES, (settings.pop3_port, settings.pop3s_port), strict=True))
        await asyncio.to_thread(self._tls.load, [name for name, port in (ports | pop3_ports).items() if port])
        submission, collection = self._submission(), self._collection()
        for name, port in ports.items():
            if port:
                listener = smtp_listener(
                    submission,
                    self._tls.context,
                    name=name,
                    idle_s=IDLE_S,
                    connections_limit=settings.connections,
                    address_limit=self._sessions_of,
                    is_at_home=self._machine.gateway.devices.is_at_home,
                )
                await self._listen(listener, name, max(port, 0), implicit_tls=name == "submissions")
        for name, port in pop3_ports.items():
            if port:
                listener = pop3_listener(
                    collection,
                    self._tls.context,
                    name=name,
                    idle_s=POP3_IDLE_S,
                    connections_limit=settings.connections,
                    address_limit=self._sessions_of,
                    is_at_home=self._machine.gateway.devices.is_at_home,
                )
                await self._listen(listener, name, max(port, 0), implicit_tls=name == "pop3s")
        watch = partial(self._tls.run, self._machine.gateway.devices.changed)
        self._watch = asyncio.create_task(kept_up(watch, "certificates", self._machine.clock), name="certificates")
        self._tell_machine()

    def _sessions_of(self, address: str) -> int:
        """Return how many sessions an address may have; one that is named for a device may be a print server's."""
        named = self._machine.gateway.devices.by_address(address) is not None
        return self._settings.connections_per_address * (NAMED_TIMES if named else 1)

    def _tell_machine(self) -> None:
        machine = self._machine
        machine.gateway_ports = self.places
        machine.gateway_addresses = self.addresses
        machine.gateway_authority = self._tls.authority
        host = {"": LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1"}.get(self._host, self._host)  # noqa: S104 - compared
        machine.device_test.places = lambda: (host, self.places)
        machine.warnings = self._tls.problems

    def reload(self) -> None:
        """Look at the certificates' files now."""
        self._tls.look_now()

    def addresses(self) -> list[str]:
        """Return where devices of the local network find this machine; blocking, briefly."""
        everywhere = self._host in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
        return local_addresses() if everywhere else [self._host]

    def _submission(self) -> Submission:
        gateway = self._machine.gateway
        return Submission(
            gateway.devices,
            gateway.intake,
            gateway.route.upstream,
            self._machine.clock,
            host_name=local_name(),
            tls=True,
            is_learning=gateway.learning.is_on,
            may_send_as=self._settings.may_send_as,
        )

    def _collection(self) -> Collection:
        machine = self._machine
        troubles = Troubles(machine.explainer, machine.clock)
        gateway = machine.gateway
        return Collection(
            gateway.devices,
            machine.retrieval,
            troubles,
            machine.clock,
            host_name=local_name(),
            tls=True,
            is_learning=gateway.learning.is_on,
        )

    async def _listen(self, listener: Listener, name: str, port: int, *, implicit_tls: bool) -> None:
        try:
            await listener.start(self._host, port, implicit_tls=implicit_tls)
        except OSError as error:
            raise port_taken(port, error) from None
        self._listeners.append(listener)
        self.places[name] = listener.port

    async def stop(self) -> None:
        """Accept nobody any more."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await asyncio.gather(*(listener.stop() for listener in self._listeners))
