"""TLS of the gateway's listeners: which certificate, old versions for whom, renewed without a restart.

Theory of operation
-------------------
1. A listener has the certificate of its own section, else the gateway's, else the web page's, else what the machine makes for
   itself (:func:`valija.apps.certificates.own_chain`).
2. Who comes gets TLS 1.2 and later. TLS 1.0 is for listeners and addresses that are named: the context is chosen by the peer's
   address before the handshake, so nobody else can ask for it.
3. The files are looked at every minute, and at SIGHUP. Changed ones are loaded beside those in use and take their place when
   they are good; else those in use stay, and it is said why. What the machine made for itself is renewed in time.
4. At the start, a handshake in memory shows whether OpenSSL still does what old devices need. If it does not, that is said;
   all others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from valija.apps.certificates import OwnChain, own_chain, own_host
from valija.apps.config import Gateway, ListenerTls, Web
from valija.domain.clock import Clock
from valija.domain.device import TlsPolicy
from valija.domain.errors import ConfigurationError
from valija.domain.text import N_, Message, message
from valija.net.tls import KeyLocked, Pair, device_context, what_old_devices_lack
from valija.net.visits import Peer
from valija.services.devices import DeviceDesk

LOOK_S: Final = 60.0
OWN: Final = ""  # key of the chain that the machine made
log: Final = logging.getLogger(__name__)


@dataclass
class _Chain:
    """One certificate (or one of each kind) in use. ``old`` is None where OpenSSL can make no such context."""

    pairs: tuple[Pair, ...]
    modern: ssl.SSLContext
    old: ssl.SSLContext | None
    seen: tuple[tuple[int, int], ...]
    problem: Message | None = field(default=None)


class GatewayTls:
    """All listeners' TLS."""

    def __init__(
        self,
        settings: Gateway,
        web: Web,
        state_dir: Path,
        devices: DeviceDesk,
        clock: Clock,
        addresses: Callable[[], list[str]],
    ) -> None:
        self._settings = settings
        self._web = web
        self._directory = state_dir / "gateway"
        self._devices = devices
        self._clock = clock
        self._addresses = addresses
        self._chains: dict[str, _Chain] = {}
        self._by_listener: dict[str, str] = {}
        self._own: OwnChain | None = None
        self._lacks: list[str] = []
        self._looking = asyncio.Event()

    # --- what listeners and faces ask ---------------------------------------------------------------------------------------

    def context(self, peer: Peer) -> ssl.SSLContext:
        """Return the context for a peer."""
        chain = self._chains[self._by_listener[peer.listener]]
        if chain.old is not None and (self._section(peer.listener).legacy or self._is_old_device(peer)):
            return chain.old
        return chain.modern

    @property
    def authority(self) -> Path | None:
        """Return the file of the authority that devices may import; None where no listener uses a certificate of our own."""
        return self._own.authority if self._own is not None else None

    def problems(self) -> list[Message]:
        """Return what an operator should know."""
        found = [chain.problem for chain in self._chains.values() if chain.problem is not None]
        if self._lacks and self._is_old_wanted():
            text = N_("Old devices cannot connect by TLS: this system's OpenSSL can no longer do {what}.")
            found.append(message(text, what=", ".join(self._lacks)))
        return found

    # --- loading ------------------------------------------------------------------------------------------------------------

    def load(self, listeners: list[str]) -> None:
        """Load all that these listeners need; blocking. Raises :class:`ConfigurationError`."""
        for name in listeners:
            key, pairs, section = self._files(name)
            self._by_listener[name] = key
            if key not in self._chains:
                try:
                    self._chains[key] = _load(pairs)
                except (OSError, ValueError) as error:
                    raise ConfigurationError(
                        message(N_("The gateway's certificate cannot be used: {why}."), why=_why(error, pairs)),
                        message(
                            N_("Check {section}.certificate and {section}.key: PEM files that belong together."),
                            section=section,
                        ),
                    ) from None
        self._test()

    def look(self) -> bool:
        """Load what has changed; blocking. Tell whether anything has, or what is to be said of it."""
        if self._own is not None:
            with contextlib.suppress(OSError):  # a full disk: the old one is still good for a month
                self._own = self._renewed()
        return any([self._look_at(chain) for chain in self._chains.values()])

    def look_now(self) -> None:
        """Look at the files before their time."""
        self._looking.set()

    async def run(self, changed: Callable[[], None]) -> None:
        """Look at the files every minute, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._looking.wait()
            self._looking.clear()
            if await asyncio.to_thread(self.look):
                changed()

    # --- inside -------------------------------------------------------------------------------------------------------------

    def _look_at(self, chain: _Chain) -> bool:
        seen = _seen(chain.pairs)
        if seen == chain.seen:
            return False
        chain.seen = seen
        files = {"certificate": str(chain.pairs[0][0])}
        try:
            new = _load(chain.pairs)
        except (OSError, ValueError) as error:
            why = _why(error, chain.pairs)
            text = N_("The certificate {file} was changed and cannot be used: {why}. The one before stays in use.")
            chain.problem = message(text, file=files["certificate"], why=why)
            log.warning("certificate_not_loaded", extra={"fields": files | {"why": str(why)}})
            return True
        chain.modern, chain.old, chain.problem = new.modern, new.old, None
        log.info("certificate_loaded", extra={"fields": files})
        return True

    def _test(self) -> None:
        olds = [chain.old for chain in self._chains.values()]
        lacks = [what_old_devices_lack(old) if old is not None else ["TLS 1.0"] for old in olds]
        self._lacks = sorted({name for names in lacks for name in names})
        if self._lacks:
            level = logging.WARNING if self._is_old_wanted() else logging.INFO
            log.log(level, "old_tls_not_possible", extra={"fields": {"what": self._lacks}})

    def _is_old_wanted(self) -> bool:
        by_name = any(self._section(name).legacy for name in self._by_listener)
        return by_name or any(device.tls is TlsPolicy.LEGACY for device in self._devices.all())

    def _is_old_device(self, peer: Peer) -> bool:
        return self._devices.may_be_old(peer.address, peer.port)

    def _section(self, listener: str) -> ListenerTls:
        section: ListenerTls = getattr(self._settings.tls, listener)
        return section

    def _files(self, listener: str) -> tuple[str, tuple[Pair, ...], str]:
        """Return what names a listener's chain, its files, and the section of the configuration that they are from."""
        own = f"gateway.tls.{listener}", self._section(listener)
        for name, section in (own, ("gateway", self._settings), ("web", self._web)):
            if section.certificate is not None and section.key is not None:
                return str(section.certificate), ((section.certificate, section.key),), name
        self._own = self._own or self._renewed()
        return OWN, self._own.pairs, "gateway"

    def _renewed(self) -> OwnChain:
        return own_chain(self._directory, own_host(), self._addresses(), self._clock.now())


def _load(pairs: tuple[Pair, ...]) -> _Chain:
    seen = _seen(pairs)
    modern = device_context(pairs)
    try:
        old = device_context(pairs[:1], old=True)
    except (ssl.SSLError, ValueError):  # an OpenSSL that does not know TLS 1.0 any more
        old = None
    return _Chain(pairs, modern, old, seen)


def _seen(pairs: tuple[Pair, ...]) -> tuple[tuple[int, int], ...]:
    """Return what tells a file from the one that was there before."""
    found = []
    for path in (path for pair in pairs for path in pair):
        try:
            about = path.stat()
            found.append((about.st_mtime_ns, about.st_ino))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def _why(error: OSError | ValueError, pairs: tuple[Pair, ...]) -> str | Message:
    """Return OpenSSL's or the system's words, which do not name the file, or our own, which do."""
    if isinstance(error, KeyLocked):
        return error.message
    files = ", ".join(str(path) for path in pairs[0])
    words = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
    return f"{words} ({files})"
