"""The API's operation that plays a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from valija.apps.api.calls import Call
from valija.apps.api.models import Answer, Body
from valija.domain.text import N_, Message
from valija.secret import Secret
from valija.services.device_test import Play, PlayAuth, Played, PlayStage, PlayTls

STAGE_LABELS = {
    PlayStage.CONNECT: N_("Connection"),
    PlayStage.GREETING: N_("Greeting"),
    PlayStage.TLS: N_("SSL/TLS"),
    PlayStage.AUTH: N_("Log-in"),
    PlayStage.SENDER: N_("Sender"),
    PlayStage.RECIPIENT: N_("Recipient"),
    PlayStage.PAGE: N_("Test page"),
    PlayStage.END: N_("End"),
}


class PlayDevice(Body):
    """How a device is played; null: as its policy says. Without ``to`` nothing is sent; without ``password`` a one-time one."""

    tls: Literal["none", "starttls", "implicit"] | None = None
    auth: Literal["login", "plain", "none"] | None = None
    helo: bool = False
    to: str = Field(default="", max_length=254)
    sender: str = Field(default="", max_length=254)
    password: str | None = Field(default=None, max_length=200, json_schema_extra={"writeOnly": True})


class PlayedStageView(Answer):
    """One stage: what the gateway said, what that means, what to do about it."""

    stage: Literal["connect", "greeting", "tls", "auth", "sender", "recipient", "page", "end"]
    label: str
    passed: bool
    said: str
    meaning: str
    cure: str


class PlayedView(Answer):
    """What was found; ``transcript`` is kept in ``file``, too."""

    passed: bool
    stages: list[PlayedStageView]
    transcript: list[str]
    file: str


async def test_device(call: Call) -> PlayedView:
    body: PlayDevice = await call.body(PlayDevice)
    play = Play(
        PlayTls(body.tls) if body.tls else None,
        PlayAuth(body.auth) if body.auth else None,
        body.helo,
        body.to,
        body.sender,
        Secret(body.password) if body.password else None,
        call.views.language,
    )
    played = await call.machine.device_test.run(call.request.path_params["login"], play)
    return PlayedView(
        passed=played.passed,
        stages=show_stages(played, call.views.text),
        transcript=played.transcript,
        file=str(call.machine.state_dir / played.file) if played.file else "",
    )


def show_stages(played: Played, say: Callable[[Message | str], str]) -> list[PlayedStageView]:
    """Show the stages of a play in the language of ``say``."""
    return [
        PlayedStageView(
            stage=s.stage.value,
            label=say(STAGE_LABELS[s.stage]),
            passed=s.passed,
            said=s.said,
            meaning=say(s.meaning),
            cure=say(s.cure) if s.cure is not None else "",
        )
        for s in played.stages
    ]
