"""A device of the local network: how it is known, which account its mail leaves from, which senders it may name. Pure.

Theory of operation
-------------------
A device is known by its own login (a user name that fits small displays, a generated password of which the hash is kept), or,
where it can do no AUTH, by the address range that it connects from; the narrowest range wins. Nothing is relayed for anybody
else. One device can be switched off, or deleted, without the others noticing.

What a device names as its sender need not be what its mailbox may send as. ``rewriting`` says what happens then: the message
goes out as the mailbox, and what the device had named is kept in Reply-To, so that answers find their way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from valija.domain.account import SETTING_LABELS
from valija.domain.preferences import LANGUAGES
from valija.domain.settings import BadValue, one_line, one_of, parse_fields, switch
from valija.domain.text import N_, message
from valija.secret import Secret

NAME_LIMIT: Final = 60
LOGIN_PATTERN: Final = "[a-z0-9][a-z0-9._-]{0,31}"
RANGES_LIMIT: Final = 20
SENDERS_LIMIT: Final = 50
WIDEST_RANGE: Final = {4: 16, 6: 48}  # prefix bits; a wider range is no office
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


class Rewriting(StrEnum):
    """When a message goes out as the mailbox instead of the sender that the device named."""

    FOREIGN = "foreign"  # where the mailbox may not send as that sender
    ALWAYS = "always"
    NEVER = "never"


class TlsPolicy(StrEnum):
    """What a device must do before it may log in or hand over mail."""

    REQUIRED = "required"
    OFFERED = "offered"  # old devices: in clear, if they cannot
    LEGACY = "legacy"  # required, but for its addresses TLS 1.0 will do


@dataclass(frozen=True, slots=True)
class Device:
    """One device. ``login`` is its user name and its key; ``password`` a hash, None where it is known by ``ranges`` alone.

    ``senders``: addresses or @domains that it may name; empty for any. ``language`` of its delivery reports, empty for the
    machine's. ``mailbox`` is the POP setting whose mailbox it may fetch, empty for none. ``lf_ends_message``: LF "." LF ends
    its messages as well, after which its connection is closed.
    """

    login: str
    name: str
    account: str
    password: Secret | None = None
    ranges: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    rewriting: Rewriting = Rewriting.FOREIGN
    tls: TlsPolicy = TlsPolicy.REQUIRED
    language: str = ""
    mailbox: str = ""
    lf_ends_message: bool = False
    enabled: bool = True
    created_at: datetime | None = None
    created_by: str = ""


DEVICE_LABELS: Final[Mapping[str, str]] = {
    "login": N_("Login"),
    "name": N_("Name"),
    "account": N_("Account"),
    "ranges": N_("Addresses"),
    "senders": N_("Allowed senders"),
    "rewriting": N_("Sender rewriting"),
    "tls": N_("SSL/TLS"),
    "mailbox": N_("Mailbox to fetch"),
    "language": N_("Language"),
    "lf_ends_message": N_("Bare line feeds end its messages"),
    "enabled": N_("Switched on"),
}
TLS_LABELS: Final[Mapping[str, str]] = {
    TlsPolicy.REQUIRED.value: N_("Needed"),
    TlsPolicy.OFFERED.value: N_("If it can"),
    TlsPolicy.LEGACY.value: N_("Old versions too (TLS 1.0)"),
}
REWRITING_LABELS: Final[Mapping[str, str]] = {
    Rewriting.FOREIGN.value: N_("Where the mailbox may not send as it"),
    Rewriting.ALWAYS.value: N_("Always"),
    Rewriting.NEVER.value: N_("Never"),
}
LANGUAGE_NAMES: Final[Mapping[str, str]] = {"": N_("The machine's"), "en": "English", "es": "Español"}
VALUE_LABELS: Final[Mapping[str, Mapping[str, str]]] = {
    "account": {setting.value: label for setting, label in SETTING_LABELS.items()},
    "mailbox": {setting.value: label for setting, label in SETTING_LABELS.items()},
    "tls": TLS_LABELS,
    "rewriting": REWRITING_LABELS,
    "language": LANGUAGE_NAMES,
}


def parse_device(
    current: Device, changes: Mapping[str, Any], accounts: Collection[str], mailboxes: Collection[str] = ()
) -> Device:
    """Return ``current`` with ``changes`` applied. Raises :class:`~valija.domain.errors.InvalidFields`, and applies nothing."""

    def named(names: Collection[str]) -> Callable[[Any], str]:
        def parse(value: Any) -> str:
            if value not in names:
                raise BadValue(message(N_("must be one of {names}"), names=", ".join(sorted(filter(None, names)))))
            return str(value)

        return parse

    parsers = {
        "login": _login,
        "name": _name,
        "account": named(accounts),
        "mailbox": named(("", *mailboxes)),
        "ranges": _ranges,
        "senders": parse_senders,
        "rewriting": one_of(Rewriting),
        "tls": one_of(TlsPolicy),
        "language": _language,
        "lf_ends_message": switch,
        "enabled": switch,
    }
    known = {field.name for field in fields(current)} & set(parsers)
    return replace(current, **parse_fields(known, parsers, changes, DEVICE_LABELS))


def find_by_address(devices: Iterable[Device], address: str) -> Device | None:
    """Return the device whose range is the narrowest around ``address``; None if there is none, or two with the same."""
    return only_one(narrowest_around(devices, address))


def only_one(found: Collection[Device]) -> Device | None:
    """Return the one device; of several at one address, the one that does not log in: the others say who they are."""
    open_ones = [device for device in found if device.password is None] if len(found) > 1 else [*found]
    return open_ones[0] if len(open_ones) == 1 else None


def narrowest_around(devices: Iterable[Device], address: str) -> tuple[Device, ...]:
    """Return the devices with the narrowest range around ``address``."""
    try:
        here = ip_address(plain_address(address))
    except ValueError:
        return ()
    found: list[tuple[int, Device]] = []
    for device in devices:
        lengths = [network.prefixlen for network in map(ip_network, device.ranges) if here in network]
        if lengths and device.enabled:
            found.append((max(lengths), device))
    longest = max((length for length, _device in found), default=-1)
    return tuple(device for length, device in found if length == longest)


@dataclass(frozen=True, slots=True)
class SenderDecision:
    """What becomes of a sender: refused, or sent as ``reverse_path``; ``rewritten``: not what the device named.

    ``in_head``: From must name it as well, whatever the device wrote there: providers look at both.
    """

    allowed: bool
    reverse_path: str = ""
    rewritten: bool = False
    in_head: bool = False


def decide_sender(device: Device, named: str, mailbox: str, may_send_as: tuple[str, ...] = ()) -> SenderDecision:
    """Decide about the sender that a device named.

    ``mailbox`` is the account's address, ``may_send_as`` further ones, or @domains, that it has the right to use. The empty
    path (a report's) belongs to nobody, so it is never rewritten.
    """
    if device.senders and not may_name(device.senders, named):
        return SenderDecision(allowed=False)
    if named == "" or device.rewriting is Rewriting.NEVER:
        return SenderDecision(allowed=True, reverse_path=named)
    if _same(named, mailbox) or is_own(device, may_send_as, named):
        return SenderDecision(allowed=True, reverse_path=named, in_head=True)
    return SenderDecision(allowed=True, reverse_path=mailbox, rewritten=True, in_head=True)


def is_own(device: Device, may_send_as: tuple[str, ...], address: str) -> bool:
    """Tell whether an address that a device wrote stays, since its mailbox has the right to send as it."""
    allowed = not device.senders or may_name(device.senders, address)
    return device.rewriting is Rewriting.FOREIGN and allowed and may_name(may_send_as, address)


def qualify(address: str, mailbox: str) -> str:
    """Return an address with the mailbox's domain where it has none (``MAIL FROM:<printer>``; RFC 6409 section 6.2).

    Only a plain name: what another server might take for a route (``user%host``, ``host!user``) stays as it is.
    """
    domain = mailbox.rpartition("@")[2]
    return f"{address}@{domain}" if domain and _PLAIN_NAME.fullmatch(address) else address


@lru_cache(4096)
def plain_address(address: str) -> str:
    """Return an address without its zone; of an IPv6 one that holds an IPv4 one (RFC 4291 section 2.5.5.2), that.

    It is the same device. What is no address stays as it is.
    """
    try:
        here = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = here.ipv4_mapped if isinstance(here, IPv6Address) else None
    return str(mapped or here)


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def may_name(senders: Iterable[str], address: str) -> bool:
    """Tell whether an address is among those that a device may name."""
    return any(_matches(pattern, address) for pattern in senders)


def _matches(pattern: str, address: str) -> bool:
    if pattern.startswith("@"):
        return address.casefold().endswith(pattern.casefold())
    return _same(pattern, address)


def _login(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(LOGIN_PATTERN, value):
        raise BadValue(message(N_("must be at most 32 small letters, digits, dots and hyphens: displays are small")))
    return value


def _name(value: Any) -> str:
    text = one_line(value.strip() if isinstance(value, str) else value, NAME_LIMIT)
    if not text:
        raise BadValue(message(N_("must not be empty")))
    return text


def _language(value: Any) -> str:
    if value not in ("", *LANGUAGES):
        raise BadValue(message(N_("must be one of {names}"), names=", ".join(LANGUAGES)))
    return str(value)


def _list(value: Any, limit: int) -> list[str]:
    items = re.split(r"[\s,;]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise BadValue(message(N_("must be a list of text")))
    found = [item for item in items if item]
    if len(found) > limit:
        raise BadValue(message(N_("has {length} entries; at most {limit} fit"), length=len(found), limit=limit))
    return found


def _ranges(value: Any) -> tuple[str, ...]:
    found: list[str] = []
    for item in _list(value, RANGES_LIMIT):
        try:
            network = ip_network(item, strict=False)
        except ValueError:
            problem = message(
                N_("{entry} is no address and no range such as 192.168.1.20 or 192.168.1.0/24"), entry=item[:60]
            )
            raise BadValue(problem) from None
        if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
            network = ip_network((network.network_address.ipv4_mapped, network.prefixlen - 96))
        if network.prefixlen < WIDEST_RANGE[network.version]:
            raise BadValue(message(N_("{entry} is too wide: anybody could send"), entry=str(network)))
        found.append(str(network))
    return tuple(dict.fromkeys(found))


def parse_senders(value: Any) -> tuple[str, ...]:
    """Return addresses and @domains. Raises :class:`BadValue`."""
    found = _list(value, SENDERS_LIMIT)
    for item in found:
        local, at, domain = item.rpartition("@")
        if not at or not domain or "@" in local or len(item) > 255:
            raise BadValue(message(N_("{entry} is no address and no @domain"), entry=item[:60]))
    return tuple(dict.fromkeys(found))
