"""What the queue's commands say of a message."""

from __future__ import annotations

import pytest

from valija.apps.cli.gateway_commands import _sender


@pytest.mark.parametrize(
    ("named", "sender", "said"),
    [
        ("fax@x.test", "office@x.test", "fax@x.test\ngoes out as office@x.test"),
        ("office@x.test", "office@x.test", "office@x.test"),
        ("", "office@x.test", "office@x.test"),
        ("fax@x.test", "", "fax@x.test"),
    ],
)
def test_as_whom_a_message_goes_out_is_said_where_it_is_another_and_known(named: str, sender: str, said: str) -> None:
    """Until the machine has a mailbox, nobody knows."""
    assert _sender({"named_sender": named, "sender": sender}) == said
