"""What a person types into a device, so that it hands its mail to this machine: the same for all faces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from valija.domain.text import N_

Say = Callable[[str], str]
There = dict[str, Any]


class Row(NamedTuple):
    """One field of the device's form: what it may be called there, what to type, and what else there is to know."""

    label: str
    value: str
    note: str = ""


def what_to_type(there: There, made: There, say: Say) -> list[Row]:
    """Return the rows in the language of ``say``.

    ``there`` and ``made`` are the API's answers: all devices, and one that was just made (with its ``password``) or shown.
    """
    return [
        _server(there, say),
        *_ports(there["ports"], made["tls"], say),
        *_log_in(made, say),
        _sender(there, made, say),
    ]


def what_to_type_for_pop3(there: There, made: There, say: Say) -> list[Row]:
    """Return the rows for a device that fetches its mail here too; none for one that does not."""
    if not made["mailbox"] or not made["has_password"]:
        return []
    log_in = Row(say(N_("Log-in")), say(N_("the same user name and password")))
    return [_server(there, say), *_pop3_ports(there["ports"], made["tls"], say), log_in]


def _pop3_ports(ports: dict[str, int], tls: str, say: Say) -> list[Row]:
    label, security = say(N_("Port")), say(N_("Encryption"))
    plain, implicit = ports.get("pop3"), ports.get("pop3s")
    if plain and (tls == "offered" or not implicit):
        return [
            Row(label, str(plain)),
            Row(security, "STLS", say(N_("if it has it; else none")) if tls == "offered" else ""),
        ]
    other = say(N_("if it only knows STLS: port {port}")).format(port=plain) if plain else ""
    return [Row(label, str(implicit or "-")), Row(security, say(N_("SSL/TLS from the beginning")), other)]


def _server(there: There, say: Say) -> Row:
    label, addresses = say(N_("Server")), there["addresses"]
    if not addresses:
        return Row(label, there["host"])
    note = say(N_("or by its name, if the device can look it up: {name}")).format(name=there["host"])
    return Row(label, "\n".join(addresses[:3]), note)


def _ports(ports: dict[str, int], tls: str, say: Say) -> list[Row]:
    label, security = say(N_("Port")), say(N_("Encryption"))
    plain = ports.get("smtp") or ports.get("submission")
    secured = ports.get("submission") or ports.get("smtp")
    implicit = ports.get("submissions")
    if tls == "offered" and plain:
        return [Row(label, str(plain)), Row(security, "STARTTLS", say(N_("if it has it; else none")))]
    if secured:
        other = say(N_("if it only knows SSL/TLS from the beginning: port {port}")).format(port=implicit)
        return [Row(label, str(secured)), Row(security, "STARTTLS", other if implicit else "")]
    return [Row(label, str(implicit or "-")), Row(security, "SSL/TLS", say(N_("from the beginning")))]


def _log_in(made: There, say: Say) -> list[Row]:
    label = say(N_("Log-in (SMTP authentication)"))
    if not made["has_password"]:
        note = say(N_("it is known by its address, {ranges}")).format(ranges=", ".join(shown_ranges(made)))
        return [Row(label, say(N_("off")), note)]
    password = Row(say(N_("Password")), made.get("password") or "…", "" if made.get("password") else say(_GIVEN))
    return [Row(label, say(N_("on")), "LOGIN, PLAIN"), Row(say(N_("User name")), made["login"]), password]


def shown_ranges(made: There) -> list[str]:
    """Return a device's ranges as people write them: one address without its length."""
    return [r.removesuffix("/32").removesuffix("/128") for r in made["ranges"]]


def _sender(there: There, made: There, say: Say) -> Row:
    label = say(N_("Sender (From)"))
    if made["senders"]:
        return Row(label, ", ".join(made["senders"]), say(N_("no other")))
    if not there["sender"]:
        return Row(label, say(N_("any")), say(N_("the machine itself has no mailbox yet")))
    if made["rewriting"] == "never":
        return Row(label, there["sender"])
    return Row(label, there["sender"], say(N_("another one is replaced by it")))


_GIVEN = N_("the one that it was given")
