"""Who may log in from the local network: a device, with its own password, over TLS unless it may do without."""

from __future__ import annotations

from dataclasses import dataclass

from valija.domain.device import Device, TlsPolicy
from valija.protocol.sasl_server import Shown
from valija.services.devices import DeviceDesk


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """Why not, for the record; ``later``: nothing was looked at. ``device`` is the one whose password it was."""

    why: str
    later: bool = False
    device: Device | None = None


async def admit(desk: DeviceDesk, shown: Shown, address: str, *, secure: bool, tls_there: bool) -> Device | NotAdmitted:
    """Check what a client has shown. ``secure``: over TLS; ``tls_there``: it could have been."""
    if desk.locked_until(shown.user, address) is not None:
        return NotAdmitted("too many wrong passwords", later=True)
    device = None
    if shown.password is not None:
        device = await desk.verify(shown.user, shown.password, address)
    if device is None:
        return NotAdmitted("wrong login or password")
    if device.tls is not TlsPolicy.OFFERED and tls_there and not secure:
        return NotAdmitted("log-in without TLS", device=device)
    return device
