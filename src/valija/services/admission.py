"""Who may log in from the local network: a device, with its own password, over TLS unless it may do without."""

from __future__ import annotations

from dataclasses import dataclass

from valija.domain.device import Device, TlsPolicy
from valija.domain.device_hints import LOCKED, LOGIN_IN_CLEAR, NOT_CHECKED, WRONG
from valija.domain.errors import ValijaError
from valija.protocol.sasl_server import Shown
from valija.services.device_logins import NotLookedAt
from valija.services.devices import DeviceDesk


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """Why not, for the record; ``later``: nothing was looked at.

    ``device`` is the one whose password it was, or whose login it showed at the address where that was seen last.
    """

    why: str
    later: bool = False
    device: Device | None = None


async def admit(desk: DeviceDesk, shown: Shown, address: str, *, secure: bool, tls_there: bool) -> Device | NotAdmitted:
    """Check what a client has shown. ``secure``: over TLS; ``tls_there``: it could have been."""
    if desk.locked_until(shown.user, address) is not None:
        return NotAdmitted(LOCKED, later=True, device=desk.at_its_place(shown.user, address))
    device = None
    if shown.password is not None:
        try:
            device = await desk.verify(shown.user, shown.password, address)
        except NotLookedAt:
            return NotAdmitted(LOCKED, later=True, device=desk.at_its_place(shown.user, address))
        except ValijaError:  # too little memory for the hash
            return NotAdmitted(NOT_CHECKED, later=True)
    if device is None:
        return NotAdmitted(WRONG, device=desk.at_its_place(shown.user, address))
    if device.tls is not TlsPolicy.OFFERED and tls_there and not secure:
        return NotAdmitted(LOGIN_IN_CLEAR, device=device)
    return device


def known_at_once(desk: DeviceDesk, shown: Shown, address: str, *, secure: bool, tls_there: bool) -> Device | None:
    """Return the device, if its password was right before and it may log in; for all else there is :func:`admit`."""
    if shown.password is None or (tls_there and not secure and not desk.may_in_clear(shown.user)):
        return None  # nor is it looked at yet: a password may be good once only
    return desk.recognise(shown.user, shown.password, address)
