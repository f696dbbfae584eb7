"""The API's operations on its own tokens; all of them only at the machine."""

from __future__ import annotations

from valija.apps.api import models
from valija.apps.api.calls import Call


async def list_api_tokens(call: Call) -> list[models.ApiTokenView]:
    now = call.machine.clock.now()
    return [call.views.api_token(token, now) for token in await call.machine.api_access.all()]


async def make_api_token(call: Call) -> models.MadeApiToken:
    body: models.MakeApiToken = await call.body(models.MakeApiToken)
    made = await call.machine.api_access.make(body.name, body.scopes, body.days, call.actor)
    shown = call.views.api_token(made.token, call.machine.clock.now())
    return models.MadeApiToken(**shown.model_dump(), token=made.secret.reveal())


async def delete_api_token(call: Call) -> models.Deleted:
    await call.machine.api_access.delete(call.request.path_params["name"], call.actor)
    return models.Deleted()
