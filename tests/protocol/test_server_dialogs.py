"""Dialogs with our servers, written as text in ``tests/dialogs`` and replayed.

``C:`` a line of the client, ``B:`` its octets with escapes, ``S:`` a line of the server (``...`` for any rest,
``␠`` for a space at its end), ``=`` what
must be true or happens (``taken``, ``deleted``, ``closed``, ``tls``, ``messages``). ``# clear``: the session begins without
TLS. Every dialog is replayed twice: command by command, and with each octet alone.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hosts import PopHost, SmtpHost

DIALOGS = sorted((Path(__file__).parents[1] / "dialogs").glob("*.txt"))


class Replay:
    """One dialog under way."""

    def __init__(self, path: Path, *, octet_by_octet: bool) -> None:
        self.lines = path.read_text().splitlines()
        secure = "# clear" not in self.lines
        self.host: SmtpHost | PopHost = (
            PopHost(secure=secure) if path.name.startswith("pop3") else SmtpHost(secure=secure)
        )
        self.octet_by_octet = octet_by_octet
        self.said = self.host.receive(b"")
        self.messages_checked = 0

    def say(self, data: bytes) -> None:
        """Say octets to the server, together or one by one."""
        if not self.octet_by_octet:
            self.said += self.host.receive(data)
            return
        for octet in data:
            if self.said.endswith((b"start TLS\r\n", b"Begin TLS\r\n")):
                return  # from here on the octets would belong to the handshake
            self.said += self.host.receive(bytes([octet]))

    def expect(self, expected: str) -> None:
        """Compare the server's next line."""
        line, end, self.said = self.said.partition(b"\r\n")
        text = line.decode()
        assert end, f"the server said nothing where {expected!r} was expected"
        if expected.endswith("..."):
            assert text.startswith(expected[:-3])
        else:
            assert text == expected

    def check(self, fact: str) -> None:
        """Do or check what a line with an equal sign says."""
        word, _space, rest = fact.partition(" ")
        host = self.host
        if word == "tls":
            self.said += host.handshake()
        elif word == "closed":
            assert host.closed
        elif isinstance(host, SmtpHost):
            sender, recipient, body = rest.split(" ", 2)
            taken = host.messages[self.messages_checked]
            self.messages_checked += 1
            assert taken == (sender.strip("<>"), (recipient,), ast.literal_eval(body))
        elif word == "messages":
            host.messages = ast.literal_eval(rest)
        else:
            assert host.deleted == (None if rest == "nothing" else tuple(int(n) for n in rest.split()))

    def run(self) -> None:
        """Replay the dialog to its end."""
        for line in self.lines:
            kind, text = line[:1], line[3:]
            if kind == "C":
                self.say(text.encode() + b"\r\n")
            elif kind == "B":
                self.say(text.encode().decode("unicode_escape").encode("latin-1"))
            elif kind == "S":
                self.expect(text.replace("␠", " "))
            elif kind == "=":
                self.check(line[2:])
        assert self.said == b""


@pytest.mark.parametrize("octet_by_octet", [False, True], ids=["by command", "by octet"])
@pytest.mark.parametrize("path", DIALOGS, ids=[path.stem for path in DIALOGS])
def test_the_dialog_goes_as_it_is_written(path: Path, octet_by_octet: bool) -> None:
    Replay(path, octet_by_octet=octet_by_octet).run()
