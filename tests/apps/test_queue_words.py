"""What the queue's commands say of a message."""

from __future__ import annotations

import pytest

from valija.apps.cli.gateway_commands import _act_on_messages, _sender


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


def test_what_is_being_sent_is_not_said_to_be_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    """Of several messages, each that could not be."""

    class Client:
        def call(self, *_asked: object) -> list[dict[str, object]]:
            states = {1: "held", 2: "in_flight", 3: "delivered"}
            return [
                {"id": n, "recipients": [{"state": state, "state_label": state.title()}]} for n, state in states.items()
            ]

    _act_on_messages(Client(), "hold", [1, 2, 3], as_json=False)  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == [
        "Nothing to do: message 3 has ended already (Delivered).",
        "Message 2 is being sent already; it is held if this try fails.",
        "Done.",
    ]
